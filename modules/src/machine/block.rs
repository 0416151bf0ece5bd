//! What happens around the transactions of a block.

use crate::{
    authz,
    context::{Block, Ctx, Epoch, Event, advance_beacon},
    error::Error,
    feegrant, fees, gov, job, pouw, registry,
    slashing::{self, LastCommit},
    staking::{self, Power},
    state::State,
    upgrade::{self, Binary},
};

/// Before the transactions: an upgrade that is due is carried out, the beacon moves on, and validators answer for the blocks before.
///
/// # Errors
/// Fatal: the program is the wrong one for this block, the store failed or state contradicts itself.
pub fn begin_block(
    state: &mut State<'_>,
    block: &Block,
    commit: &LastCommit,
    binary: &Binary,
    events: &mut Vec<Event>,
) -> Result<(), Error> {
    let mut ctx = Ctx { state, block, events };
    upgrade::begin_block(&mut ctx, binary)?;
    advance_beacon(&mut ctx)?;
    slashing::begin_block(&mut ctx, commit)
}

/// After the transactions, whose gas limits (of those that paid) sum to `gas`: what governance decided, the base fee,
/// deadlines, returns, and at an epoch's end its checkpoint, its fees and its validators.
///
/// # Errors
/// Fatal: the store failed or state contradicts itself.
pub fn end_block(state: &mut State<'_>, block: &Block, gas: u64, events: &mut Vec<Event>) -> Result<Vec<Power>, Error> {
    let mut ctx = Ctx { state, block, events };
    gov::end_block(&mut ctx)?;
    // After governance: between its new bounds at once.
    fees::end_block(&mut ctx, gas)?;
    authz::end_block(&mut ctx)?;
    feegrant::end_block(&mut ctx)?;
    job::end_block(&mut ctx)?;
    registry::end_block(&mut ctx)?;
    staking::end_block(&mut ctx)?;
    // Governance may just have made it shorter.
    let epoch = Epoch::read(ctx.state)?;
    if block.height < epoch.last() {
        return Ok(Vec::new());
    }
    pouw::end_epoch(&mut ctx, &epoch)?;
    epoch.end(ctx.state, block.height)?;
    staking::end_epoch(&mut ctx)
}
