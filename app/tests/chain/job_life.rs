//! How jobs end, and who is paid what.

use trainyard_app::testing::{Chain, TRAIN, VALIDATOR, address};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    job::{DataSplit, JobState, RoundPhase},
};

use crate::distribution::withdraw;
use crate::support::*;

/// Everybody is back at what the ledger says, nobody is engaged, nothing is left in escrow.
pub(crate) fn assert_closed(chain: &Chain, id: u64) {
    let job = chain.job(id);
    assert_eq!(held(chain, bank::ESCROW), 0);
    assert_eq!(
        job.payments
            .iter()
            .filter(|p| p.reason != "stake")
            .map(|p| p.amount)
            .sum::<u64>(),
        job.budget
    );
    for name in WORKERS.into_iter().chain(EVALUATORS) {
        assert_eq!(
            worth(chain, name) + bond(chain, name) + lost(chain, name),
            CASH + paid(&job, name),
            "{name}"
        );
        assert_eq!(chain.node(name).map_or(0, |n| n.engagements), 0, "{name}");
    }
    assert_eq!(
        worth(chain, CLIENT),
        CASH - job.budget - job.posting_fee + paid(&job, CLIENT)
    );
    assert_eq!((job.deadline, job.closed_at > 0), (0, true));
}

#[test]
fn a_thousand_train_split_to_the_utrain() {
    let mut chain = register_everybody(builder().epoch_blocks(40).build());
    let validator = chain.balance(address(VALIDATOR));
    let fees_before = held(&chain, bank::FEE_COLLECTOR);
    let id = post(&mut chain, &spec(), BUDGET);
    assert_eq!(held(&chain, bank::FEE_COLLECTOR), fees_before + 10 * TRAIN + FEE);
    assert_eq!(held(&chain, bank::ESCROW), BUDGET);
    join_all(&mut chain, id, &WORKERS);
    // Three times the pay at risk: 3 · 900 / 3.
    assert_eq!(held(&chain, bank::ESCROW), BUDGET + 3 * 900 * TRAIN);
    train(&mut chain, id, &WORKERS);
    assert_eq!(chain.job(id).state(), JobState::Submitted);
    grant_test(&mut chain, id);
    score(&mut chain, id, [("e1", 973_100), ("e2", 973_100)]);

    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.score_ppm, job.reason.as_str()),
        (JobState::Settled, 973_100, "")
    );
    let ledger: Vec<_> = job
        .payments
        .iter()
        .map(|p| (p.reason.as_str(), p.amount / TRAIN, p.amount % TRAIN))
        .collect();
    let (worker, evaluator, stake) = (("worker", 300, 0), ("evaluator", 25, 0), ("stake", 900, 0));
    assert_eq!(
        ledger,
        [
            worker,
            worker,
            worker,
            evaluator,
            evaluator,
            ("treasury", 50, 0),
            stake,
            stake,
            stake
        ]
    );
    assert_eq!(held(&chain, bank::TREASURY), 50 * TRAIN);
    assert_closed(&chain, id);
    for name in WORKERS.into_iter().chain(EVALUATORS) {
        assert_eq!(reputation(&chain, name), 51, "{name}");
    }

    // The posting fee and the fees of gas are credited to the validator at the end of the epoch, and not before.
    assert_eq!(chain.balance(address(VALIDATOR)), validator);
    let (collected, earned) = (held(&chain, bank::FEE_COLLECTOR), held(&chain, bank::DISTRIBUTION));
    assert!(chain.height() < 40 && collected > 10 * TRAIN);
    chain.skip_to(40);
    assert_eq!(held(&chain, bank::FEE_COLLECTOR), 0);
    assert_eq!(held(&chain, bank::DISTRIBUTION), earned + collected);
    chain.ok(VALIDATOR, &withdraw(VALIDATOR, VALIDATOR));
    assert_eq!(chain.balance(address(VALIDATOR)), validator + earned + collected - FEE);

    let story = chain.explain(id, None);
    assert!(story.contains("settled with a budget of 1000 TRAIN"), "{story}");
    assert!(story.contains("a score of 97.3100 %"), "{story}");
    let worker = chain.explain(id, Some(address("w2")));
    assert!(
        worker.contains("2 completed rounds with 640 of 1920 samples"),
        "{worker}"
    );
    assert!(worker.contains("its part is 640 / 1920 = 300 TRAIN"), "{worker}");
    assert!(worker.contains("It was paid 300 TRAIN (worker)"), "{worker}");
    let evaluator = chain.explain(id, Some(address("e1")));
    assert!(
        evaluator.contains("It scored 973100 ppm, within 5000 of the median 973100"),
        "{evaluator}"
    );
    let client = chain.explain(id, Some(address(CLIENT)));
    assert!(client.contains("a client does not work for itself"), "{client}");
}

