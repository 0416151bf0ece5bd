//! `trainyard query staking`, `distribution` and `slashing`.

use clap::Subcommand;
use color_eyre::eyre::{Result, eyre};
use trainyard_proto::address::Address;
use trainyard_proto::cosmos::crypto::ed25519;
use trainyard_proto::cosmos::distribution::v1beta1 as distribution;
use trainyard_proto::cosmos::slashing::v1beta1 as slashing;
use trainyard_proto::cosmos::staking::v1beta1 as staking;
use trainyard_proto::prost::Message as _;

use super::{Ask, Page};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Staking {
    /// All validators
    Validators {
        #[command(flatten)]
        page: Page,
    },
    /// One validator
    Validator {
        /// Its operator address
        validator: String,
    },
    /// Delegations of an account
    Delegations {
        /// An address or a key's name
        account: String,
        #[command(flatten)]
        page: Page,
    },
    /// A delegation on its way back
    UnbondingDelegation {
        /// An address or a key's name
        account: String,
        /// The validator's operator address
        validator: String,
    },
    /// All that an account has on its way back
    UnbondingDelegations {
        /// An address or a key's name
        account: String,
    },
    /// Delegations to a validator
    DelegationsTo {
        /// The validator's operator address
        validator: String,
        #[command(flatten)]
        page: Page,
    },
    /// What an account has moved and still answers for the validator it left
    Redelegations {
        /// An address or a key's name
        account: String,
    },
    /// The validators of a past height, as far as the chain keeps them
    HistoricalInfo {
        /// The height
        height: i64,
    },
    /// Bonded and unbonding money
    Pool,
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Distribution {
    /// What all delegations of an account have earned
    Rewards {
        /// An address or a key's name
        account: String,
    },
    /// What a validator's operator and delegators have not withdrawn
    OutstandingRewards {
        /// The validator's operator address
        validator: String,
    },
    /// What a validator's operator can withdraw
    Commission {
        /// The validator's operator address
        validator: String,
    },
    /// What a validator was slashed
    Slashes {
        /// The validator's operator address
        validator: String,
        #[command(flatten)]
        page: Page,
    },
    /// Where an account's rewards go
    WithdrawAddress {
        /// An address or a key's name
        account: String,
    },
    /// What belongs to the community
    CommunityPool,
    /// Parameters
    Params,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Slashing {
    /// What a validator has missed, and until when it is jailed; nothing is kept of one that never missed a block
    SigningInfo {
        /// The validator's operator or consensus address, or the name of its key
        validator: String,
    },
    /// The same of all that ever missed a block
    SigningInfos {
        #[command(flatten)]
        page: Page,
    },
    /// Parameters
    Params,
}

impl Ask<'_> {
    /// The consensus address of a validator, however it is named.
    async fn consensus(&self, validator: &str) -> Result<String> {
        if Address::parse_consensus(validator).is_ok() {
            return Ok(validator.into());
        }
        let operator = match Address::parse_operator(validator) {
            Ok(operator) => operator,
            Err(_) => self.global.account(validator)?,
        };
        let request = staking::QueryValidatorRequest {
            validator_addr: operator.operator(),
        };
        let path = "/cosmos.staking.v1beta1.Query/Validator";
        let answer: staking::QueryValidatorResponse = self.client.query(path, &request).await?;
        let key = answer.validator.and_then(|v| v.consensus_pubkey);
        let key = key.and_then(|any| ed25519::PubKey::decode(any.value.as_slice()).ok());
        let key = key.ok_or_else(|| eyre!("the node sent no key of validator {}", operator.operator()))?;
        Ok(Address::of_consensus_key(&key.key).consensus())
    }

    pub(super) async fn staking(&self, command: Staking) -> Result<()> {
        match command {
            Staking::Validators { page } => {
                let request = staking::QueryValidatorsRequest {
                    pagination: page.request(),
                    ..Default::default()
                };
                self.show::<_, staking::QueryValidatorsResponse>(request).await
            }
            Staking::Validator { validator } => {
                let request = staking::QueryValidatorRequest {
                    validator_addr: validator,
                };
                self.show::<_, staking::QueryValidatorResponse>(request).await
            }
            Staking::Delegations { account, page } => {
                let request = staking::QueryDelegatorDelegationsRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    pagination: page.request(),
                };
                self.show::<_, staking::QueryDelegatorDelegationsResponse>(request)
                    .await
            }
            Staking::UnbondingDelegation { account, validator } => {
                let request = staking::QueryUnbondingDelegationRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    validator_addr: validator,
                };
                self.show::<_, staking::QueryUnbondingDelegationResponse>(request).await
            }
            Staking::UnbondingDelegations { account } => {
                let request = staking::QueryDelegatorUnbondingDelegationsRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    pagination: None,
                };
                self.show::<_, staking::QueryDelegatorUnbondingDelegationsResponse>(request)
                    .await
            }
            Staking::DelegationsTo { validator, page } => {
                let request = staking::QueryValidatorDelegationsRequest {
                    validator_addr: validator,
                    pagination: page.request(),
                };
                self.show::<_, staking::QueryValidatorDelegationsResponse>(request)
                    .await
            }
            Staking::Redelegations { account } => {
                let request = staking::QueryRedelegationsRequest {
                    delegator_addr: self.global.account(&account)?.to_string(),
                    ..Default::default()
                };
                self.show::<_, staking::QueryRedelegationsResponse>(request).await
            }
            Staking::HistoricalInfo { height } => {
                let request = staking::QueryHistoricalInfoRequest { height };
                self.show::<_, staking::QueryHistoricalInfoResponse>(request).await
            }
            Staking::Pool => {
                self.show::<_, staking::QueryPoolResponse>(staking::QueryPoolRequest {})
                    .await
            }
            Staking::Params => {
                self.show::<_, staking::QueryParamsResponse>(staking::QueryParamsRequest {})
                    .await
            }
        }
    }

    pub(super) async fn distribution(&self, command: Distribution) -> Result<()> {
        match command {
            Distribution::Rewards { account } => {
                let request = distribution::QueryDelegationTotalRewardsRequest {
                    delegator_address: self.global.account(&account)?.to_string(),
                };
                self.show::<_, distribution::QueryDelegationTotalRewardsResponse>(request)
                    .await
            }
            Distribution::OutstandingRewards { validator } => {
                let request = distribution::QueryValidatorOutstandingRewardsRequest {
                    validator_address: validator,
                };
                self.show::<_, distribution::QueryValidatorOutstandingRewardsResponse>(request)
                    .await
            }
            Distribution::Commission { validator } => {
                let request = distribution::QueryValidatorCommissionRequest {
                    validator_address: validator,
                };
                self.show::<_, distribution::QueryValidatorCommissionResponse>(request)
                    .await
            }
            Distribution::Slashes { validator, page } => {
                let request = distribution::QueryValidatorSlashesRequest {
                    validator_address: validator,
                    pagination: page.request(),
                    ..Default::default()
                };
                self.show::<_, distribution::QueryValidatorSlashesResponse>(request)
                    .await
            }
            Distribution::WithdrawAddress { account } => {
                let request = distribution::QueryDelegatorWithdrawAddressRequest {
                    delegator_address: self.global.account(&account)?.to_string(),
                };
                self.show::<_, distribution::QueryDelegatorWithdrawAddressResponse>(request)
                    .await
            }
            Distribution::CommunityPool => {
                let request = distribution::QueryCommunityPoolRequest {};
                self.show::<_, distribution::QueryCommunityPoolResponse>(request).await
            }
            Distribution::Params => {
                let request = distribution::QueryParamsRequest {};
                self.show::<_, distribution::QueryParamsResponse>(request).await
            }
        }
    }

    pub(super) async fn slashing(&self, command: Slashing) -> Result<()> {
        match command {
            Slashing::SigningInfo { validator } => {
                let request = slashing::QuerySigningInfoRequest {
                    cons_address: self.consensus(&validator).await?,
                };
                self.show::<_, slashing::QuerySigningInfoResponse>(request).await
            }
            Slashing::SigningInfos { page } => {
                let request = slashing::QuerySigningInfosRequest {
                    pagination: page.request(),
                };
                self.show::<_, slashing::QuerySigningInfosResponse>(request).await
            }
            Slashing::Params => {
                let request = slashing::QueryParamsRequest {};
                self.show::<_, slashing::QueryParamsResponse>(request).await
            }
        }
    }
}
