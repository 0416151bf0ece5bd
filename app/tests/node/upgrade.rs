//! An upgrade that governance decides, from this program to the next (`next.rs`), on real CometBFT.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use trainyard_app::testing::network::{Network, Node};
use trainyard_modules::governed::authority;
use trainyard_proto::any::{self, Any};
use trainyard_proto::coin::{UTRAIN_PER_TRAIN, utrain};
use trainyard_proto::cosmos::gov::v1::{MsgSubmitProposal, MsgVote, VoteOption};
use trainyard_proto::cosmos::staking::v1beta1::{MsgDelegate, MsgUndelegate};
use trainyard_proto::cosmos::upgrade::v1beta1::{MsgSoftwareUpgrade, Plan};

use super::{
    LONG_PATIENCE, PATIENCE, assert_agreement, balance, change_genesis, command, send, signer, wait_comet_gone,
};

/// Seconds of a vote.
const VOTE: i64 = 3;
/// Blocks from the proposal to the upgrade: more than a vote can see, ten in a second.
const AHEAD: u64 = 80;

/// Puts the programs where cosmovisor has them, `current` being the first one, which the node is started from.
fn lay_out(node: &mut Node) -> PathBuf {
    let folder = node.home.path().join("cosmovisor");
    for (name, program) in [
        ("genesis", env!("CARGO_BIN_EXE_trainyard")),
        ("upgrades/v2", env!("CARGO_BIN_EXE_trainyard-next")),
    ] {
        let bin = folder.join(name).join("bin");
        fs::create_dir_all(&bin).unwrap();
        symlink(program, bin.join("trainyard")).unwrap();
    }
    symlink("genesis", folder.join("current")).unwrap();
    node.program = folder.join("current/bin/trainyard");
    folder
}

/// What cosmovisor does when a node has stopped: the program named by `upgrade-info.json` becomes the current one.
fn follow(node: &Node, folder: &Path) -> Value {
    let written = fs::read_to_string(node.home.data().join("upgrade-info.json")).unwrap();
    let info: Value = serde_json::from_str(&written).unwrap();
    let next = Path::new("upgrades").join(info["name"].as_str().unwrap());
    assert!(folder.join(&next).join("bin/trainyard").is_file());
    fs::remove_file(folder.join("current")).unwrap();
    symlink(next, folder.join("current")).unwrap();
    info
}

/// Starts a node from a program that refuses; gives what it says.
fn refuses(node: &mut Node, program: &Path) -> String {
    let own = std::mem::replace(&mut node.program, program.into());
    node.start(&[]);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1), "{}", node.log());
    node.program = own;
    wait_comet_gone(node, Duration::ZERO);
    node.log()
}

/// A number, which protobuf's JSON writes as text where it has 64 bits.
fn number(json: &Value) -> Option<u64> {
    json.to_string().trim_matches('"').parse().ok()
}

/// Delegates so much to every validator that her vote decides, takes some back, proposes the upgrade and votes for it.
fn decide(network: &Network, height: u64) -> Vec<Any> {
    let alice = network.key("alice").address().to_string();
    let validators = (0..4).map(|number| network.key(&format!("validator{number}")).address().operator());
    let mut messages: Vec<_> = validators
        .map(|validator_address| {
            any::pack(&MsgDelegate {
                delegator_address: alice.clone(),
                validator_address,
                amount: Some(utrain(2000 * UTRAIN_PER_TRAIN)),
            })
        })
        .collect();
    messages.push(any::pack(&MsgUndelegate {
        delegator_address: alice.clone(),
        validator_address: network.key("validator1").address().operator(),
        amount: Some(utrain(7)),
    }));
    let plan = MsgSoftwareUpgrade {
        authority: authority().to_string(),
        plan: Some(Plan {
            name: "v2".into(),
            height: i64::try_from(height).unwrap(),
            info: "https://example.org/v2".into(),
            ..Plan::default()
        }),
    };
    messages.push(any::pack(&MsgSubmitProposal {
        messages: vec![any::pack(&plan)],
        initial_deposit: vec![utrain(100 * UTRAIN_PER_TRAIN)],
        proposer: alice.clone(),
        title: "v2".into(),
        summary: "It keeps the validators of past heights.".into(),
        ..MsgSubmitProposal::default()
    }));
    messages.push(any::pack(&MsgVote {
        proposal_id: 1,
        voter: alice,
        option: VoteOption::Yes.into(),
        metadata: String::new(),
    }));
    messages
}

