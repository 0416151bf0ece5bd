//! Governance.

use trainyard_modules::{bank, fees, gov, governed::authority, job, registry, staking};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    coin,
    cosmos::{
        bank::v1beta1::MsgSend,
        distribution::v1beta1::{self as rewards, MsgCommunityPoolSpend},
        gov::v1::{
            self as wire, MsgCancelProposal, MsgDeposit, MsgSubmitProposal, MsgVote, MsgVoteWeighted, Proposal,
            ProposalStatus, QueryDepositRequest, QueryDepositResponse, QueryParamsRequest, QueryParamsResponse,
            QueryProposalRequest, QueryProposalResponse, QueryProposalsRequest, QueryProposalsResponse,
            QueryTallyResultRequest, QueryTallyResultResponse, QueryVoteRequest, QueryVoteResponse, QueryVotesRequest,
            QueryVotesResponse, TallyResult, VoteOption, WeightedVoteOption,
        },
        staking::v1beta1 as staking_wire,
    },
    fees as fees_wire, job as job_wire,
    registry::{self as registry_wire, MsgRegister, MsgUpdateMembers},
};

use crate::yard::{CASH, FEE, TRAIN, Yard, address, delegate};

/// Two days.
const PERIOD: u64 = 2 * 24 * 3600;
const DEPOSIT: u64 = 100 * TRAIN;

