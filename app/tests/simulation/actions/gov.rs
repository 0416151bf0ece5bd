//! Proposals, and what is done with them.

use trainyard_app::testing::{TRAIN, address};
use trainyard_modules::upgrade as upgrades;
use trainyard_proto::{
    any::{self, Any},
    coin::utrain,
    cosmos::{
        distribution::v1beta1::MsgCommunityPoolSpend,
        gov::v1::{
            MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, Params, Proposal,
            ProposalStatus, VoteOption, WeightedVoteOption,
        },
        gov::v1beta1 as legacy,
        upgrade::v1beta1::{MsgCancelUpgrade, MsgSoftwareUpgrade, Plan},
    },
    dec::Dec,
    registry::MsgUpdateMembers,
};

use super::GOVERNANCE;
use crate::{
    view::named,
    world::{World, governance},
};

/// Most proposals that wait at one time.
const OPEN: usize = 12;

/// Votes of some seconds that a hundredth of all stake decides.
pub(crate) fn short_votes(params: &mut Params) {
    params.quorum = "0.01".into();
    let periods = [
        (&mut params.max_deposit_period, 30),
        (&mut params.voting_period, 40),
        (&mut params.expedited_voting_period, 20),
    ];
    for (period, seconds) in periods {
        period.as_mut().unwrap().seconds = seconds;
    }
}

/// A proposal whose deposit is mostly enough.
pub(crate) fn propose(world: &mut World, proposer: &str, messages: Vec<Any>) -> MsgSubmitProposal {
    let expedited = world.random.percent(10);
    let enough = if expedited { 500 } else { 98 + world.random.below(10) } * TRAIN;
    let deposit = if world.random.percent(10) {
        world.amount()
    } else {
        enough
    };
    MsgSubmitProposal {
        messages,
        initial_deposit: vec![utrain(deposit)],
        proposer: address(proposer).to_string(),
        metadata: "ipfs://why".into(),
        title: "A change".into(),
        summary: "Because it is better so.".into(),
        expedited,
    }
}

pub(super) fn submit(world: &mut World) -> Option<(&'static str, MsgSubmitProposal)> {
    if world.view.proposals.len() > OPEN {
        return None;
    }
    let who = world.anyone();
    Some((who, propose(world, who, Vec::new())))
}

fn a_proposal(world: &mut World, status: ProposalStatus) -> Option<Proposal> {
    let all = world.view.proposals.iter().filter(|p| p.status() == status);
    let all: Vec<_> = all.cloned().collect();
    if world.random.percent(3) {
        // One that is over, or never was.
        let id = world.random.below(60);
        return Some(Proposal {
            id,
            proposer: address("client").to_string(),
            ..Proposal::default()
        });
    }
    world.random.choose(&all).cloned()
}

pub(super) fn deposit(world: &mut World) -> Option<(&'static str, MsgDeposit)> {
    let status = world.random.pick(&[
        ProposalStatus::DepositPeriod,
        ProposalStatus::DepositPeriod,
        ProposalStatus::VotingPeriod,
    ]);
    let proposal = a_proposal(world, status)?;
    let (who, amount) = (world.anyone(), world.amount());
    let message = MsgDeposit {
        proposal_id: proposal.id,
        depositor: address(who).to_string(),
        amount: vec![utrain(amount)],
    };
    Some((who, message))
}

fn a_voter(world: &mut World) -> Option<&'static str> {
    let voters = world.view.delegations.iter().map(|(who, _)| *who).collect::<Vec<_>>();
    world.one_of(&voters)
}

pub(super) fn vote(world: &mut World) -> Option<(&'static str, MsgVote)> {
    let proposal = a_proposal(world, ProposalStatus::VotingPeriod)?;
    let who = a_voter(world)?;
    let option = match world.random.below(12) {
        0 => VoteOption::No,
        1 => VoteOption::Abstain,
        2 => VoteOption::NoWithVeto,
        _ => VoteOption::Yes,
    };
    let message = MsgVote {
        proposal_id: proposal.id,
        voter: address(who).to_string(),
        option: option.into(),
        metadata: String::new(),
    };
    Some((who, message))
}

