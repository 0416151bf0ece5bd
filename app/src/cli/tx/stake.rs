//! `trainyard tx staking`, `distribution` and `slashing`: what validators and delegators send.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Subcommand;
use color_eyre::eyre::{Result, eyre};
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::crypto::ed25519;
use trainyard_proto::cosmos::distribution::v1beta1::{
    MsgFundCommunityPool, MsgSetWithdrawAddress, MsgWithdrawDelegatorReward, MsgWithdrawValidatorCommission,
};
use trainyard_proto::cosmos::slashing::v1beta1::MsgUnjail;
use trainyard_proto::cosmos::staking::v1beta1::{
    CommissionRates, Description, MsgBeginRedelegate, MsgCancelUnbondingDelegation, MsgCreateValidator, MsgDelegate,
    MsgEditValidator, MsgUndelegate,
};
use trainyard_proto::dec::Dec;

use super::amount;
use crate::cli::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Staking {
    /// Delegate to a validator
    Delegate {
        /// The validator's operator address
        validator: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Take a delegation back; the money returns after the unbonding time
    Unbond {
        /// The validator's operator address
        validator: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Move a delegation to another validator, without a wait
    Redelegate {
        /// The operator address of the validator it leaves
        source: String,
        /// The operator address of the validator it goes to
        destination: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
    /// Give what is on its way back to its validator again
    CancelUnbond {
        /// The validator's operator address
        validator: String,
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
        /// Height at which it was taken back
        creation_height: i64,
    },
    /// Change what is known of the validator that you operate; what is not given stays
    EditValidator {
        /// The name to be known by
        #[arg(long)]
        moniker: Option<String>,
        /// A signature of your identity, as Keybase's
        #[arg(long)]
        identity: Option<String>,
        /// Web site
        #[arg(long)]
        website: Option<String>,
        /// Whom to tell of a hole
        #[arg(long)]
        security_contact: Option<String>,
        /// Anything else
        #[arg(long)]
        details: Option<String>,
        /// What you take of all rewards before your delegators, as 0.05 for 5 %; at most once a day
        #[arg(long, value_name = "RATE")]
        commission_rate: Option<Dec>,
        /// The least you keep delegated to yourself; it can only be raised
        #[arg(long, value_parser = amount, value_name = "AMOUNT")]
        min_self_delegation: Option<u64>,
    },
    /// Become a validator
    CreateValidator {
        /// The node's consensus key: ed25519, base64, as in its priv_validator_key.json
        #[arg(long)]
        pubkey: String,
        /// Own stake, as 2.5TRAIN or 2500000utrain
        #[arg(long, value_parser = amount)]
        amount: u64,
        /// The name to be known by
        #[arg(long)]
        moniker: String,
        /// What you take of all rewards before your delegators, as 0.05 for 5 %
        #[arg(long, default_value = "0", value_name = "RATE")]
        commission_rate: Dec,
        /// The most it can ever be
        #[arg(long, default_value = "0.2", value_name = "RATE")]
        commission_max_rate: Dec,
        /// The most it can change in a day
        #[arg(long, default_value = "0.01", value_name = "RATE")]
        commission_max_change_rate: Dec,
        /// The least you keep delegated to yourself, or your validator is jailed
        #[arg(long, value_parser = amount, default_value = "1", value_name = "AMOUNT")]
        min_self_delegation: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Slashing {
    /// Let the validator that you operate vote again, once its time in jail is over
    Unjail,
}

#[derive(Debug, Subcommand)]
pub(super) enum Distribution {
    /// Withdraw what a delegation has earned
    WithdrawRewards {
        /// The validator's operator address
        validator: String,
    },
    /// Withdraw the commission of the validator that you operate
    WithdrawCommission,
    /// Have rewards sent to another account
    SetWithdrawAddress {
        /// An address or a key's name
        to: String,
    },
    /// Give money to the community
    FundCommunityPool {
        /// As 2.5TRAIN or 2500000utrain
        #[arg(value_parser = amount)]
        amount: u64,
    },
}

/// A validator's address as it was typed, once it is known to be one.
fn operator(text: String) -> Result<String> {
    Address::parse_operator(&text)?;
    Ok(text)
}

impl Staking {
    pub(super) fn message(self, sender: Address) -> Result<Any> {
        let delegator_address = sender.to_string();
        Ok(match self {
            Self::Delegate { validator, amount } => any::pack(&MsgDelegate {
                delegator_address,
                validator_address: operator(validator)?,
                amount: Some(utrain(amount)),
            }),
            Self::Unbond { validator, amount } => any::pack(&MsgUndelegate {
                delegator_address,
                validator_address: operator(validator)?,
                amount: Some(utrain(amount)),
            }),
            Self::Redelegate {
                source,
                destination,
                amount,
            } => any::pack(&MsgBeginRedelegate {
                delegator_address,
                validator_src_address: operator(source)?,
                validator_dst_address: operator(destination)?,
                amount: Some(utrain(amount)),
            }),
            Self::CancelUnbond {
                validator,
                amount,
                creation_height,
            } => any::pack(&MsgCancelUnbondingDelegation {
                delegator_address,
                validator_address: operator(validator)?,
                amount: Some(utrain(amount)),
                creation_height,
            }),
            Self::EditValidator {
                moniker,
                identity,
                website,
                security_contact,
                details,
                commission_rate,
                min_self_delegation,
            } => {
                let text = |given: Option<String>| given.unwrap_or_else(|| "[do-not-modify]".into());
                any::pack(&MsgEditValidator {
                    description: Some(Description {
                        moniker: text(moniker),
                        identity: text(identity),
                        website: text(website),
                        security_contact: text(security_contact),
                        details: text(details),
                    }),
                    validator_address: sender.operator(),
                    commission_rate: commission_rate.map(Dec::atomics).unwrap_or_default(),
                    min_self_delegation: min_self_delegation.map(|least| least.to_string()).unwrap_or_default(),
                })
            }
            Self::CreateValidator {
                pubkey,
                amount,
                moniker,
                commission_rate,
                commission_max_rate,
                commission_max_change_rate,
                min_self_delegation,
            } => {
                let key = BASE64.decode(pubkey.trim()).ok().filter(|key| key.len() == 32);
                let key = key
                    .ok_or_else(|| eyre!("--pubkey {pubkey:?} is not an ed25519 key: 32 bytes as base64 are needed"))?;
                #[allow(deprecated)] // The delegator's address is still on the wire.
                any::pack(&MsgCreateValidator {
                    description: Some(Description {
                        moniker,
                        ..Description::default()
                    }),
                    commission: Some(CommissionRates {
                        rate: commission_rate.atomics(),
                        max_rate: commission_max_rate.atomics(),
                        max_change_rate: commission_max_change_rate.atomics(),
                    }),
                    min_self_delegation: min_self_delegation.to_string(),
                    delegator_address,
                    validator_address: sender.operator(),
                    pubkey: Some(any::pack(&ed25519::PubKey { key })),
                    value: Some(utrain(amount)),
                })
            }
        })
    }
}

impl Distribution {
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        Ok(match self {
            Self::WithdrawRewards { validator } => any::pack(&MsgWithdrawDelegatorReward {
                delegator_address: sender.to_string(),
                validator_address: operator(validator)?,
            }),
            Self::WithdrawCommission => any::pack(&MsgWithdrawValidatorCommission {
                validator_address: sender.operator(),
            }),
            Self::SetWithdrawAddress { to } => any::pack(&MsgSetWithdrawAddress {
                delegator_address: sender.to_string(),
                withdraw_address: global.account(&to)?.to_string(),
            }),
            Self::FundCommunityPool { amount } => any::pack(&MsgFundCommunityPool {
                amount: vec![utrain(amount)],
                depositor: sender.to_string(),
            }),
        })
    }
}

impl Slashing {
    pub(super) fn message(self, sender: Address) -> Any {
        let Self::Unjail = self;
        any::pack(&MsgUnjail {
            validator_addr: sender.operator(),
        })
    }
}
