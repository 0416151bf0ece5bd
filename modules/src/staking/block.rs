//! What staking does at the end of blocks and epochs.

use trainyard_proto::{
    address::Address,
    coin::parse_amount,
    cosmos::staking::v1beta1::{BondStatus, Params, Validator},
};

use super::{PARAMS, POWER_REDUCTION, POWERS, QUEUE, UNBONDING, VALIDATORS, consensus_key, rewards, tokens};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event},
    distribution,
    error::Error,
    state::State,
};

/// Returns of one block, at most; what is left over goes in the next.
const MAX_RETURNS: usize = 200;

/// A change of the validator set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Power {
    /// ed25519 key (32 bytes).
    pub key: Vec<u8>,
    /// Voting power; 0 removes the validator.
    pub power: u64,
}

/// Returns money whose unbonding time is over.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let due = QUEUE.before(ctx.state, &(ctx.block.time.saturating_add(1)), MAX_RETURNS)?;
    for (queued, _) in due {
        let key @ (delegator, operator, _) = queued.1;
        QUEUE.remove(ctx.state, &queued)?;
        let Some(entry) = UNBONDING.get(ctx.state, &key)? else {
            continue;
        };
        UNBONDING.remove(ctx.state, &key)?;
        let amount = parse_amount(&entry.balance)?;
        transfer(ctx, Address::of_module(bank::NOT_BONDED_POOL), delegator, amount)?;
        ctx.emit(
            Event::new("complete_unbonding")
                .with("amount", format!("{amount}utrain"))
                .with("validator", operator.operator())
                .with("delegator", delegator),
        );
    }
    Ok(())
}

/// The validators that should vote, with their powers, highest first; equal powers in the order of their addresses.
fn ranking(state: &mut State<'_>, params: &Params) -> Result<Vec<(Address, Validator, u64)>, Error> {
    let mut ranked = Vec::new();
    for (operator, validator) in VALIDATORS.all(state)? {
        let power = tokens(&validator)? / POWER_REDUCTION;
        if power > 0 && !validator.jailed {
            ranked.push((operator, validator, power));
        }
    }
    ranked.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(&b.0)));
    ranked.truncate(usize::try_from(params.max_validators).unwrap_or(usize::MAX));
    Ok(ranked)
}

pub(super) fn total_power(state: &mut State<'_>, params: &Params) -> Result<u64, Error> {
    Ok(ranking(state, params)?.iter().map(|(_, _, power)| power).sum())
}

/// Pays out the fees of the epoch, and then forms the next epoch's set.
///
/// # Errors
/// The store failed.
pub fn end_epoch(ctx: &mut Ctx<'_, '_>) -> Result<Vec<Power>, Error> {
    let earners = rewards::earners(ctx.state)?;
    distribution::distribute(ctx, &earners)?;
    let params = PARAMS.get(ctx.state)?;
    let ranked = ranking(ctx.state, &params)?;
    let before = POWERS.all(ctx.state)?;
    let mut updates = Vec::new();
    for (operator, mut validator, power) in ranked.clone() {
        let was = before.iter().find(|(o, _)| *o == operator).map(|(_, power)| *power);
        if was != Some(power) {
            POWERS.set(ctx.state, &operator, &power)?;
            updates.push(Power {
                key: consensus_key(validator.consensus_pubkey.as_ref())?,
                power,
            });
        }
        if validator.status() != BondStatus::Bonded {
            validator.set_status(BondStatus::Bonded);
            VALIDATORS.set(ctx.state, &operator, &validator)?;
        }
    }
    for (operator, _) in before {
        if ranked.iter().any(|(o, _, _)| *o == operator) {
            continue;
        }
        POWERS.remove(ctx.state, &operator)?;
        if let Some(mut validator) = VALIDATORS.get(ctx.state, &operator)? {
            updates.push(Power {
                key: consensus_key(validator.consensus_pubkey.as_ref())?,
                power: 0,
            });
            validator.set_status(BondStatus::Unbonded);
            VALIDATORS.set(ctx.state, &operator, &validator)?;
        }
    }
    Ok(updates)
}

/// The whole set that CometBFT was last told.
///
/// # Errors
/// The store failed.
pub fn powers(state: &mut State<'_>) -> Result<Vec<Power>, Error> {
    let mut set = Vec::new();
    for (operator, power) in POWERS.all(state)? {
        if let Some(validator) = VALIDATORS.get(state, &operator)? {
            set.push(Power {
                key: consensus_key(validator.consensus_pubkey.as_ref())?,
                power,
            });
        }
    }
    Ok(set)
}
