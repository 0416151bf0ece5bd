//! How a node behaves: duties done and missed, offences, jail, and the history of it all.

use trainyard_proto::{
    address::Address,
    registry::{MsgUnjail, MsgUnjailResponse, Node, Params, Penalty, PenaltyKind},
};

use super::{LEFT, NODES, PARAMS, PENALTIES, RegistryError, bonds, node};
use crate::{
    context::{Ctx, EPOCH, Event, Handler, Value},
    error::Error,
};

/// Longest reason of a penalty, bytes.
const MAX_REASON: usize = 200;

/// A duty of `owner` was not done: `missed_duty_bp` of its bond is burned, its reputation falls by `missed_reputation`, and
/// with the `max_missed`th within `missed_window` blocks it goes to jail. `duty` says which one, for the history.
/// Returns the utrain burned: 0 where nobody of this name was ever registered.
///
/// # Errors
/// The store failed.
pub fn miss(ctx: &mut Ctx<'_, '_>, owner: &Address, duty: &str) -> Result<u64, Error> {
    let params = PARAMS.get(ctx.state)?;
    penalize(
        ctx,
        owner,
        &params,
        PenaltyKind::MissedDuty,
        params.missed_duty_bp,
        duty,
    )
}

/// An offence of `owner`: `share_bp` basis points of its bond are burned, its reputation is zero, and it goes to jail.
/// Returns the utrain burned: 0 where nobody of this name was ever registered.
///
/// # Errors
/// The store failed.
pub fn slash(ctx: &mut Ctx<'_, '_>, owner: &Address, share_bp: u32, reason: &str) -> Result<u64, Error> {
    let params = PARAMS.get(ctx.state)?;
    penalize(ctx, owner, &params, PenaltyKind::Slash, share_bp, reason)
}

/// A duty of `owner` was done: the first of an epoch in which none was missed raises its reputation by `clean_reputation`.
///
/// # Errors
/// The store failed.
pub fn fulfil(ctx: &mut Ctx<'_, '_>, owner: &Address) -> Result<(), Error> {
    let Some(mut node) = NODES.get(ctx.state, owner)? else {
        return Ok(());
    };
    let epoch = this_epoch(ctx)?;
    if node.reputation_epoch == epoch {
        return Ok(());
    }
    node.reputation_epoch = epoch;
    let gained = PARAMS.get(ctx.state)?.clean_reputation;
    node.reputation = node.reputation.saturating_add(gained).min(MAX_REPUTATION);
    NODES.set(ctx.state, owner, &node)
}

/// The best reputation.
pub(super) const MAX_REPUTATION: u32 = 100;

/// The epoch of this block, plus one: 0 is none.
fn this_epoch(ctx: &mut Ctx<'_, '_>) -> Result<u64, Error> {
    Ok(EPOCH.get(ctx.state)?.saturating_add(1))
}

fn penalize(
    ctx: &mut Ctx<'_, '_>,
    owner: &Address,
    params: &Params,
    kind: PenaltyKind,
    share_bp: u32,
    reason: &str,
) -> Result<u64, Error> {
    let registered = NODES.get(ctx.state, owner)?;
    let records = if registered.is_some() { &NODES } else { &LEFT };
    let Some(mut node) = (match registered {
        Some(node) => Some(node),
        None => LEFT.get(ctx.state, owner)?,
    }) else {
        return Ok(0);
    };
    let amount = bonds::take(ctx, owner, &mut node, share_bp)?;
    let reputation_before = node.reputation;
    let jails = if kind == PenaltyKind::Slash {
        node.reputation = 0;
        true
    } else {
        node.reputation = node.reputation.saturating_sub(params.missed_reputation);
        one_more_missed(&mut node, params, ctx.block.height)
    };
    node.reputation_epoch = this_epoch(ctx)?;
    if jails {
        node.missed = 0;
        let until = ctx.block.height.saturating_add(params.jail_blocks);
        node.jailed_until = node.jailed_until.max(until);
    }
    let penalty = Penalty {
        owner: owner.to_string(),
        number: node.penalties,
        kind: kind.into(),
        height: ctx.block.height,
        amount,
        share_bp,
        reason: reason.chars().take(MAX_REASON).collect(),
        reputation_before,
        reputation_after: node.reputation,
        jailed_until: if jails { node.jailed_until } else { 0 },
    };
    PENALTIES.set(ctx.state, &(*owner, penalty.number), &penalty)?;
    node.penalties = node.penalties.saturating_add(1);
    records.set(ctx.state, owner, &node)?;
    tell(ctx, kind, &penalty);
    Ok(amount)
}

/// Counts a missed duty; whether it is one too many. A window begins with the first one after the last window.
fn one_more_missed(node: &mut Node, params: &Params, height: u64) -> bool {
    if node.missed == 0 || height >= node.missed_since.saturating_add(params.missed_window) {
        node.missed = 0;
        node.missed_since = height;
    }
    node.missed = node.missed.saturating_add(1);
    node.missed >= params.max_missed
}

fn tell(ctx: &mut Ctx<'_, '_>, kind: PenaltyKind, penalty: &Penalty) {
    let name = match kind {
        PenaltyKind::Slash => "node_slashed",
        PenaltyKind::MissedDuty | PenaltyKind::Unspecified => "node_missed_duty",
    };
    ctx.emit(
        Event::new(name)
            .with("owner", &penalty.owner)
            .with("reason", &penalty.reason)
            .with("burned", Value::Utrain(penalty.amount))
            .with("reputation", penalty.reputation_after),
    );
    if penalty.jailed_until > 0 {
        ctx.emit(
            Event::new("node_jailed")
                .with("owner", &penalty.owner)
                .with("until", penalty.jailed_until),
        );
    }
}

impl Handler for MsgUnjail {
    type Response = MsgUnjailResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUnjailResponse, Error> {
        let owner = self.signer()?;
        let mut node = node(ctx.state, &owner)?;
        if node.jailed_until == 0 {
            return Err(RegistryError::NotJailed(owner).into());
        }
        let (until, now) = (node.jailed_until, ctx.block.height);
        if now < until {
            return Err(RegistryError::StillJailed { owner, until, now }.into());
        }
        bonds::check_bond(&node, &PARAMS.get(ctx.state)?)?;
        node.jailed_until = 0;
        NODES.set(ctx.state, &owner, &node)?;
        ctx.emit(Event::new("node_unjailed").with("owner", owner));
        Ok(MsgUnjailResponse {})
    }
}
