//! Many deadlines at once, and what comes after one.

use trainyard_app::testing::{Chain, TRAIN, address, peer_id};
use trainyard_modules::bank::{self, Balance};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    job::{DataSplit, JobSpec, JobState, QueryOpenJobsForRequest, QueryOpenJobsForResponse, RoundPhase},
    registry::{Node, Role},
};

use crate::{
    permissions::{Jobs, jobs},
    support::*,
};

/// Posts `count` jobs of one TRAIN in one block; their numbers.
fn post_many(chain: &mut Chain, spec: &JobSpec, count: i64) -> Vec<u64> {
    let message = any::pack(&post_msg(CLIENT, spec, TRAIN));
    let craft = chain.craft(CLIENT, vec![message]).gas(400_000);
    let txs: Vec<_> = (0..count)
        .map(|number| craft.clone().sequence_offset(number).sign())
        .collect();
    let mut jobs = Vec::new();
    for outcome in chain.block(txs) {
        assert!(outcome.is_ok(), "{outcome:?}");
        let id = outcome.attribute("job_posted", "job_id").unwrap();
        jobs.push(id.parse::<u64>().unwrap());
    }
    jobs
}

#[test]
fn many_jobs_may_end_in_one_block() {
    let mut chain = builder().restart_every(0).build();
    chain = register_everybody(chain);
    let jobs = post_many(&mut chain, &spec(), 250);
    chain.skip_to(chain.job(1).deadline);
    let open = |chain: &Chain| {
        jobs.iter()
            .filter(|id| chain.job(**id).state() == JobState::Open)
            .count()
    };
    assert_eq!(open(&chain), 50, "200 deadlines fit in a block");
    chain.skip(1);
    assert_eq!(open(&chain), 0);
    assert_eq!(worth(&chain, CLIENT), CASH - 250 * TRAIN / 100);
}

/// A chain on which the deadlines of a job in each state, and before them those of more jobs than a block handles, come in the
/// next block but one. With them a job whose scores are revealed.
fn backlog() -> (Chain, Jobs, u64) {
    let mut chain = calm_yard();
    post_many(&mut chain, &calm(spec()), 220);
    let jobs = jobs(&mut chain);
    let revealing = evaluating(&mut chain, &calm(plain()));
    for name in EVALUATORS {
        chain.ok(name, &evaluation(&chain, name, revealing, 5).0);
    }
    assert_eq!(chain.job(revealing).state(), JobState::Revealing);
    let mut genesis = chain.export();
    let first = chain.height() + 1;
    for job in genesis.job.jobs.iter_mut().filter(|job| job.deadline > 0) {
        job.deadline = first + 1;
    }
    let mut chain = Chain::from_genesis(chain.chain_id(), &genesis, first, chain.time());
    chain.skip(1);
    (chain, jobs, revealing)
}

/// Each message that a job in its state would take.
fn timely(chain: &Chain, jobs: &Jobs, revealing: u64) -> Vec<(&'static str, Any)> {
    let keys = grant(jobs.keys, DataSplit::Train, &WORKERS.map(address));
    vec![
        (CLIENT, any::pack(&cancel(CLIENT, jobs.open))),
        (CLIENT, any::pack(&top_up(CLIENT, jobs.open, TRAIN))),
        (CLIENT, any::pack(&top_up(CLIENT, jobs.training, TRAIN))),
        (CLIENT, any::pack(&keys)),
        ("w2", any::pack(&join("w2", jobs.open))),
        ("w1", any::pack(&leave("w1", jobs.open))),
        ("w1", any::pack(&leave("w1", jobs.training))),
        ("w1", any::pack(&trace(chain, "w1", jobs.training))),
        ("e1", any::pack(&evaluation(chain, "e1", jobs.evaluating, 5).0)),
        ("e1", any::pack(&evaluation(chain, "e1", revealing, 5).1)),
    ]
}

fn refusal(chain: &Chain, worker: &str, id: u64) -> String {
    let request = QueryOpenJobsForRequest {
        worker: address(worker).to_string(),
        ..QueryOpenJobsForRequest::default()
    };
    let path = "/trainyard.job.v1.Query/OpenJobsFor";
    let answer: QueryOpenJobsForResponse = chain.query(path, &request).unwrap();
    let job = |open: &&trainyard_proto::job::OpenJob| open.job.as_ref().is_some_and(|job| job.id == id);
    answer.jobs.iter().find(job).unwrap().refusal.clone()
}

