//! The text form of Prometheus, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// What every name begins with.
const PREFIX: &str = "trainyard_";

/// A text in the making.
#[derive(Default)]
pub(super) struct Text(String);

impl Text {
    /// All samples of one name.
    pub(super) fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) {
        self.head(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, value);
        }
    }

    /// The distributions of one name.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        all: impl IntoIterator<Item = (Labels, &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        for (labels, histogram) in all {
            let mut below = 0;
            for (count, bound) in histogram.counts.iter().zip(BOUNDS) {
                below += count;
                let labels = [labels.clone(), vec![("le", bound.to_string())]].concat();
                self.sample(&format!("{name}_bucket"), &labels, below as f64);
            }
            let count = histogram.count as f64;
            let all = [labels.clone(), vec![("le", "+Inf".to_owned())]].concat();
            self.sample(&format!("{name}_bucket"), &all, count);
            self.sample(&format!("{name}_sum"), &labels, histogram.sum);
            self.sample(&format!("{name}_count"), &labels, count);
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let prefix = prefix(name);
        let _ = writeln!(self.0, "# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &Labels, value: f64) {
        let _ = write!(self.0, "{}{name}", prefix(name));
        if !labels.is_empty() {
            let labels: Vec<_> = labels
                .iter()
                .map(|(key, text)| format!("{key}=\"{}\"", escaped(text)))
                .collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Figures of the process have the names that Prometheus' own clients give them.
fn prefix(name: &str) -> &'static str {
    if name.starts_with("process_") { "" } else { PREFIX }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Upper bounds of the buckets, seconds.
const BOUNDS: [f64; 12] = [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 10.0];

/// How long something took, over many times.
#[derive(Default)]
pub(super) struct Histogram {
    counts: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    /// One more time, seconds.
    pub(super) fn observe(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.counts[bucket] += 1;
        }
    }
}

/// Counters by their labels.
pub(super) type Counters = BTreeMap<Labels, f64>;
