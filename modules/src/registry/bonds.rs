//! What nodes have at stake: the least of it, its way back, and what penalties take of it.

use trainyard_proto::{
    address::Address,
    coin::parse_utrain,
    registry::{MsgLeave, MsgLeaveResponse, MsgUnbond, MsgUnbondResponse, Node, Params, Role},
};

use super::{LEFT, NODES, PARAMS, PEERS, RegistryError, UNBONDING, UNBONDING_OF, has_role, node, set_roles};
use crate::{
    bank::{self, transfer},
    context::{Ctx, Event, Handler, Value},
    error::Error,
    state::State,
};

/// Returns of one block, at most; what is left over goes in the next.
const MAX_RETURNS: usize = 200;
/// Parts of a bond on their way back at a time, at most: a penalty reaches each of them.
pub(super) const MAX_UNBONDING: usize = 7;

/// The least bond of a node with these roles, utrain.
pub(super) fn least_bond(node: &Node, params: &Params) -> u64 {
    let of = |role, least| if has_role(node, role) { least } else { 0 };
    of(Role::Worker, params.min_worker_bond).max(of(Role::Evaluator, params.min_evaluator_bond))
}

pub(super) fn check_bond(node: &Node, params: &Params) -> Result<(), Error> {
    let (found, need) = (node.bond, least_bond(node, params));
    if found < need {
        return Err(RegistryError::BondTooLow { found, need }.into());
    }
    Ok(())
}

/// Refuses a node that is engaged in jobs.
fn check_idle(owner: Address, node: &Node) -> Result<(), Error> {
    match node.engagements {
        0 => Ok(()),
        jobs => Err(RegistryError::Engaged { owner, jobs }.into()),
    }
}

/// Burns `share_bp` basis points of all that the registry holds of an owner, each part rounded down: the bond, which the
/// caller writes back, and what is on its way back. Whoever unbonds is not out of reach before the money has returned.
pub(super) fn take(ctx: &mut Ctx<'_, '_>, owner: &Address, node: &mut Node, share_bp: u32) -> Result<u64, Error> {
    let mut taken = share_of(node.bond, share_bp);
    node.bond -= taken;
    for ((_, completes_at), _) in UNBONDING_OF.under(ctx.state, owner, usize::MAX)? {
        let amount = UNBONDING.get(ctx.state, &(completes_at, *owner))?.unwrap_or(0);
        let part = share_of(amount, share_bp);
        set_unbonding(ctx.state, completes_at, owner, amount - part)?;
        taken += part;
    }
    bank::burn(ctx, Address::of_module(bank::NODE_BONDS), taken)?;
    Ok(taken)
}

fn share_of(amount: u64, share_bp: u32) -> u64 {
    let wide = u128::from(amount) * u128::from(share_bp.min(10_000)) / 10_000;
    u64::try_from(wide).unwrap_or(amount)
}

/// Writes what returns to an owner at a height; nothing is no entry.
pub(super) fn set_unbonding(
    state: &mut State<'_>,
    completes_at: u64,
    owner: &Address,
    amount: u64,
) -> Result<(), Error> {
    if amount == 0 {
        UNBONDING.remove(state, &(completes_at, *owner))?;
        return UNBONDING_OF.remove(state, &(*owner, completes_at));
    }
    UNBONDING.set(state, &(completes_at, *owner), &amount)?;
    UNBONDING_OF.set(state, &(*owner, completes_at), &true)
}

/// Sends `amount`, which is no longer part of a bond, on its way back; the height of its return.
fn unbond(ctx: &mut Ctx<'_, '_>, owner: &Address, amount: u64) -> Result<u64, Error> {
    let completes_at = ctx.block.height.saturating_add(PARAMS.get(ctx.state)?.unbonding_blocks);
    let queued = UNBONDING.get(ctx.state, &(completes_at, *owner))?.unwrap_or(0);
    let parts = UNBONDING_OF.under(ctx.state, owner, MAX_UNBONDING)?.len();
    if queued == 0 && parts >= MAX_UNBONDING {
        return Err(RegistryError::TooManyUnbonding { owner: *owner, parts }.into());
    }
    set_unbonding(ctx.state, completes_at, owner, queued.saturating_add(amount))?;
    Ok(completes_at)
}

/// Returns bonds whose unbonding is over.
///
/// # Errors
/// The store failed.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    for ((height, owner), amount) in UNBONDING.before(ctx.state, &(ctx.block.height + 1), MAX_RETURNS)? {
        set_unbonding(ctx.state, height, &owner, 0)?;
        transfer(ctx, Address::of_module(bank::NODE_BONDS), owner, amount)?;
        ctx.emit(
            Event::new("bond_returned")
                .with("owner", owner)
                .with("amount", Value::Utrain(amount)),
        );
    }
    Ok(())
}

impl Handler for MsgUnbond {
    type Response = MsgUnbondResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        parse_utrain(self.amount.as_ref())?;
        Ok(())
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgUnbondResponse, Error> {
        let owner = self.signer()?;
        let amount = parse_utrain(self.amount.as_ref())?;
        let mut node = node(ctx.state, &owner)?;
        let need = least_bond(&node, &PARAMS.get(ctx.state)?);
        let found = node.bond.saturating_sub(amount);
        if amount > node.bond || found < need {
            return Err(RegistryError::BondTooLow { found, need }.into());
        }
        // A score weighs what the bond was at the draw: the bond answers for it to the job's end, which may come long after
        // what was taken back has returned.
        check_idle(owner, &node)?;
        node.bond = found;
        let completes_at = unbond(ctx, &owner, amount)?;
        NODES.set(ctx.state, &owner, &node)?;
        ctx.emit(
            Event::new("bond_unbonding")
                .with("owner", owner)
                .with("amount", Value::Utrain(amount))
                .with("returns_at", completes_at),
        );
        Ok(MsgUnbondResponse { completes_at })
    }
}

impl Handler for MsgLeave {
    type Response = MsgLeaveResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.owner.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// What the node did stays: reputation, jail and history wait for its return.
    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgLeaveResponse, Error> {
        let owner = self.signer()?;
        let mut node = node(ctx.state, &owner)?;
        check_idle(owner, &node)?;
        let completes_at = unbond(ctx, &owner, node.bond)?;
        set_roles(ctx.state, &owner, &node.roles, &[])?;
        NODES.remove(ctx.state, &owner)?;
        PEERS.remove(ctx.state, &node.peer_id)?;
        node.bond = 0;
        LEFT.set(ctx.state, &owner, &node)?;
        ctx.emit(
            Event::new("node_left")
                .with("owner", owner)
                .with("bond_returns_at", completes_at),
        );
        Ok(MsgLeaveResponse { completes_at })
    }
}
