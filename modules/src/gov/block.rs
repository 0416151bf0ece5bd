//! What time does to proposals: deposits that come too late, votes that end.

use trainyard_proto::cosmos::gov::v1::{Params, Proposal, ProposalStatus};

use super::{
    ACTIVE, INACTIVE, PARAMS, PROPOSALS,
    msgs::{Fate, end_deposits, forget_votes},
    proposal, run_messages,
    tally::{Verdict, tally},
};
use crate::{
    context::{Ctx, Event, timestamp, unix_seconds, whole_seconds},
    error::Error,
    gas::Gas,
    machine::ante::MAX_GAS,
    state::State,
};

/// Proposals that end in one block, at most, of each kind; what is left over ends in the next.
const MAX_ENDS: usize = 10;

/// Drops proposals without enough deposit and decides those whose vote is over.
///
/// # Errors
/// Fatal: the store failed or state contradicts itself.
pub fn end_block(ctx: &mut Ctx<'_, '_>) -> Result<(), Error> {
    let params = PARAMS.get(ctx.state)?;
    let now = ctx.block.time.saturating_add(1);
    for (key, _) in INACTIVE.before(ctx.state, &now, MAX_ENDS)? {
        INACTIVE.remove(ctx.state, &key)?;
        let fate = if params.burn_proposal_deposit_prevote {
            Fate::Burn
        } else {
            Fate::Refund
        };
        end_deposits(ctx, key.1, fate)?;
        PROPOSALS.remove(ctx.state, &key.1)?;
        ctx.emit(
            Event::new("inactive_proposal")
                .with("proposal_id", key.1)
                .with("proposal_result", "proposal_dropped"),
        );
    }
    for (key, _) in ACTIVE.before(ctx.state, &now, MAX_ENDS)? {
        ACTIVE.remove(ctx.state, &key)?;
        let mut decided = proposal(ctx.state, key.1).map_err(|e| Error::fatal(e.log))?;
        let result = decide(ctx, &params, &mut decided)?;
        PROPOSALS.set(ctx.state, &key.1, &decided)?;
        ctx.emit(
            Event::new("active_proposal")
                .with("proposal_id", key.1)
                .with("proposal_result", result)
                .with("proposal_log", &decided.failed_reason),
        );
    }
    Ok(())
}

/// Counts, and does what the count says; answers the SDK's word for what happened.
fn decide(ctx: &mut Ctx<'_, '_>, params: &Params, proposal: &mut Proposal) -> Result<&'static str, Error> {
    let id = proposal.id;
    let count = tally(ctx.state, id)?;
    let verdict = count.verdict(params, proposal.expedited)?;
    proposal.final_tally_result = Some(count.result());
    if proposal.expedited && verdict == (Verdict::Rejected { burn: false }) {
        // It was not urgent enough: the vote goes on for the rest of a regular period, with the votes cast so far.
        let period = whole_seconds(params.voting_period.as_ref());
        let ends = unix_seconds(proposal.voting_start_time.as_ref())
            .saturating_add(period)
            .max(ctx.block.time);
        proposal.expedited = false;
        proposal.voting_end_time = Some(timestamp(ends));
        ACTIVE.set(ctx.state, &(ends, id), &true)?;
        return Ok("expedited_proposal_rejected");
    }
    forget_votes(ctx, id)?;
    if let Verdict::Rejected { burn } = verdict {
        end_deposits(ctx, id, if burn { Fate::Burn } else { Fate::Refund })?;
        proposal.set_status(ProposalStatus::Rejected);
        proposal.failed_reason = "proposal did not get enough votes to pass".into();
        return Ok("proposal_rejected");
    }
    end_deposits(ctx, id, Fate::Refund)?;
    match carry_out(ctx, proposal) {
        Ok(()) => {
            proposal.set_status(ProposalStatus::Passed);
            Ok("proposal_passed")
        }
        Err(error) if error.is_fatal() => Err(error),
        Err(error) => {
            proposal.set_status(ProposalStatus::Failed);
            // Codes are part of the consensus, texts are not.
            proposal.failed_reason = format!("{} code {}", error.codespace, error.code);
            ctx.emit(
                Event::new("proposal_failed")
                    .with("proposal_id", id)
                    .with("log", error.log),
            );
            Ok("proposal_failed")
        }
    }
}

/// Runs the messages over the state; what they did stays only when all of them succeeded.
fn carry_out(ctx: &mut Ctx<'_, '_>, proposal: &Proposal) -> Result<(), Error> {
    let mut events = Vec::new();
    let changes = {
        let mut over = State::new(ctx.state, Gas::new(MAX_GAS));
        let mut inner = Ctx {
            state: &mut over,
            block: ctx.block,
            events: &mut events,
        };
        run_messages(&mut inner, &proposal.messages)?;
        over.into_changes()
    };
    ctx.state.apply(changes);
    ctx.events.append(&mut events);
    Ok(())
}
