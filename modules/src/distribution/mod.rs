//! What validators and delegators earn, and the community's money.
//!
//! | key | value |
//! |---|---|
//! | `distribution/rewards/{operator}` | [`Rewards`] of a validator and its delegators |
//! | `distribution/since/{delegator}{operator}` | the validator's `cumulative` when this delegation was last settled |
//! | `distribution/withdraw/{delegator}` | account (20 bytes) that rewards go to, where it is not the delegator's own |
//! | `distribution/dust` | parts of a utrain that belong to the community |
//! | `distribution/slash/{operator}{height}{number}` | [`ValidatorSlashEvent`], for people: no reward depends on it |
//! | `distribution/params` | [`Params`] |
//!
//! Messages: `WithdrawValidatorCommission`, `SetWithdrawAddress`, `FundCommunityPool`. `WithdrawDelegatorReward` and the
//! queries that need to know delegations are in [`crate::staking`], which stands below this module and passes shares in.
//!
//! No delegator is ever looped over: as in *F1 Fee Distribution* (Ojha & Goes 2019), a validator's record carries the sum of
//! rewards per share since it began, and a delegation the value of that sum when it was last settled; what it is owed is
//! shares × difference. F1 counts per token and must replay every slash since then. A slash takes tokens from all shares
//! alike and changes no number of shares, so counting per share needs neither slashes nor a history of periods.
//!
//! Rounding: the community's tax and every validator's part are rounded down to 10⁻¹⁸ utrain, commissions too, rewards per
//! share too; withdrawals to whole utrain. All that falls off goes to the community: whole utrain to the treasury's account,
//! parts to `dust` until they are one. A validator's commission alone keeps its part of a utrain until the next withdrawal.

mod block;
mod explain;
mod genesis;
mod msgs;
mod queries;

pub use block::{Earner, distribute};
pub use explain::{explain_delegation, explain_validator};
pub use genesis::{Genesis, RewardsGenesis, export, init};
pub use queries::{
    query_commission, query_community_pool, query_outstanding, query_params, query_slashes, query_withdraw_address,
};
use serde::{Deserialize, Serialize};
use trainyard_proto::{address::Address, coin::DENOM, cosmos::distribution::v1beta1::ValidatorSlashEvent, dec::Dec};

use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Value},
    error::{Error, coded},
    state::{Item, Map, State},
};

/// What a validator's operator and delegators have earned together. All in utrain.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewards {
    /// Earned by one share since the validator began, commission taken off.
    #[prost(message, required, tag = "1")]
    pub cumulative: Dec,
    /// Not withdrawn yet, by anybody.
    #[prost(message, required, tag = "2")]
    pub outstanding: Dec,
    /// Of that, the operator's commission.
    #[prost(message, required, tag = "3")]
    pub commission: Dec,
}

/// Parameters.
#[derive(Clone, PartialEq, prost::Message, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Part of all fees that goes to the community, 0 to 1.
    #[prost(message, required, tag = "1")]
    pub community_tax: Dec,
    /// Whether rewards may be sent to another account than the delegator's.
    #[prost(bool, tag = "2")]
    pub withdraw_addr_enabled: bool,
}

/// Rewards by operator.
pub const REWARDS: Map<Address, Rewards> = Map::new("distribution/rewards/");
/// [`Rewards::cumulative`] at the last settlement, by delegator and operator.
pub const SINCE: Map<(Address, Address), Dec> = Map::new("distribution/since/");
/// Where a delegator's rewards go.
pub const WITHDRAW: Map<Address, Vec<u8>> = Map::new("distribution/withdraw/");
/// Parts of a utrain of the community, below 1.
pub const DUST: Item<Dec> = Item::new("distribution/dust");
/// Parameters.
pub const PARAMS: Item<Params> = Item::new("distribution/params");
/// Slashes by operator, height and number within the height.
pub const SLASHES: Map<(Address, u64, u64), ValidatorSlashEvent> = Map::new("distribution/slash/");

