//! Committed transactions per second on real CometBFT: one validator and four, beside CometBFT's own kvstore application with
//! the same settings.
//!
//! Transfers are signed beforehand and sent over several connections. Everything shares this machine's cores, so the time
//! on the processors per transaction is told as well: of the nodes with their CometBFT, and of the loader.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rayon::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use trainyard_app::node::comet_config::{CometConfig, with_persistent_peers};
use trainyard_app::node::find_cometbft;
use trainyard_app::node::settings::NodeType;
use trainyard_app::testing::{TRAIN, network::Network};
use trainyard_client::tx::{Draft, SignerData};
use trainyard_proto::address::Address;
use trainyard_proto::{any, coin, cosmos::bank::v1beta1::MsgSend};

use crate::report::Report;

/// Connections of the loader.
const CONNECTIONS: usize = 8;
/// Transactions of one request: CometBFT takes no more.
const BATCH: usize = 10;
/// Accounts of one connection.
const ACCOUNTS: usize = 5;
const BLOCK_TIME: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(report: &mut Report, validators: &[u8], quick: bool) {
    let txs = if quick { 4_000 } else { 16_000 };
    for &validators in validators {
        let ours = trainyard(validators, txs);
        let kvstore = kvstore(validators, txs);
        let name = |what: &str| format!("{what}, {validators} validators, peer kvstore");
        report.add(&name("committed"), "tx/s", ours.rate, Some(kvstore.rate));
        report.add(&name("CPU of all nodes"), "µs/tx", ours.cpu, Some(kvstore.cpu));
        report.add(&name("CPU of the loader"), "µs/tx", ours.loader, Some(kvstore.loader));
        report.add(&name("memory of one node"), "MB", ours.memory, Some(kvstore.memory));
    }
}

/// What a run came to.
struct Outcome {
    /// Transactions a second, from the first one sent to the last one committed.
    rate: f64,
    /// µs a transaction.
    cpu: f64,
    loader: f64,
    /// MB.
    memory: f64,
}

/// Transactions by connection, in the order in which they must arrive.
type Load = Vec<Vec<Vec<u8>>>;

fn trainyard(validators: u8, txs: usize) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let names: Vec<String> = (0..CONNECTIONS * ACCOUNTS).map(|i| format!("a{i}")).collect();
    let mut network = Network::start(env!("CARGO_BIN_EXE_trainyard"), validators, |plan| {
        plan.block_time = BLOCK_TIME;
        plan.accounts = names.iter().map(|name| (name.clone(), 1000 * TRAIN)).collect();
    });
    let numbers: Vec<u64> = runtime.block_on(async {
        network.wait_height(2, PATIENCE).await;
        let client = network.client();
        let mut numbers = Vec::new();
        for name in &names {
            let address = network.key(name).address();
            let account = client.account(&address).await.expect("the node answers");
            numbers.push(account.expect("the account is there").account_number);
        }
        numbers
    });
    let each = txs / (CONNECTIONS * ACCOUNTS);
    let accounts: Vec<_> = names.iter().map(|name| network.key(name)).zip(numbers).collect();
    let chain_id = network.plan.chain_id.clone();
    let load: Load = accounts
        .par_chunks(ACCOUNTS)
        .map(|accounts| {
            let each = (0..each as u64).flat_map(|sequence| accounts.iter().map(move |account| (account, sequence)));
            each.map(|((key, account_number), sequence)| {
                let message = MsgSend {
                    from_address: key.address().to_string(),
                    to_address: Address([3; 20]).to_string(),
                    amount: vec![coin::utrain(1)],
                };
                let draft = Draft {
                    messages: vec![any::pack(&message)],
                    fee: 200,
                    gas_limit: 120_000,
                    ..Draft::default()
                };
                let data = SignerData {
                    chain_id: &chain_id,
                    account_number: *account_number,
                    sequence,
                };
                draft.sign(key, data)
            })
            .collect()
        })
        .collect();
    let pids: Vec<u32> = network
        .nodes
        .iter()
        .filter_map(trainyard_app::testing::network::Node::pid)
        .collect();
    let rpcs = network.nodes.iter().map(|node| address_of(&node.rpc)).collect();
    measure(load, rpcs, &pids, 1)
}