#[test]
fn samples_weigh_the_pay_and_dust_goes_to_the_treasury() {
    let mut chain = yard();
    let id = post(&mut chain, &plain(), BUDGET + 1);
    join_all(&mut chain, id, &WORKERS);
    for _ in 0..2 {
        let txs = WORKERS.into_iter().zip([320, 100, 7]).map(|(worker, samples)| {
            let mut trace = trace(&chain, worker, id);
            trace.samples = samples;
            (worker, trace)
        });
        let msgs: Vec<_> = txs.collect();
        let txs = msgs
            .iter()
            .map(|(worker, trace)| chain.tx(worker, vec![any::pack(trace)]))
            .collect();
        all_ok(&mut chain, txs);
        vote_all(&mut chain, id, &WORKERS);
    }
    submit_all(&mut chain, id, &WORKERS);
    assert_eq!(
        chain.job(id).state(),
        JobState::Evaluating,
        "plain test data needs no grant"
    );
    score(&mut chain, id, [("e1", 900_000), ("e2", 903_000)]);
    let job = chain.job(id);
    let pot = (BUDGET + 1) * 9 / 10;
    for (worker, samples) in WORKERS.into_iter().zip([640u64, 200, 14]) {
        assert_eq!(paid(&job, worker), pot * samples / 854, "{worker}");
    }
    let to_people: u64 = WORKERS.into_iter().chain(EVALUATORS).map(|name| paid(&job, name)).sum();
    assert_eq!(held(&chain, bank::TREASURY), BUDGET + 1 - to_people);
    assert!(held(&chain, bank::TREASURY) > 50 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn a_cancelled_job_refunds_all_but_the_posting_fee() {
    let mut chain = yard();
    let id = post(&mut chain, &spec(), BUDGET);
    join_all(&mut chain, id, &WORKERS[..2]);
    chain.ok(CLIENT, &cancel(CLIENT, id));
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Cancelled, "cancelled by its client")
    );
    assert_eq!(paid(&job, CLIENT), BUDGET);
    assert_eq!(reputation(&chain, "w1"), 50);
    assert_closed(&chain, id);
}

#[test]
fn a_job_without_enough_workers_is_cancelled_at_its_deadline() {
    let mut chain = yard();
    let id = post(&mut chain, &spec(), BUDGET);
    let posted = chain.height();
    join_all(&mut chain, id, &WORKERS[..1]);
    chain.skip_to(posted + 5);
    assert_eq!(chain.job(id).state(), JobState::Open);
    chain.skip(1);
    let job = chain.job(id);
    assert_eq!((job.state(), job.closed_at), (JobState::Cancelled, posted + 6));
    assert_eq!(job.reason, "1 workers joined in time, 2 were needed");
    assert_eq!(paid(&job, CLIENT), BUDGET);
    assert_closed(&chain, id);
    assert!(
        chain
            .explain(id, None)
            .contains("1 workers joined in time, 2 were needed")
    );
}