/// Errors of distribution, with the SDK's codes where it has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum DistributionError {
    #[error("{0} has less than 1utrain of commission to withdraw")]
    NoCommission(String),
    #[error(
        "rewards go to their delegators: sending them elsewhere is switched off by the parameter withdraw_addr_enabled"
    )]
    WithdrawAddressDisabled,
    #[error("validator {0} does not exist")]
    NoValidator(String),
    #[error("{delegator} has no delegation to {validator}")]
    NoDelegation { delegator: Address, validator: String },
}

coded!(DistributionError, "distribution", |error| match error {
    DistributionError::NoCommission(_) => 7,
    DistributionError::WithdrawAddressDisabled => 8,
    DistributionError::NoValidator(_) => 12,
    DistributionError::NoDelegation { .. } => 13,
});

/// A sum or difference of what exists, which cannot overflow unless the state contradicts itself.
fn sound<T>(value: Option<T>, what: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::fatal(format!("{what} does not fit")))
}

fn shown(amount: Dec) -> String {
    format!("{amount}{DENOM}")
}

/// Begins a validator's record.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn open(state: &mut State<'_>, operator: &Address) -> Result<(), Error> {
    REWARDS.set(state, operator, &Rewards::default())
}

/// Ends the record of a validator whose last delegation is closed: the commission is paid out, and what rounding left over
/// goes to the community.
///
/// # Errors
/// The store failed.
pub fn close(ctx: &mut Ctx<'_, '_>, operator: Address) -> Result<(), Error> {
    let Some(rewards) = REWARDS.get(ctx.state, &operator)? else {
        return Ok(());
    };
    REWARDS.remove(ctx.state, &operator)?;
    for (key, _) in SLASHES.under(ctx.state, &operator, usize::MAX)? {
        SLASHES.remove(ctx.state, &key)?;
    }
    pay(ctx, operator, rewards.commission)?;
    let rest = sound(
        rewards.outstanding.checked_sub(rewards.commission),
        "a validator's rewards",
    )?;
    to_community(ctx, rest)
}

/// Notes that a validator lost `fraction` of its tokens.
///
/// # Errors
/// The store failed.
pub fn note_slash(ctx: &mut Ctx<'_, '_>, operator: Address, fraction: Dec) -> Result<(), Error> {
    let height = ctx.block.height;
    let number = SLASHES.under(ctx.state, &(operator, height), usize::MAX)?.len() as u64;
    let event = ValidatorSlashEvent {
        validator_period: 0, // There are no periods here.
        fraction: fraction.atomics(),
    };
    SLASHES.set(ctx.state, &(operator, height, number), &event)
}

/// What a delegation of `shares` is owed.
///
/// # Errors
/// The state contradicts itself; or the store failed.
pub fn owed(state: &mut State<'_>, delegator: &Address, operator: &Address, shares: Dec) -> Result<Dec, Error> {
    let rewards = REWARDS.get(state, operator)?.unwrap_or_default();
    let since = SINCE
        .get(state, &(*delegator, *operator))?
        .unwrap_or(rewards.cumulative);
    let earned = sound(rewards.cumulative.checked_sub(since), "a delegation's beginning")?;
    sound(earned.mul_down(shares), "a delegation's reward")
}

/// Gas that settling uses at least: what it takes to pay a reward. Whoever estimates gas before an epoch ends, when there is
/// nothing to pay, would otherwise run out of it right after.
const SETTLING: u64 = 50_000;

