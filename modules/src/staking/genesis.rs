//! Stake at genesis. Money of delegations and of the unbonding queue lies in the pools' balances (bank).

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    coin::DENOM,
    cosmos::staking::v1beta1::{Params, UnbondingDelegationEntry, Validator},
    dec::Dec,
    tendermint_proto::google::protobuf::Duration,
};

use super::{
    BY_CONSENSUS, DELEGATIONS, DELEGATORS, PARAMS, POWERS, QUEUE, UNBONDING, VALIDATORS, consensus_key, delegation,
};
use crate::{
    error::{Error, SdkError},
    state::State,
};

/// A validator with its delegations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorGenesis {
    /// The record.
    pub validator: Validator,
    /// Delegators and their shares.
    pub delegations: Vec<(String, Dec)>,
    /// Power that CometBFT was last told; 0 when it is not in the set.
    pub power: u64,
}

/// An entry of the unbonding queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnbondingGenesis {
    /// Unix seconds.
    pub completes_at: u64,
    /// Who gets the money.
    pub delegator: String,
    /// From which validator.
    pub operator: String,
    /// Height at which it began.
    pub height: u64,
    /// The entry.
    pub entry: UnbondingDelegationEntry,
}

/// Stake at genesis. New chains leave the lists empty and bring validators as signed transactions (gentx).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Genesis {
    /// Parameters.
    pub params: Params,
    /// Validators.
    pub validators: Vec<ValidatorGenesis>,
    /// The unbonding queue.
    pub unbonding: Vec<UnbondingGenesis>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            validators: Vec::new(),
            unbonding: Vec::new(),
        }
    }
}

/// 21 days of unbonding, 100 validators.
#[must_use]
pub fn default_params() -> Params {
    Params {
        unbonding_time: Some(Duration {
            seconds: 21 * 24 * 3600,
            nanos: 0,
        }),
        max_validators: 100,
        max_entries: 7,
        historical_entries: 0,
        bond_denom: DENOM.into(),
        min_commission_rate: "0".into(),
    }
}

pub(crate) fn check_params(params: &Params) -> Result<(), Error> {
    let Params {
        unbonding_time,
        max_validators,
        max_entries,
        historical_entries: _,
        bond_denom,
        min_commission_rate,
    } = params;
    let seconds = unbonding_time.as_ref().map_or(0, |d| d.seconds);
    let bad = |log: String| Err(SdkError::InvalidRequest(log).into());
    if !(1..=10 * 365 * 24 * 3600).contains(&seconds) {
        return bad(format!(
            "staking unbonding_time is {seconds} s, expected 1 s to ten years"
        ));
    }
    if !(1..=1000).contains(max_validators) {
        return bad(format!(
            "staking max_validators is {max_validators}, expected 1 to 1000"
        ));
    }
    if !(1..=100).contains(max_entries) {
        return bad(format!("staking max_entries is {max_entries}, expected 1 to 100"));
    }
    if !Dec::from_atomics(min_commission_rate).is_ok_and(|rate| rate <= Dec::ONE) {
        return bad(format!(
            "staking min_commission_rate is {min_commission_rate:?}, expected 0 to 10^18, which is 1"
        ));
    }
    if bond_denom != DENOM {
        return bad(format!("staking bond_denom is {bond_denom:?}, expected {DENOM:?}"));
    }
    Ok(())
}

/// Writes parameters, validators, delegations and the queue.
///
/// # Errors
/// What is not valid.
pub fn init(state: &mut State<'_>, genesis: &Genesis) -> Result<(), Error> {
    check_params(&genesis.params)?;
    PARAMS.set(state, &genesis.params)?;
    for ValidatorGenesis {
        validator,
        delegations,
        power,
    } in &genesis.validators
    {
        let operator = Address::parse_operator(&validator.operator_address)?;
        let consensus = Address::of_consensus_key(&consensus_key(validator.consensus_pubkey.as_ref())?);
        VALIDATORS.set(state, &operator, validator)?;
        BY_CONSENSUS.set(state, &consensus, &operator.0.to_vec())?;
        if *power > 0 {
            POWERS.set(state, &operator, power)?;
        }
        for (delegator, shares) in delegations {
            let delegator: Address = delegator.parse()?;
            DELEGATIONS.set(state, &(delegator, operator), shares)?;
            DELEGATORS.set(state, &(operator, delegator), &true)?;
        }
    }
    for UnbondingGenesis {
        completes_at,
        delegator,
        operator,
        height,
        entry,
    } in &genesis.unbonding
    {
        let key = (delegator.parse()?, Address::parse_operator(operator)?, *height);
        UNBONDING.set(state, &key, entry)?;
        QUEUE.set(state, &(*completes_at, key), &true)?;
    }
    Ok(())
}

/// The inverse of [`init`].
///
/// # Errors
/// The store failed.
pub fn export(state: &mut State<'_>) -> Result<Genesis, Error> {
    let mut validators = Vec::new();
    for (operator, validator) in VALIDATORS.all(state)? {
        let mut delegations = Vec::new();
        for ((_, delegator), _) in DELEGATORS.under(state, &operator, usize::MAX)? {
            delegations.push((delegator.to_string(), delegation(state, &delegator, &operator)?));
        }
        validators.push(ValidatorGenesis {
            validator,
            delegations,
            power: POWERS.get(state, &operator)?.unwrap_or(0),
        });
    }
    let mut unbonding = Vec::new();
    for ((completes_at, key), _) in QUEUE.all(state)? {
        let (delegator, operator, height) = (key.0.to_string(), key.1.operator(), key.2);
        let entry = UNBONDING
            .get(state, &key)?
            .ok_or_else(|| Error::fatal("a queued unbonding has no entry"))?;
        unbonding.push(UnbondingGenesis {
            completes_at,
            delegator,
            operator,
            height,
            entry,
        });
    }
    Ok(Genesis {
        params: PARAMS.get(state)?,
        validators,
        unbonding,
    })
}