#[test]
fn a_job_with_min_workers_starts_at_its_deadline() {
    let mut chain = yard();
    let id = post(&mut chain, &spec(), BUDGET);
    let posted = chain.height();
    join_all(&mut chain, id, &WORKERS[..2]);
    chain.skip_to(posted + 6);
    assert_eq!(chain.job(id).state(), JobState::Training);
    train(&mut chain, id, &WORKERS[..2]);
    grant_test(&mut chain, id);
    score(&mut chain, id, [("e1", 1), ("e2", 2)]);
    let job = chain.job(id);
    assert_eq!((paid(&job, "w1"), paid(&job, "w3")), (450 * TRAIN, 0));
    assert_closed(&chain, id);
    let out = chain.explain(id, Some(address("w3")));
    assert!(out.contains("it did not join while the job was open"), "{out}");
}

#[test]
fn a_job_without_enough_evaluators_never_starts() {
    let mut chain = yard();
    let mut spec = spec();
    spec.requirements.as_mut().unwrap().evaluators = 3;
    let id = post(&mut chain, &spec, BUDGET);
    join_all(&mut chain, id, &WORKERS);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Cancelled, "2 evaluators may judge this job, 3 are needed")
    );
    assert_closed(&chain, id);
}

#[test]
fn a_worker_that_misses_the_deadline_is_dropped_and_the_round_goes_on() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS[..2]);
    assert_eq!(chain.job(id).round_phase(), RoundPhase::Train);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.round_phase(), job.round), (RoundPhase::Merge, 0));
    assert!(!job.workers[2].active && job.workers[0].active);
    assert!(chain.events().iter().any(|e| e.r#type == "job_worker_dropped"));
    let late = chain.deliver("w3", &vote(&chain, "w3", id));
    assert_eq!(late.failure(), ("job", 6), "{late:?}");
    vote_all(&mut chain, id, &WORKERS[..2]);
    train(&mut chain, id, &WORKERS[..2]);
    grant_or_score(&mut chain, id);
    let job = chain.job(id);
    assert_eq!(
        (paid(&job, "w1"), paid(&job, "w2"), paid(&job, "w3")),
        (450 * TRAIN, 450 * TRAIN, 0)
    );
    assert_eq!((reputation(&chain, "w1"), reputation(&chain, "w3")), (51, 40));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w3")));
    assert!(
        why.contains(
            "0 completed rounds with 0 of 1280 samples, 900 TRAIN at stake, out: no trace before the deadline"
        ),
        "{why}"
    );
}

fn grant_or_score(chain: &mut Chain, id: u64) {
    if chain.job(id).state() == JobState::Submitted {
        grant_test(chain, id);
    }
    score(chain, id, [("e1", 500_000), ("e2", 500_000)]);
    assert_eq!(chain.job(id).state(), JobState::Settled);
}

#[test]
fn a_worker_may_leave_and_is_paid_for_the_rounds_it_completed() {
    let mut chain = yard();
    let id = post(&mut chain, &plain(), BUDGET);
    // While the job is open, the stake comes back at once.
    join_all(&mut chain, id, &["w1", "w2"]);
    chain.ok("w1", &leave("w1", id));
    assert_eq!(
        (chain.job(id).workers.len(), chain.node("w1").unwrap().engagements),
        (1, 0)
    );
    assert_eq!(worth(&chain, "w1"), CASH - 100 * TRAIN);
    join_all(&mut chain, id, &["w1", "w3"]);
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS);
    // The last of those the round waits for leaves: the others go on without it.
    commit_all(&mut chain, id, &WORKERS[..2]);
    chain.ok("w3", &leave("w3", id));
    assert_eq!(chain.job(id).round_phase(), RoundPhase::Merge);
    vote_all(&mut chain, id, &WORKERS[..2]);
    submit_all(&mut chain, id, &WORKERS[..2]);
    grant_or_score(&mut chain, id);
    let job = chain.job(id);
    // One fifth of the samples, at the partial share of one half: the client gets the other half.
    assert_eq!((paid(&job, "w1"), paid(&job, "w3")), (360 * TRAIN, 90 * TRAIN));
    assert_eq!((paid(&job, CLIENT), reputation(&chain, "w3")), (90 * TRAIN, 50));
    assert_closed(&chain, id);
}

