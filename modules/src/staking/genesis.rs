//! Stake at genesis. Its money lies in the pools' balances (bank); history is not carried over.

use serde::{Deserialize, Serialize};
use trainyard_proto::{
    address::Address,
    coin::DENOM,
    cosmos::staking::v1beta1::{BondStatus, Params, RedelegationEntry, UnbondingDelegationEntry, Validator},
    dec::Dec,
    tendermint_proto::google::protobuf::Duration,
};

use super::{
    BY_CONSENSUS, DELEGATIONS, DELEGATORS, LAST_ID, PARAMS, POWERS, REDELEGATIONS, UNBONDING, VALIDATOR_QUEUE,
    VALIDATORS, consensus_key, delegation, delegations::put_unbonding, redelegations::put_redelegation, store,
};
use crate::{
    context::unix_seconds,
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

/// Money on its way back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnbondingGenesis {
    /// Who gets the money.
    pub delegator: String,
    /// From which validator.
    pub operator: String,
    /// The entry.
    pub entry: UnbondingDelegationEntry,
}

/// Stake that still answers for the validator that it left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedelegationGenesis {
    /// Whose stake.
    pub delegator: String,
    /// The validator it left.
    pub source: String,
    /// The validator it went to.
    pub destination: String,
    /// The entry.
    pub entry: RedelegationEntry,
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
    /// Redelegations.
    pub redelegations: Vec<RedelegationGenesis>,
    /// Id of the last unbonding entry or redelegation.
    pub last_id: u64,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            params: default_params(),
            validators: Vec::new(),
            unbonding: Vec::new(),
            redelegations: Vec::new(),
            last_id: 0,
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
        historical_entries,
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
    if *historical_entries > 10_000 {
        return bad(format!(
            "staking historical_entries is {historical_entries}, expected at most 10000"
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
        if VALIDATORS.get(state, &operator)?.is_some() || BY_CONSENSUS.get(state, &consensus)?.is_some() {
            let log = format!(
                "genesis lists validator {} or its consensus key twice",
                operator.operator()
            );
            return Err(SdkError::InvalidRequest(log).into());
        }
        store(state, &operator, validator)?;
        BY_CONSENSUS.set(state, &consensus, &operator.0.to_vec())?;
        if validator.status() == BondStatus::Unbonding {
            let time = unix_seconds(validator.unbonding_time.as_ref());
            VALIDATOR_QUEUE.set(state, &(time, operator), &true)?;
        }
        if *power > 0 {
            POWERS.set(state, &operator, power)?;
        }
        for (delegator, shares) in delegations {
            let delegator: Address = delegator.parse()?;
            DELEGATIONS.set(state, &(delegator, operator), shares)?;
            DELEGATORS.set(state, &(operator, delegator), &true)?;
        }
    }
    LAST_ID.set(state, &genesis.last_id)?;
    for UnbondingGenesis {
        delegator,
        operator,
        entry,
    } in &genesis.unbonding
    {
        check_id(entry.unbonding_id, genesis.last_id)?;
        let key = (
            delegator.parse()?,
            Address::parse_operator(operator)?,
            entry.unbonding_id,
        );
        put_unbonding(state, key, entry)?;
    }
    for RedelegationGenesis {
        delegator,
        source,
        destination,
        entry,
    } in &genesis.redelegations
    {
        check_id(entry.unbonding_id, genesis.last_id)?;
        let (source, destination) = (Address::parse_operator(source)?, Address::parse_operator(destination)?);
        let key = (delegator.parse()?, destination, (source, entry.unbonding_id));
        put_redelegation(state, key, entry)?;
    }
    Ok(())
}

fn check_id(id: u64, last: u64) -> Result<(), Error> {
    if id > last {
        let log = format!("genesis has an entry with the id {id}, its last_id is {last}");
        return Err(SdkError::InvalidRequest(log).into());
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
    let unbonding = UNBONDING.all(state)?.into_iter();
    let redelegations = REDELEGATIONS.all(state)?.into_iter();
    Ok(Genesis {
        params: PARAMS.get(state)?,
        validators,
        unbonding: unbonding
            .map(|((delegator, operator, _), entry)| UnbondingGenesis {
                delegator: delegator.to_string(),
                operator: operator.operator(),
                entry,
            })
            .collect(),
        redelegations: redelegations
            .map(|((delegator, destination, (source, _)), entry)| RedelegationGenesis {
                delegator: delegator.to_string(),
                source: source.operator(),
                destination: destination.operator(),
                entry,
            })
            .collect(),
        last_id: LAST_ID.get(state)?,
    })
}
