//! Validators that go down and validators that vote twice, on real CometBFT.

use tendermint::block::{CommitSig, Height};
use tendermint_rpc::{Client as _, HttpClient, Paging};
use trainyard_app::testing::network::{Network, Node};
use trainyard_client::rpc::Client;
use trainyard_modules::slashing::Params;
use trainyard_proto::address::Address;
use trainyard_proto::any;
use trainyard_proto::coin::{self, UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::slashing::v1beta1::{
    QuerySigningInfoRequest, QuerySigningInfoResponse, ValidatorSigningInfo,
};
use trainyard_proto::cosmos::staking::v1beta1::{
    BondStatus, MsgDelegate, MsgUndelegate, QueryDelegationRequest, QueryDelegationResponse, QueryValidatorRequest,
    QueryValidatorResponse, Validator,
};
use trainyard_proto::dec::Dec;

use super::{LONG_PATIENCE, PATIENCE, assert_agreement, change_genesis, command, signer, supply, wait_for};

const EPOCH: u64 = 5;
/// What a validator of these networks stakes, utrain.
const STAKE: u64 = 1000 * UTRAIN_PER_TRAIN;
/// What alice delegates to the last validator and leaves there, utrain.
const DELEGATED: u64 = 300_000_001;
/// What she takes back before anything happens, utrain.
const TAKEN_BACK: u64 = 33_333_333;
/// The power of that validator.
const POWER: u64 = (STAKE + DELEGATED) / UTRAIN_PER_TRAIN;

/// Four validators, of which alice has delegated to the last one and taken a part back.
async fn four_validators() -> Network {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 4, |plan| {
        plan.epoch_blocks = Some(EPOCH);
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
    });
    change_genesis(&network, |genesis| {
        genesis.slashing.params = Params {
            // Wide enough that a node which is only slow on a busy machine is not taken for one that is down.
            signed_blocks_window: 20,
            min_signed_per_window: Dec::ratio(1, 5).unwrap(),
            downtime_jail_seconds: 1,
            ..genesis.slashing.params.clone()
        };
    });
    for node in &mut network.nodes {
        node.start(&[]);
    }
    network.wait_height(1, PATIENCE).await;
    let alice = signer(&network, network.client(), "alice");
    let (delegator_address, validator_address) = (alice.address().to_string(), operator(&network));
    let delegate = MsgDelegate {
        delegator_address: delegator_address.clone(),
        validator_address: validator_address.clone(),
        amount: Some(utrain(DELEGATED + TAKEN_BACK)),
    };
    let undelegate = MsgUndelegate {
        delegator_address,
        validator_address,
        amount: Some(utrain(TAKEN_BACK)),
    };
    alice
        .send(vec![any::pack(&delegate), any::pack(&undelegate)])
        .await
        .unwrap();
    wait_for("the stake to have its power", LONG_PATIENCE, async || {
        (power(&network, &network.nodes[0]).await == Some(POWER)).then_some(())
    })
    .await;
    network
}

fn operator(network: &Network) -> String {
    network.key("validator3").address().operator()
}

fn consensus(network: &Network) -> Address {
    Address::of_consensus_key(&network.nodes[3].home.identity().unwrap().consensus_key)
}

/// The power that CometBFT gives the last validator in its newest set.
async fn power(network: &Network, node: &Node) -> Option<u64> {
    let rpc = HttpClient::new(node.rpc.as_str()).unwrap();
    let height = rpc.status().await.unwrap().sync_info.latest_block_height;
    let set = rpc.validators(height, Paging::All).await.unwrap().validators;
    let own = consensus(network);
    let found = set.iter().find(|v| v.address.as_bytes() == own.0);
    found.map(|v| v.power.value())
}

/// Whether the last validator's vote is in the commit of a height.
async fn has_signed(network: &Network, height: u64) -> bool {
    let rpc = HttpClient::new(network.nodes[0].rpc.as_str()).unwrap();
    let commit = rpc.commit(Height::try_from(height).unwrap()).await.unwrap();
    let own = consensus(network);
    let mut votes = commit.signed_header.commit.signatures.iter();
    votes.any(|vote| {
        matches!(vote, CommitSig::BlockIdFlagCommit { validator_address, .. } if validator_address.as_bytes() == own.0)
    })
}

async fn validator(network: &Network) -> Validator {
    let request = QueryValidatorRequest {
        validator_addr: operator(network),
    };
    let path = "/cosmos.staking.v1beta1.Query/Validator";
    let answer: QueryValidatorResponse = network.client().query(path, &request).await.unwrap();
    answer.validator.unwrap()
}

async fn signing_info(network: &Network) -> ValidatorSigningInfo {
    let request = QuerySigningInfoRequest {
        cons_address: consensus(network).consensus(),
    };
    let path = "/cosmos.slashing.v1beta1.Query/SigningInfo";
    let answer: QuerySigningInfoResponse = network.client().query(path, &request).await.unwrap();
    answer.val_signing_info.unwrap()
}

/// What a delegation to the last validator is worth, utrain.
async fn delegation(network: &Network, client: &Client, name: &str) -> u64 {
    let request = QueryDelegationRequest {
        delegator_addr: network.key(name).address().to_string(),
        validator_addr: operator(network),
    };
    let path = "/cosmos.staking.v1beta1.Query/Delegation";
    let answer: QueryDelegationResponse = client.query(path, &request).await.unwrap();
    coin::parse_utrain(answer.delegation_response.unwrap().balance.as_ref()).unwrap()
}

