//! What CometBFT tells with every block: who signed the last one, and who voted twice.

use trainyard_proto::address::Address;

use super::{INFOS, Info, MISSED, PARAMS, Params, SLASHED, Slashed, clear_window};
use crate::{
    context::{Ctx, Event, Value},
    error::Error,
    staking::{self, BY_CONSENSUS, Infraction, VALIDATORS},
};

/// A validator's part in the last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// Consensus address.
    pub validator: Address,
    /// Voting power.
    pub power: u64,
    /// Whether it signed, for this block or for none.
    pub signed: bool,
}

/// Proof that a validator voted twice at one height, or lied to light clients. CometBFT has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Consensus address.
    pub validator: Address,
    /// Its voting power then.
    pub power: u64,
    /// The height.
    pub height: u64,
}

/// What a block tells about those that made the ones before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LastCommit {
    /// Who could vote for the last block.
    pub votes: Vec<Vote>,
    /// Who misbehaved.
    pub evidence: Vec<Evidence>,
}

/// Heights from the one that stake is counted at to the one it votes in.
const VOTES_AFTER: u64 = 1;

/// Counts the votes, and slashes and jails for what they and the evidence say.
///
/// # Errors
/// The store failed.
pub fn begin_block(ctx: &mut Ctx<'_, '_>, commit: &LastCommit) -> Result<(), Error> {
    let params = PARAMS.get(ctx.state)?;
    for vote in &commit.votes {
        count(ctx, &params, vote)?;
    }
    for evidence in &commit.evidence {
        punish(ctx, &params, evidence)?;
    }
    Ok(())
}

/// The operator behind a consensus address.
pub(super) fn operator_of(ctx: &mut Ctx<'_, '_>, consensus: &Address) -> Result<Option<Address>, Error> {
    let bytes = BY_CONSENSUS.get(ctx.state, consensus)?;
    Ok(bytes.and_then(|bytes| <[u8; 20]>::try_from(bytes).ok()).map(Address))
}

fn count(ctx: &mut Ctx<'_, '_>, params: &Params, vote: &Vote) -> Result<(), Error> {
    let key = (vote.validator, ctx.block.height % params.signed_blocks_window.max(1));
    let before = MISSED.get(ctx.state, &key)?.is_some();
    if before != vote.signed {
        // As a window ago: missed and missed again, or signed both times. Only a count that stands can have grown too large.
        return if before {
            check_downtime(ctx, params, vote)
        } else {
            Ok(())
        };
    }
    let mut info = info(ctx, &vote.validator)?;
    if vote.signed {
        MISSED.remove(ctx.state, &key)?;
        info.missed = info.missed.saturating_sub(1);
        return INFOS.set(ctx.state, &vote.validator, &info);
    }
    MISSED.set(ctx.state, &key, &true)?;
    info.missed = info.missed.saturating_add(1);
    INFOS.set(ctx.state, &vote.validator, &info)?;
    ctx.emit(
        Event::new("liveness")
            .with("address", vote.validator.consensus())
            .with("missed_blocks", info.missed)
            .with("height", ctx.block.height),
    );
    check_downtime(ctx, params, vote)
}

fn info(ctx: &mut Ctx<'_, '_>, consensus: &Address) -> Result<Info, Error> {
    Ok(INFOS.get(ctx.state, consensus)?.unwrap_or_else(|| Info {
        start_height: ctx.block.height,
        ..Info::default()
    }))
}

fn check_downtime(ctx: &mut Ctx<'_, '_>, params: &Params, vote: &Vote) -> Result<(), Error> {
    let mut info = info(ctx, &vote.validator)?;
    if info.missed <= params.allowed() {
        return Ok(());
    }
    let Some(operator) = operator_of(ctx, &vote.validator)? else {
        return Ok(());
    };
    if VALIDATORS.get(ctx.state, &operator)?.is_none_or(|v| v.jailed) {
        return Ok(());
    }
    clear_window(ctx.state, &vote.validator)?;
    info.missed = 0;
    info.start_height = ctx.block.height;
    info.jailed_until = ctx.block.time.saturating_add(params.downtime_jail_seconds);
    INFOS.set(ctx.state, &vote.validator, &info)?;
    let infraction = Infraction {
        // The vote was for the last block.
        height: ctx.block.height.saturating_sub(1 + VOTES_AFTER),
        power: vote.power,
        fraction: params.slash_fraction_downtime,
    };
    slash(ctx, operator, &vote.validator, &infraction, false)
}

fn punish(ctx: &mut Ctx<'_, '_>, params: &Params, evidence: &Evidence) -> Result<(), Error> {
    let Some(operator) = operator_of(ctx, &evidence.validator)? else {
        return Ok(()); // Forgotten since: its stake was free before the evidence came.
    };
    let mut info = info(ctx, &evidence.validator)?;
    if info.tombstoned {
        return Ok(());
    }
    info.tombstoned = true;
    staking::bar(ctx.state, &evidence.validator)?;
    info.jailed_until = u64::MAX;
    INFOS.set(ctx.state, &evidence.validator, &info)?;
    let infraction = Infraction {
        height: evidence.height.saturating_sub(VOTES_AFTER),
        power: evidence.power,
        fraction: params.slash_fraction_double_sign,
    };
    slash(ctx, operator, &evidence.validator, &infraction, true)
}

fn slash(
    ctx: &mut Ctx<'_, '_>,
    operator: Address,
    consensus: &Address,
    infraction: &Infraction,
    double_sign: bool,
) -> Result<(), Error> {
    let burned = staking::slash(ctx, operator, infraction)?;
    staking::jail(ctx.state, &operator)?;
    let slashed = Slashed {
        height: ctx.block.height,
        double_sign,
        infraction_height: infraction.height.saturating_add(VOTES_AFTER),
        power: infraction.power,
        fraction: infraction.fraction,
        burned,
    };
    SLASHED.set(ctx.state, &(*consensus, slashed.height, double_sign.into()), &slashed)?;
    let reason = if double_sign {
        "double_sign"
    } else {
        "missing_signature"
    };
    ctx.emit(
        Event::new("slash")
            .with("address", consensus.consensus())
            .with("power", infraction.power)
            .with("reason", reason)
            .with("jailed", consensus.consensus())
            .with("burned_coins", Value::Utrain(burned)),
    );
    Ok(())
}
