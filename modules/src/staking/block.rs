//! What staking does at the end of blocks and epochs.

use trainyard_proto::{
    address::Address,
    coin::parse_amount,
    cosmos::staking::v1beta1::{BondStatus, HistoricalInfo, Validator},
    tendermint_proto::v0_38::types::Header,
};

use super::{
    HISTORY, PARAMS, POWERS, QUEUE, RANK, REDELEGATION_QUEUE, REDELEGATIONS, UNBONDING, VALIDATOR_QUEUE, VALIDATORS,
    consensus_key, delegations::remove_unbonding, forget_if_empty, power, redelegations::remove_redelegation, rewards,
    store, tokens, validator,
};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Value, timestamp, unix_seconds, whole_seconds},
    distribution,
    error::Error,
    state::State,
};

/// Entries of each queue that end in one block, at most; what is left over ends in the next.
const MAX_ENDS: usize = 200;

/// A change of the validator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Power {
    /// ed25519 key (32 bytes).
    pub key: Vec<u8>,
    /// Voting power; 0 removes the validator.
    pub power: u64,
}

/// Returns money whose unbonding time is over, ends redelegations and unbonding validators, notes the block's validators.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let after = ctx.block.time.saturating_add(1);
    for ((_, key), _) in QUEUE.before(ctx.state, &after, MAX_ENDS)? {
        let (delegator, operator, _) = key;
        let entry = UNBONDING.get(ctx.state, &key)?;
        let entry = entry.ok_or_else(|| Error::fatal("a queued unbonding has no entry"))?;
        remove_unbonding(ctx.state, key, &entry)?;
        let amount = parse_amount(&entry.balance)?;
        transfer(ctx, Address::of_module(bank::NOT_BONDED_POOL), delegator, amount)?;
        ctx.emit(
            Event::new("complete_unbonding")
                .with("amount", Value::Utrain(amount))
                .with("validator", operator.operator())
                .with("delegator", delegator),
        );
    }
    for ((_, key), _) in REDELEGATION_QUEUE.before(ctx.state, &after, MAX_ENDS)? {
        let (delegator, destination, (source, _)) = key;
        let entry = REDELEGATIONS.get(ctx.state, &key)?;
        let entry = entry.ok_or_else(|| Error::fatal("a queued redelegation has no entry"))?;
        remove_redelegation(ctx.state, key, &entry)?;
        ctx.emit(
            Event::new("complete_redelegation")
                .with("amount", format!("{}utrain", entry.initial_balance))
                .with("delegator", delegator)
                .with("source_validator", source.operator())
                .with("destination_validator", destination.operator()),
        );
    }
    for ((time, operator), _) in VALIDATOR_QUEUE.before(ctx.state, &after, MAX_ENDS)? {
        VALIDATOR_QUEUE.remove(ctx.state, &(time, operator))?;
        let mut validator = validator(ctx.state, &operator)?;
        validator.set_status(BondStatus::Unbonded);
        store(ctx.state, &operator, &validator)?;
        forget_if_empty(ctx, operator)?;
    }
    note_history(ctx)
}

fn note_history(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let kept = u64::from(PARAMS.get(ctx.state)?.historical_entries);
    let oldest = ctx.block.height.saturating_add(1).saturating_sub(kept);
    for (height, _) in HISTORY.before(ctx.state, &oldest, MAX_ENDS)? {
        HISTORY.remove(ctx.state, &height)?;
    }
    if kept == 0 {
        return Ok(());
    }
    let mut valset = Vec::new();
    for (operator, _) in POWERS.all(ctx.state)? {
        valset.push(validator(ctx.state, &operator)?);
    }
    let header = Header {
        chain_id: ctx.block.chain_id.clone(),
        height: i64::try_from(ctx.block.height).unwrap_or(i64::MAX),
        time: Some(timestamp(ctx.block.time)),
        proposer_address: ctx.block.proposer.clone(),
        ..Header::default()
    };
    let info = HistoricalInfo {
        header: Some(header),
        valset,
    };
    HISTORY.set(ctx.state, &ctx.block.height, &info)
}

