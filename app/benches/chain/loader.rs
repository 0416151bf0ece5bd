//! Sends transactions over several connections to a network's RPC, waits until all are committed, and tells what that cost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

/// Connections of the loader.
pub(crate) const CONNECTIONS: usize = 8;
/// Transactions of one request: CometBFT takes no more.
const BATCH: usize = 10;
/// Transactions that are sent and not committed, at most: about a block of them. More are only checked again after each block.
const WAITING: u64 = 4_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long none may be committed.
const STALLED: Duration = Duration::from_secs(15);

/// Transactions by connection, in the order in which they must arrive.
pub(crate) type Load = Vec<Vec<Vec<u8>>>;

/// What a run came to.
pub(crate) struct Outcome {
    /// Transactions a second, from the first one sent to the last one committed.
    pub(crate) rate: f64,
    /// Of all nodes, with all of their processes, µs a transaction.
    pub(crate) cpu: f64,
    /// What of it CometBFT's own processes took.
    pub(crate) comet: f64,
    /// µs a transaction.
    pub(crate) loader: f64,
    /// Of one node with all of its processes, MB.
    pub(crate) memory: f64,
}

/// How far a run is.
#[derive(Default)]
struct Progress {
    sent: u64,
    committed: u64,
    /// Nothing moves any more.
    stalled: bool,
}

/// Sends everything, for nobody to answer before it is checked, and waits until it is committed. `own` transactions of every
/// block are the application's; every node has its processes, and their children.
///
/// CometBFT drops, without a word, what it has checked while it takes itself for full (`resCbFirstTime` of its mempool): then the
/// rest of an account waits for ever, and there is nothing to measure.
pub(crate) fn measure(load: Load, rpcs: &[SocketAddr], nodes: &[Vec<u32>], own: u64) -> Option<Outcome> {
    let pids = nodes.concat();
    let comet: Vec<u32> = family(&pids).filter(|pid| is_comet(*pid)).collect();
    wait_height(rpcs[0], 2);
    let total: u64 = load.iter().map(|txs| txs.len() as u64).sum();
    let first = height(rpcs[0]).expect("the node answers") + 1;
    let (progress, moved) = (Mutex::new(Progress::default()), Condvar::new());
    let spent = || [&pids[..], &comet, &[std::process::id()]].map(cpu_of);
    let before = spent();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for (txs, rpc) in load.into_iter().zip(rpcs.iter().copied().cycle()) {
            let (progress, moved) = (&progress, &moved);
            scope.spawn(move || {
                let mut connection = Rpc::open(rpc).expect("the node takes connections");
                for batch in txs.chunks(BATCH) {
                    let full = |progress: &mut Progress| {
                        !progress.stalled && progress.sent - progress.committed.min(progress.sent) > WAITING
                    };
                    let room = moved.wait_while(progress.lock().expect("nobody panics"), full);
                    let mut room = room.expect("nobody panics");
                    if room.stalled {
                        return;
                    }
                    room.sent += batch.len() as u64;
                    drop(room);
                    connection.send(batch);
                }
            });
        }
        let (mut committed, mut next, mut last) = (0, first, Instant::now());
        while committed < total && last.elapsed() < STALLED {
            if let Some(txs) = txs_of(rpcs[0], next) {
                if txs > own {
                    last = Instant::now();
                }
                committed += txs - own;
                next += 1;
                progress.lock().expect("nobody panics").committed = committed;
                moved.notify_all();
            } else {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        if committed < total {
            eprintln!("stalled: {committed} of {total} transactions are committed");
            progress.lock().expect("nobody panics").stalled = true;
            moved.notify_all();
        }
    });
    if progress.into_inner().expect("nobody panics").stalled {
        return None;
    }
    let took = start.elapsed().as_secs_f64();
    let after = spent();
    let each = |which: usize| (after[which] - before[which]).as_secs_f64() * 1e6 / total as f64;
    Some(Outcome {
        rate: total as f64 / took,
        cpu: each(0),
        comet: each(1),
        loader: each(2),
        memory: memory_of(&nodes[0]),
    })
}

/// A connection to a node's RPC.
struct Rpc(BufReader<TcpStream>, SocketAddr);

impl Rpc {
    fn open(rpc: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(rpc).ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self(BufReader::new(stream), rpc))
    }

    /// Hands transactions over, in order.
    fn send(&mut self, batch: &[Vec<u8>]) {
        let requests = batch.iter().enumerate().map(|(id, tx)| {
            let tx = BASE64.encode(tx);
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"broadcast_tx_async","params":{{"tx":"{tx}"}}}}"#)
        });
        let body = format!("[{}]", requests.collect::<Vec<_>>().join(","));
        let answers = self.post(&body).expect("the node answers");
        let taken = |answers: &Vec<Value>| answers.iter().filter(|answer| answer["error"].is_null()).count();
        let fine = answers.as_array().is_some_and(|all| taken(all) == batch.len());
        assert!(fine, "a transaction is refused: {answers}");
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

/// Calls a method of a node's RPC.
pub(crate) fn ask(rpc: SocketAddr, method: &str, params: &Value) -> Option<Value> {
    let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut answer = Rpc::open(rpc)?.post(&request.to_string())?;
    Some(answer.get_mut("result")?.take())
}

/// Waits for a block.
pub(crate) fn wait_height(rpc: SocketAddr, wanted: u64) {
    let start = Instant::now();
    while height(rpc).is_none_or(|height| height < wanted) {
        assert!(start.elapsed() < PATIENCE, "no block {wanted} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn height(rpc: SocketAddr) -> Option<u64> {
    let status = ask(rpc, "status", &json!({}))?;
    status["sync_info"]["latest_block_height"].as_str()?.parse().ok()
}

fn txs_of(rpc: SocketAddr, height: u64) -> Option<u64> {
    let height = height.to_string();
    let found = ask(rpc, "blockchain", &json!({"minHeight": height, "maxHeight": height}))?;
    found["block_metas"][0]["num_txs"].as_str()?.parse().ok()
}

fn is_comet(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "cometbft")
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