/// Three validators of 500, 300 and 200 TRAIN, none of them bonded by others.
pub(crate) fn yard() -> Yard {
    Yard::new(
        &["alice", "bob", "carol"],
        &[("v1", 500 * TRAIN), ("v2", 300 * TRAIN), ("v3", 200 * TRAIN)],
        |genesis| {
            // The treasury's money comes from somewhere.
            genesis.bank.balances.push(bank::Balance {
                address: Address::of_module(bank::TREASURY).to_string(),
                amount: 50 * TRAIN,
            });
        },
    )
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

pub(crate) fn vote(voter: &str, id: u64, option: VoteOption) -> MsgVote {
    MsgVote {
        proposal_id: id,
        voter: address(voter).to_string(),
        option: option.into(),
        metadata: String::new(),
    }
}

fn deposit(depositor: &str, id: u64, amount: u64) -> MsgDeposit {
    MsgDeposit {
        proposal_id: id,
        depositor: address(depositor).to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

fn cancel(proposer: &str, id: u64) -> MsgCancelProposal {
    MsgCancelProposal {
        proposal_id: id,
        proposer: address(proposer).to_string(),
    }
}

fn spend(recipient: Address, amount: u64) -> MsgCommunityPoolSpend {
    MsgCommunityPoolSpend {
        authority: authority().to_string(),
        recipient: recipient.to_string(),
        amount: vec![coin::utrain(amount)],
    }
}

fn query_proposal(yard: &Yard, id: u64) -> Proposal {
    let request = QueryProposalRequest { proposal_id: id };
    let response: QueryProposalResponse = yard.query("/cosmos.gov.v1.Query/Proposal", &request).unwrap();
    response.proposal.unwrap()
}

fn query_tally(yard: &Yard, id: u64) -> [String; 4] {
    let request = QueryTallyResultRequest { proposal_id: id };
    let response: QueryTallyResultResponse = yard.query("/cosmos.gov.v1.Query/TallyResult", &request).unwrap();
    counts(response.tally.unwrap())
}

/// Yes, abstain, no, veto.
fn counts(tally: TallyResult) -> [String; 4] {
    [
        tally.yes_count,
        tally.abstain_count,
        tally.no_count,
        tally.no_with_veto_count,
    ]
}

/// Submits, lets v1 and v2 vote yes and waits for the end; returns the proposal as it stands then.
pub(crate) fn decide(yard: &mut Yard, messages: Vec<Any>) -> Proposal {
    yard.ok("alice", &submit("alice", messages, DEPOSIT));
    let id = yard.read(|state| gov::LAST_ID.get(state));
    for voter in ["v1", "v2"] {
        yard.ok(voter, &vote(voter, id, VoteOption::Yes));
    }
    yard.after(PERIOD, &[]);
    query_proposal(yard, id)
}

#[test]
fn a_proposal_lives_from_deposit_to_execution() {
    let mut yard = yard();
    let bob = yard.worth("bob");
    let result = yard.ok(
        "alice",
        &submit("alice", vec![any::pack(&spend(address("bob"), 20 * TRAIN))], 10 * TRAIN),
    );
    assert!(result.events.iter().any(|e| {
        e.get("proposal_messages").as_deref() == Some(",/cosmos.distribution.v1beta1.MsgCommunityPoolSpend")
    }));
    assert_eq!(query_proposal(&yard, 1).status(), ProposalStatus::DepositPeriod);
    yard.refused(
        "v1",
        &vote("v1", 1, VoteOption::Yes),
        ("gov", 3),
        "in its deposit period",
    );
    yard.ok("carol", &deposit("carol", 1, 89 * TRAIN));
    assert_eq!(query_proposal(&yard, 1).status(), ProposalStatus::DepositPeriod);
    yard.export();
    // The last missing part begins the vote.
    yard.ok("carol", &deposit("carol", 1, TRAIN));
    let voting = query_proposal(&yard, 1);
    assert_eq!(voting.status(), ProposalStatus::VotingPeriod);
    assert_eq!(yard.held(bank::GOV_DEPOSITS), DEPOSIT);
    let request = QueryDepositRequest {
        proposal_id: 1,
        depositor: address("carol").to_string(),
    };
    let response: QueryDepositResponse = yard.query("/cosmos.gov.v1.Query/Deposit", &request).unwrap();
    assert_eq!(response.deposit.unwrap().amount, vec![coin::utrain(90 * TRAIN)]);

    yard.ok("v1", &vote("v1", 1, VoteOption::No));
    yard.ok("v1", &vote("v1", 1, VoteOption::Yes));
    yard.ok("v3", &vote("v3", 1, VoteOption::Abstain));
    assert_eq!(query_tally(&yard, 1), ["500000000", "200000000", "0", "0"]);
    yard.export();
    yard.after(PERIOD - 5, &[]);
    assert_eq!(query_proposal(&yard, 1).status(), ProposalStatus::VotingPeriod);
    yard.after(10, &[]);
    let passed = query_proposal(&yard, 1);
    assert_eq!(passed.status(), ProposalStatus::Passed);
    assert_eq!(
        counts(passed.final_tally_result.unwrap()),
        ["500000000", "200000000", "0", "0"]
    );
    assert_eq!(
        yard.event("active_proposal", "proposal_result").as_deref(),
        Some("proposal_passed")
    );
    assert_eq!(yard.worth("bob"), bob + 20 * TRAIN);
    assert_eq!((yard.worth("carol"), yard.held(bank::GOV_DEPOSITS)), (CASH, 0));
    yard.refused("v1", &vote("v1", 1, VoteOption::Yes), ("gov", 3), "passed");
    yard.refused("bob", &deposit("bob", 1, 5 * TRAIN), ("gov", 3), "passed");
    yard.refused("alice", &cancel("alice", 1), ("gov", 3), "passed");
    yard.export();
}

#[test]
fn delegators_override_their_validator_by_parts() {
    let mut yard = yard();
    yard.ok("alice", &delegate("alice", "v1", 100 * TRAIN));
    yard.ok("bob", &delegate("bob", "v1", 50 * TRAIN));
    yard.ok("bob", &delegate("bob", "v2", 60 * TRAIN));
    yard.ok("carol", &submit("carol", Vec::new(), DEPOSIT));
    yard.ok("v1", &vote("v1", 1, VoteOption::Yes));
    assert_eq!(query_tally(&yard, 1)[0], (650 * TRAIN).to_string());
    let part = |option: VoteOption, weight: &str| WeightedVoteOption {
        option: option.into(),
        weight: weight.into(),
    };
    let weighted = |options| MsgVoteWeighted {
        proposal_id: 1,
        voter: address("alice").to_string(),
        options,
        metadata: String::new(),
    };
    yard.ok(
        "alice",
        &weighted(vec![
            part(VoteOption::No, "0.7"),
            part(VoteOption::NoWithVeto, "0.300000000000000000"),
        ]),
    );
    // Bob's stake under v2, which does not vote, counts all the same.
    yard.ok("bob", &vote("bob", 1, VoteOption::Abstain));
    let expected = [500, 110, 70, 30].map(|train| (train * TRAIN).to_string());
    assert_eq!(query_tally(&yard, 1), expected);
    let votes: QueryVotesResponse = yard
        .query(
            "/cosmos.gov.v1.Query/Votes",
            &QueryVotesRequest {
                proposal_id: 1,
                pagination: None,
            },
        )
        .unwrap();
    assert_eq!(votes.votes.len(), 3);
    let voted = |voter: &str| -> Result<QueryVoteResponse, _> {
        let voter = address(voter).to_string();
        yard.query("/cosmos.gov.v1.Query/Vote", &QueryVoteRequest { proposal_id: 1, voter })
    };
    assert_eq!(voted("alice").unwrap().vote.unwrap().options.len(), 2);
    assert!(voted("carol").is_err());
    yard.export();

    let bad = |options| (weighted(options), ("gov", 7));
    for ((message, failure), words) in [
        (bad(vec![]), "sum to 0"),
        (bad(vec![part(VoteOption::Yes, "0.9")]), "sum to 0.9"),
        (
            bad(vec![part(VoteOption::Yes, "0.5"), part(VoteOption::Yes, "0.5")]),
            "stands twice",
        ),
        (
            bad(vec![part(VoteOption::Yes, "1"), part(VoteOption::No, "0")]),
            "no weight",
        ),
        (bad(vec![part(VoteOption::Yes, "-1")]), "from 0 to 1"),
        (bad(vec![part(VoteOption::Unspecified, "1")]), "none of yes"),
    ] {
        yard.refused("alice", &message, failure, words);
    }
    yard.refused(
        "carol",
        &vote("carol", 1, VoteOption::Yes),
        ("gov", 7),
        "0utrain delegated",
    );
    yard.refused("v1", &vote("v1", 2, VoteOption::Yes), ("gov", 17), "does not exist");
}

#[test]
fn small_stake_is_counted_with_its_validator() {
    let mut yard = yard();
    // A hundred-thousandth of 1000 TRAIN is 0.01 TRAIN, less one utrain of rounding.
    yard.ok("alice", &delegate("alice", "v1", 9_999));
    yard.ok("bob", &delegate("bob", "v1", 10_000));
    yard.ok("carol", &submit("carol", Vec::new(), DEPOSIT));
    yard.refused(
        "alice",
        &vote("alice", 1, VoteOption::Yes),
        ("gov", 7),
        "needs 10000utrain",
    );
    yard.ok("bob", &vote("bob", 1, VoteOption::Yes));
}

#[test]
fn what_does_not_pass_is_refunded_or_burned() {
    let mut yard = yard();
    let supply = |yard: &Yard| {
        yard.read(|state| bank::SUPPLY.get(state, &"utrain".to_string()))
            .unwrap()
    };
    let before = supply(&yard);
    // Without quorum: back.
    yard.ok("alice", &submit("alice", Vec::new(), DEPOSIT));
    yard.ok("v3", &vote("v3", 1, VoteOption::Yes));
    // Outvoted: back.
    yard.ok("alice", &submit("alice", Vec::new(), DEPOSIT));
    yard.ok("v1", &vote("v1", 2, VoteOption::No));
    // Vetoed: burned.
    yard.ok("bob", &submit("bob", Vec::new(), DEPOSIT));
    yard.ok("v1", &vote("v1", 3, VoteOption::Yes));
    yard.ok("v2", &vote("v2", 3, VoteOption::NoWithVeto));
    // Never paid: dropped, and back.
    yard.ok("carol", &submit("carol", Vec::new(), 99 * TRAIN));
    yard.after(PERIOD, &[]);
    for id in 1..=3 {
        assert_eq!(query_proposal(&yard, id).status(), ProposalStatus::Rejected, "{id}");
    }
    let request = QueryProposalRequest { proposal_id: 4 };
    let gone = yard.query::<_, QueryProposalResponse>("/cosmos.gov.v1.Query/Proposal", &request);
    assert_eq!(gone.unwrap_err().code, 38);
    assert_eq!(yard.event("inactive_proposal", "proposal_id").as_deref(), Some("4"));
    assert_eq!((yard.worth("alice"), yard.worth("carol")), (CASH, CASH));
    assert_eq!((yard.worth("bob"), supply(&yard)), (CASH - DEPOSIT, before - DEPOSIT));

    // Half is the price of changing one's mind.
    yard.ok("bob", &submit("bob", Vec::new(), DEPOSIT));
    yard.ok("alice", &deposit("alice", 5, 10 * TRAIN));
    yard.refused("alice", &cancel("alice", 5), ("gov", 18), "to cancel");
    yard.ok("v1", &vote("v1", 5, VoteOption::Yes));
    yard.ok("bob", &cancel("bob", 5));
    yard.refused("bob", &cancel("bob", 5), ("gov", 17), "does not exist");
    assert_eq!(supply(&yard), before - DEPOSIT - 55 * TRAIN);
    assert_eq!(yard.worth("alice"), CASH - 5 * TRAIN);
    yard.after(2 * PERIOD, &[]);
    yard.export();
}

#[test]
fn urgent_proposals_need_more_and_fall_back() {
    let mut yard = yard();
    let expedited = |deposit| MsgSubmitProposal {
        expedited: true,
        ..submit("alice", vec![any::pack(&spend(address("bob"), TRAIN))], deposit)
    };
    yard.refused("alice", &expedited(49 * TRAIN), ("gov", 16), "at least 50000000utrain");
    yard.ok("alice", &expedited(500 * TRAIN));
    yard.ok("alice", &expedited(500 * TRAIN));
    for id in [1, 2] {
        yard.ok("v1", &vote("v1", id, VoteOption::Yes));
    }
    yard.ok("v2", &vote("v2", 1, VoteOption::Yes));
    yard.ok("v2", &vote("v2", 2, VoteOption::No));
    yard.after(PERIOD / 2, &[]);
    assert_eq!(query_proposal(&yard, 1).status(), ProposalStatus::Passed);
    // 5 of 8 are not two thirds: it becomes a regular one, and wins as that.
    let slow = query_proposal(&yard, 2);
    assert_eq!((slow.status(), slow.expedited), (ProposalStatus::VotingPeriod, false));
    yard.export();
    yard.after(PERIOD / 2 + 10, &[]);
    assert_eq!(query_proposal(&yard, 2).status(), ProposalStatus::Passed);
    assert_eq!(yard.worth("bob"), CASH + 2 * TRAIN);
}

#[test]
fn messages_run_all_or_none() {
    let mut yard = yard();
    let treasury = yard.held(bank::TREASURY);
    let messages = vec![
        any::pack(&spend(address("bob"), TRAIN)),
        any::pack(&spend(address("bob"), treasury)),
    ];
    let failed = decide(&mut yard, messages);
    assert_eq!(failed.status(), ProposalStatus::Failed);
    assert_eq!(failed.failed_reason, "sdk code 5");
    assert!(yard.event("proposal_failed", "log").unwrap().contains("message 1"));
    assert_eq!((yard.worth("bob"), yard.held(bank::TREASURY)), (CASH, treasury));
    assert_eq!(
        yard.worth("alice"),
        CASH,
        "who proposed it in good faith gets the deposit back"
    );
    yard.export();
}

#[test]
fn proposals_hold_only_what_governance_signs() {
    let mut yard = yard();
    let own = MsgSend {
        from_address: address("alice").to_string(),
        to_address: address("bob").to_string(),
        amount: vec![coin::utrain(1)],
    };
    let nothing = MsgSubmitProposal {
        metadata: String::new(),
        ..submit("alice", Vec::new(), DEPOSIT)
    };
    let nested = submit("alice", vec![any::pack(&submit("alice", Vec::new(), DEPOSIT))], DEPOSIT);
    let unknown = Any {
        type_url: "/cosmos.nothing.v1.MsgNone".into(),
        value: Vec::new(),
    };
    let many = vec![any::pack(&spend(address("bob"), 1)); 33];
    let invalid = any::pack(&spend(address("bob"), 0));
    let titled = |title: &str| MsgSubmitProposal {
        title: title.into(),
        ..submit("alice", Vec::new(), DEPOSIT)
    };
    for (message, failure, words) in [
        (
            submit("alice", vec![any::pack(&own)], DEPOSIT),
            ("gov", 13),
            "expected governance",
        ),
        (nothing, ("gov", 11), "neither"),
        (nested, ("gov", 12), "carries other messages"),
        (
            submit("alice", vec![unknown], DEPOSIT),
            ("gov", 12),
            "unable to resolve",
        ),
        (submit("alice", many, DEPOSIT), ("gov", 12), "at most 32"),
        (submit("alice", vec![invalid], DEPOSIT), ("gov", 12), "zero"),
        (titled(""), ("gov", 15), "title has 0 bytes"),
        (titled(&"x".repeat(256)), ("gov", 15), "256"),
        (
            submit("alice", Vec::new(), 10 * TRAIN - 1),
            ("gov", 16),
            "at least 10000000utrain",
        ),
    ] {
        yard.refused("alice", &message, failure, words);
    }
    yard.ok("alice", &submit("alice", Vec::new(), 10 * TRAIN));
    yard.refused(
        "bob",
        &deposit("bob", 1, TRAIN - 1),
        ("gov", 16),
        "at least 1000000utrain",
    );
    yard.refused("bob", &deposit("bob", 1, 0), ("sdk", 10), "zero");
    yard.refused("bob", &deposit("bob", 9, TRAIN), ("gov", 17), "does not exist");
    let foreign = MsgDeposit {
        depositor: address("carol").to_string(),
        ..deposit("bob", 1, TRAIN)
    };
    yard.refused("bob", &foreign, ("sdk", 8), "does not belong");
}

/// Each message of governance, sent by somebody in governance's name and in their own.
#[test]
fn nobody_else_sends_what_is_governances() {
    let mut yard = yard();
    let messages = |authority: String| -> Vec<Any> {
        vec![
            any::pack(&MsgCommunityPoolSpend {
                authority: authority.clone(),
                ..spend(address("bob"), 1)
            }),
            any::pack(&wire::MsgUpdateParams {
                authority: authority.clone(),
                params: Some(gov::default_params()),
            }),
            any::pack(&staking_wire::MsgUpdateParams {
                authority: authority.clone(),
                params: Some(staking::default_params()),
            }),
            any::pack(&rewards::MsgUpdateParams {
                authority: authority.clone(),
                params: Some(rewards::Params::default()),
            }),
            any::pack(&registry_wire::MsgUpdateParams {
                authority: authority.clone(),
                params: Some(registry::default_params()),
            }),
            any::pack(&job_wire::MsgUpdateParams {
                authority: authority.clone(),
                params: Some(job::default_params()),
            }),
            any::pack(&MsgUpdateMembers {
                authority,
                admit: vec![address("bob").to_string()],
                dismiss: Vec::new(),
            }),
        ]
    };
    for (authority, failure) in [(authority(), ("sdk", 9)), (address("alice"), ("sdk", 4))] {
        for message in messages(authority.to_string()) {
            let url = message.type_url.clone();
            let tx = yard.tx("alice", vec![message]);
            let error = yard.block(&[tx]).remove(0).error.expect("a refusal");
            // Governance has no account to sign with: nobody can be it.
            assert_eq!((error.codespace, error.code), failure, "{url}: {error}");
        }
    }
}

#[test]
fn parameters_of_every_module_change() {
    let mut yard = yard();
    let authority = authority().to_string();
    let mut own = gov::default_params();
    own.quorum = "0.2".into();
    let mut stake = staking::default_params();
    stake.max_validators = 7;
    let mut nodes = registry::default_params();
    nodes.min_worker_bond = 5 * TRAIN;
    let mut jobs = job::default_params();
    jobs.max_rounds = 77;
    let taxed = |tax: &str| {
        any::pack(&rewards::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(rewards::Params {
                community_tax: tax.into(),
                ..Default::default()
            }),
        })
    };
    let messages = vec![
        taxed("20000000000000000"),
        any::pack(&wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(own.clone()),
        }),
        any::pack(&staking_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(stake.clone()),
        }),
        any::pack(&registry_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(nodes),
        }),
        any::pack(&job_wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(jobs),
        }),
    ];
    let passed = decide(&mut yard, messages);
    assert_eq!(passed.status(), ProposalStatus::Passed, "{}", passed.failed_reason);
    let genesis = yard.export();
    assert_eq!((&genesis.gov.params, &genesis.staking.params), (&own, &stake));
    let distribution = genesis.distribution.params;
    assert_eq!(distribution.community_tax.to_string(), "0.020000000000000000");
    assert!(!distribution.withdraw_addr_enabled);
    assert_eq!((genesis.registry.params, genesis.job.params), (nodes, jobs));
    let response: QueryParamsResponse = yard
        .query("/cosmos.gov.v1.Query/Params", &QueryParamsRequest::default())
        .unwrap();
    assert_eq!(response.params, Some(own));

    // What a genesis would not take, a proposal cannot hold.
    let bend = |change: fn(&mut wire::Params)| {
        let mut params = gov::default_params();
        change(&mut params);
        any::pack(&wire::MsgUpdateParams {
            authority: authority.clone(),
            params: Some(params),
        })
    };
    let wrong: Vec<(Any, &str)> = vec![
        (bend(|p| p.quorum = "1.1".into()), "quorum"),
        (bend(|p| p.threshold = "0".into()), "threshold"),
        (bend(|p| p.veto_threshold = "x".into()), "veto_threshold"),
        (bend(|p| p.expedited_threshold = "0.4".into()), "expedited_threshold"),
        (bend(|p| p.min_deposit = Vec::new()), "min_deposit"),
        (bend(|p| p.voting_period = None), "voting_period"),
        (
            bend(|p| p.expedited_voting_period = p.voting_period),
            "expedited_voting_period",
        ),
        (
            bend(|p| p.proposal_cancel_dest = Address::of_module(bank::ESCROW).to_string()),
            "module's account",
        ),
        (
            any::pack(&registry_wire::MsgUpdateParams {
                authority: authority.clone(),
                params: None,
            }),
            "no params",
        ),
        (taxed("1000000000000000001"), "community_tax"),
        (taxed("0.1"), "without a point"),
    ];
    for (message, words) in wrong {
        yard.refused("alice", &submit("alice", vec![message], DEPOSIT), ("gov", 12), words);
    }
}