pub(super) fn vote_weighted(world: &mut World) -> Option<(&'static str, MsgVoteWeighted)> {
    let proposal = a_proposal(world, ProposalStatus::VotingPeriod)?;
    let who = a_voter(world)?;
    let part = |option: VoteOption, weight: &str| WeightedVoteOption {
        option: option.into(),
        weight: weight.into(),
    };
    let rest = world.random.pick(&["0.25", "0.25", "0.25", "0.24"]);
    let message = MsgVoteWeighted {
        proposal_id: proposal.id,
        voter: address(who).to_string(),
        options: vec![part(VoteOption::Yes, "0.75"), part(VoteOption::Abstain, rest)],
        metadata: String::new(),
    };
    Some((who, message))
}

/// The same in the words of v1beta1.
pub(super) fn legacy_submit(world: &mut World) -> Option<(&'static str, legacy::MsgSubmitProposal)> {
    let (who, message) = submit(world)?;
    let content = legacy::TextProposal {
        title: message.title,
        description: message.summary,
    };
    let message = legacy::MsgSubmitProposal {
        content: Some(any::pack(&content)),
        initial_deposit: message.initial_deposit,
        proposer: message.proposer,
    };
    Some((who, message))
}

pub(super) fn legacy_deposit(world: &mut World) -> Option<(&'static str, legacy::MsgDeposit)> {
    let (who, message) = deposit(world)?;
    let message = legacy::MsgDeposit {
        proposal_id: message.proposal_id,
        depositor: message.depositor,
        amount: message.amount,
    };
    Some((who, message))
}

pub(super) fn legacy_vote(world: &mut World) -> Option<(&'static str, legacy::MsgVote)> {
    let (who, message) = vote(world)?;
    let message = legacy::MsgVote {
        proposal_id: message.proposal_id,
        voter: message.voter,
        option: message.option,
    };
    Some((who, message))
}

pub(super) fn legacy_vote_weighted(world: &mut World) -> Option<(&'static str, legacy::MsgVoteWeighted)> {
    let (who, message) = vote_weighted(world)?;
    let options = message.options.into_iter().map(|part| legacy::WeightedVoteOption {
        option: part.option,
        weight: part.weight.parse::<Dec>().unwrap().atomics(),
    });
    let message = legacy::MsgVoteWeighted {
        proposal_id: message.proposal_id,
        voter: message.voter,
        options: options.collect(),
    };
    Some((who, message))
}

pub(super) fn cancel(world: &mut World) -> Option<(&'static str, MsgCancelProposal)> {
    let status = world
        .random
        .pick(&[ProposalStatus::DepositPeriod, ProposalStatus::VotingPeriod]);
    let proposal = a_proposal(world, status)?;
    let who = world.one_of(&[named(&proposal.proposer)])?;
    let message = MsgCancelProposal {
        proposal_id: proposal.id,
        proposer: address(who).to_string(),
    };
    Some((who, message))
}

/// Proposals that change something are made only while few wait.
pub(super) fn room(world: &World) -> Option<()> {
    (world.view.proposals.len() <= OPEN).then_some(())
}

pub(super) fn spend(world: &mut World) -> Option<(&'static str, MsgCommunityPoolSpend)> {
    room(world)?;
    let (to, amount) = (world.anyone(), world.amount() / 100);
    let message = MsgCommunityPoolSpend {
        authority: governance(),
        recipient: address(to).to_string(),
        amount: vec![utrain(amount)],
    };
    Some((GOVERNANCE, message))
}

pub(super) fn upgrade(world: &mut World) -> Option<(&'static str, MsgSoftwareUpgrade)> {
    room(world)?;
    let message = MsgSoftwareUpgrade {
        authority: governance(),
        plan: Some(Plan {
            name: "far".into(),
            height: 100_000_000,
            info: "{}".into(),
            ..Plan::default()
        }),
    };
    Some((GOVERNANCE, message))
}

pub(super) fn cancel_upgrade(world: &mut World) -> Option<(&'static str, MsgCancelUpgrade)> {
    room(world)?;
    let planned = world.chain.read(upgrades::plan);
    planned.filter(|_| world.random.percent(90))?;
    let authority = governance();
    Some((GOVERNANCE, MsgCancelUpgrade { authority }))
}

pub(super) fn members(world: &mut World) -> Option<(&'static str, MsgUpdateMembers)> {
    room(world)?;
    let (one, other) = (world.anyone(), world.anyone());
    let message = MsgUpdateMembers {
        authority: governance(),
        admit: vec![address(one).to_string()],
        dismiss: vec![address(other).to_string()],
    };
    Some((GOVERNANCE, message))
}
