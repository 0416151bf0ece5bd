//! Rewards at genesis. The money itself lies in the accounts of the module and of the treasury (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{address::Address, cosmos::distribution::v1beta1::ValidatorSlashEvent, dec::Dec};

use super::{DUST, PARAMS, Params, REWARDS, Rewards, SINCE, SLASHES, WITHDRAW, withdraw_address};
use crate::{
    bank,
    error::{Error, SdkError},
    state::State,
};

/// Rewards of a validator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardsGenesis {
    /// Operator.
    pub operator: String,
    /// What it and its delegators earned.
    pub rewards: Rewards,
}

/// Rewards at genesis; new chains leave the lists empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Parts of a utrain of the community.
    pub dust: Dec,
    /// By validator.
    pub rewards: Vec<RewardsGenesis>,
    /// Delegator, operator, and the validator's rewards per share when that delegation was last settled.
    pub since: Vec<(String, String, Dec)>,
    /// Delegator, and the account its rewards go to.
    pub withdraw_addresses: Vec<(String, String)>,
    /// Operator, height, part of its tokens that a validator lost, in the order in which it happened.
    pub slashes: Vec<(String, u64, Dec)>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: Params {
                // The community already has its part of every job's budget.
                community_tax: Dec::ZERO,
                withdraw_addr_enabled: true,
            },
            dust: Dec::ZERO,
            rewards: Vec::new(),
            since: Vec::new(),
            withdraw_addresses: Vec::new(),
            slashes: Vec::new(),
        }
    }
}

impl Params {
    /// Whether these can be the chain's.
    ///
    /// # Errors
    /// What is out of its bounds.
    pub fn check(&self) -> Result<(), Error> {
        let Self {
            community_tax,
            withdraw_addr_enabled: _,
        } = self;
        if *community_tax > Dec::ONE {
            let log = format!("distribution community_tax is {community_tax}, expected 0 to 1");
            return Err(SdkError::InvalidRequest(log).into());
        }
        Ok(())
    }
}

/// Writes parameters and rewards.
///
/// # Errors
/// What is not valid. Sums are checked by the invariants.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    let Genesis {
        params,
        dust,
        rewards,
        since,
        withdraw_addresses,
        slashes,
    } = genesis;
    params.check()?;
    PARAMS.set(state, params)?;
    DUST.set(state, dust)?;
    for RewardsGenesis { operator, rewards } in rewards {
        REWARDS.set(state, &Address::parse_operator(operator)?, rewards)?;
    }
    for (delegator, operator, cumulative) in since {
        let key = (delegator.parse()?, Address::parse_operator(operator)?);
        SINCE.set(state, &key, cumulative)?;
    }
    for (operator, height, fraction) in slashes {
        let operator = Address::parse_operator(operator)?;
        let number = SLASHES.under(state, &(operator, *height), usize::MAX)?.len() as u64;
        let event = ValidatorSlashEvent {
            validator_period: 0,
            fraction: fraction.atomics(),
        };
        SLASHES.set(state, &(operator, *height, number), &event)?;
    }
    for (delegator, to) in withdraw_addresses {
        let to: Address = to.parse()?;
        if bank::is_module(&to) {
            let log = format!("genesis sends the rewards of {delegator} to {to}, a module's account");
            return Err(SdkError::InvalidRequest(log).into());
        }
        WITHDRAW.set(state, &delegator.parse()?, &to.0.to_vec())?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let rewards = REWARDS
        .all(state)?
        .into_iter()
        .map(|(operator, rewards)| RewardsGenesis {
            operator: operator.operator(),
            rewards,
        });
    let since = SINCE.all(state)?.into_iter();
    let mut withdraw_addresses = Vec::new();
    for (delegator, _) in WITHDRAW.all(state)? {
        let to = withdraw_address(state, &delegator)?;
        withdraw_addresses.push((delegator.to_string(), to.to_string()));
    }
    let mut slashes = Vec::new();
    for ((operator, height, _), event) in SLASHES.all(state)? {
        let fraction = Dec::from_atomics(&event.fraction).map_err(|e| Error::fatal(e.to_string()))?;
        slashes.push((operator.operator(), height, fraction));
    }
    Ok(Genesis {
        params: PARAMS.get(state)?,
        dust: DUST.get(state)?,
        rewards: rewards.collect(),
        since: since
            .map(|((delegator, operator), value)| (delegator.to_string(), operator.operator(), value))
            .collect(),
        withdraw_addresses,
        slashes,
    })
}
