//! What is taken from stake for what its validator did.

use trainyard_proto::{address::Address, coin::parse_amount, cosmos::staking::v1beta1::BondStatus, dec::Dec};

use super::{
    POWER_REDUCTION, REDELEGATED_FROM, REDELEGATIONS, UNBONDING, UNBONDING_FROM, UnbondingKey, VALIDATORS, delegation,
    delegations::unbond, forget_if_empty, pool_of, set_stake, shares, store, tokens, worth,
};
use crate::{
    bank::{self, burn},
    context::{Ctx, unix_seconds},
    distribution,
    error::Error,
};

/// What a validator did, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Infraction {
    /// Height at which the stake that answers for it was there.
    pub height: u64,
    /// Voting power then.
    pub power: u64,
    /// Part of the stake that is burned, 0 to 1.
    pub fraction: Dec,
}

impl Infraction {
    /// The part of `amount` that is burned, rounded down.
    fn part(&self, amount: u64) -> u64 {
        let part = Dec::whole(amount).mul_down(self.fraction);
        part.and_then(Dec::floor).unwrap_or(amount)
    }
}

/// Burns the fraction of all stake that stood behind a validator at the infraction: first of what has left since (each entry
/// that began at that height or later pays the fraction of what it began with, as far as it still has it), then of the
/// validator's tokens what is left of power × fraction. Who delegated or left before pays nothing that way; who delegated
/// since shares in the loss of the tokens. An unbonded validator's stake is free. Returns what was burned, utrain.
///
/// # Errors
/// The store failed.
pub fn slash(ctx: &mut Ctx<'_, '_>, operator: Address, infraction: &Infraction) -> Result<u64, Error> {
    let unbonded = |state: &mut _| -> Result<bool, Error> {
        Ok(VALIDATORS
            .get(state, &operator)?
            .is_none_or(|v| v.status() == BondStatus::Unbonded))
    };
    if unbonded(ctx.state)? {
        return Ok(0);
    }
    let due = infraction.part(infraction.power.saturating_mul(POWER_REDUCTION));
    let (mut answered, mut burned) = (0u64, 0u64);
    if infraction.height < ctx.block.height {
        for (share, taken) in [
            slash_unbonding(ctx, operator, infraction)?,
            slash_redelegations(ctx, operator, infraction)?,
        ] {
            answered = answered.saturating_add(share);
            burned = burned.saturating_add(taken);
        }
    }
    let mut validator = super::validator(ctx.state, &operator)?;
    let held = tokens(&validator)?;
    let taken = due.saturating_sub(answered).min(held);
    let all = shares(&validator)?;
    set_stake(&mut validator, held.saturating_sub(taken), all);
    store(ctx.state, &operator, &validator)?;
    burn(ctx, pool_of(&validator), taken)?;
    distribution::note_slash(ctx, operator, Dec::ratio(taken, held).unwrap_or_default())?;
    Ok(burned.saturating_add(taken))
}

/// Burns up to `part` of an entry's balance; returns what was burned.
fn slash_entry(ctx: &mut Ctx<'_, '_>, key: &UnbondingKey, part: u64) -> Result<u64, Error> {
    let Some(mut entry) = UNBONDING.get(ctx.state, key)? else {
        return Ok(0);
    };
    let balance = parse_amount(&entry.balance)?;
    let taken = part.min(balance);
    entry.balance = balance.saturating_sub(taken).to_string();
    UNBONDING.set(ctx.state, key, &entry)?;
    burn(ctx, Address::of_module(bank::NOT_BONDED_POOL), taken)?;
    Ok(taken)
}

/// Whether what began at `height` and ends at `time` answers for the infraction.
fn answers(ctx: &Ctx<'_, '_>, infraction: &Infraction, height: i64, time: u64) -> bool {
    u64::try_from(height).unwrap_or(0) >= infraction.height && time > ctx.block.time
}

/// The share of unbonding entries in a slash, and what of it was still there and burned.
fn slash_unbonding(ctx: &mut Ctx<'_, '_>, operator: Address, infraction: &Infraction) -> Result<(u64, u64), Error> {
    let (mut answered, mut burned) = (0u64, 0u64);
    for ((_, id), delegator) in UNBONDING_FROM.under(ctx.state, &operator, usize::MAX)? {
        let key = (address(&delegator)?, operator, id);
        let Some(entry) = UNBONDING.get(ctx.state, &key)? else {
            continue;
        };
        if !answers(
            ctx,
            infraction,
            entry.creation_height,
            unix_seconds(entry.completion_time.as_ref()),
        ) {
            continue;
        }
        let part = infraction.part(parse_amount(&entry.initial_balance)?);
        answered = answered.saturating_add(part);
        burned = burned.saturating_add(slash_entry(ctx, &key, part)?);
    }
    Ok((answered, burned))
}

/// The same of redelegations: taken from what the delegator has unbonded at the destination since, then from its delegation
/// there.
fn slash_redelegations(ctx: &mut Ctx<'_, '_>, source: Address, infraction: &Infraction) -> Result<(u64, u64), Error> {
    let (mut answered, mut burned) = (0u64, 0u64);
    for ((_, id), ends) in REDELEGATED_FROM.under(ctx.state, &source, usize::MAX)? {
        let (delegator, destination) = ends.split_at_checked(20).unwrap_or_default();
        let (delegator, destination) = (address(delegator)?, address(destination)?);
        let Some(entry) = REDELEGATIONS.get(ctx.state, &(delegator, destination, (source, id)))? else {
            continue;
        };
        if !answers(
            ctx,
            infraction,
            entry.creation_height,
            unix_seconds(entry.completion_time.as_ref()),
        ) {
            continue;
        }
        let part = infraction.part(parse_amount(&entry.initial_balance)?);
        answered = answered.saturating_add(part);
        let mut left = part;
        for (key, later) in UNBONDING.under(ctx.state, &(delegator, destination), usize::MAX)? {
            if key.2 > id || later.creation_height >= entry.creation_height {
                left = left.saturating_sub(slash_entry(ctx, &key, left)?);
            }
        }
        if let Some(to) = VALIDATORS.get(ctx.state, &destination)? {
            let own = worth(&to, delegation(ctx.state, &delegator, &destination)?)?;
            let taken = left.min(own);
            if taken > 0 {
                unbond(ctx, delegator, destination, taken)?;
                burn(ctx, pool_of(&to), taken)?;
                forget_if_empty(ctx, destination)?;
                left = left.saturating_sub(taken);
            }
        }
        burned = burned.saturating_add(part.saturating_sub(left));
    }
    Ok((answered, burned))
}

fn address(bytes: &[u8]) -> Result<Address, Error> {
    let bytes = <[u8; 20]>::try_from(bytes).map_err(|_| Error::fatal("an index of stake is damaged"))?;
    Ok(Address(bytes))
}
