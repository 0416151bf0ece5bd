//! Votes.

use trainyard_proto::{
    address::Address,
    cosmos::gov::v1::{
        MsgVote, MsgVoteResponse, MsgVoteWeighted, MsgVoteWeightedResponse, ProposalStatus, Vote, VoteOption,
        WeightedVoteOption,
    },
    dec::Dec,
};

use super::{GovError, VOTES, check_length, is_late, params::share, proposal, status_name, tally::Bonded};
use crate::{
    context::{Ctx, Event, Handler},
    error::Error,
};

/// Longest metadata of a vote, bytes.
const MAX_METADATA: usize = 255;

fn wrong(log: impl Into<String>) -> Error {
    GovError::Vote(log.into()).into()
}

/// One or more different options whose weights, none of them zero, sum to 1.
fn check_options(options: &[WeightedVoteOption]) -> Result<(), Error> {
    let mut sum = Dec::ZERO;
    for (index, WeightedVoteOption { option, weight }) in options.iter().enumerate() {
        if !matches!(VoteOption::try_from(*option), Ok(option) if option != VoteOption::Unspecified) {
            return Err(wrong(format!("option {option} is none of yes, abstain, no and veto")));
        }
        if options[..index].iter().any(|earlier| earlier.option == *option) {
            return Err(wrong(format!("option {option} stands twice")));
        }
        let part = share("weight of a vote", weight).map_err(|e| wrong(e.log))?;
        if part.is_zero() {
            return Err(wrong(format!("option {option} has no weight")));
        }
        sum = sum.checked_add(part).unwrap_or_default();
    }
    if sum != Dec::ONE {
        return Err(wrong(format!("weights sum to {sum}, expected 1")));
    }
    Ok(())
}

fn cast(
    ctx: &mut Ctx<'_, '_>,
    id: u64,
    voter: Address,
    options: Vec<WeightedVoteOption>,
    metadata: String,
) -> Result<(), Error> {
    let proposal = proposal(ctx.state, id)?;
    let (status, late) = (proposal.status(), is_late(ctx, &proposal));
    if status != ProposalStatus::VotingPeriod || late {
        return Err(GovError::Inactive {
            id,
            status: if status == ProposalStatus::VotingPeriod {
                "waiting for its end"
            } else {
                status_name(status)
            },
            expected: "voting period",
        }
        .into());
    }
    let bonded = Bonded::read(ctx.state)?;
    if !bonded.is_validator(&voter) {
        let (stake, least) = (bonded.stake(ctx.state, &voter)?, bonded.least_stake());
        if stake < least {
            return Err(wrong(format!(
                "{voter} has {stake}utrain delegated to bonded validators, a vote needs {least}utrain; smaller stake is \
                 counted with its validator"
            )));
        }
    }
    let shown: Vec<String> = options
        .iter()
        .map(|o| format!("option:{} weight:\"{}\"", o.option().as_str_name(), o.weight))
        .collect();
    ctx.emit(
        Event::new("proposal_vote")
            .with("voter", voter)
            .with("option", shown.join("\n"))
            .with("proposal_id", id),
    );
    let vote = Vote {
        proposal_id: id,
        voter: voter.to_string(),
        options,
        metadata,
    };
    VOTES.set(ctx.state, &(id, voter), &vote)
}

fn whole_vote(option: i32) -> Vec<WeightedVoteOption> {
    let weight = Dec::ONE.to_string();
    vec![WeightedVoteOption { option, weight }]
}

impl Handler for MsgVote {
    type Response = MsgVoteResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.voter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_length("metadata", &self.metadata, 0, MAX_METADATA)?;
        check_options(&whole_vote(self.option))
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgVoteResponse, Error> {
        let options = whole_vote(self.option);
        cast(ctx, self.proposal_id, self.signer()?, options, self.metadata.clone())?;
        Ok(MsgVoteResponse {})
    }
}

impl Handler for MsgVoteWeighted {
    type Response = MsgVoteWeightedResponse;

    fn signer(&self) -> Result<Address, Error> {
        Ok(self.voter.parse()?)
    }

    fn validate(&self) -> Result<(), Error> {
        check_length("metadata", &self.metadata, 0, MAX_METADATA)?;
        check_options(&self.options)
    }

    fn execute(&self, ctx: &mut Ctx<'_, '_>) -> Result<MsgVoteWeightedResponse, Error> {
        let options = self.options.clone();
        cast(ctx, self.proposal_id, self.signer()?, options, self.metadata.clone())?;
        Ok(MsgVoteWeightedResponse {})
    }
}