#[test]
fn a_job_takes_messages_up_to_its_deadline_and_none_after_it() {
    let (mut chain, jobs, revealing) = backlog();
    // The deadline's own block is in time: one trace of three, and a reveal of two.
    let in_time = [
        ("w2", any::pack(&trace(&chain, "w2", jobs.training))),
        ("e2", any::pack(&evaluation(&chain, "e2", revealing, 5).1)),
    ];
    let txs = in_time.map(|(name, message)| chain.tx(name, vec![message]));
    all_ok(&mut chain, txs.to_vec());
    let deadline = chain.height();
    // 200 of the jobs before them are over; they themselves are not, and are late.
    assert_eq!(chain.job(jobs.training).deadline, deadline);
    let messages = timely(&chain, &jobs, revealing);
    let late = format!("had its deadline at height {deadline}, it is {}", deadline + 1);
    for (name, id) in [("w2", jobs.open), ("w1", jobs.open)] {
        assert!(refusal(&chain, name, id).contains(&late), "{name}");
    }
    let why = chain.explain(jobs.open, Some(address("w2")));
    assert!(why.contains(&late), "{why}");
    let why = chain.explain(jobs.training, None);
    assert!(why.contains("it waits for its turn (at most 200 a block)"), "{why}");
    let txs: Vec<_> = messages
        .iter()
        .map(|(name, message)| chain.tx(name, vec![message.clone()]))
        .collect();
    for (outcome, (name, message)) in chain.block_unchecked(txs).iter().zip(&messages) {
        assert_eq!(
            outcome.failure(),
            ("job", 21),
            "{} by {name}: {outcome:?}",
            message.type_url
        );
        assert!(outcome.log.contains(&late), "{}", outcome.log);
    }
    // In this block their turn came, with what was there at the deadline.
    let state = |id| chain.job(id).state();
    assert_eq!(
        (state(jobs.open), state(jobs.keys)),
        (JobState::Cancelled, JobState::Failed)
    );
    let training = chain.job(jobs.training);
    assert_eq!(training.round_phase(), RoundPhase::Merge);
    let active: Vec<_> = training
        .workers
        .iter()
        .filter(|w| w.active)
        .map(|w| &w.address)
        .collect();
    assert_eq!(active, [&address("w2").to_string()]);
    assert_eq!(state(jobs.evaluating), JobState::Settled);
    let revealed = chain.job(revealing);
    assert_eq!((revealed.state(), revealed.score_ppm), (JobState::Settled, 5));
    let dismissed = revealed.evaluators.iter().filter(|e| e.dismissed).map(|e| &e.address);
    assert_eq!(dismissed.collect::<Vec<_>>(), [&address("e1").to_string()]);
    assert_eq!(chain.job(jobs.training).deadline, chain.height() + 5_000);
}

/// Evaluators that nobody asked to come: each draw looks at all of them.
fn crowd(count: u32) -> Chain {
    let chain = builder().restart_every(0).check_every(10).genesis(|genesis| {
        let owners = (0..count).map(|number| format!("crowd{number}"));
        genesis.registry.nodes = owners.map(|name| evaluator(&name)).collect();
        let held: u64 = genesis.registry.nodes.iter().map(|node| node.bond).sum();
        genesis.bank.balances.push(Balance {
            address: Address::of_module(bank::NODE_BONDS).to_string(),
            amount: held,
        });
    });
    chain.build()
}

fn evaluator(name: &str) -> Node {
    let owner = address(name).to_string();
    Node {
        operator: owner.clone(),
        owner,
        roles: vec![Role::Evaluator.into()],
        bond: 1_000 * TRAIN,
        peer_id: peer_id(name),
        ..Node::default()
    }
}

#[test]
fn the_work_of_deadlines_is_bounded_however_many_evaluators_there_are() {
    let mut chain = crowd(1_500);
    chain.ok("w1", &register("w1", Role::Worker, 100 * TRAIN));
    let mut small = plain();
    let requirements = small.requirements.as_mut().unwrap();
    (requirements.min_workers, requirements.evaluators) = (1, 15);
    small.deadlines.as_mut().unwrap().open = 10;
    let message = any::pack(&post_msg(CLIENT, &small, TRAIN));
    let craft = chain.craft(CLIENT, vec![message]).gas(400_000);
    let posts: Vec<_> = (0..60).map(|n| craft.clone().sequence_offset(n).sign()).collect();
    all_ok(&mut chain, posts);
    let joins = (1..=60)
        .map(|id| chain.tx("w1", vec![any::pack(&join("w1", id))]))
        .collect();
    all_ok(&mut chain, joins);
    chain.skip_to(chain.job(60).deadline);
    let open = |chain: &Chain| (1..=60).filter(|id| chain.job(*id).state() == JobState::Open).count();
    let after = open(&chain);
    assert!((20..50).contains(&after), "{after} of 60 wait for a later block");
    chain.skip(2);
    assert_eq!(open(&chain), 0);
    assert!((1..=60).all(|id| chain.job(id).evaluators.len() == 15));
}
