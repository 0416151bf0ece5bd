//! Validators and the stake delegated to them.
//!
//! | key | value |
//! |---|---|
//! | `staking/validator/{operator}` | [`Validator`] |
//! | `staking/by_consensus/{consensus address}` | operator's account (20 bytes) |
//! | `staking/delegation/{delegator}{operator}` | shares ([`Dec`]) of the validator's tokens |
//! | `staking/delegators/{operator}{delegator}` | index of the same, by validator |
//! | `staking/unbonding/{delegator}{operator}{height}` | [`UnbondingDelegationEntry`]: money on its way back |
//! | `staking/queue/{time}{delegator}{operator}{height}` | when it arrives |
//! | `staking/power/{operator}` | power CometBFT was last told |
//! | `staking/params` | [`Params`] |
//!
//! Messages: `CreateValidator`, `Delegate`, `Undelegate`, and distribution's `WithdrawDelegatorReward`. Validator sets change
//! at epoch ends only ([`end_epoch`]), when the fee collector is paid out as well. Delegated money lies in the bonded pool,
//! whatever the validator's state; money on its way back lies in the not-bonded pool.
//!
//! A delegation owns shares of its validator's tokens. What they are worth is tokens × shares / all shares, rounded down; an
//! amount taken back costs shares rounded up, unless it is all that they are worth: then it costs all of them.
//!
//! | file | what |
//! |---|---|
//! | `validators.rs` | messages of operators |
//! | `delegations.rs` | messages of delegators |
//! | `rewards.rs` | what delegations earn: a message and queries of distribution |
//! | `block.rs` | ends of blocks and epochs |

mod block;
mod delegations;
mod genesis;
mod queries;
mod rewards;
mod validators;

pub use block::{Power, end_block, end_epoch, powers};
pub(crate) use genesis::check_params;
pub use genesis::{Genesis, ValidatorGenesis, default_params, export, init};
pub use queries::{
    query_delegation, query_delegator_delegations, query_params, query_pool, query_unbonding, query_validator,
    query_validators,
};
pub use rewards::{
    query_delegation_rewards, query_delegator_validators, query_total_rewards, query_validator_distribution,
};
use trainyard_proto::{
    address::Address,
    any::Any,
    coin::{self, parse_amount},
    cosmos::{
        base::v1beta1::Coin,
        crypto::ed25519,
        staking::v1beta1::{CommissionRates, Params, UnbondingDelegationEntry, Validator},
    },
    dec::Dec,
    prost::Message,
};

use crate::{
    bank,
    context::timestamp,
    distribution,
    error::{Error, SdkError, coded},
    state::{Item, Map, State},
};

/// Validators by operator account.
pub const VALIDATORS: Map<Address, Validator> = Map::new("staking/validator/");
/// Operator account by consensus address.
pub const BY_CONSENSUS: Map<Address, Vec<u8>> = Map::new("staking/by_consensus/");
/// Shares by delegator and validator; no entry is zero.
pub const DELEGATIONS: Map<(Address, Address), Dec> = Map::new("staking/delegation/");
/// Index of [`DELEGATIONS`] by validator and delegator.
pub const DELEGATORS: Map<(Address, Address), bool> = Map::new("staking/delegators/");
/// Money on its way back, by delegator, validator and the height it began at.
pub const UNBONDING: Map<(Address, Address, u64), UnbondingDelegationEntry> = Map::new("staking/unbonding/");
/// Keys of [`UNBONDING`] by completion time in Unix seconds.
pub const QUEUE: Map<(u64, (Address, Address, u64)), bool> = Map::new("staking/queue/");
/// Power that CometBFT was last told, by operator.
pub const POWERS: Map<Address, u64> = Map::new("staking/power/");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("staking/params");

/// utrain of one unit of voting power.
pub const POWER_REDUCTION: u64 = 1_000_000;

