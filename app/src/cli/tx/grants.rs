//! Permissions and allowances, from the command line. They are used with `--for` and `--fee-granter`.

use clap::Subcommand;
use color_eyre::eyre::{OptionExt, Result, bail, ensure};
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::utrain;
use trainyard_proto::cosmos::authz::v1beta1::{GenericAuthorization, Grant, MsgGrant, MsgRevoke};
use trainyard_proto::cosmos::bank::v1beta1::SendAuthorization;
use trainyard_proto::cosmos::feegrant::v1beta1::{
    AllowedMsgAllowance, BasicAllowance, MsgGrantAllowance, MsgRevokeAllowance, PeriodicAllowance,
};
use trainyard_proto::cosmos::staking::v1beta1::{
    AuthorizationType, StakeAuthorization,
    stake_authorization::{Policy, Validators},
};
use trainyard_proto::tendermint_proto::google::protobuf::{Duration, Timestamp};

use super::amount;
use crate::cli::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Authz {
    /// Let another account act for the sender in one kind of message
    Grant {
        /// The other account: an address or a key's name
        grantee: String,
        /// What it may do; without it --msg-type, or a limit for sending, says so
        #[arg(value_enum)]
        kind: Option<Kind>,
        #[command(flatten)]
        within: Within,
        /// When it ends, Unix seconds; never by default
        #[arg(long, value_name = "SECONDS")]
        expiration: Option<i64>,
    },
    /// Take a permission back
    Revoke {
        /// The other account: an address or a key's name
        grantee: String,
        /// The kind of message, as /trainyard.registry.v1.MsgUpdate
        msg_type: String,
    },
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// Any message of the kind that --msg-type names
    Generic,
    /// Send money, up to --spend-limit
    Send,
    /// Delegate, with the validators named
    Delegate,
    /// Undelegate, from the validators named
    Unbond,
    /// Redelegate, to the validators named
    Redelegate,
    /// Cancel an undelegation, from the validators named
    CancelUnbonding,
}

/// How far it goes.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Within {
    /// The kind of message, as /trainyard.registry.v1.MsgUpdate
    #[arg(long, value_name = "TYPE")]
    msg_type: Option<String>,
    /// Up to this amount in all, as 5TRAIN; stake is not limited by default
    #[arg(long, visible_alias = "send-limit", value_name = "AMOUNT", value_parser = amount)]
    spend_limit: Option<u64>,
    /// Send only to these accounts
    #[arg(
        long = "allow-list",
        visible_alias = "allow",
        value_name = "ACCOUNT",
        value_delimiter = ','
    )]
    allowed: Vec<String>,
    /// Only with these validators: operator addresses
    #[arg(
        long,
        value_name = "VALIDATOR",
        value_delimiter = ',',
        conflicts_with = "deny_validators"
    )]
    allowed_validators: Vec<String>,
    /// With all validators but these
    #[arg(long, value_name = "VALIDATOR", value_delimiter = ',')]
    deny_validators: Vec<String>,
}

