//! Random operations over every message, valid and not, over many blocks: the chain under a crowd.
//!
//! [`actions::ACTIONS`] has one line per message: its type, how often it is tried, and the function that makes one up from
//! what there is. The randomness is a fixed function of the seed, so a failure can be repeated.
//!
//! At every block: two nodes answer alike and reach the same app hash (the second sees nothing but `FinalizeBlock`), the supply
//! is what it was less what was burned, and CometBFT could carry out the change of validators. Every few blocks ([`Plan`]):
//! the modules' invariants, whose sums go over the whole state; [`audit`], the same sums made again from an export by other
//! code; and an import of that export, which must make the same state to the byte. At the end a chain that starts from the
//! export takes the same random transactions to the same app hash.
//!
//! | variable | what |
//! |---|---|
//! | `TRAINYARD_SIMULATION_OPERATIONS` | operations of each seed; without it a small run |
//! | `TRAINYARD_SIMULATION_SEEDS` | seeds, with spaces in between |
//!
//! `scripts/simulate` sets both; a failure says how to repeat it.
//!
//! | file | what |
//! |---|---|
//! | `actions/` | a message of each kind, made up |
//! | `audit.rs` | what must hold of an exported state |
//! | `random.rs` | numbers that look random |
//! | `tally.rs` | what was tried, and what became of it |
//! | `view.rs` | what there is to act on |
//! | `world.rs` | the chain, block by block |

mod actions;
mod audit;
#[path = "../chain/contest_support.rs"]
#[allow(dead_code)] // As with `support`.
mod contest_support;
mod random;
#[path = "../chain/support.rs"]
#[allow(dead_code)] // Other tests use what this one does not.
mod support;
mod tally;
mod view;
mod world;

use std::collections::BTreeSet;

use tally::Tally;
use trainyard_modules::machine;
use trainyard_proto::job::{Job, JobState};
use world::{Plan, World};

/// Seeds of the small run.
const SEEDS: [u64; 2] = [3, 4];
/// Operations from which on every message should have succeeded once, and jobs ended in every way.
const ENOUGH: u64 = 20_000;

fn plan() -> (Plan, Vec<u64>) {
    let variable = |name| std::env::var(format!("TRAINYARD_SIMULATION_{name}")).ok();
    let seeds = variable("SEEDS").map_or_else(
        || SEEDS.to_vec(),
        |text| {
            text.split_whitespace()
                .map(|seed| seed.parse().expect("a seed"))
                .collect()
        },
    );
    let plan = variable("OPERATIONS").map_or_else(Plan::small, |text| Plan::large(text.parse().expect("a number")));
    (plan, seeds)
}

/// Every kind of message is tried; over a large run each succeeds somewhere, and jobs end in every way there is.
#[test]
fn random_operations() {
    let (plan, seeds) = plan();
    let (mut all, mut ends) = (Tally::default(), BTreeSet::new());
    for seed in seeds {
        let mut world = World::new(seed, &plan);
        world.run();
        world.go_on_twice();
        ends.extend(world.chain.export().job.jobs.iter().map(Job::state));
        all.add(&world.tally);
    }
    println!("{all}");
    assert!(all.never_tried().is_empty(), "never tried: {:?}", all.never_tried());
    if all.operations() < ENOUGH {
        return;
    }
    assert!(
        all.never_succeeded().is_empty(),
        "never succeeded: {:?}",
        all.never_succeeded()
    );
    assert!(all.refusals() > 60, "refused in {} ways", all.refusals());
    for end in [JobState::Settled, JobState::Cancelled, JobState::Failed] {
        assert!(ends.contains(&end), "no job is {end:?}");
    }
}

#[test]
fn every_message_has_its_line() {
    let listed: BTreeSet<String> = actions::ACTIONS.iter().map(|action| (action.url)()).collect();
    let routed: BTreeSet<String> = machine::message_urls().collect();
    assert_eq!(listed, routed);
    assert_eq!(listed.len(), actions::ACTIONS.len(), "a message stands twice");
}