/// Waits until the last validator is jailed, and sees who has paid for it: validator and delegators by their shares, nobody
/// else, and nobody got it.
async fn jailed_for(network: &Network, before: u64, percent: u64) -> Validator {
    let jailed = wait_for("the validator to be jailed", LONG_PATIENCE, async || {
        Some(validator(network).await).filter(|v| v.jailed)
    })
    .await;
    let burned = POWER * UTRAIN_PER_TRAIN * percent / 100;
    let (stake, left) = (STAKE + DELEGATED, STAKE + DELEGATED - burned);
    assert_eq!(jailed.tokens, left.to_string());
    let client = network.client();
    let worth = |shares: u64| u64::try_from(u128::from(shares) * u128::from(left) / u128::from(stake)).unwrap();
    assert_eq!(delegation(network, &client, "alice").await, worth(DELEGATED));
    assert_eq!(delegation(network, &client, "validator3").await, worth(STAKE));
    assert_eq!(supply(&client).await, before - burned);
    // What was on its way back before it happened is free.
    let arguments = ["query", "staking", "unbonding-delegation", "alice", &operator(network)];
    let unbonding = command(network, &network.nodes[0], &arguments).unwrap();
    let balance = &unbonding["unbond"]["entries"][0]["balance"];
    assert_eq!(*balance, TAKEN_BACK.to_string(), "{unbonding}");
    jailed
}

/// Waits until CometBFT's validators are without the last one.
async fn leaves_the_set(network: &Network) {
    wait_for("the validator to leave the set", LONG_PATIENCE, async || {
        power(network, &network.nodes[0]).await.is_none().then_some(())
    })
    .await;
    assert_eq!(validator(network).await.status(), BondStatus::Unbonding);
}

fn unjail(network: &Network, name: &str) -> Result<serde_json::Value, String> {
    // At its own node, as its operator would.
    let node = &network.nodes[usize::from(name.as_bytes()[9] - b'0')];
    command(network, node, &["tx", "slashing", "unjail", "--from", name, "--yes"])
}

#[tokio::test]
async fn a_validator_that_goes_down_is_jailed_and_comes_back() {
    let mut network = four_validators().await;
    let before = supply(&network.client()).await;
    network.nodes[3].kill();
    jailed_for(&network, before, 1).await;
    assert!(!signing_info(&network).await.tombstoned);
    leaves_the_set(&network).await;
    // The others did nothing wrong.
    let error = unjail(&network, "validator0").unwrap_err();
    assert!(error.contains("is not jailed"), "{error}");

    // It comes back, catches up and asks to vote again.
    network.nodes[3].start(&[]);
    let height = network.nodes[0].height().await.unwrap();
    network.nodes[3].wait_height(height, LONG_PATIENCE).await;
    unjail(&network, "validator3").unwrap();
    assert!(!validator(&network).await.jailed);
    let power_left = POWER - POWER / 100;
    wait_for("the validator to be in the set again", LONG_PATIENCE, async || {
        (power(&network, &network.nodes[0]).await == Some(power_left)).then_some(())
    })
    .await;
    let height = network.nodes[0].height().await.unwrap();
    let mut next = height;
    wait_for("its vote", LONG_PATIENCE, async || {
        network.nodes[0].wait_height(next + 1, PATIENCE).await;
        next += 1;
        has_signed(&network, next - 1).await.then_some(())
    })
    .await;

    // It stays, for longer than what it had missed would have let it.
    network.wait_height(height + 25, LONG_PATIENCE).await;
    let found = validator(&network).await;
    assert_eq!((found.jailed, found.status()), (false, BondStatus::Bonded));
    assert_agreement(&mut network, height).await;
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}

#[tokio::test]
async fn a_validator_that_runs_twice_is_slashed_and_never_votes_again() {
    let mut network = four_validators().await;
    let before = supply(&network.client()).await;
    // The mistake that operators make: the same validator key on a second node, which knows nothing of the first one's votes.
    let file = "config/priv_validator_key.json";
    let key = network.nodes[3].home.path().join(file);
    let twin = network.add_full_node();
    std::fs::copy(key, twin.home.path().join(file)).unwrap();
    twin.start(&[]);
    jailed_for(&network, before, 5).await;
    let info = signing_info(&network).await;
    assert!(info.tombstoned, "{info:?}");
    leaves_the_set(&network).await;

    // For good, whoever asks; whoever believed in it can still leave.
    let error = unjail(&network, "validator3").unwrap_err();
    assert!(error.contains("has voted twice and stays jailed for good"), "{error}");
    let own = delegation(&network, &network.client(), "alice").await;
    let amount = format!("{own}utrain");
    let leave = [
        "tx",
        "staking",
        "unbond",
        &operator(&network),
        &amount,
        "--from",
        "alice",
        "--yes",
    ];
    command(&network, &network.nodes[0], &leave).unwrap();
    let height = network.nodes[0].height().await.unwrap();
    network.wait_height(height + 2 * EPOCH, LONG_PATIENCE).await;
    assert_eq!(power(&network, &network.nodes[0]).await, None);
    assert_agreement(&mut network, height).await;
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}
