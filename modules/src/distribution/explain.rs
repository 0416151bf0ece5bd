//! Where rewards come from, in sentences.

use trainyard_proto::{address::Address, dec::Dec};

use super::{PARAMS, REWARDS, SINCE, owed, withdraw_address};
use crate::{
    bank,
    error::Error,
    state::State,
    words::{percent_of, plain},
};

/// Explains what a validator earns and divides; its operator takes `commission_rate`, it votes with `power` of `total`.
///
/// # Errors
/// The store failed.
pub fn explain_validator(
    state: &mut State<'_>,
    operator: &Address,
    commission_rate: Dec,
    power: u64,
    total: u64,
) -> Result<Vec<String>, Error> {
    let fees = bank::balance(state, &Address::of_module(bank::FEE_COLLECTOR))?;
    let tax = PARAMS.get(state)?.community_tax;
    let rewards = REWARDS.get(state, operator)?.unwrap_or_default();
    Ok(vec![
        format!(
            "Gas and posting fees of an epoch, {fees}utrain so far in this one, go to the community by {} and the rest to those \
             who vote by their power: {power} of {total} here.",
            percent_of(tax)
        ),
        format!(
            "Of its part the operator takes {}, {}utrain not withdrawn yet; delegations share the rest, {}utrain not withdrawn \
             yet. One share has earned {}utrain since the validator began.",
            percent_of(commission_rate),
            plain(rewards.commission),
            plain(rewards.outstanding.saturating_sub(rewards.commission)),
            plain(rewards.cumulative)
        ),
    ])
}

/// Explains what a delegation of `shares` is owed.
///
/// # Errors
/// The store failed.
pub fn explain_delegation(
    state: &mut State<'_>,
    delegator: &Address,
    operator: &Address,
    shares: Dec,
) -> Result<String, Error> {
    let earned = REWARDS.get(state, operator)?.unwrap_or_default().cumulative;
    let since = SINCE.get(state, &(*delegator, *operator))?.unwrap_or(earned);
    let owed = owed(state, delegator, operator, shares)?;
    let to = withdraw_address(state, delegator)?;
    let elsewhere = if to == *delegator {
        String::new()
    } else {
        format!(" They go to {to}.")
    };
    Ok(format!(
        "Its rewards there: {} shares × ({} - {})utrain, which one share earned since they were last paid, are {}utrain; whole utrain are paid with the next change or withdrawal.{elsewhere}",
        plain(shares),
        plain(earned),
        plain(since),
        plain(owed)
    ))
}
