//! A node as a service: what its supervisor hears, what its log says to programs, how it is stopped and replaced.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use trainyard_app::testing::network::{Network, Node};
use trainyard_app::testing::prometheus;
use trainyard_client::tx::Draft;
use trainyard_proto::address::Address;
use trainyard_proto::coin::UTRAIN_PER_TRAIN;

use super::operate::{configure, get, metrics_of};
use super::replay::replay;
use super::{LONG_PATIENCE, PATIENCE, network, send, signer, wait_comet_gone};

#[tokio::test]
async fn a_node_tells_its_supervisor_and_logs_for_programs() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let path = network.folder().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut told = [0; 256];
        let length = supervisor.recv(&mut told).unwrap();
        String::from_utf8_lossy(&told[..length]).into_owned()
    };
    let node = &mut network.nodes[0];
    node.environment = vec![
        ("NOTIFY_SOCKET".into(), path.display().to_string()),
        ("TRAINYARD_LOG_FORMAT".into(), "json".into()),
        ("CMT_LOG_FORMAT".into(), "json".into()), // Its lines reach us in our form all the same.
    ];
    node.start(&["--log-level", "info,cometbft=debug"]);
    assert_eq!(heard(), "READY=1");
    node.wait_height(3, PATIENCE).await;
    let mut status = heard();
    while status == "READY=1" {
        status = heard(); // Everybody who asks RPC for the application's height makes CometBFT ask for it.
    }
    assert_eq!(status, "STATUS=height 1");
    assert_eq!(node.terminate().code(), Some(0), "{}", node.log());
    let mut last = heard();
    while last.starts_with("STATUS=") || last == "READY=1" {
        last = heard();
    }
    assert_eq!(last, "STOPPING=1");

    let log = node.log();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let of = |target: &str| lines.iter().filter(|line| line["target"] == target).collect::<Vec<_>>();
    let blocks: Vec<_> = of("node")
        .into_iter()
        .map(|line| &line["fields"])
        .filter(|fields| fields["message"] == "block")
        .collect();
    let heights: Vec<_> = blocks.iter().map(|fields| fields["height"].as_u64().unwrap()).collect();
    assert!(
        heights.len() >= 3 && heights.iter().copied().eq(1..=heights.len() as u64),
        "{heights:?}"
    );
    for fields in blocks {
        let has = |name: &str| fields[name].is_u64() || fields[name].is_string();
        assert!(["txs", "app_hash", "ms"].into_iter().all(has), "{fields}");
    }
    // CometBFT says as much as it was asked to, its module apart from its text.
    let comet = of("cometbft");
    assert!(
        comet
            .iter()
            .any(|line| line["level"] == "DEBUG" && line["fields"]["module"] == "consensus"),
        "{log}"
    );
    assert!(
        comet
            .iter()
            .all(|line| !line["fields"]["message"].as_str().unwrap().contains(" module=")),
        "{log}"
    );
}

#[tokio::test]
async fn cometbft_heeds_its_variables_and_so_do_we() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let node = &mut network.nodes[0];
    let elsewhere = node.rpc.replace(":26657", ":26757");
    node.environment = vec![("CMT_RPC_LADDR".into(), elsewhere.replace("http", "tcp"))];
    node.rpc = elsewhere.clone();
    node.start(&[]);
    node.wait_height(2, PATIENCE).await;
    let started = node.log();
    let started = started.lines().find(|line| line.contains("CometBFT started")).unwrap();
    assert!(started.contains(elsewhere.trim_start_matches("http://")), "{started}");
    assert_eq!(node.terminate().code(), Some(0));
}

#[tokio::test]
async fn the_operators_page_names_every_metric() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |_| {});
    let node = &mut network.nodes[0];
    configure(&node.home, &[("metrics = \"\"", "metrics = \"127.0.0.1:0\"")]);
    node.start(&[]);
    node.wait_height(3, PATIENCE).await;
    let answer = get(&metrics_of(node), "/metrics");
    let samples = prometheus::read(answer.split_once("\r\n\r\n").unwrap().1);
    assert_eq!(samples["trainyard_own_jailed"], 0.0);
    assert!(
        samples["trainyard_own_power"] > 0.0 && samples["trainyard_supply_utrain"] > 0.0,
        "{samples:#?}"
    );
    let types = answer
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let told: BTreeSet<&str> = types.collect();
    let named = |page: &'static str| -> BTreeSet<&str> {
        let words = page.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_');
        let named = words.filter(|word| word.starts_with("trainyard_") || word.starts_with("process_"));
        named.map(|word| word.trim_end_matches("_bucket")).collect()
    };
    assert_eq!(named(include_str!("../../../docs/src/operating.md")), told);
    let drawn = named(include_str!("../../../localnet/dashboards/trainyard.json"));
    assert!(drawn.len() > 15 && drawn.is_subset(&told), "{drawn:?}");
}

