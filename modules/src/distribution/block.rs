//! The fees of an epoch on their way to who earned them.

use trainyard_proto::{address::Address, dec::Dec};

use super::{PARAMS, REWARDS, shown, sound, to_community};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event},
    error::Error,
};

/// A validator that takes part in an epoch's fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earner {
    /// Operator.
    pub operator: Address,
    /// Voting power in the epoch.
    pub power: u64,
    /// Shares of all its delegations.
    pub shares: Dec,
    /// What the operator takes of all rewards, 0 to 1.
    pub commission_rate: Dec,
}

/// Pays out the fee collector: the community's tax first, the rest by power. Without earners the fees wait for the next
/// epoch.
///
/// # Errors
/// The store failed.
pub fn distribute(ctx: &mut Ctx<'_, '_>, earners: &[Earner]) -> Result<(), Error> {
    let collector = Address::of_module(bank::FEE_COLLECTOR);
    let fees = bank::balance(ctx.state, &collector)?;
    let total = earners
        .iter()
        .try_fold(0u64, |sum, earner| sum.checked_add(earner.power));
    let total = sound(total, "the sum of powers")?;
    if fees == 0 || total == 0 {
        return Ok(());
    }
    transfer(ctx, collector, Address::of_module(bank::DISTRIBUTION), fees)?;
    let fees = Dec::whole(fees);
    let tax = sound(
        fees.mul_down(PARAMS.get(ctx.state)?.community_tax),
        "the community's tax",
    )?;
    let shared = fees.saturating_sub(tax);
    let mut left = fees;
    for earner in earners {
        let part = shared.mul_div_down(Dec::whole(earner.power), Dec::whole(total));
        let part = sound(part, "a validator's part")?;
        left = sound(left.checked_sub(credit(ctx, earner, part)?), "the rest of the fees")?;
    }
    to_community(ctx, left)
}

/// Credits a validator; returns how much of `amount` could be divided among its shares.
fn credit(ctx: &mut Ctx<'_, '_>, earner: &Earner, amount: Dec) -> Result<Dec, Error> {
    let mut rewards = REWARDS.get(ctx.state, &earner.operator)?.unwrap_or_default();
    let commission = sound(amount.mul_down(earner.commission_rate), "a commission")?;
    let rest = sound(amount.checked_sub(commission), "a commission")?;
    // There is no quotient when the last delegation left in this epoch, and no sum when a handful of shares earned more
    // than ever existed.
    let per_share = rest.div_down(earner.shares).unwrap_or_default();
    let mut used = commission;
    if let Some(cumulative) = rewards.cumulative.checked_add(per_share) {
        rewards.cumulative = cumulative;
        let earned = sound(per_share.mul_up(earner.shares), "rewards of all shares")?;
        used = sound(used.checked_add(earned), "a validator's rewards")?;
    }
    rewards.commission = sound(rewards.commission.checked_add(commission), "a validator's commission")?;
    rewards.outstanding = sound(rewards.outstanding.checked_add(used), "a validator's rewards")?;
    REWARDS.set(ctx.state, &earner.operator, &rewards)?;
    let validator = earner.operator.operator();
    ctx.emit(
        Event::new("commission")
            .with("amount", shown(commission))
            .with("validator", &validator),
    );
    ctx.emit(
        Event::new("rewards")
            .with("amount", shown(used))
            .with("validator", &validator),
    );
    Ok(used)
}
