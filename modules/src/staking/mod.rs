//! Validators and the stake delegated to them.
//!
//! | key | value |
//! |---|---|
//! | `staking/validator/{operator}` | [`Validator`] |
//! | `staking/by_consensus/{consensus address}` | operator's account (20 bytes) |
//! | `staking/barred/{consensus address}` | a consensus key that voted twice: nobody validates with it again |
//! | `staking/delegation/{delegator}{operator}` | shares ([`Dec`]) of the validator's tokens |
//! | `staking/delegators/{operator}{delegator}` | index of the same, by validator |
//! | `staking/rank/{2⁶⁴ - 1 - power}{operator}` | index of validators that could vote, highest power first |
//! | `staking/unbonding/{delegator}{operator}{id}` | [`UnbondingDelegationEntry`]: money on its way back |
//! | `staking/redelegation/{delegator}{to}{from}{id}` | [`RedelegationEntry`]: stake that still answers for `from` |
//! | `staking/unbonding_from/{operator}{id}`, `staking/redelegated_from/{from}{id}` | indexes of the same by validator |
//! | `staking/queue/{time}…`, `staking/redelegation_queue/{time}…`, `staking/validator_queue/{time}{operator}` | when they end |
//! | `staking/last_id` | id of the last entry |
//! | `staking/power/{operator}` | power CometBFT was last told; bonded validators have one, others none |
//! | `staking/history/{height}` | [`HistoricalInfo`] of the last `historical_entries` blocks |
//! | `staking/params` | [`Params`] |
//!
//! Messages: `CreateValidator`, `EditValidator`, `Delegate`, `Undelegate`, `CancelUnbondingDelegation`, `BeginRedelegate`, and
//! distribution's `WithdrawDelegatorReward`. Validator sets change at epoch ends only ([`end_epoch`]), when the fee collector
//! is paid out as well; who is jailed leaves then. Should nobody be left to vote, the last set stays, for CometBFT stops on
//! an empty one.
//!
//! A validator is *bonded* while it votes, *unbonding* for the unbonding time after it stopped, then *unbonded*; without
//! shares it is then forgotten. Tokens of bonded validators lie in the bonded pool, all others and money on its way back in
//! the not-bonded pool. Money taken from a bonded validator waits for the unbonding time, from an unbonding one as long as
//! that still unbonds, from an unbonded one not at all.
//!
//! A delegation owns shares of its validator's tokens. What they are worth is tokens × shares / all shares, rounded down; an
//! amount taken back costs shares rounded up, unless it is all that they are worth: then it costs all of them.
//!
//! | file | what |
//! |---|---|
//! | `validators.rs` | messages of operators |
//! | `delegations.rs` | delegate, undelegate, cancel |
//! | `redelegations.rs` | from validator to validator |
//! | `rewards.rs` | what delegations earn: a message and queries of distribution |
//! | `slash.rs` | what stake answers for |
//! | `block.rs` | ends of blocks and epochs |
//! | `invariant.rs` | what always holds |
//! | `explain.rs` | where validators and delegators stand, in sentences |

mod block;
mod delegations;
mod explain;
mod genesis;
mod invariant;
mod queries;
mod redelegations;
mod rewards;
mod slash;
mod validators;

pub use block::{Power, end_block, end_epoch, powers};
pub use explain::{explain_delegator, explain_validator};
pub(crate) use genesis::check_params;
pub use genesis::{Genesis, ValidatorGenesis, default_params, export, init};
pub use invariant::invariant;
pub use queries::{
    query_delegation, query_delegator_delegations, query_delegator_unbonding, query_delegators_validator,
    query_delegators_validators, query_history, query_params, query_pool, query_redelegations, query_unbonding,
    query_validator, query_validator_delegations, query_validator_unbonding, query_validators,
};
pub use rewards::{
    query_delegation_rewards, query_delegator_validators, query_total_rewards, query_validator_distribution,
};
pub use slash::{Infraction, slash};
use trainyard_proto::{
    address::Address,
    any::Any,
    coin::{self, parse_amount},
    cosmos::{
        base::v1beta1::Coin,
        crypto::ed25519,
        staking::v1beta1::{
            BondStatus, CommissionRates, HistoricalInfo, Params, RedelegationEntry, UnbondingDelegationEntry, Validator,
        },
    },
    dec::Dec,
    prost::Message,
};

use crate::{
    bank,
    context::{Ctx, timestamp},
    distribution,
    error::{Error, SdkError, coded},
    state::{Item, Map, State},
};

