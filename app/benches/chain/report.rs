//! What was measured: printed as it comes, kept as rows of JSON.

use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// Rows of the form `{name, unit, ours, peer, ratio}`.
#[derive(Default)]
pub(crate) struct Report(Vec<Value>);

impl Report {
    /// A measured value, beside a peer's where there is one: the peer's name stands in `name`.
    pub(crate) fn add(&mut self, name: &str, unit: &str, ours: f64, peer: Option<f64>) {
        let ratio = peer.map(|peer| ours / peer);
        match (peer, ratio) {
            (Some(peer), Some(ratio)) => println!("{name:<64} {ours:>12.1} {unit:<9} {peer:>12.1}  {ratio:.2}×"),
            _ => println!("{name:<64} {ours:>12.1} {unit}"),
        }
        self.0
            .push(json!({"name": name, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio}));
    }

    /// Writes one row a line.
    pub(crate) fn write(&self, file: &Path) {
        let mut out = std::fs::File::create(file).expect("the file for --json can be written");
        for row in &self.0 {
            writeln!(out, "{row}").expect("the file for --json can be written");
        }
    }
}