/// Errors of staking, with the SDK's codes where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum StakingError {
    #[error("validator {0} does not exist")]
    NoValidator(String),
    #[error("validator {0} exists already")]
    ValidatorExists(String),
    #[error("the consensus key of validator {0} is in use by another validator")]
    KeyInUse(String),
    #[error("{delegator} has delegated {have}utrain to {validator}, asked back are {need}utrain")]
    NotEnoughDelegated {
        delegator: Address,
        validator: String,
        have: u64,
        need: u64,
    },
    #[error("undelegating {0}utrain would leave the chain without voting power")]
    LastPower(u64),
    #[error("{delegator} has {found} unbonding entries with {validator}, at most {max} are allowed at once")]
    TooManyEntries {
        delegator: Address,
        validator: String,
        found: usize,
        max: u32,
    },
    #[error("the {what} of {validator} is {found}, expected at most {most}")]
    CommissionTooHigh {
        what: &'static str,
        validator: String,
        found: Dec,
        most: Dec,
    },
    #[error("the commission of {validator} is {found}, the chain's least is {least}")]
    CommissionTooLow { validator: String, found: Dec, least: Dec },
    #[error(
        "{0}'s stake is slashed to so little that {1}utrain would get more shares than can be counted, or none to share with"
    )]
    WorthlessShares(String, u64),
    #[error("{delegator} has no delegation to {validator}")]
    NoDelegation { delegator: Address, validator: String },
}

coded!(StakingError, "staking", |error| match error {
    StakingError::NoValidator(_) => 3,
    StakingError::ValidatorExists(_) => 4,
    StakingError::KeyInUse(_) => 5,
    StakingError::CommissionTooHigh { .. } => 10,
    StakingError::NoDelegation { .. } => 19,
    StakingError::NotEnoughDelegated { .. } => 24,
    StakingError::TooManyEntries { .. } => 27,
    StakingError::WorthlessShares(..) => 34,
    StakingError::CommissionTooLow { .. } => 40,
    StakingError::LastPower(_) => 100,
});

/// Delegated utrain of a validator.
///
/// # Errors
/// The record is damaged.
pub fn tokens(validator: &Validator) -> Result<u64, Error> {
    parse_amount(&validator.tokens).map_err(|e| Error::fatal(e.to_string()))
}

/// Shares of all delegations to a validator.
///
/// # Errors
/// The record is damaged.
pub fn shares(validator: &Validator) -> Result<Dec, Error> {
    Dec::from_atomics(&validator.delegator_shares).map_err(|e| Error::fatal(e.to_string()))
}

fn set_stake(validator: &mut Validator, tokens: u64, shares: Dec) {
    validator.tokens = tokens.to_string();
    validator.delegator_shares = shares.atomics();
}

/// utrain that `part` of a validator's shares are worth, rounded down.
///
/// # Errors
/// The record is damaged.
pub fn worth(validator: &Validator, part: Dec) -> Result<u64, Error> {
    if part.is_zero() {
        return Ok(0);
    }
    let worth = part.mul_div_down(Dec::whole(tokens(validator)?), shares(validator)?);
    worth.and_then(Dec::floor).ok_or_else(|| {
        Error::fatal(format!(
            "{part} shares are more than {} has",
            validator.operator_address
        ))
    })
}

/// Shares of a delegation; 0 where there is none.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn delegation(state: &mut State<'_>, delegator: &Address, operator: &Address) -> Result<Dec, Error> {
    Ok(DELEGATIONS.get(state, &(*delegator, *operator))?.unwrap_or_default())
}

/// A validator that must exist.
///
/// # Errors
/// It does not.
pub fn validator(state: &mut State<'_>, operator: &Address) -> Result<Validator, Error> {
    Ok(VALIDATORS
        .get(state, operator)?
        .ok_or_else(|| StakingError::NoValidator(operator.operator()))?)
}

/// The rates of a validator's commission.
fn commission_rates(validator: &Validator) -> CommissionRates {
    let commission = validator.commission.clone().unwrap_or_default();
    commission.commission_rates.unwrap_or_default()
}