fn kvstore(validators: u8, txs: usize) -> Outcome {
    let comet = find_cometbft().expect("CometBFT is installed");
    let dir = TempDir::new().expect("a folder");
    let port = 36_656;
    let ip = |index: u8| Ipv4Addr::new(127, 77, 1, 1 + index);
    let made = Command::new(&comet)
        .args([
            "testnet",
            "--v",
            &validators.to_string(),
            "--starting-ip-address",
            "127.77.1.1",
            "--o",
        ])
        .arg(dir.path())
        .output()
        .expect("CometBFT runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let peers: Vec<String> = (0..validators)
        .map(|index| {
            let id = Command::new(&comet)
                .args(["show-node-id", "--home"])
                .arg(dir.path().join(format!("node{index}")))
                .output()
                .expect("CometBFT runs");
            format!("{}@{}:{port}", String::from_utf8_lossy(&id.stdout).trim(), ip(index))
        })
        .collect();
    let children: Vec<Running> = (0..validators)
        .map(|index| {
            let home = dir.path().join(format!("node{index}"));
            let file = home.join("config/config.toml");
            let config = CometConfig {
                moniker: format!("node{index}"),
                block_time: BLOCK_TIME,
                p2p: SocketAddr::from((ip(index), port)),
                rpc: SocketAddr::from((ip(index), port + 1)),
                local: true,
                node_type: NodeType::Full,
            };
            let text = std::fs::read_to_string(&file).expect("a config");
            let text = config.apply(&text, "kvstore").expect("a config of CometBFT");
            let others = peers
                .iter()
                .enumerate()
                .filter(|(i, _)| *i != usize::from(index))
                .map(|(_, p)| p.clone());
            let text = with_persistent_peers(&text, &others.collect::<Vec<_>>()).expect("a config of CometBFT");
            std::fs::write(&file, text).expect("the config can be written");
            Running::start(&comet, &home)
        })
        .collect();
    let each = txs / CONNECTIONS;
    let load = (0..CONNECTIONS)
        .map(|connection| {
            // As large as a transfer.
            let tx = |i| format!("{connection}/{i}={}", "v".repeat(300)).into_bytes();
            (0..each).map(tx).collect()
        })
        .collect();
    let pids: Vec<u32> = children.iter().map(|child| child.0.id()).collect();
    let rpcs = (0..validators).map(|index| (ip(index), port + 1).into()).collect();
    measure(load, rpcs, &pids, 0)
}

/// A process that ends with this value.
struct Running(Child);

impl Running {
    fn start(program: &Path, home: &Path) -> Self {
        let child = Command::new(program)
            .args(["start", "--home"])
            .arg(home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("CometBFT starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn address_of(rpc: &str) -> SocketAddr {
    let text = rpc.trim_start_matches("http://");
    text.parse().expect("an address of RPC")
}

/// Sends everything and waits until it is committed. `own` transactions of every block are the application's.
fn measure(load: Load, rpcs: Vec<SocketAddr>, pids: &[u32], own: u64) -> Outcome {
    let start = Instant::now();
    while height(rpcs[0]).is_none_or(|height| height < 2) {
        assert!(start.elapsed() < PATIENCE, "no block after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let total: u64 = load.iter().map(|txs| txs.len() as u64).sum();
    let first = height(rpcs[0]).expect("the node answers") + 1;
    let (nodes, loader) = (cpu_of(pids), cpu_of(&[std::process::id()]));
    let start = Instant::now();
    let senders: Vec<_> = load
        .into_iter()
        .zip(rpcs.iter().copied().cycle())
        .map(|(txs, rpc)| std::thread::spawn(move || send_all(rpc, &txs)))
        .collect();
    for sender in senders {
        sender.join().expect("the loader sends");
    }
    let (mut committed, mut next) = (0, first);
    while committed < total {
        assert!(
            start.elapsed() < PATIENCE,
            "{committed} of {total} transactions are committed"
        );
        match txs_of(rpcs[0], next) {
            Some(txs) => {
                committed += txs - own;
                next += 1;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    let took = start.elapsed().as_secs_f64();
    let each = |time: Duration| time.as_secs_f64() * 1e6 / total as f64;
    Outcome {
        rate: total as f64 / took,
        cpu: each(cpu_of(pids) - nodes),
        loader: each(cpu_of(&[std::process::id()]) - loader),
        memory: memory_of(&pids[..1]),
    }
}

/// A connection to a node's RPC.
struct Rpc(BufReader<TcpStream>, SocketAddr);

impl Rpc {
    fn open(rpc: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(rpc).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream), rpc))
    }

    fn post(&mut self, body: &str) -> Option<Value> {
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.1
        );
        self.0.get_mut().write_all(request.as_bytes()).ok()?;
        let mut length = None;
        let mut line = String::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).ok().filter(|n| *n > 0)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let mut answer = Vec::new();
        loop {
            // Long answers come in pieces, each behind its length.
            let piece = match length {
                Some(length) => length,
                None => {
                    line.clear();
                    self.0.read_line(&mut line).ok()?;
                    usize::from_str_radix(line.trim(), 16).ok()?
                }
            };
            let start = answer.len();
            answer.resize(start + piece, 0);
            self.0.read_exact(&mut answer[start..]).ok()?;
            if length.is_some() {
                break;
            }
            line.clear();
            self.0.read_line(&mut line).ok()?;
            if piece == 0 {
                break;
            }
        }
        serde_json::from_slice(&answer).ok()
    }
}

fn ask(rpc: SocketAddr, method: &str, params: Value) -> Option<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut answer = Rpc::open(rpc)?.post(&request.to_string())?;
    Some(answer.get_mut("result")?.take())
}

fn height(rpc: SocketAddr) -> Option<u64> {
    let status = ask(rpc, "status", json!({}))?;
    status["sync_info"]["latest_block_height"].as_str()?.parse().ok()
}

fn txs_of(rpc: SocketAddr, height: u64) -> Option<u64> {
    let height = height.to_string();
    let found = ask(rpc, "blockchain", json!({"minHeight": height, "maxHeight": height}))?;
    found["block_metas"][0]["num_txs"].as_str()?.parse().ok()
}

fn send_all(rpc: SocketAddr, txs: &[Vec<u8>]) {
    let mut connection = Rpc::open(rpc).expect("the node takes connections");
    for batch in txs.chunks(BATCH) {
        let requests = batch.iter().enumerate().map(|(id, tx)| {
            let tx = BASE64.encode(tx);
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"broadcast_tx_sync","params":{{"tx":"{tx}"}}}}"#)
        });
        let body = format!("[{}]", requests.collect::<Vec<_>>().join(","));
        let answers = connection.post(&body).expect("the node answers");
        let accepted = |answers: &Vec<Value>| answers.iter().all(|answer| answer["result"]["code"] == 0);
        let fine = answers
            .as_array()
            .is_some_and(|all| all.len() == batch.len() && accepted(all));
        assert!(fine, "a transaction is refused: {answers}");
    }
}

/// What processes and their children have spent on processors.
fn cpu_of(pids: &[u32]) -> Duration {
    let ticks: u64 = family(pids)
        .filter_map(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
        })
        .sum();
    Duration::from_millis(ticks * 10) // A hundred ticks a second, everywhere that matters.
}

/// Resident memory of processes and their children, MB.
fn memory_of(pids: &[u32]) -> f64 {
    let kib: u64 = family(pids)
        .filter_map(|pid| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.to_owned();
            line.trim().trim_end_matches(" kB").parse::<u64>().ok()
        })
        .sum();
    kib as f64 * 1024.0 / 1e6
}

/// Processes and their children; of the loader only itself.
fn family(pids: &[u32]) -> impl Iterator<Item = u32> {
    let children = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let own = pid == std::process::id();
        text.split_whitespace()
            .filter(|_| !own)
            .filter_map(|child| child.parse().ok())
            .collect::<Vec<u32>>()
    };
    pids.iter()
        .flat_map(move |pid| std::iter::once(*pid).chain(children(*pid)))
        .collect::<Vec<_>>()
        .into_iter()
}
