//! What was tried, and what became of it.

use std::{collections::BTreeMap, fmt};

use trainyard_app::testing::Outcome;
use trainyard_modules::machine;

#[derive(Default)]
struct Line {
    tried: u64,
    succeeded: u64,
    refused: BTreeMap<(String, u32), u64>,
}

/// By type URL of the message.
#[derive(Default)]
pub(crate) struct Tally {
    lines: BTreeMap<String, Line>,
    operations: u64,
}

impl Tally {
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// A message stands in a transaction, or in one that carries it.
    pub(crate) fn tried(&mut self, url: &str) {
        self.operations += 1;
        self.lines.entry(url.to_string()).or_default().tried += 1;
    }

    pub(crate) fn succeeded(&mut self, url: &str) {
        self.lines.entry(url.to_string()).or_default().succeeded += 1;
    }

    pub(crate) fn refused(&mut self, url: &str, outcome: &Outcome) {
        let line = self.lines.entry(url.to_string()).or_default();
        *line
            .refused
            .entry((outcome.codespace.clone(), outcome.code))
            .or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        for (url, line) in &other.lines {
            let mine = self.lines.entry(url.clone()).or_default();
            mine.tried += line.tried;
            mine.succeeded += line.succeeded;
            for (code, count) in &line.refused {
                *mine.refused.entry(code.clone()).or_default() += count;
            }
        }
    }

    fn without(&self, count: impl Fn(&Line) -> u64) -> Vec<String> {
        let none = |url: &String| self.lines.get(url).is_none_or(|line| count(line) == 0);
        machine::message_urls().filter(none).collect()
    }

    pub(crate) fn never_tried(&self) -> Vec<String> {
        self.without(|line| line.tried)
    }

    pub(crate) fn never_succeeded(&self) -> Vec<String> {
        self.without(|line| line.succeeded)
    }

    /// Pairs of a message and a code with which it was refused.
    pub(crate) fn refusals(&self) -> usize {
        self.lines.values().map(|line| line.refused.len()).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<56} {:>8} {:>9}  refused by code",
            "message", "tried", "succeeded"
        )?;
        for (url, line) in &self.lines {
            write!(f, "{url:<56} {:>8} {:>9} ", line.tried, line.succeeded)?;
            for ((codespace, code), count) in &line.refused {
                write!(f, " {codespace}/{code}: {count}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
