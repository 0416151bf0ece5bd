//! Validators and the stake delegated to them.
//!
//! | key | value |
//! |---|---|
//! | `staking/validator/{operator}` | [`Validator`] |
//! | `staking/by_consensus/{consensus address}` | operator's account (20 bytes) |
//! | `staking/delegation/{delegator}{operator}` | utrain (u64); shares equal tokens until slashing exists |
//! | `staking/delegators/{operator}{delegator}` | the same, by validator |
//! | `staking/unbonding/{delegator}{operator}{height}` | [`UnbondingDelegationEntry`]: money on its way back |
//! | `staking/queue/{time}{delegator}{operator}{height}` | when it arrives |
//! | `staking/power/{operator}` | power CometBFT was last told |
//! | `staking/params` | [`Params`] |
//!
//! Messages: `CreateValidator`, `Delegate`, `Undelegate`. Validator sets change at epoch ends only ([`end_epoch`]), when the
//! fee collector is paid out to the validators as well. Delegated money lies in the bonded pool, whatever the validator's
//! state; money on its way back lies in the not-bonded pool.

mod block;
mod genesis;
mod msgs;
mod queries;

pub use block::{Power, end_block, end_epoch, powers};
pub use genesis::{Genesis, ValidatorGenesis, default_params, export, init};
pub use queries::{
    query_delegation, query_delegator_delegations, query_params, query_pool, query_unbonding, query_validator,
    query_validators,
};
use trainyard_proto::{
    address::Address,
    any::Any,
    coin::parse_amount,
    cosmos::{
        crypto::ed25519,
        staking::v1beta1::{Params, UnbondingDelegationEntry, Validator},
    },
    prost::Message,
};

use crate::{
    bank,
    error::{Error, SdkError, coded},
    state::{Item, Map, State},
};

/// Validators by operator account.
pub const VALIDATORS: Map<Address, Validator> = Map::new("staking/validator/");
/// Operator account by consensus address.
pub const BY_CONSENSUS: Map<Address, Vec<u8>> = Map::new("staking/by_consensus/");
/// utrain by delegator and validator.
pub const DELEGATIONS: Map<(Address, Address), u64> = Map::new("staking/delegation/");
/// utrain by validator and delegator.
pub const DELEGATORS: Map<(Address, Address), u64> = Map::new("staking/delegators/");
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
}

coded!(StakingError, "staking", |error| match error {
    StakingError::NoValidator(_) => 3,
    StakingError::ValidatorExists(_) => 4,
    StakingError::KeyInUse(_) => 5,
    StakingError::NotEnoughDelegated { .. } => 20,
    StakingError::LastPower(_) => 21,
    StakingError::TooManyEntries { .. } => 22,
});

/// Delegated utrain of a validator.
///
/// # Errors
/// The record is damaged.
pub fn tokens(validator: &Validator) -> Result<u64, Error> {
    parse_amount(&validator.tokens).map_err(|e| Error::fatal(e.to_string()))
}

/// Sets a validator's tokens, and its shares, which equal them.
fn set_tokens(validator: &mut Validator, tokens: u64) {
    validator.tokens = tokens.to_string();
    validator.delegator_shares = decimal(tokens);
}

/// A whole number as the SDK's decimals with 18 places read in queries.
fn decimal(whole: u64) -> String {
    format!("{whole}.000000000000000000")
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

/// The bonded pool is the sum of delegations and of validators' tokens; the not-bonded pool is the sum of the queue.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let delegated: u64 = DELEGATIONS.all(state)?.iter().map(|(_, amount)| amount).sum();
    let mirrored: u64 = DELEGATORS.all(state)?.iter().map(|(_, amount)| amount).sum();
    let mut held = 0;
    for (_, validator) in VALIDATORS.all(state)? {
        held += tokens(&validator)?;
    }
    let bonded = bank::balance(state, &Address::of_module(bank::BONDED_POOL))?;
    if delegated != bonded || held != bonded || mirrored != bonded {
        return Err(Error::fatal(format!(
            "bonded pool {bonded}utrain, delegations {delegated}utrain, by validator {mirrored}utrain, tokens {held}utrain"
        )));
    }
    let mut queued = 0;
    for (_, entry) in UNBONDING.all(state)? {
        queued += parse_amount(&entry.balance)?;
    }
    let pool = bank::balance(state, &Address::of_module(bank::NOT_BONDED_POOL))?;
    if queued != pool {
        return Err(Error::fatal(format!(
            "not-bonded pool {pool}utrain, unbonding entries {queued}utrain"
        )));
    }
    Ok(())
}
