//! Messages of governance.

use trainyard_app::testing::{TRAIN, address};
use trainyard_modules::{governed::authority, machine::Genesis, registry};
use trainyard_proto::{
    any::{self, Any},
    coin,
    cosmos::{
        distribution::v1beta1::{self as rewards, MsgCommunityPoolSpend},
        gov::v1::{
            self as wire, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, VoteOption,
            WeightedVoteOption,
        },
        slashing::v1beta1 as slashing_wire,
        staking::v1beta1 as staking_wire,
        upgrade::v1beta1::{MsgCancelUpgrade, MsgSoftwareUpgrade, Plan},
    },
    fees as fees_wire, job as job_wire,
    registry::{self as registry_wire, MsgUpdateMembers},
};

/// Votes of 40 seconds that a hundredth of all stake decides.
pub(crate) fn short_votes(genesis: &mut Genesis) {
    let params = &mut genesis.gov.params;
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

pub(crate) fn submit(proposer: &str, messages: Vec<Any>, deposit: u64) -> MsgSubmitProposal {
    MsgSubmitProposal {
        messages,
        initial_deposit: vec![coin::utrain(deposit)],
        proposer: address(proposer).to_string(),
        metadata: "ipfs://why".into(),
        title: "A change".into(),
        summary: "Because it is better so.".into(),
        expedited: false,
    }
}

pub(crate) fn deposit(depositor: &str, proposal_id: u64, amount: u64) -> MsgDeposit {
    MsgDeposit {
        proposal_id,
        depositor: address(depositor).to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

pub(crate) fn vote_yes(voter: &str, proposal_id: u64) -> MsgVote {
    MsgVote {
        proposal_id,
        voter: address(voter).to_string(),
        option: VoteOption::Yes.into(),
        metadata: String::new(),
    }
}

pub(crate) fn vote_weighted(voter: &str, proposal_id: u64) -> MsgVoteWeighted {
    let part = |option: VoteOption, weight: &str| WeightedVoteOption {
        option: option.into(),
        weight: weight.into(),
    };
    MsgVoteWeighted {
        proposal_id,
        voter: address(voter).to_string(),
        options: vec![part(VoteOption::Yes, "0.75"), part(VoteOption::Abstain, "0.25")],
        metadata: String::new(),
    }
}

pub(crate) fn cancel_proposal(proposer: &str, proposal_id: u64) -> MsgCancelProposal {
    MsgCancelProposal {
        proposal_id,
        proposer: address(proposer).to_string(),
    }
}

/// Every message that governance alone may send, changing little.
pub(crate) fn governed(to: &str) -> Vec<Any> {
    let authority = authority().to_string();
    let mut votes = Genesis::default();
    short_votes(&mut votes);
    let mut stake = trainyard_modules::staking::default_params();
    stake.unbonding_time.as_mut().unwrap().seconds = 30;
    let mut jobs = trainyard_modules::job::default_params();
    (jobs.commit_blocks, jobs.reveal_blocks) = (4, 4);
    let mut nodes = registry::default_params();
    nodes.unbonding_blocks = 20;
    vec![
        any::pack(&MsgCommunityPoolSpend {
            authority: authority.clone(),
            recipient: address(to).to_string(),
            amount: vec![coin::utrain(TRAIN / 100)],
        }),
        any::pack(&rewards::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(rewards::Params {
                community_tax: "20000000000000000".into(),
                withdraw_addr_enabled: true,
                ..Default::default()
            }),
        }),
        any::pack(&wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(votes.gov.params),
        }),
        any::pack(&slashing_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(trainyard_modules::slashing::default_params().into()),
        }),
        any::pack(&staking_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(stake),
        }),
        any::pack(&fees_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(trainyard_modules::fees::default_params()),
        }),
        any::pack(&registry_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(nodes),
        }),
        any::pack(&job_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(jobs),
        }),
        any::pack(&MsgSoftwareUpgrade {
            authority: authority.clone(),
            plan: Some(Plan {
                name: "far".into(),
                height: 1_000_000,
                info: "{}".into(),
                ..Plan::default()
            }),
        }),
        any::pack(&MsgCancelUpgrade {
            authority: authority.clone(),
        }),
        any::pack(&MsgUpdateMembers {
            authority,
            admit: vec![address(to).to_string()],
            dismiss: Vec::new(),
        }),
    ]
}
