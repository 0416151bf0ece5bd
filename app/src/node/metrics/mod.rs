//! What a node counts and watches, in the text form of Prometheus, and the small server that tells it.
//!
//! | metric | what |
//! |---|---|
//! | `trainyard_height`, `trainyard_last_block_seconds` | the last committed height; when that was |
//! | `trainyard_abci_seconds` | how long calls of CometBFT took, by `call`: a histogram |
//! | `trainyard_block_seconds` | how long blocks took from `FinalizeBlock` to the end of `Commit`: a histogram |
//! | `trainyard_txs_total` | transactions in blocks, by `codespace` and `code` |
//! | `trainyard_check_txs_total` | transactions offered to the mempool, the same and by `kind`, `new` or `recheck` |
//! | `trainyard_gas_used_total` | gas of transactions in blocks |
//! | `trainyard_events_total` | what happened in every module, by `type`: transfers, delegations, slashes, settled jobs, … |
//! | `trainyard_snapshots`, `trainyard_snapshot_height` | snapshots that are offered; the newest one's height |
//! | `trainyard_disk_bytes`, `trainyard_disk_free_bytes` | the data folder, by `folder`; room left |
//! | `trainyard_build_info`, `process_…` | the program's version, memory, processor time, open files |
//!
//! and the gauges of the state in `application/gauges.rs`.
//!
//! ```text
//! mod.rs      what is counted, and the server
//! text.rs     the text form
//! machine.rs  memory, processor, files, disk
//! ```

mod machine;
mod text;

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tendermint_proto::v0_38::abci;
use trainyard_proto::address::Address;

use self::text::{Counters, Histogram, Labels, Text};
use super::Error;
use super::home::Home;
use crate::application::{Application, Gauge};

/// A node that has not committed a block for so long is not healthy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long somebody who asks may take, and how much he may send.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);
const MAX_REQUEST: u64 = 8 << 10;
/// State and disk are not looked at again before that, however often somebody asks.
const FRESH: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Default)]
pub(super) struct Metrics {
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    height: i64,
    committed: Duration,
    calls: BTreeMap<&'static str, Histogram>,
    blocks: Histogram,
    checked: Counters,
    txs: Counters,
    gas: f64,
    events: Counters,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn outcome(codespace: &str, code: u32) -> Labels {
    vec![("codespace", codespace.to_owned()), ("code", code.to_string())]
}

impl Metrics {
    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of CometBFT and how long it took.
    pub(super) fn call(&self, call: &'static str, time: Duration) {
        self.counted()
            .calls
            .entry(call)
            .or_default()
            .observe(time.as_secs_f64());
    }

    /// An offered transaction, or one that is checked again after a block.
    pub(super) fn checked(&self, again: bool, response: &abci::ResponseCheckTx) {
        let mut labels = outcome(&response.codespace, response.code);
        labels.push(("kind", if again { "recheck" } else { "new" }.into()));
        *self.counted().checked.entry(labels).or_default() += 1.0;
    }

