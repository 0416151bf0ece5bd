//! A chain that is stopped, and one that goes on from its exported state.

use serde_json::Value;
use trainyard_app::node::genesis::GenesisDoc;
use trainyard_app::testing::network::Network;
use trainyard_app::testing::peer_id;
use trainyard_client::rpc::Client;
use trainyard_client::tx::{Draft, SignerData};
use trainyard_modules::governed::authority;
use trainyard_modules::staking;
use trainyard_proto::address::Address;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::gov::v1::{MsgSubmitProposal, MsgVote, ProposalStatus, QueryProposalRequest};
use trainyard_proto::cosmos::gov::v1::{QueryProposalResponse, VoteOption};
use trainyard_proto::cosmos::staking::v1beta1::{MsgDelegate, MsgUndelegate, MsgUpdateParams};
use trainyard_proto::job::{
    DataRef, Deadlines, Job, JobSpec, JobState, MsgPostJob, Optimizer, Paradigm, Provider, QueryJobRequest,
    QueryJobResponse, Requirements, Task,
};
use trainyard_proto::registry::VerificationClass;

use super::{
    LONG_PATIENCE, PATIENCE, assert_agreement, balance, change_genesis, command, run, send, signer, supply, wait_for,
};

/// Seconds of a vote, and of unbonding: longer than the first chain lives after they begin.
const WAIT: i64 = 25;
/// Blocks for which the job waits for workers.
const OPEN: u32 = 150;
const BUDGET: u64 = 1000 * UTRAIN_PER_TRAIN;
const DEPOSIT: u64 = 100 * UTRAIN_PER_TRAIN;
const TAKEN_BACK: u64 = 7_000_001;

/// A job that nobody will take.
fn spec() -> JobSpec {
    let data = |split: &str| {
        Some(DataRef {
            manifest_cid: format!("bafy{split:a<55}"),
            plaintext_root: vec![1; 32],
            samples: 1000,
            encrypted: false,
        })
    };
    JobSpec {
        name: "digits".into(),
        model_cid: format!("bafy{:a<55}", "model"),
        start_root: vec![2; 32],
        task: Some(Task {
            loss: "cross_entropy".into(),
            metric: "accuracy".into(),
            optimizer: Some(Optimizer {
                name: "sgd".into(),
                learning_rate: "0.05".into(),
                ..Optimizer::default()
            }),
            batch_size: 32,
            local_steps: 10,
            ..Task::default()
        }),
        train: data("train"),
        test: data("test"),
        provider: Some(Provider {
            peer_id: peer_id("alice"),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        }),
        paradigm: Paradigm::Federated.into(),
        verification: VerificationClass::Pinned.into(),
        requirements: Some(Requirements {
            min_workers: 2,
            max_workers: 3,
            evaluators: 2,
            ..Requirements::default()
        }),
        rounds: 2,
        deadlines: Some(Deadlines {
            open: OPEN,
            grant: 5,
            round: 5,
            submit: 5,
        }),
        partial_share_bp: 5_000,
        macs_per_sample: 1_000,
        ..JobSpec::default()
    }
}

/// A life: delegations, one of them on its way back, a job in escrow, a proposal that all stake of alice votes for.
fn live(network: &Network) -> Vec<Any> {
    let alice = network.key("alice").address().to_string();
    let validator_address = network.key("validator0").address().operator();
    let delegate = MsgDelegate {
        delegator_address: alice.clone(),
        validator_address: validator_address.clone(),
        amount: Some(utrain(4000 * UTRAIN_PER_TRAIN)),
    };
    let undelegate = MsgUndelegate {
        delegator_address: alice.clone(),
        validator_address,
        amount: Some(utrain(TAKEN_BACK)),
    };
    let post = MsgPostJob {
        client: alice.clone(),
        spec: Some(spec()),
        budget: Some(utrain(BUDGET)),
    };
    let mut params = staking::default_params();
    params.max_entries = 5;
    let change = MsgUpdateParams {
        authority: authority().to_string(),
        params: Some(params),
    };
    let submit = MsgSubmitProposal {
        messages: vec![any::pack(&change)],
        initial_deposit: vec![utrain(DEPOSIT)],
        proposer: alice.clone(),
        title: "Fewer entries".into(),
        summary: "Five are enough.".into(),
        ..MsgSubmitProposal::default()
    };
    let vote = MsgVote {
        proposal_id: 1,
        voter: alice,
        option: VoteOption::Yes.into(),
        metadata: String::new(),
    };
    vec![
        any::pack(&delegate),
        any::pack(&undelegate),
        any::pack(&post),
        any::pack(&submit),
        any::pack(&vote),
    ]
}

async fn job(client: &Client) -> Job {
    let path = "/trainyard.job.v1.Query/Job";
    let answer: QueryJobResponse = client.query(path, &QueryJobRequest { job_id: 1 }).await.unwrap();
    answer.job.unwrap()
}

async fn proposal(client: &Client) -> ProposalStatus {
    let path = "/cosmos.gov.v1.Query/Proposal";
    let request = QueryProposalRequest { proposal_id: 1 };
    let answer: QueryProposalResponse = client.query(path, &request).await.unwrap();
    answer.proposal.unwrap().status()
}

