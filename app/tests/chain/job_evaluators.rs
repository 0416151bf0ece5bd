//! Evaluators that miss their duty are replaced, and one whose score stands alone is slashed.

use trainyard_app::testing::{Chain, TRAIN, address};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    coin::utrain,
    job::{DataSplit, JobSpec, JobState},
    registry::Role,
};

use crate::{job_life::assert_closed, registry::update, support::*};

const JURY: [&str; 5] = ["e1", "e2", "e3", "e4", "e5"];

/// Five evaluators, `bond(name)` each, of whom a job asks for `count`.
fn jury(count: u32, spec: JobSpec, bond: impl Fn(&str) -> u64) -> (Chain, JobSpec) {
    let mut chain = builder().fund_all(["e3", "e4", "e5"], CASH).build();
    for worker in WORKERS {
        chain.ok(worker, &register(worker, Role::Worker, 100 * TRAIN));
    }
    for name in JURY {
        chain.ok(name, &register(name, Role::Evaluator, bond(name)));
    }
    let mut spec = spec;
    spec.requirements.as_mut().unwrap().evaluators = count;
    (chain, spec)
}

fn even(_: &str) -> u64 {
    1000 * TRAIN
}

/// Those who were drawn, in order.
fn names(chain: &Chain, id: u64) -> Vec<&'static str> {
    let name = |a| JURY.into_iter().find(|name| address(name) == a).unwrap();
    drawn(&chain.job(id)).into_iter().map(name).collect()
}

fn commit(chain: &mut Chain, id: u64, name: &str, score: u32) {
    chain.ok(name, &evaluation(chain, name, id, score).0);
}

fn reveal(chain: &mut Chain, id: u64, name: &str, score: u32) {
    chain.ok(name, &evaluation(chain, name, id, score).1);
}

#[test]
fn an_evaluator_that_commits_to_nothing_is_replaced() {
    let (mut chain, spec) = jury(2, plain(), even);
    let id = evaluating(&mut chain, &spec);
    let first = names(&chain, id);
    commit(&mut chain, id, first[0], 700_000);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), job.replacements), (JobState::Evaluating, 1));
    let now = names(&chain, id);
    assert_eq!((now.len(), &now[..2]), (3, &first[..]));
    assert!(!first.contains(&now[2]));
    assert!(job.evaluators[1].dismissed && !job.evaluators[0].dismissed);
    // Whoever is out stays out, and is free to leave.
    let late = chain.deliver(first[1], &evaluation(&chain, first[1], id, 700_000).0);
    assert_eq!(late.failure(), ("job", 7), "{late:?}");
    assert_eq!(chain.node(first[1]).unwrap().engagements, 0);
    assert_eq!(reputation(&chain, first[1]), 40);

    commit(&mut chain, id, now[2], 700_000);
    assert_eq!(chain.job(id).state(), JobState::Revealing);
    reveal(&mut chain, id, now[0], 700_000);
    reveal(&mut chain, id, now[2], 700_000);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 700_000));
    let pay = now.iter().map(|name| paid(&job, name) / TRAIN).collect::<Vec<_>>();
    assert_eq!(pay, [25, 0, 25]);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address(first[1])));
    assert!(why.contains("committed to no score in time: it missed a duty"), "{why}");
}

#[test]
fn a_replacement_waits_for_its_key_and_is_let_go_without_one() {
    for silent in [false, true] {
        let (mut chain, spec) = jury(2, spec(), even);
        let id = evaluating(&mut chain, &spec);
        let first = names(&chain, id);
        commit(&mut chain, id, first[1], 900_000);
        chain.skip_to(chain.job(id).deadline);
        let job = chain.job(id);
        assert_eq!(job.state(), JobState::Submitted);
        let fresh = names(&chain, id)[2];
        // The one who is out is no recipient any more, the one who has committed need not be granted again.
        let stale = chain.deliver(CLIENT, &grant(id, DataSplit::Test, &[address(first[0])]));
        assert_eq!(stale.failure(), ("job", 18), "{stale:?}");
        if silent {
            chain.skip_to(job.deadline);
            assert_eq!(chain.job(id).state(), JobState::Revealing);
            assert_eq!(reputation(&chain, fresh), 50, "it was asked for nothing");
        } else {
            chain.ok(CLIENT, &grant(id, DataSplit::Test, &[address(fresh)]));
            assert_eq!(chain.job(id).state(), JobState::Evaluating);
            commit(&mut chain, id, fresh, 900_000);
            reveal(&mut chain, id, fresh, 900_000);
        }
        reveal(&mut chain, id, first[1], 900_000);
        let job = chain.job(id);
        assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 900_000));
        assert_eq!(paid(&job, first[1]), 25 * TRAIN);
        assert_eq!(paid(&job, fresh), if silent { 0 } else { 25 * TRAIN });
        assert_closed(&chain, id);
        let why = chain.explain(id, Some(address(fresh)));
        assert_eq!(why.contains("granted no test key in time"), silent, "{why}");
    }
}