/// Pays out the fees of the epoch, and then forms the next epoch's set: the highest powers, at most `max_validators`; equal
/// powers in the order of their addresses.
///
/// # Errors
/// The store failed.
pub fn end_epoch(ctx: &mut Ctx<'_, '_>) -> Result<Vec<Power>, Error> {
    let earners = rewards::earners(ctx.state)?;
    distribution::distribute(ctx, &earners)?;
    let most = usize::try_from(PARAMS.get(ctx.state)?.max_validators).unwrap_or(usize::MAX);
    let ranked = RANK.from::<u64>(ctx.state, None, most)?;
    let mut updates = Vec::new();
    if ranked.is_empty() {
        return Ok(updates); // Everybody is jailed: better they vote on than that the chain stops.
    }
    let before = POWERS.all(ctx.state)?;
    for ((_, operator), _) in &ranked {
        let validator = validator(ctx.state, operator)?;
        let power = power(&validator)?;
        if POWERS.get(ctx.state, operator)? != Some(power) {
            POWERS.set(ctx.state, operator, &power)?;
            updates.push(told(&validator, power)?);
        }
        if validator.status() != BondStatus::Bonded {
            join(ctx, *operator, validator)?;
        }
    }
    for (operator, _) in before {
        if ranked.iter().any(|((_, o), _)| *o == operator) {
            continue;
        }
        POWERS.remove(ctx.state, &operator)?;
        let validator = validator(ctx.state, &operator)?;
        updates.push(told(&validator, 0)?);
        leave(ctx, operator, validator)?;
    }
    Ok(updates)
}

fn told(validator: &Validator, power: u64) -> Result<Power, Error> {
    let key = consensus_key(validator.consensus_pubkey.as_ref())?;
    Ok(Power { key, power })
}

fn join(ctx: &mut Ctx<'_, '_>, operator: Address, mut validator: Validator) -> Result<(), Error> {
    if validator.status() == BondStatus::Unbonding {
        let time = unix_seconds(validator.unbonding_time.as_ref());
        VALIDATOR_QUEUE.remove(ctx.state, &(time, operator))?;
    }
    validator.set_status(BondStatus::Bonded);
    store(ctx.state, &operator, &validator)?;
    let (from, to) = (bank::NOT_BONDED_POOL, bank::BONDED_POOL);
    transfer(
        ctx,
        Address::of_module(from),
        Address::of_module(to),
        tokens(&validator)?,
    )
}

fn leave(ctx: &mut Ctx<'_, '_>, operator: Address, mut validator: Validator) -> Result<(), Error> {
    let wait = whole_seconds(PARAMS.get(ctx.state)?.unbonding_time.as_ref());
    let time = ctx.block.time.saturating_add(wait);
    validator.set_status(BondStatus::Unbonding);
    validator.unbonding_height = i64::try_from(ctx.block.height).unwrap_or(i64::MAX);
    validator.unbonding_time = Some(timestamp(time));
    VALIDATOR_QUEUE.set(ctx.state, &(time, operator), &true)?;
    store(ctx.state, &operator, &validator)?;
    let (from, to) = (bank::BONDED_POOL, bank::NOT_BONDED_POOL);
    transfer(
        ctx,
        Address::of_module(from),
        Address::of_module(to),
        tokens(&validator)?,
    )
}

/// The whole set that CometBFT was last told.
///
/// # Errors
/// The store failed.
pub fn powers(state: &mut State<'_>) -> Result<Vec<Power>, Error> {
    let mut set = Vec::new();
    for (operator, power) in POWERS.all(state)? {
        if let Some(validator) = VALIDATORS.get(state, &operator)? {
            set.push(told(&validator, power)?);
        }
    }
    Ok(set)
}
