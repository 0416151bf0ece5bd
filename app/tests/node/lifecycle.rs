//! Starting and stopping one node.

use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use trainyard_app::node::find_cometbft;
use trainyard_app::node::genesis::GenesisDoc;
use trainyard_app::testing::network::Network;
use trainyard_modules::upgrade::Plan as UpgradePlan;
use trainyard_proto::address::Address;

use super::{PATIENCE, balance, comet_pid, network, send, signer, wait_comet_gone};

/// Runs a command of the binary on a home; returns exit code, stdout and stderr.
fn trainyard(home: &std::path::Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_trainyard"))
        .args(arguments)
        .arg("--home")
        .arg(home)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_node_takes_a_transfer_stops_with_0_and_continues() {
    let mut network = network(1);
    network.wait_height(2, PATIENCE).await;
    let bob = Address([7; 20]);
    let alice = signer(&network, network.client(), "alice");
    let outcome = alice.send(send(alice.address(), bob, 5)).await.unwrap();
    assert_eq!(balance(&network.client(), bob).await, 5);

    let home = network.nodes[0].home.path().to_owned();
    let (code, out, _) = trainyard(&home, &["status", "--output", "json"]);
    let status: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &status["chain_id"]), (Some(0), &Value::from("trainyard-test")));
    assert!(status["latest_height"].as_u64() >= Some(outcome.height), "{status}");
    assert_eq!(status["validators"][0]["status"], "bonded");

    // The second process is told so, and the first one does not notice.
    let (code, _, err) = trainyard(&home, &["start"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("already uses") && err.contains("stop it first"), "{err}");

    let node = &mut network.nodes[0];
    assert_eq!(node.stop().code(), Some(0), "{}", node.log());
    wait_comet_gone(node, std::time::Duration::ZERO);
    assert!(
        !node.log().contains("ERROR"),
        "a clean stop logs errors:\n{}",
        node.log()
    );
    assert!(!node.home.data().join("abci.sock").exists());

    let (code, out, _) = trainyard(&home, &["export"]);
    let exported: Value = serde_json::from_str(&out).unwrap();
    let next: u64 = exported["initial_height"].as_str().unwrap().parse().unwrap();
    assert!(code == Some(0) && next > outcome.height, "{code:?}, next is {next}");

    let node = &mut network.nodes[0];
    node.start(&[]);
    node.wait_height(next + 2, PATIENCE).await;
    assert_eq!(balance(&node.client(), bob).await, 5);
    alice.send(send(alice.address(), bob, 6)).await.unwrap();
    assert_eq!(balance(&network.client(), bob).await, 11);
}

#[tokio::test]
async fn a_node_halts_after_the_height_it_was_told() {
    // A home whose path is too long for a unix socket.
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.folder = plan.folder.join("a-folder-with-a-rather-long-name".repeat(4));
    });
    let node = &mut network.nodes[0];
    node.start(&["--halt-height", "4"]);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(0), "{}", node.log());
    assert!(node.log().contains("halted as asked height=4"), "{}", node.log());
    wait_comet_gone(node, std::time::Duration::ZERO);
    let (_, out, _) = trainyard(node.home.path(), &["export"]);
    let exported: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exported["initial_height"], "5");

    node.start(&["--halt-height", "4"]);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1));
    assert!(node.log().contains("at height 4 and is to halt at 4"), "{}", node.log());
    node.start(&[]);
    node.wait_height(6, PATIENCE).await;
}

#[tokio::test]
async fn a_node_stops_before_an_upgrade_and_says_which() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let node = &mut network.nodes[0];
    let mut genesis = GenesisDoc::load(&node.home).unwrap();
    genesis.app_state.upgrade.plan = Some(UpgradePlan {
        name: "v2".into(),
        height: 5,
        info: "{\"binaries\":{}}".into(),
        ..UpgradePlan::default()
    });
    std::fs::write(node.home.genesis(), genesis.to_json()).unwrap();
    let written = node.home.data().join("upgrade-info.json");
    for _ in 0..2 {
        node.start(&[]);
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(1), "{}", node.log());
        assert!(
            node.log().contains("UPGRADE \"v2\" NEEDED at height: 5"),
            "{}",
            node.log()
        );
        wait_comet_gone(node, std::time::Duration::ZERO);
        let info: Value = serde_json::from_str(&std::fs::read_to_string(&written).unwrap()).unwrap();
        assert_eq!((&info["name"], &info["height"]), (&Value::from("v2"), &Value::from(5)));
        std::fs::remove_file(&written).unwrap();
    }
    let (_, out, _) = trainyard(node.home.path(), &["export"]);
    let exported: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(exported["initial_height"], "5");
}