#[test]
fn replacements_are_bounded_and_never_drawn_twice() {
    let (mut chain, spec) = jury(2, plain(), even);
    let id = evaluating(&mut chain, &spec);
    // Two of five at first, and the parameter allows two more: the fifth is never asked.
    chain.skip_to(chain.job(id).deadline);
    assert_eq!(
        (chain.job(id).state(), chain.job(id).replacements),
        (JobState::Evaluating, 2)
    );
    let mut all = names(&chain, id);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Settled, "no evaluator committed a score in time")
    );
    assert_eq!(held(&chain, bank::TREASURY), 100 * TRAIN);
    assert_eq!(paid(&job, "w1"), 300 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn who_hides_its_score_is_replaced_only_while_all_are_secret() {
    // Nobody reveals: both are replaced, and their scores do not count.
    let (mut chain, spec) = jury(2, plain(), even);
    let id = evaluating(&mut chain, &spec);
    let first = names(&chain, id);
    for name in &first {
        commit(&mut chain, id, name, 1);
    }
    chain.skip_to(chain.job(id).deadline);
    assert_eq!(chain.job(id).state(), JobState::Evaluating);
    let fresh = names(&chain, id).split_off(2);
    assert_eq!(fresh.len(), 2);
    let late = chain.deliver(first[0], &evaluation(&chain, first[0], id, 1).1);
    assert_eq!(late.failure(), ("job", 7), "{late:?}");
    for name in &fresh {
        commit(&mut chain, id, name, 600_000);
    }
    // One of the new ones reveals, the other does not: whoever came now could copy.
    reveal(&mut chain, id, fresh[0], 600_000);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 600_000));
    assert_eq!((job.evaluators.len(), paid(&job, fresh[0])), (4, 25 * TRAIN));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address(fresh[1])));
    assert!(why.contains("revealed none in time: it missed a duty"), "{why}");
}

#[test]
fn an_outlier_among_three_is_slashed_and_one_of_two_is_not() {
    let (mut chain, spec) = jury(3, plain(), even);
    let id = evaluating(&mut chain, &spec);
    let three = names(&chain, id);
    let scores = [905_001, 900_000, 899_000];
    for (name, score) in three.iter().zip(scores) {
        commit(&mut chain, id, name, score);
    }
    for (name, score) in three.iter().zip(scores) {
        reveal(&mut chain, id, name, score);
    }
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 900_000));
    assert_eq!(job.evaluators[0].slashed, 100 * TRAIN, "a tenth of its bond");
    assert_eq!(bond(&chain, three[0]), 900 * TRAIN);
    assert_eq!(reputation(&chain, three[0]), 0);
    assert_eq!((paid(&job, three[0]), bond(&chain, three[1])), (0, 1000 * TRAIN));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address(three[0])));
    assert!(why.contains("so it lost 100 TRAIN of its bond"), "{why}");

    let (mut chain, spec) = jury(2, plain(), even);
    let id = evaluating(&mut chain, &spec);
    let two = names(&chain, id);
    commit(&mut chain, id, two[0], 100_000);
    commit(&mut chain, id, two[1], 900_000);
    reveal(&mut chain, id, two[0], 100_000);
    reveal(&mut chain, id, two[1], 900_000);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 100_000));
    assert_eq!((bond(&chain, two[1]), reputation(&chain, two[1])), (1000 * TRAIN, 50));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address(two[1])));
    assert!(why.contains("is not clear enough to slash it"), "{why}");
}

#[test]
fn a_heavy_liar_sets_the_score_but_cannot_have_the_others_slashed() {
    let (mut chain, spec) = jury(
        5,
        plain(),
        |name| if name == "e3" { 8_000 * TRAIN } else { 1000 * TRAIN },
    );
    let id = evaluating(&mut chain, &spec);
    let score = |name: &str| if name == "e3" { 999_000 } else { 500_000 };
    let pairs = JURY.map(|name| (name, evaluation(&chain, name, id, score(name))));
    let commits = pairs
        .iter()
        .map(|(name, pair)| chain.tx(name, vec![any::pack(&pair.0)]));
    let commits = commits.collect();
    all_ok(&mut chain, commits);
    let reveals = pairs
        .iter()
        .map(|(name, pair)| chain.tx(name, vec![any::pack(&pair.1)]));
    let reveals = reveals.collect();
    all_ok(&mut chain, reveals);
    assert_eq!(chain.job(id).score_ppm, 999_000);
    for name in ["e1", "e2", "e4", "e5"] {
        assert_eq!((bond(&chain, name), reputation(&chain, name)), (1000 * TRAIN, 50));
    }
    assert_closed(&chain, id);
}

#[test]
fn a_score_weighs_what_the_bond_was_at_the_draw() {
    let (mut chain, spec) = jury(2, plain(), even);
    let id = evaluating(&mut chain, &spec);
    let two = names(&chain, id);
    commit(&mut chain, id, two[0], 200_000);
    commit(&mut chain, id, two[1], 800_000);
    reveal(&mut chain, id, two[0], 200_000);
    // Having seen the other's score, the second buys weight: too late.
    let mut more = update(two[1]);
    more.add_bond = Some(utrain(5_000 * TRAIN));
    chain.ok(two[1], &more);
    reveal(&mut chain, id, two[1], 800_000);
    assert_eq!(chain.job(id).score_ppm, 200_000);
}