/// What the operator takes of all rewards, 0 to 1.
fn commission_rate(validator: &Validator) -> Result<Dec, Error> {
    Dec::from_atomics(&commission_rates(validator).rate).map_err(|e| Error::fatal(e.to_string()))
}

/// The utrain of a coin, of which there must be some.
fn positive(coin: Option<&Coin>) -> Result<u64, Error> {
    match coin::parse_utrain(coin)? {
        0 => Err(SdkError::InvalidCoins("the amount is zero".into()).into()),
        amount => Ok(amount),
    }
}

/// The ed25519 key (32 bytes) in a consensus public key.
///
/// # Errors
/// Another kind of key, or of another length.
pub fn consensus_key(key: Option<&Any>) -> Result<Vec<u8>, Error> {
    let wrong = |log: String| Error::from(SdkError::InvalidPubKey(log));
    let any = key.ok_or_else(|| wrong("no consensus key was given".into()))?;
    if any.type_url != "/cosmos.crypto.ed25519.PubKey" {
        return Err(wrong(format!(
            "consensus key is a {:?}, expected /cosmos.crypto.ed25519.PubKey",
            any.type_url
        )));
    }
    let key = ed25519::PubKey::decode(any.value.as_slice())
        .map_err(|e| wrong(format!("consensus key: {e}")))?
        .key;
    if key.len() != 32 {
        return Err(wrong(format!("consensus key has {} bytes, expected 32", key.len())));
    }
    Ok(key)
}

/// The bonded pool is the sum of validators' tokens, a validator's shares are those of its delegations, all of which are in
/// the index; delegations are owed no more than is outstanding; the not-bonded pool is the sum of the queue.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let broken = |log: String| Err(Error::fatal(log));
    let mut held: u128 = 0;
    let mut counted = 0;
    for (operator, validator) in VALIDATORS.all(state)? {
        held += u128::from(tokens(&validator)?);
        let delegators = DELEGATORS.under(state, &operator, usize::MAX)?;
        counted += delegators.len();
        let rewards = distribution::REWARDS.get(state, &operator)?.unwrap_or_default();
        let (mut sum, mut claims) = (Some(Dec::ZERO), Some(rewards.commission));
        for ((_, delegator), _) in delegators {
            let part = delegation(state, &delegator, &operator)?;
            let owed = distribution::owed(state, &delegator, &operator, part)?;
            sum = sum.and_then(|sum| sum.checked_add(part));
            claims = claims.and_then(|claims| claims.checked_add(owed));
        }
        let all = shares(&validator)?;
        if sum != Some(all) {
            return broken(format!(
                "{} has {all} shares, its delegations {sum:?}",
                operator.operator()
            ));
        }
        if claims.is_none_or(|claims| claims > rewards.outstanding) {
            let log = format!(
                "{} owes {claims:?}, outstanding are {:?}",
                operator.operator(),
                rewards.outstanding
            );
            return broken(log);
        }
    }
    let bonded = bank::balance(state, &Address::of_module(bank::BONDED_POOL))?;
    if held != u128::from(bonded) {
        return broken(format!("bonded pool {bonded}utrain, validators' tokens {held}utrain"));
    }
    let (listed, settled) = (DELEGATIONS.all(state)?.len(), distribution::SINCE.all(state)?.len());
    if listed != counted || settled != counted {
        return broken(format!(
            "{listed} delegations, {counted} in the index by validator, {settled} that earn"
        ));
    }
    let mut queued: u128 = 0;
    for (_, entry) in UNBONDING.all(state)? {
        queued += u128::from(parse_amount(&entry.balance)?);
    }
    let pool = bank::balance(state, &Address::of_module(bank::NOT_BONDED_POOL))?;
    if queued != u128::from(pool) {
        return broken(format!(
            "not-bonded pool {pool}utrain, unbonding entries {queued}utrain"
        ));
    }
    Ok(())
}
