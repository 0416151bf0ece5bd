//! Where a validator and its delegators stand, in sentences.

use trainyard_proto::{
    address::Address,
    coin::{parse_amount, show},
    cosmos::staking::v1beta1::{BondStatus, Validator},
    dec::Dec,
};

use super::{
    DELEGATIONS, PARAMS, POWERS, RANK, REDELEGATIONS, UNBONDING, commission_rate, power, self_delegation, shares,
    tokens, validator, worth,
};
use crate::{
    context::unix_seconds,
    distribution,
    error::Error,
    state::State,
    words::{percent_of, plain},
};

/// Delegations, and entries of other lists, told of.
const TOLD: usize = 100;

/// Explains a validator's stake, whether it votes, and what it earns.
///
/// # Errors
/// The store failed, or a record is damaged.
pub fn explain_validator(
    state: &mut State<'_>,
    operator: &Address,
    validator: &Validator,
) -> Result<Vec<String>, Error> {
    let (own, least) = self_delegation(state, operator, validator)?;
    let moniker = validator.description.clone().unwrap_or_default().moniker;
    let mut lines = vec![format!(
        "{} ({moniker:?}) has a stake of {}, of which its operator delegated {} and promised {} at least.",
        validator.operator_address,
        show(tokens(validator)?),
        show(own),
        show(least)
    )];
    lines.push(place(state, operator, validator)?);
    let votes = POWERS.all(state)?;
    let total = votes.iter().map(|(_, power)| power).sum();
    let own = votes.iter().find(|(o, _)| o == operator).map_or(0, |(_, power)| *power);
    let rate = commission_rate(validator)?;
    lines.extend(distribution::explain_validator(state, operator, rate, own, total)?);
    Ok(lines)
}

/// Whether it votes, and why not.
fn place(state: &mut State<'_>, operator: &Address, validator: &Validator) -> Result<String, Error> {
    let most = PARAMS.get(state)?.max_validators;
    let own = power(validator)?;
    let ranked = RANK.from::<u64>(state, None, usize::try_from(most).unwrap_or(usize::MAX))?;
    let place = ranked.iter().position(|((_, o), _)| o == operator);
    let votes = validator.status() == BondStatus::Bonded;
    let last = ranked.last().map_or(0, |((rank, _), _)| u64::MAX - rank);
    Ok(match place {
        Some(place) => format!(
            "By its power of {own} it is number {} of the {} that may vote, at most {most}; it {}.",
            place + 1,
            ranked.len(),
            if votes {
                "votes"
            } else {
                "joins them when the epoch ends"
            }
        ),
        None if validator.jailed => format!(
            "It is jailed: it {} and earns nothing.",
            if votes {
                "stops voting when the epoch ends"
            } else {
                "does not vote"
            }
        ),
        None if own == 0 => "It has less than 1 TRAIN of stake, too little for a vote.".into(),
        None => format!("It does not vote: its power is {own}, and the {most} that may vote have {last} and more."),
    })
}

/// Explains what an account has delegated, what it earned with it, and what is on its way back or answers for another.
///
/// # Errors
/// The store failed, or a record is damaged.
pub fn explain_delegator(state: &mut State<'_>, now: u64, delegator: &Address) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for ((_, operator), part) in DELEGATIONS.under(state, delegator, TOLD)? {
        let validator = validator(state, &operator)?;
        let worth = worth(&validator, part)?;
        lines.push(format!(
            "It delegated to {}: {} of {} shares, worth {} of the validator's {}{}.",
            validator.operator_address,
            plain(part),
            plain(shares(&validator)?),
            show(worth),
            show(tokens(&validator)?),
            lost(&validator, part, worth)
        ));
        lines.push(distribution::explain_delegation(state, delegator, &operator, part)?);
    }
    for ((_, operator, _), entry) in UNBONDING.under(state, delegator, TOLD)? {
        let wait = unix_seconds(entry.completion_time.as_ref()).saturating_sub(now);
        let (initial, balance) = (parse_amount(&entry.initial_balance)?, parse_amount(&entry.balance)?);
        let burned = match initial.saturating_sub(balance) {
            0 => String::new(),
            burned => format!(
                ", {} less than it took back because the validator was slashed since",
                show(burned)
            ),
        };
        lines.push(format!(
            "{} return from {} in {wait} seconds{burned}; until then they answer for what the validator did before height {}.",
            show(balance),
            operator.operator(),
            entry.creation_height
        ));
    }
    for ((_, to, (from, _)), entry) in REDELEGATIONS.under(state, delegator, TOLD)? {
        let wait = unix_seconds(entry.completion_time.as_ref()).saturating_sub(now);
        lines.push(format!(
            "{} that moved from {} to {} at height {} answer for the first for another {wait} seconds.",
            show(parse_amount(&entry.initial_balance)?),
            from.operator(),
            to.operator(),
            entry.creation_height
        ));
    }
    Ok(lines)
}

/// What slashes took of shares that were bought at one utrain each.
fn lost(validator: &Validator, part: Dec, worth: u64) -> String {
    let (Ok(all), Ok(held)) = (shares(validator), tokens(validator)) else {
        return String::new();
    };
    let less = all.saturating_sub(Dec::whole(held));
    if less.is_zero() {
        return String::new();
    }
    let mine = part.floor().unwrap_or(0).saturating_sub(worth);
    let fraction = less.mul_div_down(Dec::ONE, all).unwrap_or_default();
    format!(
        "; slashes took {} of the validator's stake, {} of these shares' first worth",
        percent_of(fraction),
        show(mine)
    )
}