#[test]
fn membership_is_governances_to_give() {
    let mut yard = yard();
    let register = |name: &str| MsgRegister {
        owner: address(name).to_string(),
        operator: String::new(),
        roles: vec![1],
        bond: Some(coin::utrain(100 * TRAIN)),
        peer_id: format!("12D3KooW{name:a<44}"),
        x25519_key: vec![1; 32],
        capability_hash: vec![2; 32],
        classes: vec![2],
        moniker: String::new(),
    };
    yard.ok("alice", &register("alice"));
    let mut params = registry::default_params();
    params.allow_listed = true;
    let admit = MsgUpdateMembers {
        authority: authority().to_string(),
        admit: vec![address("bob").to_string()],
        dismiss: Vec::new(),
    };
    let close = registry_wire::MsgUpdateParams {
        authority: authority().to_string(),
        params: Some(params),
    };
    let passed = decide(&mut yard, vec![any::pack(&close), any::pack(&admit)]);
    assert_eq!(passed.status(), ProposalStatus::Passed, "{}", passed.failed_reason);
    assert_eq!(
        yard.event("member_admitted", "owner").as_deref(),
        Some(address("bob").to_string()).as_deref()
    );
    yard.refused("carol", &register("carol"), ("registry", 9), "not among the members");
    yard.ok("bob", &register("bob"));
    let role = registry_wire::Role::Worker;
    let works = |yard: &Yard, name: &str| {
        yard.try_read(|s| registry::node_with_role(s, 1, &address(name), role))
            .is_ok()
    };
    assert!(works(&yard, "bob") && !works(&yard, "alice"));
    yard.export();

    let dismiss = MsgUpdateMembers {
        admit: vec![address("alice").to_string()],
        dismiss: vec![address("bob").to_string()],
        ..admit.clone()
    };
    assert_eq!(
        decide(&mut yard, vec![any::pack(&dismiss)]).status(),
        ProposalStatus::Passed
    );
    assert!(works(&yard, "alice") && !works(&yard, "bob"));
    let members: registry_wire::QueryMembersResponse = yard
        .query(
            "/trainyard.registry.v1.Query/Members",
            &registry_wire::QueryMembersRequest::default(),
        )
        .unwrap();
    assert_eq!(members.members, vec![address("alice").to_string()]);

    let twice = MsgUpdateMembers {
        dismiss: admit.admit.clone(),
        ..admit
    };
    let nobody = MsgUpdateMembers {
        authority: authority().to_string(),
        ..MsgUpdateMembers::default()
    };
    for (message, words) in [(twice, "stands twice"), (nobody, "0 accounts")] {
        let message = submit("alice", vec![any::pack(&message)], DEPOSIT);
        yard.refused("alice", &message, ("gov", 12), words);
    }
}

