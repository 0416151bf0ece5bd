//! Inputs one after another, and what is said when one of them fails. `app` fuzzes with it too.

use super::mutate::{Draws, mutated};
use std::time::{Duration, Instant};

/// Mutated inputs for each target in a run of the tests.
const RUNS: u64 = 3000;

/// Feeds mutations of `seeds` to `target`, which says whether it accepted them. Some of the seeds' mutations must be accepted:
/// otherwise nothing behind the first check is tested.
pub(crate) fn fuzz(name: &str, seeds: &[Vec<u8>], target: impl Fn(&[u8]) -> bool) {
    for seed in seeds {
        assert!(target(seed), "{name}: a valid seed is refused");
    }
    fuzz_made(name, RUNS, |draws| mutated(seeds, draws), target);
}

/// Feeds what `make` draws to `target`, `runs` times in a run of the tests.
pub(crate) fn fuzz_made(name: &str, runs: u64, make: impl Fn(&mut Draws) -> Vec<u8>, target: impl Fn(&[u8]) -> bool) {
    let variable = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text: String| text.parse::<u64>().ok())
    };
    let long = variable("TRAINYARD_FUZZ_SECONDS").map(Duration::from_secs);
    let start = Instant::now();
    let (mut run, mut accepted) = (0, 0);
    let first = variable("TRAINYARD_FUZZ_SEED").unwrap_or(0);
    while long.map_or(run < runs, |time| start.elapsed() < time) {
        let seed = first.wrapping_add(run);
        let bytes = make(&mut Draws(seed));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&bytes)));
        accepted += u64::from(outcome.unwrap_or_else(|_| panic!("{name}: TRAINYARD_FUZZ_SEED={seed} fails")));
        run += 1;
    }
    eprintln!("{name}: {run} inputs, {accepted} accepted");
    assert!(accepted > run / 1000, "{name}: {accepted} of {run} inputs are accepted");
}