impl Within {
    /// The authorization; `account` finds accounts by name.
    fn authorization(self, kind: Option<Kind>, account: impl Fn(&str) -> Result<Address>) -> Result<Any> {
        let kind = match (kind, &self.msg_type, self.spend_limit) {
            (Some(kind), ..) => kind,
            (None, Some(_), _) => Kind::Generic,
            (None, None, Some(_)) => Kind::Send,
            (None, None, None) => bail!("what is granted? Name it, as `delegate`, or give --msg-type or --spend-limit"),
        };
        let of_stake = !matches!(kind, Kind::Generic | Kind::Send);
        let validators = self.allowed_validators.len() + self.deny_validators.len();
        ensure!(
            of_stake == (validators > 0),
            if of_stake {
                "which validators? Give --allowed-validators or --deny-validators"
            } else {
                "--allowed-validators and --deny-validators are for delegate, unbond, redelegate and cancel-unbonding"
            }
        );
        ensure!(
            (kind == Kind::Generic) == self.msg_type.is_some(),
            "--msg-type goes with generic, and generic with --msg-type"
        );
        ensure!(
            kind == Kind::Send || self.allowed.is_empty(),
            "--allow-list is for send"
        );
        let authorization_type = match kind {
            Kind::Generic => {
                ensure!(
                    self.spend_limit.is_none(),
                    "--spend-limit does not limit messages of any kind"
                );
                return Ok(any::pack(&GenericAuthorization {
                    msg: self.msg_type.unwrap_or_default(),
                }));
            }
            Kind::Send => {
                let limit = self.spend_limit.ok_or_eyre("up to how much? Give --spend-limit")?;
                let allowed = self.allowed.iter().map(|name| Ok(account(name)?.to_string()));
                return Ok(any::pack(&SendAuthorization {
                    spend_limit: vec![utrain(limit)],
                    allow_list: allowed.collect::<Result<_>>()?,
                }));
            }
            Kind::Delegate => AuthorizationType::Delegate,
            Kind::Unbond => AuthorizationType::Undelegate,
            Kind::Redelegate => AuthorizationType::Redelegate,
            Kind::CancelUnbonding => AuthorizationType::CancelUnbondingDelegation,
        };
        for validator in self.allowed_validators.iter().chain(&self.deny_validators) {
            Address::parse_operator(validator)?;
        }
        let validators = if self.deny_validators.is_empty() {
            Policy::AllowList(Validators {
                address: self.allowed_validators,
            })
        } else {
            Policy::DenyList(Validators {
                address: self.deny_validators,
            })
        };
        Ok(any::pack(&StakeAuthorization {
            max_tokens: self.spend_limit.map(utrain),
            authorization_type: authorization_type.into(),
            validators: Some(validators),
        }))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Feegrant {
    /// Pay the fees of another account
    Grant {
        /// The other account: an address or a key's name
        grantee: String,
        /// At most, as 5TRAIN; without a limit by default
        #[arg(long, value_name = "AMOUNT", value_parser = amount)]
        spend_limit: Option<u64>,
        /// When it ends, Unix seconds; never by default
        #[arg(long, value_name = "SECONDS")]
        expiration: Option<i64>,
        /// Length of a period
        #[arg(long, value_name = "SECONDS", requires = "period_limit")]
        period: Option<i64>,
        /// At most in each period, as 1TRAIN
        #[arg(long, value_name = "AMOUNT", value_parser = amount, requires = "period")]
        period_limit: Option<u64>,
        /// Only for these kinds of messages; repeatable
        #[arg(long = "msg-type", value_name = "TYPE")]
        messages: Vec<String>,
    },
    /// Stop paying them
    Revoke {
        /// The other account: an address or a key's name
        grantee: String,
    },
}

fn timestamp(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

impl Authz {
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        let granter = sender.to_string();
        Ok(match self {
            Self::Grant {
                grantee,
                kind,
                within,
                expiration,
            } => any::pack(&MsgGrant {
                granter,
                grantee: global.account(&grantee)?.to_string(),
                grant: Some(Grant {
                    authorization: Some(within.authorization(kind, |name| global.account(name))?),
                    expiration: expiration.map(timestamp),
                }),
            }),
            Self::Revoke { grantee, msg_type } => any::pack(&MsgRevoke {
                granter,
                grantee: global.account(&grantee)?.to_string(),
                msg_type_url: msg_type,
            }),
        })
    }
}

impl Feegrant {
    pub(super) fn message(self, global: &Global, sender: Address) -> Result<Any> {
        let granter = sender.to_string();
        Ok(match self {
            Self::Grant {
                grantee,
                spend_limit,
                expiration,
                period,
                period_limit,
                messages,
            } => {
                let basic = BasicAllowance {
                    spend_limit: spend_limit.map(utrain).into_iter().collect(),
                    expiration: expiration.map(timestamp),
                };
                let allowance = match period {
                    None => any::pack(&basic),
                    Some(seconds) => any::pack(&PeriodicAllowance {
                        basic: Some(basic),
                        period: Some(Duration { seconds, nanos: 0 }),
                        period_spend_limit: period_limit.map(utrain).into_iter().collect(),
                        period_can_spend: Vec::new(),
                        period_reset: None,
                    }),
                };
                let allowance = if messages.is_empty() {
                    allowance
                } else {
                    any::pack(&AllowedMsgAllowance {
                        allowance: Some(allowance),
                        allowed_messages: messages,
                    })
                };
                any::pack(&MsgGrantAllowance {
                    granter,
                    grantee: global.account(&grantee)?.to_string(),
                    allowance: Some(allowance),
                })
            }
            Self::Revoke { grantee } => any::pack(&MsgRevokeAllowance {
                granter,
                grantee: global.account(&grantee)?.to_string(),
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use trainyard_proto::prost::Message as _;

    use super::*;

    /// The arguments behind `tx authz`.
    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        authz: Authz,
    }

    fn granted(arguments: &str) -> Result<Any> {
        let line = Line::try_parse_from(format!("authz grant hot {arguments}").split_whitespace())?;
        let Authz::Grant { kind, within, .. } = line.authz else {
            bail!("no grant");
        };
        within.authorization(kind, |name| Ok(name.parse()?))
    }

    #[test]
    fn stake_is_permitted_as_the_sdk_permits_it() {
        let (one, other) = (Address([1; 20]).operator(), Address([2; 20]).operator());
        for (word, kind) in [
            ("delegate", AuthorizationType::Delegate),
            ("unbond", AuthorizationType::Undelegate),
            ("redelegate", AuthorizationType::Redelegate),
            ("cancel-unbonding", AuthorizationType::CancelUnbondingDelegation),
        ] {
            let both = format!("{word} --allowed-validators {one},{other} --spend-limit 2.5TRAIN");
            let found = granted(&both).unwrap();
            assert_eq!(found.type_url, "/cosmos.staking.v1beta1.StakeAuthorization");
            let found = StakeAuthorization::decode(found.value.as_slice()).unwrap();
            assert_eq!(
                (found.authorization_type(), found.max_tokens),
                (kind, Some(utrain(2_500_000)))
            );
            let address = vec![one.clone(), other.clone()];
            assert_eq!(found.validators, Some(Policy::AllowList(Validators { address })));
        }
        let found = granted(&format!("delegate --deny-validators {one}")).unwrap();
        let found = StakeAuthorization::decode(found.value.as_slice()).unwrap();
        let address = vec![one];
        assert_eq!(found.validators, Some(Policy::DenyList(Validators { address })));
        assert_eq!(found.max_tokens, None);
    }

    #[test]
    fn the_kind_may_be_left_to_what_goes_with_it() {
        let (message, account) = ("/trainyard.registry.v1.MsgUpdate", Address([1; 20]).to_string());
        let generic = granted(&format!("--msg-type {message}")).unwrap();
        assert_eq!(generic, granted(&format!("generic --msg-type {message}")).unwrap());
        let send = granted(&format!("--send-limit 5TRAIN --allow {account}")).unwrap();
        assert_eq!(
            send,
            granted(&format!("send --spend-limit 5TRAIN --allow-list {account}")).unwrap()
        );
        assert_eq!(send.type_url, "/cosmos.bank.v1beta1.SendAuthorization");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let one = Address([1; 20]).operator();
        for (arguments, words) in [
            (String::new(), "what is granted?"),
            ("delegate".into(), "which validators?"),
            ("send".into(), "up to how much?"),
            (
                format!("send --spend-limit 1TRAIN --allowed-validators {one}"),
                "are for delegate",
            ),
            ("delegate --allowed-validators train1nobody".into(), "train1nobody"),
            (
                format!("unbond --allowed-validators {one} --allow-list x"),
                "--allow-list is for send",
            ),
            (
                format!("unbond --allowed-validators {one} --deny-validators {one}"),
                "cannot be used with",
            ),
            (
                format!("unbond --allowed-validators {one} --msg-type /x"),
                "--msg-type goes with generic",
            ),
            ("generic --msg-type /x --spend-limit 1TRAIN".into(), "does not limit"),
        ] {
            let error = format!("{:#}", granted(&arguments).unwrap_err());
            assert!(error.contains(words), "{arguments}: {error}");
        }
    }
}