/// Pays a delegation of `shares` what it is owed, and lets it earn from here on. Every change of a delegation's shares comes
/// after this. Returns what was paid, utrain.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn settle(ctx: &mut Ctx<'_, '_>, delegator: Address, operator: Address, shares: Dec) -> Result<u64, Error> {
    let before = ctx.state.gas.used();
    let owed = owed(ctx.state, &delegator, &operator, shares)?;
    let mut rewards = REWARDS.get(ctx.state, &operator)?.unwrap_or_default();
    SINCE.set(ctx.state, &(delegator, operator), &rewards.cumulative)?;
    if shares.is_zero() {
        return Ok(0);
    }
    let mut paid = 0;
    if !owed.is_zero() {
        rewards.outstanding = sound(
            rewards.outstanding.checked_sub(owed),
            "a validator's outstanding rewards",
        )?;
        REWARDS.set(ctx.state, &operator, &rewards)?;
        paid = pay(ctx, delegator, owed)?;
    }
    let used = ctx.state.gas.used().saturating_sub(before);
    ctx.state.gas.charge(SETTLING.saturating_sub(used), "settlement")?;
    // As the SDK, also where there was nothing: programs that asked for it wait to hear of it.
    ctx.emit(
        Event::new("withdraw_rewards")
            .with("amount", Value::Utrain(paid))
            .with("validator", operator.operator())
            .with("delegator", delegator),
    );
    Ok(paid)
}

/// Ends a settled delegation.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn forget(state: &mut State<'_>, delegator: Address, operator: Address) -> Result<(), Error> {
    SINCE.remove(state, &(delegator, operator))
}

/// The account that rewards of `owner` go to.
///
/// # Errors
/// Out of gas, or the store failed.
pub fn withdraw_address(state: &mut State<'_>, owner: &Address) -> Result<Address, Error> {
    let Some(bytes) = WITHDRAW.get(state, owner)? else {
        return Ok(*owner);
    };
    let bytes = <[u8; 20]>::try_from(bytes).map_err(|_| Error::fatal("a withdraw address is damaged"))?;
    Ok(Address(bytes))
}

/// Pays the whole utrain of `amount` to where `owner` wants them and the rest to the community; returns what was paid.
fn pay(ctx: &mut Ctx<'_, '_>, owner: Address, amount: Dec) -> Result<u64, Error> {
    let paid = sound(amount.floor(), "a payment")?;
    let to = withdraw_address(ctx.state, &owner)?;
    transfer(ctx, Address::of_module(bank::DISTRIBUTION), to, paid)?;
    to_community(ctx, amount.saturating_sub(Dec::whole(paid)))?;
    Ok(paid)
}

/// Gives parts of what this module holds to the community.
fn to_community(ctx: &mut Ctx<'_, '_>, amount: Dec) -> Result<(), Error> {
    if amount.is_zero() {
        return Ok(());
    }
    let dust = sound(DUST.get(ctx.state)?.checked_add(amount), "the community's dust")?;
    let whole = sound(dust.floor(), "the community's dust")?;
    DUST.set(ctx.state, &dust.saturating_sub(Dec::whole(whole)))?;
    let (from, to) = (
        Address::of_module(bank::DISTRIBUTION),
        Address::of_module(bank::TREASURY),
    );
    transfer(ctx, from, to, whole)
}

/// The module's account holds what is outstanding and the dust, and no commission is larger than what is outstanding.
///
/// # Errors
/// The sums, when they differ; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let dust = DUST.get(state)?;
    let mut sum = dust;
    for (operator, rewards) in REWARDS.all(state)? {
        if rewards.commission > rewards.outstanding {
            let (commission, outstanding) = (rewards.commission, rewards.outstanding);
            let log = format!("{operator} has {commission}utrain of commission and {outstanding}utrain outstanding");
            return Err(Error::fatal(log));
        }
        sum = sound(sum.checked_add(rewards.outstanding), "the sum of outstanding rewards")?;
    }
    let held = bank::balance(state, &Address::of_module(bank::DISTRIBUTION))?;
    if sum != Dec::whole(held) || dust >= Dec::ONE {
        return Err(Error::fatal(format!(
            "distribution holds {held}utrain, outstanding rewards and dust are {sum}utrain, of which dust {dust}utrain"
        )));
    }
    Ok(())
}
