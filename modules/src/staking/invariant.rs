//! What always holds.

use trainyard_proto::{
    address::Address,
    coin::{MAX_SUPPLY, parse_amount},
    cosmos::staking::v1beta1::BondStatus,
    dec::Dec,
};

use super::{
    DELEGATIONS, DELEGATORS, POWER_REDUCTION, POWERS, QUEUE, RANK, REDELEGATED_FROM, REDELEGATION_QUEUE, REDELEGATIONS,
    UNBONDING, UNBONDING_FROM, VALIDATORS, commission_rate, delegation, rank, self_delegation, shares, tokens,
};
use crate::{bank, distribution, error::Error, state::State};

fn broken(log: String) -> Result<(), Error> {
    Err(Error::fatal(log))
}

/// - The bonded pool holds the tokens of bonded validators, the not-bonded pool those of all others and what is unbonding.
/// - A validator's shares are those of its delegations; delegations are owed no more than is outstanding.
/// - Bonded validators have a power that CometBFT was told, and no others have.
/// - Every index and queue has as many entries as what it leads to.
///
/// # Errors
/// What does not hold; or the store failed.
pub fn invariant(state: &mut State<'_>) -> Result<(), Error> {
    let (mut bonded, mut not_bonded) = (0u128, 0u128);
    let (mut delegations, mut ranked, mut voting) = (0, 0, 0);
    for (operator, validator) in VALIDATORS.all(state)? {
        let name = operator.operator();
        let held = u128::from(tokens(&validator)?);
        if validator.status() == BondStatus::Bonded {
            bonded += held;
        } else {
            not_bonded += held;
        }
        let power = POWERS.get(state, &operator)?;
        voting += usize::from(power.is_some());
        if power.is_some() != (validator.status() == BondStatus::Bonded) {
            return broken(format!("{name} is {:?} with the power {power:?}", validator.status()));
        }
        // More is impossible with the supply there is, and CometBFT's sum of powers has a bound.
        if power.is_some_and(|power| power == 0 || power > MAX_SUPPLY / POWER_REDUCTION) {
            return broken(format!("{name} has the power {power:?}"));
        }
        if let Some(key) = rank(&operator, &validator)? {
            ranked += 1;
            if RANK.get(state, &key)?.is_none() {
                return broken(format!("{name} is not ranked by its power"));
            }
        }
        self_delegation(state, &operator, &validator)?;
        if commission_rate(&validator)? > Dec::ONE {
            return broken(format!("{name} takes more than everything as commission"));
        }
        let delegators = DELEGATORS.under(state, &operator, usize::MAX)?;
        delegations += delegators.len();
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
            return broken(format!("{name} has {all} shares, its delegations {sum:?}"));
        }
        if claims.is_none_or(|claims| claims > rewards.outstanding) {
            return broken(format!(
                "{name} owes {claims:?}, outstanding are {:?}",
                rewards.outstanding
            ));
        }
    }
    for (_, entry) in UNBONDING.all(state)? {
        not_bonded += u128::from(parse_amount(&entry.balance)?);
    }
    for (pool, expected) in [(bank::BONDED_POOL, bonded), (bank::NOT_BONDED_POOL, not_bonded)] {
        let held = bank::balance(state, &Address::of_module(pool))?;
        if u128::from(held) != expected {
            return broken(format!("{pool} holds {held}utrain, its stake is {expected}utrain"));
        }
    }
    let unbonding = UNBONDING.all(state)?.len();
    let redelegations = REDELEGATIONS.all(state)?.len();
    for (what, expected, found) in [
        ("delegations", delegations, DELEGATIONS.all(state)?.len()),
        (
            "delegations that earn",
            delegations,
            distribution::SINCE.all(state)?.len(),
        ),
        ("ranked validators", ranked, RANK.all(state)?.len()),
        ("powers", voting, POWERS.all(state)?.len()),
        (
            "unbonding entries by validator",
            unbonding,
            UNBONDING_FROM.all(state)?.len(),
        ),
        ("unbonding entries in the queue", unbonding, QUEUE.all(state)?.len()),
        (
            "redelegations by source",
            redelegations,
            REDELEGATED_FROM.all(state)?.len(),
        ),
        (
            "redelegations in the queue",
            redelegations,
            REDELEGATION_QUEUE.all(state)?.len(),
        ),
    ] {
        if found != expected {
            return broken(format!("{found} {what}, expected {expected}"));
        }
    }
    Ok(())
}