#[tokio::test]
async fn a_chain_goes_on_from_the_export_of_another() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 3, |plan| {
        plan.accounts = vec![("alice".into(), 10_000 * UTRAIN_PER_TRAIN)];
        plan.epoch_blocks = Some(10);
    });
    change_genesis(&network, |genesis| {
        genesis.staking.params.unbonding_time.as_mut().unwrap().seconds = WAIT;
        genesis.gov.params.voting_period.as_mut().unwrap().seconds = WAIT;
        genesis.gov.params.expedited_voting_period.as_mut().unwrap().seconds = WAIT - 1;
    });
    for node in &mut network.nodes {
        node.start(&[]);
    }
    network.wait_height(1, PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    let posted = alice.send(live(&network)).await.unwrap().height;
    let money = supply(&network.client()).await;

    // All stop at one height, and then say the same about it.
    let height = network.nodes[0].height().await.unwrap() + 5;
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
        node.start(&["--halt-height", &height.to_string()]);
    }
    let mut exports = Vec::new();
    for (index, node) in network.nodes.iter_mut().enumerate() {
        assert_eq!(node.wait_exit(LONG_PATIENCE).code(), Some(0), "{}", node.log());
        let file = network.plan.folder.join(format!("export{index}.json"));
        let arguments = ["export", "--chain-id", "trainyard-test-2", "--output-document"];
        run(&[
            &arguments[..],
            &[file.to_str().unwrap(), "--home", node.home.path().to_str().unwrap()],
        ]
        .concat())
        .unwrap();
        exports.push(std::fs::read_to_string(file).unwrap());
    }
    assert!(exports.iter().all(|export| *export == exports[0]), "exports differ");
    let exported: GenesisDoc = serde_json::from_str(&exports[0]).unwrap();
    assert_eq!(exported.initial_height, (height + 1).to_string());
    let unbonding = |genesis: &GenesisDoc| genesis.app_state.staking.unbonding.len();
    assert_eq!(unbonding(&exported), 1);
    let has = |owner: Address| {
        let balances = &exported.app_state.bank.balances;
        balances
            .iter()
            .find(|b| b.address == owner.to_string())
            .map_or(0, |b| b.amount)
    };

    // Blocks of the first chain are of no use to the second one, and a node says so.
    let node = &mut network.nodes[0];
    std::fs::write(node.home.genesis(), &exports[0]).unwrap();
    node.start(&[]);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1), "{}", node.log());
    assert!(node.log().contains("trainyard unsafe-reset-all"), "{}", node.log());
    for node in &mut network.nodes {
        std::fs::write(node.home.genesis(), &exports[0]).unwrap();
        run(&["unsafe-reset-all", "--home", node.home.path().to_str().unwrap()]).unwrap();
        node.start(&[]);
    }
    let error = run(&[
        "unsafe-reset-all",
        "--home",
        network.nodes[0].home.path().to_str().unwrap(),
    ])
    .unwrap_err();
    assert!(error.contains("stop it first"), "{error}");
    let old_chain = std::mem::replace(&mut network.plan.chain_id, exported.chain_id.clone());
    network.wait_height(height + 2, LONG_PATIENCE).await;
    let client = network.client();
    assert_eq!(
        client.status().await.unwrap().node_info.network.as_str(),
        "trainyard-test-2"
    );
    assert_eq!(balance(&client, alice.address()).await, has(alice.address()));
    assert_eq!(supply(&client).await, money);

    // What was signed for the first chain does not count here, nor does what it has executed already.
    let account = client.account(&alice.address()).await.unwrap().unwrap();
    let draft = Draft {
        messages: send(alice.address(), Address([9; 20]), 5),
        fee: 1000,
        gas_limit: 200_000,
        ..Draft::default()
    };
    let data = |chain_id| SignerData {
        chain_id,
        account_number: account.account_number,
        sequence: account.sequence,
    };
    let error = client
        .broadcast(draft.sign(&network.key("alice"), data(&old_chain)))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("trainyard-test-2"), "{error}");

    // What had begun goes on: the job finds nobody in time, the money comes back, the votes are counted.
    wait_for("the job's deadline", LONG_PATIENCE, async || {
        let job = job(&client).await;
        match job.state() {
            JobState::Open => None,
            JobState::Cancelled => Some(()),
            other => panic!("the job is {other:?}"),
        }
    })
    .await;
    assert!(client.status().await.unwrap().sync_info.latest_block_height.value() >= posted + u64::from(OPEN));
    wait_for("the votes to be counted", LONG_PATIENCE, async || {
        match proposal(&client).await {
            ProposalStatus::VotingPeriod => None,
            ProposalStatus::Passed => Some(()),
            other => panic!("the proposal is {other:?}"),
        }
    })
    .await;
    // The node that is asked now may be a block behind the one that was asked before.
    let counted = network.nodes[0].height().await.unwrap();
    network.wait_height(counted + 1, PATIENCE).await;
    let ask = |arguments: &[&str]| command(&network, &network.nodes[1], arguments).unwrap();
    assert_eq!(ask(&["query", "staking", "params"])["params"]["max_entries"], 5);
    wait_for("the stake to come back", LONG_PATIENCE, async || {
        let left = ask(&["query", "staking", "unbonding-delegations", "alice"]);
        left["unbonding_responses"]
            .as_array()
            .is_none_or(Vec::is_empty)
            .then_some(())
    })
    .await;
    assert_eq!(
        balance(&client, alice.address()).await,
        has(alice.address()) + BUDGET + DEPOSIT + TAKEN_BACK
    );
    assert_eq!(balance(&client, Address::of_module("job_escrow")).await, 0);

    // And new things begin, for a node as well that has never seen the first chain.
    let alice = signer(&network, network.client(), "alice");
    alice.send(send(alice.address(), Address([9; 20]), 5)).await.unwrap();
    let delegations = ask(&["query", "staking", "delegations", "alice"]);
    assert!(
        matches!(delegations["delegation_responses"], Value::Array(_)),
        "{delegations}"
    );
    network.add_full_node().start(&[]);
    let now = network.nodes[0].height().await.unwrap();
    assert_agreement(&mut network, now).await;
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}