/// Validators by operator account.
pub const VALIDATORS: Map<Address, Validator> = Map::new("staking/validator/");
/// Operator account by consensus address.
pub const BY_CONSENSUS: Map<Address, Vec<u8>> = Map::new("staking/by_consensus/");
/// Consensus addresses that no validator may have again. Genesis finds them in the records of [`crate::slashing`].
pub const BARRED: Map<Address, bool> = Map::new("staking/barred/");
/// Shares by delegator and validator; no entry is zero.
pub const DELEGATIONS: Map<(Address, Address), Dec> = Map::new("staking/delegation/");
/// Index of [`DELEGATIONS`] by validator and delegator.
pub const DELEGATORS: Map<(Address, Address), bool> = Map::new("staking/delegators/");
/// Validators with power that are not jailed: `u64::MAX` less the power, and the operator.
pub const RANK: Map<(u64, Address), bool> = Map::new("staking/rank/");
/// Delegator, validator, id.
pub type UnbondingKey = (Address, Address, u64);
/// Money on its way back.
pub const UNBONDING: Map<UnbondingKey, UnbondingDelegationEntry> = Map::new("staking/unbonding/");
/// Delegators of [`UNBONDING`] (20 bytes) by validator and id.
pub const UNBONDING_FROM: Map<(Address, u64), Vec<u8>> = Map::new("staking/unbonding_from/");
/// Keys of [`UNBONDING`] by completion time in Unix seconds.
pub const QUEUE: Map<(u64, UnbondingKey), bool> = Map::new("staking/queue/");
/// Delegator, destination, source and id.
pub type RedelegationKey = (Address, Address, (Address, u64));
/// Stake that went from a source to a destination and still answers for the source.
pub const REDELEGATIONS: Map<RedelegationKey, RedelegationEntry> = Map::new("staking/redelegation/");
/// Delegator and destination of [`REDELEGATIONS`] (40 bytes) by source and id.
pub const REDELEGATED_FROM: Map<(Address, u64), Vec<u8>> = Map::new("staking/redelegated_from/");
/// Keys of [`REDELEGATIONS`] by completion time in Unix seconds.
pub const REDELEGATION_QUEUE: Map<(u64, RedelegationKey), bool> = Map::new("staking/redelegation_queue/");
/// Unbonding validators by the Unix second at which they are unbonded.
pub const VALIDATOR_QUEUE: Map<(u64, Address), bool> = Map::new("staking/validator_queue/");
/// Id of the last entry of [`UNBONDING`] or [`REDELEGATIONS`].
pub const LAST_ID: Item<u64> = Item::new("staking/last_id");
/// The bonded validators of the last blocks, by height.
pub const HISTORY: Map<u64, HistoricalInfo> = Map::new("staking/history/");
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
    #[error("the consensus key of validator {0} has voted twice and cannot validate again")]
    KeyBarred(String),
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
    #[error("validator {0} is jailed")]
    Jailed(String),
    #[error("the commission of {validator} changed at {last} and may change again a day later, it is {now}")]
    CommissionTooSoon { validator: String, last: u64, now: u64 },
    #[error("{validator} has delegated {own}utrain to itself, its min_self_delegation is {least}utrain")]
    SelfDelegationTooLow { validator: String, own: u64, least: u64 },
    #[error("the min_self_delegation of {validator} is {old}utrain and can only be raised, not set to {new}utrain")]
    SelfDelegationLowered { validator: String, old: u64, new: u64 },
    #[error("{delegator} has nothing unbonding from {validator} that began at height {height}")]
    NoUnbonding {
        delegator: Address,
        validator: String,
        height: i64,
    },
    #[error("{have}utrain are on their way back, asked to stay are {need}utrain")]
    NotEnoughUnbonding { have: u64, need: u64 },
    #[error("source and destination are both {0}")]
    SelfRedelegation(String),
    #[error(
        "stake that {delegator} redelegated to {validator} still answers for another validator and cannot move on yet"
    )]
    TransitiveRedelegation { delegator: Address, validator: String },
    #[error(
        "{delegator} has {found} redelegations from {source_validator} to {destination}, at most {max} are allowed at once"
    )]
    TooManyRedelegations {
        delegator: Address,
        source_validator: String,
        destination: String,
        found: usize,
        max: u32,
    },
    #[error("there is no history of height {0}")]
    NoHistory(i64),
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
    StakingError::KeyInUse(_) | StakingError::KeyBarred(_) => 5,
    StakingError::Jailed(_) => 7,
    StakingError::CommissionTooHigh { .. } => 10,
    StakingError::CommissionTooSoon { .. } => 12,
    StakingError::SelfDelegationTooLow { .. } => 16,
    StakingError::SelfDelegationLowered { .. } => 17,
    StakingError::NoDelegation { .. } => 19,
    StakingError::NotEnoughDelegated { .. } => 24,
    StakingError::NoUnbonding { .. } => 26,
    StakingError::TooManyEntries { .. } => 27,
    StakingError::SelfRedelegation(_) => 29,
    StakingError::TransitiveRedelegation { .. } => 32,
    StakingError::TooManyRedelegations { .. } => 33,
    StakingError::WorthlessShares(..) => 34,
    StakingError::NoHistory(_) => 38,
    StakingError::CommissionTooLow { .. } => 40,
    StakingError::LastPower(_) => 100,
    StakingError::NotEnoughUnbonding { .. } => 101,
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