#[test]
fn when_every_worker_leaves_the_job_fails() {
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    for worker in WORKERS {
        chain.ok(worker, &leave(worker, id));
    }
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Failed, "every worker has left or was dropped")
    );
    assert_eq!(paid(&job, CLIENT), BUDGET);
    assert_closed(&chain, id);
}

#[test]
fn who_states_another_merged_root_than_the_majority_is_dropped() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS);
    let mut odd = vote(&chain, "w1", id);
    odd.end_root = root("something else");
    chain.ok("w1", &odd);
    vote_all(&mut chain, id, &WORKERS[1..]);
    let job = chain.job(id);
    assert_eq!((job.round, job.round_root.clone()), (1, merged(id, 0)));
    assert!(!job.workers[0].active && job.workers[1].active);
    train(&mut chain, id, &WORKERS[1..]);
    grant_or_score(&mut chain, id);
    assert_eq!(reputation(&chain, "w1"), 40);
    assert_closed(&chain, id);
}

/// Leaving costs nothing, so it must not be a way out of what was said before.
#[test]
fn who_states_a_wrong_root_and_leaves_answers_for_it() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS);
    let mut odd = vote(&chain, "w1", id);
    odd.end_root = root("something else");
    chain.ok("w1", &odd);
    chain.ok("w1", &leave("w1", id));
    vote_all(&mut chain, id, &WORKERS[1..]);
    assert_eq!((chain.job(id).round, lost(&chain, "w1")), (1, TRAIN));
    // Who leaves having stated the agreed root, or none, loses nothing; and each root is answered for once.
    commit_all(&mut chain, id, &WORKERS[1..]);
    chain.ok("w2", &vote(&chain, "w2", id));
    chain.ok("w2", &leave("w2", id));
    vote_all(&mut chain, id, &WORKERS[2..]);
    assert_eq!((lost(&chain, "w1"), lost(&chain, "w2")), (TRAIN, 0));
    submit_all(&mut chain, id, &WORKERS[2..]);
    grant_or_score(&mut chain, id);
    assert_eq!((reputation(&chain, "w1"), reputation(&chain, "w2")), (40, 50));
    assert_closed(&chain, id);
}

#[test]
fn a_job_that_nobody_is_left_in_fails_at_once() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS[..2]);
    for gone in &WORKERS[..2] {
        chain.ok(gone, &leave(gone, id));
    }
    let mut odd = vote(&chain, "w3", id);
    odd.end_root = root("something else");
    chain.ok("w3", &odd);
    let job = chain.job(id);
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(job.reason, "every worker has left or was dropped");
    // The round that the two agreed on is paid all the same, at the job's share of one half.
    assert_eq!(paid(&job, "w1"), 75 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn without_a_majority_the_job_fails_and_completed_rounds_are_paid_in_part() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS);
    commit_all(&mut chain, id, &WORKERS);
    for worker in WORKERS {
        let mut own = vote(&chain, worker, id);
        own.end_root = root(worker);
        chain.ok(worker, &own);
    }
    let job = chain.job(id);
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(
        job.reason,
        "no merged root was stated by a majority of the workers in time"
    );
    // One of two rounds, at the job's share of one half: 900 / 2 / 2 between three.
    assert_eq!(paid(&job, "w1"), 75 * TRAIN);
    assert_eq!(paid(&job, CLIENT), BUDGET - 225 * TRAIN);
    assert_eq!(held(&chain, bank::TREASURY), 0);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w1")));
    assert!(why.contains("It was paid 75 TRAIN (worker)"), "{why}");
    assert!(
        !why.contains("= 300 TRAIN"),
        "a failed job does not pay the whole part: {why}"
    );
}

