//! Why a validator was slashed or jailed, in sentences.

use trainyard_proto::{address::Address, coin::show, cosmos::staking::v1beta1::Validator};

use super::{INFOS, PARAMS, SLASHED, Slashed};
use crate::{error::Error, staking::consensus_key, state::State, words::percent_of};

/// Slashes told of, the latest ones.
const TOLD: usize = 20;

/// Explains how a validator voted, what it was slashed for, and when it may vote again; `now` is in Unix seconds.
///
/// # Errors
/// The store failed.
pub fn explain_validator(state: &mut State<'_>, now: u64, validator: &Validator) -> Result<Vec<String>, Error> {
    let consensus = Address::of_consensus_key(&consensus_key(validator.consensus_pubkey.as_ref())?);
    let params = PARAMS.get(state)?;
    let info = INFOS.get(state, &consensus)?.unwrap_or_default();
    let mut lines = vec![format!(
        "It missed {} of the last {} blocks; with more than {} it loses {} of its stake and is jailed for {} seconds.",
        info.missed,
        params.signed_blocks_window,
        params.allowed(),
        percent_of(params.slash_fraction_downtime),
        params.downtime_jail_seconds
    )];
    let slashed = SLASHED.under(state, &consensus, usize::MAX)?;
    if slashed.is_empty() {
        lines.push("It has never been slashed.".into());
    }
    for (_, slashed) in slashed.iter().skip(slashed.len().saturating_sub(TOLD)) {
        lines.push(told(slashed));
    }
    if info.tombstoned {
        lines.push("It voted twice for one height and is jailed for good: its key never votes again.".into());
    } else if validator.jailed {
        lines.push(match info.jailed_until.saturating_sub(now) {
            0 => "It is jailed. Its time is over: its operator can send trainyard tx slashing unjail, once it has delegated \
                  its own least to itself."
                .into(),
            wait => format!("It is jailed for another {wait} seconds; then its operator can unjail it."),
        });
    }
    Ok(lines)
}

fn told(slashed: &Slashed) -> String {
    let why = if slashed.double_sign {
        format!("for voting twice at height {}", slashed.infraction_height)
    } else {
        "for missing too many blocks".to_string()
    };
    format!(
        "At height {} it was slashed {why}: {} of the stake of its {} votes, {}, was burned, of all that had stood behind them.",
        slashed.height,
        percent_of(slashed.fraction),
        slashed.power,
        show(slashed.burned)
    )
}