#[tokio::test]
async fn an_upgrade_that_governance_decides_is_carried_out_by_the_next_program() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 4, |plan| {
        plan.accounts = vec![("alice".into(), 10_000 * UTRAIN_PER_TRAIN)];
    });
    change_genesis(&network, |genesis| {
        genesis.gov.params.voting_period.as_mut().unwrap().seconds = VOTE;
        genesis.gov.params.expedited_voting_period.as_mut().unwrap().seconds = VOTE - 1;
    });
    let folders: Vec<_> = network.nodes.iter_mut().map(lay_out).collect();
    let (this, next) = (
        folders[0].join("genesis/bin/trainyard"),
        folders[0].join("upgrades/v2/bin/trainyard"),
    );
    for node in &mut network.nodes {
        node.start(&[]);
    }
    network.wait_height(1, PATIENCE).await;
    let height = network.nodes[0].height().await.unwrap() + AHEAD;
    let alice = signer(&network, network.client(), "alice");
    alice.send(decide(&network, height)).await.unwrap();
    let asked = |network: &Network, arguments: &[&str]| {
        command(network, &network.nodes[0], &[&["query", "upgrade"], arguments].concat()).unwrap()
    };
    super::wait_for("the plan", LONG_PATIENCE, async || {
        (number(&asked(&network, &["plan"])["plan"]["height"]) == Some(height)).then_some(())
    })
    .await;

    // The next program is too early. The others do without this node meanwhile.
    let last = &mut network.nodes[3];
    assert_eq!(last.stop().code(), Some(0), "{}", last.log());
    let said = refuses(last, &next);
    assert!(said.contains("BINARY UPDATED BEFORE TRIGGER! UPGRADE \"v2\""), "{said}");
    last.start(&[]);

    // Every node stops right before the height, and this program goes no further.
    let needed = format!("UPGRADE \"v2\" NEEDED at height: {height}: https://example.org/v2");
    for (node, folder) in network.nodes.iter_mut().zip(&folders).take(3) {
        assert_eq!(node.wait_exit(LONG_PATIENCE).code(), Some(1), "{}", node.log());
        assert!(node.log().contains(&needed), "{}", node.log());
        wait_comet_gone(node, Duration::ZERO);
        assert!(refuses(node, &this).contains(&needed), "{}", node.log());
        assert_eq!(follow(node, folder)["height"], height);
    }
    for node in &mut network.nodes[..3] {
        node.start(&[]);
    }
    for node in &mut network.nodes[..3] {
        node.wait_height(height + 1, LONG_PATIENCE).await;
    }

    // The state is in its new form, and what was there before goes on.
    assert_eq!(asked(&network, &["plan"])["plan"], Value::Null);
    assert_eq!(number(&asked(&network, &["applied", "v2"])["height"]), Some(height));
    let versions = asked(&network, &["module-versions"]);
    let version = |name: &str| {
        let all = versions["module_versions"].as_array().unwrap();
        all.iter().find(|m| m["name"] == name).unwrap()["version"].clone()
    };
    let found = ["staking", "bank"].map(|name| number(&version(name)));
    assert_eq!(found, [Some(2), Some(1)], "{versions}");
    let ask = |arguments: &[&str]| command(&network, &network.nodes[1], arguments).unwrap();
    let history = ask(&["query", "staking", "historical-info", &height.to_string()]);
    assert_eq!(history["hist"]["valset"].as_array().unwrap().len(), 4, "{history}");
    let validators = ask(&["query", "staking", "validators"]);
    for validator in validators["validators"].as_array().unwrap() {
        assert_eq!(
            validator["description"]["security_contact"],
            validator["operator_address"]
        );
    }
    let unbonding = ask(&["query", "staking", "unbonding-delegations", "alice"]);
    assert!(unbonding.to_string().contains("\"7\""), "{unbonding}");
    let bob = trainyard_proto::address::Address([9; 20]);
    alice.send(send(alice.address(), bob, 5)).await.unwrap();

    // An operator who was not there follows, whenever he comes.
    let (last, folder) = (&mut network.nodes[3], &folders[3]);
    assert_eq!(last.wait_exit(LONG_PATIENCE).code(), Some(1), "{}", last.log());
    assert!(last.log().contains(&needed), "{}", last.log());
    follow(last, folder);
    last.start(&[]);
    let now = network.nodes[0].height().await.unwrap();
    assert_agreement(&mut network, now).await;
    for node in &network.nodes {
        assert_eq!(balance(&node.client(), bob).await, 5);
    }

    // There is no way back.
    let last = &mut network.nodes[3];
    assert_eq!(last.stop().code(), Some(0), "{}", last.log());
    let said = refuses(last, &this);
    assert!(said.contains("upgrade \"v2\" was carried out"), "{said}");
    last.start(&[]);
    assert_agreement(&mut network, now + 2).await;
    for node in &mut network.nodes {
        assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    }
}