#[test]
fn partial_pay_is_exact_where_it_does_not_divide() {
    let mut chain = yard();
    let mut spec = plain();
    (spec.rounds, spec.partial_share_bp) = (7, 3_333);
    let budget = BUDGET + 1_234_567;
    let id = post(&mut chain, &spec, budget);
    join_all(&mut chain, id, &WORKERS);
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Failed, "no worker committed a trace in time")
    );
    let pot = u128::from(budget) / 7 * 9_000 / 10_000;
    let part = u64::try_from(pot / 3 * 3_333 / 10_000).unwrap();
    assert!(
        WORKERS.iter().all(|w| paid(&job, w) == part),
        "{:?} is not {part} each",
        job.payments
    );
    assert_eq!(paid(&job, CLIENT), budget - 3 * part);
    assert_closed(&chain, id);
}

#[test]
fn a_client_that_grants_no_train_keys_gets_its_budget_back() {
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    // A key for some is not a key for all.
    chain.ok(CLIENT, &grant(id, DataSplit::Train, &[address("w1")]));
    assert_eq!(chain.job(id).round_phase(), RoundPhase::Keys);
    assert!(chain.explain(id, None).contains("waits for the client's train keys"));
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), paid(&job, CLIENT)), (JobState::Failed, BUDGET));
    assert_eq!(job.reason, "the client did not grant the train keys in time");
    assert_eq!(
        reputation(&chain, "e1"),
        50,
        "an evaluator that was never asked missed nothing"
    );
    assert_closed(&chain, id);
}

#[test]
fn a_client_that_grants_no_test_keys_pays_the_workers_all_the_same() {
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    train(&mut chain, id, &WORKERS);
    assert_eq!(chain.job(id).state(), JobState::Submitted);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 0));
    assert_eq!(job.reason, "the client did not grant the test keys in time");
    assert_eq!(
        (paid(&job, "w1"), paid(&job, "e1"), paid(&job, CLIENT)),
        (300 * TRAIN, 0, 0)
    );
    assert_eq!(held(&chain, bank::TREASURY), 100 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn a_minority_artifact_does_not_win_and_a_tie_fails() {
    let mut chain = yard();
    let id = started(&mut chain, &plain());
    for _ in 0..2 {
        commit_all(&mut chain, id, &WORKERS);
        vote_all(&mut chain, id, &WORKERS);
    }
    let mut odd = result(&chain, "w1", id);
    odd.artifact.as_mut().unwrap().model_sha256 = root("another file");
    chain.ok("w1", &odd);
    submit_all(&mut chain, id, &WORKERS[1..]);
    assert_eq!(chain.job(id).artifact.unwrap().model_sha256, root("weights"));

    let mut chain = yard();
    let id = started(&mut chain, &plain());
    for _ in 0..2 {
        commit_all(&mut chain, id, &WORKERS);
        vote_all(&mut chain, id, &WORKERS);
    }
    chain.ok("w1", &odd);
    chain.ok("w2", &result(&chain, "w2", id));
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(job.state(), JobState::Failed);
    assert_eq!(
        paid(&job, "w1"),
        150 * TRAIN,
        "both rounds are complete: the whole pot at one half, between three"
    );
    assert_closed(&chain, id);
}

#[test]
fn grants_are_kept_for_their_recipients_only() {
    use trainyard_proto::job::{QueryGrantRequest, QueryGrantResponse};
    let mut chain = yard();
    let id = started(&mut chain, &spec());
    grant_train(&mut chain, id);
    let ask = |chain: &Chain, name, split: DataSplit| {
        let request = QueryGrantRequest {
            job_id: id,
            split: split.into(),
            recipient: address(name).to_string(),
        };
        chain.query::<_, QueryGrantResponse>("/trainyard.job.v1.Query/Grant", &request)
    };
    let sealed = ask(&chain, "w2", DataSplit::Train).unwrap().sealed_key;
    assert_eq!(&sealed[..20], &address("w2").0);
    for (name, split) in [("e1", DataSplit::Train), ("w2", DataSplit::Test)] {
        let error = ask(&chain, name, split).unwrap_err();
        assert!(error.code == 38 && error.log.contains("not found"), "{error:?}");
    }
}