#[tokio::test]
async fn when_cometbft_ends_by_itself_the_node_says_so_and_exits_with_1() {
    let mut network = network(1);
    let node = &mut network.nodes[0];
    node.wait_height(1, PATIENCE).await;
    kill(Pid::from_raw(comet_pid(node)), Signal::SIGKILL).unwrap();
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1));
    assert!(
        node.log().contains("error: CometBFT ended by itself (signal: 9"),
        "{}",
        node.log()
    );

    // A reason is passed on: here a configuration that CometBFT does not take.
    let path = node.home.config_toml();
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        config.replace("db_backend = \"goleveldb\"", "db_backend = \"parchment\""),
    )
    .unwrap();
    node.start(&[]);
    assert_eq!(node.wait_exit(PATIENCE).code(), Some(1));
    assert!(node.log().contains("parchment"), "{}", node.log());
}

#[tokio::test]
async fn an_operator_can_run_cometbft_beside_the_application() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let node = &mut network.nodes[0];
    node.start(&["--abci-only"]);
    for height in [2, 4] {
        let mut comet = Command::new(find_cometbft().unwrap())
            .args(["start", "--home"])
            .arg(node.home.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        node.wait_height(height, PATIENCE).await;
        kill(Pid::from_raw(i32::try_from(comet.id()).unwrap()), Signal::SIGTERM).unwrap();
        comet.wait().unwrap();
    }
    assert_eq!(node.stop().code(), Some(0), "{}", node.log());
}

#[test]
fn what_is_wrong_with_a_home_is_said_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = trainyard(folder.path(), &["start"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("is no node's home") && err.contains("trainyard init"),
        "{err}"
    );

    let home = folder.path().join("home");
    let (code, _, err) = trainyard(&home, &["init", "me", "--chain-id", "trainyard-1"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = trainyard(&home, &["init", "me"]);
    assert!(code == Some(1) && err.contains("already holds a node"), "{err}");
    // Nothing that cannot work is handed to CometBFT, which would keep it.
    let (code, _, err) = trainyard(&home, &["start"]);
    assert!(code == Some(1) && err.contains("trainyard genesis gentx"), "{err}");

    let (code, _, err) = trainyard(&home, &["keys", "add", "me", "--keyring-backend", "test"]);
    assert_eq!(code, Some(0), "{err}");
    let gentx = ["gentx", "me", "5TRAIN", "--keyring-backend", "test"];
    let (code, _, err) = trainyard(&home, &gentx);
    assert!(code == Some(1) && err.contains("genesis add-account"), "{err}");
    let (code, _, err) = trainyard(
        &home,
        &["genesis", "add-account", "me", "4TRAIN", "--keyring-backend", "test"],
    );
    assert_eq!(code, Some(0), "{err}");
    let (code, _, err) = trainyard(&home, &gentx);
    assert!(
        code == Some(1) && err.contains("5000000") && err.contains("4000000"),
        "{err}"
    );
    let (code, ..) = trainyard(&home, &["gentx", "me", "3TRAIN", "--keyring-backend", "test"]);
    assert_eq!(code, Some(0));
    let (code, _, err) = trainyard(&home, &["collect-gentxs"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, _) = trainyard(&home, &["genesis", "validate", "--output", "json"]);
    let valid: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &valid["validators"], &valid["power"]),
        (Some(0), &1.into(), &3.into())
    );

    std::fs::write(home.join("config/app.toml"), "halt_hieght = 3\n").unwrap();
    let (code, _, err) = trainyard(&home, &["start"]);
    assert!(
        code == Some(1) && err.contains("app.toml") && err.contains("halt_hieght"),
        "{err}"
    );
}
