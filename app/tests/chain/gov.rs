//! Messages of governance.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address};
use trainyard_modules::{governed::authority, machine::Genesis, registry};
use trainyard_proto::{
    any::{self, Any},
    coin, consensus as consensus_wire,
    cosmos::{
        distribution::v1beta1::{self as rewards, MsgCommunityPoolSpend},
        gov::v1::{
            self as wire, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, VoteOption,
            WeightedVoteOption,
        },
        gov::v1beta1 as legacy,
        slashing::v1beta1 as slashing_wire,
        staking::v1beta1 as staking_wire,
        upgrade::v1beta1::{MsgCancelUpgrade, MsgSoftwareUpgrade, Plan},
    },
    fees as fees_wire, job as job_wire, pouw as pouw_wire,
    registry::{self as registry_wire, MsgUpdateMembers},
};

use crate::{staking::delegate, support::*};

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

/// A proposal in the words of v1beta1.
pub(crate) fn submit_text(proposer: &str, deposit: u64) -> legacy::MsgSubmitProposal {
    legacy::MsgSubmitProposal {
        content: Some(any::pack(&legacy::TextProposal {
            title: "A wish".into(),
            description: "It would be nice.".into(),
        })),
        initial_deposit: vec![coin::utrain(deposit)],
        proposer: address(proposer).to_string(),
    }
}

pub(crate) fn legacy_deposit(depositor: &str, proposal_id: u64, amount: u64) -> legacy::MsgDeposit {
    legacy::MsgDeposit {
        proposal_id,
        depositor: address(depositor).to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

pub(crate) fn legacy_vote(voter: &str, proposal_id: u64) -> legacy::MsgVote {
    legacy::MsgVote {
        proposal_id,
        voter: address(voter).to_string(),
        option: legacy::VoteOption::No.into(),
    }
}

pub(crate) fn legacy_vote_weighted(voter: &str, proposal_id: u64) -> legacy::MsgVoteWeighted {
    let part = |option: legacy::VoteOption, weight: &str| legacy::WeightedVoteOption {
        option: option.into(),
        weight: weight.into(),
    };
    legacy::MsgVoteWeighted {
        proposal_id,
        voter: address(voter).to_string(),
        options: vec![
            part(legacy::VoteOption::Yes, "600000000000000000"),
            part(legacy::VoteOption::NoWithVeto, "400000000000000000"),
        ],
    }
}

/// Wallets still send the messages of v1beta1; they do what those of v1 do.
#[test]
fn older_words_of_governance_are_understood() {
    let mut chain = builder().genesis(short_votes).build();
    chain.ok("other", &submit_text("other", 50 * TRAIN));
    chain.ok(CLIENT, &legacy_deposit(CLIENT, 1, 50 * TRAIN));
    let found = || wire::QueryProposalRequest { proposal_id: 1 };
    let proposal = |chain: &Chain| -> wire::Proposal {
        let answer: wire::QueryProposalResponse = chain.query("/cosmos.gov.v1.Query/Proposal", &found()).unwrap();
        answer.proposal.unwrap()
    };
    let open = proposal(&chain);
    assert_eq!(
        (open.title.as_str(), open.summary.as_str()),
        ("A wish", "It would be nice.")
    );
    assert_eq!(
        (open.status(), open.messages.len()),
        (wire::ProposalStatus::VotingPeriod, 0)
    );
    chain.ok("other", &delegate("other", VALIDATOR, 100 * TRAIN));
    chain.ok(VALIDATOR, &legacy_vote(VALIDATOR, 1));
    chain.ok("other", &legacy_vote_weighted("other", 1));
    let tally: wire::QueryTallyResultResponse = chain
        .query(
            "/cosmos.gov.v1.Query/TallyResult",
            &wire::QueryTallyResultRequest { proposal_id: 1 },
        )
        .unwrap();
    let tally = tally.tally.unwrap();
    assert_eq!(
        [
            tally.yes_count,
            tally.no_count,
            tally.no_with_veto_count,
            tally.abstain_count
        ],
        ["60000000", "100000000", "40000000", "0"]
    );
    chain.pass_time(60);
    chain.skip(1);
    assert_eq!(proposal(&chain).status(), wire::ProposalStatus::Rejected);

    let mut unknown = submit_text("other", 50 * TRAIN);
    unknown.content.as_mut().unwrap().type_url = "/cosmos.params.v1beta1.ParameterChangeProposal".into();
    let mut unnamed = submit_text("other", 50 * TRAIN);
    unnamed.content = Some(any::pack(&legacy::TextProposal::default()));
    let mut broken = legacy_vote_weighted("other", 1);
    broken.options[0].weight = "0.6".into();
    let mut uneven = legacy_vote_weighted("other", 1);
    uneven.options[0].weight = "500000000000000000".into();
    let cases = vec![
        (
            "other",
            any::pack(&unknown),
            ("gov", 5),
            vec!["expected a TextProposal"],
        ),
        ("other", any::pack(&unnamed), ("gov", 15), vec!["title has 0 bytes"]),
        ("other", any::pack(&broken), ("gov", 7), vec!["weight of a vote"]),
        ("other", any::pack(&uneven), ("gov", 7), vec!["weights sum to 0.9"]),
        (
            "other",
            any::pack(&legacy_vote("other", 1)),
            ("gov", 3),
            vec!["rejected"],
        ),
        (
            "other",
            any::pack(&legacy_deposit("other", 9, 1)),
            ("gov", 17),
            vec!["does not exist"],
        ),
        (
            "w1",
            any::pack(&submit_text("w1", 1)),
            ("gov", 16),
            vec!["deposit is 1utrain"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
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
    let mut limits = trainyard_modules::consensus::default_params();
    limits.block.as_mut().unwrap().max_gas = 300_000_000;
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
        any::pack(&consensus_wire::MsgUpdateParams {
            authority: authority.clone(),
            block: limits.block,
            evidence: limits.evidence,
            validator: limits.validator,
            abci: None,
        }),
        any::pack(&pouw_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(pouw_wire::Params { epoch_blocks: 12 }),
        }),
        any::pack(&MsgUpdateMembers {
            authority,
            admit: vec![address(to).to_string()],
            dismiss: Vec::new(),
        }),
    ]
}