/// Voting power of a validator's tokens.
///
/// # Errors
/// The record is damaged.
pub fn power(validator: &Validator) -> Result<u64, Error> {
    Ok(tokens(validator)? / POWER_REDUCTION)
}

/// Where a validator stands in [`RANK`]; nowhere without power or while jailed.
fn rank(operator: &Address, validator: &Validator) -> Result<Option<(u64, Address)>, Error> {
    let power = power(validator)?;
    Ok((power > 0 && !validator.jailed).then_some((u64::MAX - power, *operator)))
}

/// Writes a validator's record, and keeps its rank. Every change of a record goes through here.
pub(crate) fn store(state: &mut State<'_>, operator: &Address, validator: &Validator) -> Result<(), Error> {
    let before = match VALIDATORS.get(state, operator)? {
        Some(old) => rank(operator, &old)?,
        None => None,
    };
    let after = rank(operator, validator)?;
    if before != after {
        if let Some(key) = before {
            RANK.remove(state, &key)?;
        }
        if let Some(key) = after {
            RANK.set(state, &key, &true)?;
        }
    }
    VALIDATORS.set(state, operator, validator)
}

/// Keeps a consensus key from validating ever again, whatever becomes of the validator that had it.
///
/// # Errors
/// Out of gas.
pub fn bar(state: &mut State<'_>, consensus: &Address) -> Result<(), Error> {
    BARRED.set(state, consensus, &true)
}

/// Keeps a validator out of the set from the epoch's end on.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn jail(state: &mut State<'_>, operator: &Address) -> Result<(), Error> {
    let mut validator = validator(state, operator)?;
    validator.jailed = true;
    store(state, operator, &validator)
}

/// Lets a validator back into the set from the epoch's end on.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn unjail(state: &mut State<'_>, operator: &Address) -> Result<(), Error> {
    let mut validator = validator(state, operator)?;
    validator.jailed = false;
    store(state, operator, &validator)
}

/// The account that a validator's tokens lie in.
pub(crate) fn pool_of(validator: &Validator) -> Address {
    Address::of_module(if validator.status() == BondStatus::Bonded {
        bank::BONDED_POOL
    } else {
        bank::NOT_BONDED_POOL
    })
}

/// utrain that an operator has delegated to itself, and the least it has promised.
///
/// # Errors
/// The record is damaged.
pub fn self_delegation(state: &mut State<'_>, operator: &Address, validator: &Validator) -> Result<(u64, u64), Error> {
    let own = worth(validator, delegation(state, operator, operator)?)?;
    let least = parse_amount(&validator.min_self_delegation).map_err(|e| Error::fatal(e.to_string()))?;
    Ok((own, least))
}

/// Forgets a validator that is unbonded and has no shares, jailed or not.
fn forget_if_empty(ctx: &mut Ctx<'_, '_>, operator: Address) -> Result<(), Error> {
    let validator = validator(ctx.state, &operator)?;
    if validator.status() != BondStatus::Unbonded || !shares(&validator)?.is_zero() {
        return Ok(());
    }
    let consensus = Address::of_consensus_key(&consensus_key(validator.consensus_pubkey.as_ref())?);
    BY_CONSENSUS.remove(ctx.state, &consensus)?;
    VALIDATORS.remove(ctx.state, &operator)?;
    distribution::close(ctx, operator)
}

fn next_id(state: &mut State<'_>) -> Result<u64, Error> {
    let id = LAST_ID.get(state)?.saturating_add(1);
    LAST_ID.set(state, &id)?;
    Ok(id)
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
