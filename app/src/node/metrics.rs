//! What a node counts, in the text form of Prometheus, and the small server that tells it.
//!
//! | metric | what |
//! |---|---|
//! | `trainyard_height`, `trainyard_last_block_seconds` | the last committed height; when that was |
//! | `trainyard_abci_calls_total`, `trainyard_abci_seconds_total` | calls of CometBFT and their time, by `call` |
//! | `trainyard_txs_total`, `trainyard_check_txs_total` | transactions in blocks and offered, by `codespace` and `code` |
//! | `trainyard_gas_used_total` | gas of transactions in blocks |
//! | `trainyard_events_total` | what happened in every module, by `type`: transfers, delegations, slashes, settled jobs, … |
//! | `trainyard_build_info` | the program's version |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tendermint_proto::v0_38::abci;

use super::Error;

/// A node that has not committed a block for so long is not healthy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long somebody who asks may take, and how much he may send.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);
const MAX_REQUEST: u64 = 8 << 10;

/// Counters by their labels.
type Counters = BTreeMap<String, f64>;

/// What is counted.
#[derive(Default)]
pub(super) struct Metrics {
    counted: Mutex<Counted>,
}

#[derive(Default)]
struct Counted {
    height: i64,
    committed: Duration,
    calls: BTreeMap<&'static str, (u64, Duration)>,
    checked: Counters,
    txs: Counters,
    gas: f64,
    events: Counters,
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn outcome(codespace: &str, code: u32) -> String {
    format!("codespace=\"{codespace}\",code=\"{code}\"")
}

impl Metrics {
    fn counted(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call of CometBFT and how long it took.
    pub(super) fn call(&self, call: &'static str, time: Duration) {
        let mut counted = self.counted();
        let (count, total) = counted.calls.entry(call).or_default();
        *count += 1;
        *total += time;
    }

    /// An offered transaction.
    pub(super) fn checked(&self, response: &abci::ResponseCheckTx) {
        let outcome = outcome(&response.codespace, response.code);
        *self.counted().checked.entry(outcome).or_default() += 1.0;
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
            *counted.events.entry(format!("type=\"{}\"", event.r#type)).or_default() += 1.0;
        }
    }

    /// A committed height.
    pub(super) fn committed(&self, height: i64) {
        let mut counted = self.counted();
        counted.height = height;
        counted.committed = now();
    }

    /// The text for Prometheus.
    fn text(&self) -> String {
        let counted = self.counted();
        let mut out = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, rows: &mut dyn Iterator<Item = (String, f64)>| {
            let _ = writeln!(out, "# HELP trainyard_{name} {help}\n# TYPE trainyard_{name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(out, "trainyard_{name}{{{labels}}} {value}");
            }
        };
        let one = |value: f64| std::iter::once((String::new(), value));
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        metric(
            "build_info",
            "gauge",
            "The program.",
            &mut std::iter::once((version, 1.0)),
        );
        metric(
            "height",
            "gauge",
            "The last committed height.",
            &mut one(counted.height as f64),
        );
        let committed = counted.committed.as_secs_f64();
        metric(
            "last_block_seconds",
            "gauge",
            "When it was committed, Unix time.",
            &mut one(committed),
        );
        let by_call = |value: fn(&(u64, Duration)) -> f64| {
            let rows = counted.calls.iter();
            rows.map(move |(call, spent)| (format!("call=\"{call}\""), value(spent)))
        };
        let mut calls = by_call(|(count, _)| *count as f64);
        metric("abci_calls_total", "counter", "Calls of CometBFT.", &mut calls);
        let mut seconds = by_call(|(_, time)| time.as_secs_f64());
        metric(
            "abci_seconds_total",
            "counter",
            "Time in calls of CometBFT.",
            &mut seconds,
        );
        let rows = |counters: &Counters| counters.clone().into_iter();
        metric(
            "check_txs_total",
            "counter",
            "Transactions offered.",
            &mut rows(&counted.checked),
        );
        metric(
            "txs_total",
            "counter",
            "Transactions in blocks.",
            &mut rows(&counted.txs),
        );
        metric(
            "gas_used_total",
            "counter",
            "Gas of transactions in blocks.",
            &mut one(counted.gas),
        );
        metric(
            "events_total",
            "counter",
            "Events of all modules.",
            &mut rows(&counted.events),
        );
        out
    }

    /// The answer to a request for a path: status and text.
    fn answer(&self, path: &str) -> (&'static str, &'static str, String) {
        match path {
            "/metrics" => ("200 OK", "text/plain; version=0.0.4", self.text()),
            "/health" => {
                let counted = self.counted();
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
pub(super) fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<SocketAddr, Error> {
    let cannot = |error: io::Error| Error::Value(format!("cannot serve metrics at {address}: {error}"));
    let listener = TcpListener::bind(address).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    thread::spawn(move || {
        // One after another: whoever dawdles is cut off.
        for stream in listener.incoming().flatten() {
            let _ = reply(&stream, &metrics);
        }
    });
    Ok(address)
}

fn reply(mut stream: &TcpStream, metrics: &Metrics) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_PATIENCE))?;
    stream.set_write_timeout(Some(REQUEST_PATIENCE))?;
    let mut lines = BufReader::new(stream.take(MAX_REQUEST)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let path = path.unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, kind, body) = metrics.answer(path);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_is_told_and_health_needs_blocks() {
        let metrics = Arc::new(Metrics::default());
        let address = serve("127.0.0.1:0".parse().unwrap(), Arc::clone(&metrics)).unwrap();
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
        metrics.committed(7);
        let told = ask("/metrics");
        for line in [
            "trainyard_height{} 7",
            "trainyard_txs_total{codespace=\"sdk\",code=\"5\"} 1",
            "trainyard_gas_used_total{} 70",
            "trainyard_events_total{type=\"transfer\"} 2",
            "trainyard_abci_calls_total{call=\"Commit\"} 1",
            "trainyard_abci_seconds_total{call=\"Commit\"} 0.5",
        ] {
            assert!(told.lines().any(|found| found == line), "{line} is not in\n{told}");
        }
        let healthy = ask("/health");
        assert!(
            healthy.starts_with("HTTP/1.1 200") && healthy.contains("\"height\":7"),
            "{healthy}"
        );
        assert!(ask("/").starts_with("HTTP/1.1 404"));
    }
}