    /// An executed block.
    pub(super) fn executed(&self, response: &abci::ResponseFinalizeBlock) {
        let mut counted = self.counted();
        for result in &response.tx_results {
            *counted.txs.entry(outcome(&result.codespace, result.code)).or_default() += 1.0;
            counted.gas += result.gas_used as f64;
        }
        let results = response.tx_results.iter().flat_map(|result| &result.events);
        for event in response.events.iter().chain(results) {
            *counted.events.entry(vec![("type", event.r#type.clone())]).or_default() += 1.0;
        }
    }

    /// A committed height, and how long its block took.
    pub(super) fn committed(&self, height: i64, time: Duration) {
        let mut counted = self.counted();
        counted.height = height;
        counted.committed = now();
        counted.blocks.observe(time.as_secs_f64());
    }

    /// What is counted, as text.
    fn write(&self, text: &mut Text) {
        let counted = self.counted();
        let one = |value: f64| [(Labels::new(), value)];
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        text.family("build_info", "gauge", "The program.", [(version, 1.0)]);
        text.family(
            "height",
            "gauge",
            "The last committed height.",
            one(counted.height as f64),
        );
        let committed = counted.committed.as_secs_f64();
        text.family(
            "last_block_seconds",
            "gauge",
            "When it was committed, Unix time.",
            one(committed),
        );
        let calls = counted
            .calls
            .iter()
            .map(|(call, time)| (vec![("call", (*call).to_owned())], time));
        text.histograms("abci_seconds", "How long calls of CometBFT took.", calls);
        let help = "How long blocks took from FinalizeBlock to the end of Commit.";
        text.histograms("block_seconds", help, [(Labels::new(), &counted.blocks)]);
        let mut counters = |name: &str, help: &str, counters: &Counters| {
            text.family(name, "counter", help, counters.clone());
        };
        counters(
            "check_txs_total",
            "Transactions offered to the mempool.",
            &counted.checked,
        );
        counters("txs_total", "Transactions in blocks.", &counted.txs);
        counters("events_total", "Events of all modules.", &counted.events);
        text.family(
            "gas_used_total",
            "counter",
            "Gas of transactions in blocks.",
            one(counted.gas),
        );
    }
}

/// What is watched beside what is counted.
pub(super) struct Watch {
    /// Not held: it is watched to the end of the process, and closes its database before.
    app: Weak<Application>,
    home: Home,
    /// Consensus address of this node's key.
    own: Option<Address>,
    last: Mutex<Option<(Instant, String)>>,
}

impl Watch {
    /// Watches a node.
    pub(super) fn new(app: &Arc<Application>, home: &Home) -> Self {
        // A node that signs elsewhere has no key here.
        let own = home.identity().ok().and_then(|identity| {
            let hash = Sha256::digest(identity.consensus_key);
            hash.first_chunk().copied().map(Address)
        });
        Self {
            app: Arc::downgrade(app),
            home: home.clone(),
            own,
            last: Mutex::default(),
        }
    }

    /// The state, the disk, the process, as text.
    fn text(&self) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = last.as_ref().filter(|(since, _)| since.elapsed() < FRESH) {
            return text.clone();
        }
        let mut text = Text::default();
        let Some(app) = self.app.upgrade() else {
            return String::new(); // It is over.
        };
        match app.gauges(self.own.as_ref()) {
            Ok(gauges) => {
                for Gauge { name, help, samples } in gauges {
                    text.family(name, "gauge", help, samples);
                }
            }
            Err(error) => tracing::warn!(target: "node", %error, "no metrics of the state"),
        }
        let snapshots = app.snapshot_heights();
        let newest = snapshots.iter().max().copied().unwrap_or(0);
        let mut one = |name, help, value: f64| text.family(name, "gauge", help, [(Labels::new(), value)]);
        one("snapshots", "Snapshots that are offered.", snapshots.len() as f64);
        one(
            "snapshot_height",
            "Height of the newest one; 0 when there is none.",
            newest as f64,
        );
        machine::disk(&mut text, &self.home);
        machine::process(&mut text);
        let text = text.into_string();
        *last = Some((Instant::now(), text.clone()));
        text
    }
}

/// Answers requests.
struct Desk {
    metrics: Arc<Metrics>,
    watch: Option<Watch>,
}

impl Desk {
    /// The answer to a request for a path: status, kind and text.
    fn answer(&self, path: &str) -> (&'static str, &'static str, String) {
        match path {
            "/metrics" => {
                let mut text = Text::default();
                self.metrics.write(&mut text);
                let watched = self.watch.as_ref().map(Watch::text).unwrap_or_default();
                ("200 OK", "text/plain; version=0.0.4", text.into_string() + &watched)
            }
            "/health" => {
                let counted = self.metrics.counted();
                let age = now().saturating_sub(counted.committed);
                let healthy = age < PATIENCE;
                let status = if healthy { "200 OK" } else { "503 Service Unavailable" };
                let body = serde_json::json!({
                    "healthy": healthy,
                    "height": counted.height,
                    "seconds_since_block": (counted.height > 0).then_some(age.as_secs()),
                });
                (status, "application/json", body.to_string())
            }
            _ => ("404 Not Found", "text/plain", "ask for /metrics or /health\n".into()),
        }
    }
}

/// Serves until the process ends; returns where (a port 0 has become the real one).
///
/// # Errors
/// The address cannot be listened on.
pub(super) fn serve(address: SocketAddr, metrics: Arc<Metrics>, watch: Option<Watch>) -> Result<SocketAddr, Error> {
    let desk = Desk { metrics, watch };
    let cannot = |error: io::Error| Error::Value(format!("cannot serve metrics at {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    thread::spawn(move || {
        // One after another: whoever dawdles is cut off.
        for stream in listener.incoming().flatten() {
            let _ = reply(&stream, &desk);
        }
    });
    Ok(address)
}

fn reply(mut stream: &TcpStream, desk: &Desk) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
    stream.set_write_timeout(Some(REQUEST_PATIENCE))?;
    let mut lines = BufReader::new(stream.take(MAX_REQUEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let path = path.unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, kind, body) = desk.answer(path);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::prometheus;

    #[test]
    fn what_happened_is_told_and_health_needs_blocks() {
        let metrics = Arc::new(Metrics::default());
        let address = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&metrics), None).unwrap();
        let ask = |path: &str| {
            let mut stream = TcpStream::connect(address).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        assert!(ask("/health").starts_with("HTTP/1.1 503"));
        let event = abci::Event {
            r#type: "transfer".into(),
            attributes: Vec::new(),
        };
        let failed = abci::ExecTxResult {
            code: 5,
            codespace: "sdk".into(),
            gas_used: 70,
            events: vec![event.clone()],
            ..Default::default()
        };
        metrics.executed(&abci::ResponseFinalizeBlock {
            events: vec![event],
            tx_results: vec![failed],
            ..Default::default()
        });
        metrics.call("Commit", Duration::from_millis(500));
        metrics.call("Commit", Duration::from_millis(3));
        metrics.committed(7, Duration::from_secs(20));
        metrics.checked(true, &abci::ResponseCheckTx::default());
        let told = ask("/metrics");
        let told = told.split_once("\r\n\r\n").unwrap().1;
        let samples = prometheus::read(told);
        for (name, value) in [
            ("trainyard_height", 7.0),
            ("trainyard_txs_total{codespace=\"sdk\",code=\"5\"}", 1.0),
            ("trainyard_gas_used_total", 70.0),
            ("trainyard_events_total{type=\"transfer\"}", 2.0),
            (
                "trainyard_check_txs_total{codespace=\"\",code=\"0\",kind=\"recheck\"}",
                1.0,
            ),
            ("trainyard_abci_seconds_count{call=\"Commit\"}", 2.0),
            ("trainyard_abci_seconds_sum{call=\"Commit\"}", 0.503),
            ("trainyard_abci_seconds_bucket{call=\"Commit\",le=\"0.005\"}", 1.0),
            ("trainyard_abci_seconds_bucket{call=\"Commit\",le=\"0.5\"}", 2.0),
            ("trainyard_block_seconds_bucket{le=\"10\"}", 0.0),
            ("trainyard_block_seconds_bucket{le=\"+Inf\"}", 1.0),
        ] {
            assert_eq!(samples.get(name), Some(&value), "{name} in\n{told}");
        }
        let healthy = ask("/health");
        assert!(
            healthy.starts_with("HTTP/1.1 200") && healthy.contains("\"height\":7"),
            "{healthy}"
        );
        assert!(ask("/").starts_with("HTTP/1.1 404"));
    }
}