#[test]
fn proposals_are_listed_in_pages() {
    let mut yard = yard();
    for _ in 0..3 {
        yard.ok("alice", &submit("alice", Vec::new(), DEPOSIT));
    }
    yard.ok("bob", &submit("bob", Vec::new(), 10 * TRAIN));
    yard.ok("v1", &vote("v1", 2, VoteOption::Yes));
    let list = |request: &QueryProposalsRequest| -> QueryProposalsResponse {
        yard.query("/cosmos.gov.v1.Query/Proposals", request).unwrap()
    };
    let ids = |request: &QueryProposalsRequest| list(request).proposals.iter().map(|p| p.id).collect::<Vec<_>>();
    assert_eq!(ids(&QueryProposalsRequest::default()), [1, 2, 3, 4]);
    let voting = QueryProposalsRequest {
        proposal_status: ProposalStatus::VotingPeriod.into(),
        ..Default::default()
    };
    assert_eq!(ids(&voting), [1, 2, 3]);
    let by_voter = QueryProposalsRequest {
        voter: address("v1").to_string(),
        ..Default::default()
    };
    assert_eq!(ids(&by_voter), [2]);
    let by_depositor = QueryProposalsRequest {
        depositor: address("bob").to_string(),
        ..Default::default()
    };
    assert_eq!(ids(&by_depositor), [4]);

    // Pages of votes end with the proposal's, and begin where they are told.
    for voter in ["v2", "v3"] {
        yard.ok(voter, &vote(voter, 2, VoteOption::Yes));
        yard.ok(voter, &vote(voter, 3, VoteOption::Yes));
    }
    let mut page = trainyard_proto::cosmos::base::query::v1beta1::PageRequest {
        limit: 2,
        ..Default::default()
    };
    let mut seen = 0;
    loop {
        let request = QueryVotesRequest {
            proposal_id: 2,
            pagination: Some(page.clone()),
        };
        let response: QueryVotesResponse = yard.query("/cosmos.gov.v1.Query/Votes", &request).unwrap();
        assert!(response.votes.iter().all(|v| v.proposal_id == 2));
        seen += response.votes.len();
        page.key = response.pagination.unwrap().next_key;
        if page.key.is_empty() {
            break;
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn many_endings_are_spread_over_blocks() {
    let mut yard = yard();
    let submit = any::pack(&submit("alice", Vec::new(), 10 * TRAIN));
    let tx = yard.tx("alice", vec![submit; 25]);
    assert_eq!(yard.block(&[tx]).remove(0).error, None);
    let open = |yard: &Yard| yard.read(|state| gov::PROPOSALS.all(state)).len();
    let mut left = Vec::new();
    for wait in [PERIOD, 1, 1] {
        yard.after(wait, &[]);
        left.push(open(&yard));
    }
    assert_eq!(left, [15, 5, 0]);
    assert_eq!(yard.balance(address("alice")), CASH - FEE);
}

/// A block ends few proposals. Those that wait for their end take no more votes and deposits: nobody gains time by filling
/// the queue.
#[test]
fn who_waits_in_a_queue_gains_no_time() {
    let mut yard = yard();
    for _ in 0..12 {
        yard.ok("alice", &submit("alice", Vec::new(), DEPOSIT));
    }
    yard.after(PERIOD + 100, &[]);
    let status = |yard: &Yard, id| yard.read(|state| gov::proposal(state, id)).status();
    assert_eq!(status(&yard, 10), ProposalStatus::Rejected);
    assert_eq!(status(&yard, 12), ProposalStatus::VotingPeriod);
    let txs = [
        yard.tx("v1", vec![any::pack(&vote("v1", 12, VoteOption::Yes))]),
        yard.tx("bob", vec![any::pack(&deposit("bob", 12, 10 * TRAIN))]),
        yard.tx("alice", vec![any::pack(&cancel("alice", 12))]),
    ];
    for result in yard.block(&txs) {
        let error = result.error.expect("a refusal");
        assert_eq!((error.codespace, error.code), ("gov", 3), "{error}");
        assert!(error.log.contains("waiting for its end"), "{error}");
    }
    assert_eq!(status(&yard, 12), ProposalStatus::Rejected);
}

/// The next block has no price outside of the bounds that governance has just set, and an export of this one none that its
/// import would change.
#[test]
fn the_base_fee_is_between_new_bounds_at_once() {
    let mut yard = yard();
    let params = fees_wire::Params {
        min_base_fee: 1,
        max_base_fee: 7,
        ..fees::default_params()
    };
    let message = fees_wire::MsgUpdateParams {
        authority: authority().to_string(),
        params: Some(params),
    };
    yard.ok("alice", &submit("alice", vec![any::pack(&message)], DEPOSIT));
    yard.ok("v1", &vote("v1", 1, VoteOption::Yes));
    assert!(yard.read(|state| fees::BASE_FEE.get(state)) > 7);
    yard.after(PERIOD + 1, &[]);
    assert_eq!(yard.read(|state| fees::PARAMS.get(state)).max_base_fee, 7);
    assert_eq!(yard.read(|state| fees::BASE_FEE.get(state)), 7);
    yard.export();
}