/// Puts a copy of the program where the node is started from, in one step, as a careful operator does.
fn install(path: &Path) -> u64 {
    let new = path.with_extension("new");
    std::fs::copy(env!("CARGO_BIN_EXE_trainyard"), &new).unwrap();
    std::fs::rename(&new, path).unwrap();
    std::fs::metadata(path).unwrap().ino()
}

/// The file that a running node's program is.
fn runs(node: &Node) -> u64 {
    std::fs::metadata(format!("/proc/{}/exe", node.pid().unwrap()))
        .unwrap()
        .ino()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_stopped_amid_blocks_and_its_program_replaced_again_and_again() {
    let mut network = Network::make(env!("CARGO_BIN_EXE_trainyard"), 1, |plan| {
        plan.accounts = vec![("alice".into(), 1000 * UTRAIN_PER_TRAIN)];
        plan.block_time = Duration::from_millis(10);
    });
    let program = network.folder().join("trainyard");
    let mut installed = install(&program);
    network.nodes[0].program = program.clone();
    network.nodes[0].start(&[]);
    network.wait_height(1, PATIENCE).await;
    let alice = Arc::new(signer(&network, network.client(), "alice"));
    let mut heights = Vec::new();
    for round in 0..6_u64 {
        let node = &mut network.nodes[0];
        node.wait_height(heights.last().unwrap_or(&0) + 2, PATIENCE).await;
        assert_eq!(runs(node), installed);
        // The next program is there before the last one has stopped.
        installed = install(&program);
        assert_ne!(runs(node), installed);
        let taken = Arc::new(AtomicU32::new(0));
        let stream = {
            let (alice, taken) = (Arc::clone(&alice), Arc::clone(&taken));
            tokio::spawn(async move {
                let draft = || Draft {
                    messages: send(alice.address(), Address([3; 20]), 1),
                    ..Draft::default()
                };
                while alice.broadcast(draft()).await.is_ok() {
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        // Every block holds transactions now, and the node is always at one: these are different points of it.
        let start = node.height().await.unwrap();
        node.wait_height(start + 3, PATIENCE).await;
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        heights.push(node.height().await.unwrap());
        assert_eq!(node.terminate().code(), Some(0), "{}", node.log());
        wait_comet_gone(node, Duration::ZERO);
        // CometBFT, stopped in the middle of a height, votes there again and is told by its key that it has: no more than that.
        let log = node.log();
        let mut errors = log.lines().filter(|line| line.contains("ERROR"));
        assert!(errors.all(|line| line.contains("failed signing vote")), "{log}");
        stream.abort(); // It would try for a while to reach the node.
        assert!(taken.load(Ordering::Relaxed) > 0, "nothing was sent in round {round}");
        node.start(&[]);
    }
    let last = *heights.last().unwrap();
    network.wait_height(last + 3, LONG_PATIENCE).await;
    assert!(heights.is_sorted_by(|a, b| a < b), "{heights:?}");
    alice.send(send(alice.address(), Address([4; 20]), 5)).await.unwrap();
    let replayed = replay(&network.nodes[0]).await;
    assert!(
        replayed.heights >= last && replayed.txs > 6,
        "{} txs, {heights:?}",
        replayed.txs
    );
    assert_eq!(network.nodes[0].terminate().code(), Some(0));
}

#[tokio::test]
async fn wrong_log_settings_are_refused_before_anything_starts() {
    let mut network = network(1);
    network.wait_height(1, PATIENCE).await;
    let node = &mut network.nodes[0];
    assert_eq!(node.terminate().code(), Some(0));
    for (wrong, said) in [
        (
            ["--log-level", "loud"],
            "expected off, error, warn, info, debug or trace",
        ),
        (["--log-format", "xml"], "possible values: text, json"),
    ] {
        node.start(&wrong);
        assert_eq!(node.wait_exit(PATIENCE).code(), Some(2));
        assert!(node.log().contains(said), "{}", node.log());
    }
}
