//! Competitive jobs: how they end, who wins, who is paid what.

use trainyard_app::testing::{TRAIN, address};
use trainyard_modules::bank;
use trainyard_proto::{
    any,
    job::{JobState, MsgJoinJob, RoundPhase, Standing, Variant},
};

use crate::{contest_support::*, job_life::assert_closed, support::*};

#[test]
fn the_best_artifact_takes_the_pot_less_the_compensations() {
    let mut chain = yard();
    let mut spec = contest();
    spec.train.as_mut().unwrap().encrypted = true;
    spec.test.as_mut().unwrap().encrypted = true;
    let id = begun(&mut chain, &spec);
    grant_train(&mut chain, id);
    run_to_the_end(&mut chain, id, &WORKERS);
    assert_eq!(chain.job(id).state(), JobState::Submitted);
    grant_test(&mut chain, id);
    let window = chain.job(id).deadline - chain.height();
    assert_eq!(window, 3 * 4, "each of three artifacts has its own window");
    let first = vec![("w1", Some(910_000)), ("w2", Some(951_000)), ("w3", Some(400_000))];
    let second = vec![("w1", Some(912_000)), ("w2", Some(950_000)), ("w3", Some(401_000))];
    judge(&mut chain, id, [("e1", first), ("e2", second)]);

    let job = chain.job(id);
    assert_eq!((job.state(), job.reason.as_str()), (JobState::Settled, ""));
    assert_eq!(
        (job.winner.as_str(), job.score_ppm),
        (address("w2").to_string().as_str(), 950_000)
    );
    assert_eq!(job.artifact, hand_in(&chain, "w2", id).artifact);
    // 900 for the workers, half of a third of it for each of the beaten ones.
    assert_eq!(paid_train(&job), [150, 600, 150, 25, 25]);
    let reasons: Vec<&str> = job.payments.iter().map(|p| p.reason.as_str()).collect();
    let (compensation, stake) = ("compensation", "stake");
    let expected = [
        compensation,
        "winner",
        compensation,
        "evaluator",
        "evaluator",
        "treasury",
        stake,
        stake,
        stake,
    ];
    assert_eq!(reasons, expected);
    assert_eq!(held(&chain, bank::TREASURY), 50 * TRAIN);
    assert_eq!(standing(&job, "w1"), (Standing::Beaten, 910_000));
    assert_eq!(standing(&job, "w2"), (Standing::Won, 950_000));
    assert_eq!(standing(&job, "w3"), (Standing::BelowFloor, 400_000));
    assert_closed(&chain, id);
    for name in WORKERS.into_iter().chain(EVALUATORS) {
        assert_eq!(reputation(&chain, name), 51, "{name}");
    }
    // Each evaluator's attestation of the winner stands where that of a job with one artifact does, and can be checked.
    for evaluator in &job.evaluators {
        let attestation = evaluator.attestation.as_ref().unwrap();
        assert!(
            attestation.accepted && attestation.worker == job.winner,
            "{attestation:?}"
        );
        assert_eq!(attestation.model_sha256, root("weights w2"));
        assert_eq!(evaluator.attestations.len(), 3);
    }

    let story = chain.explain(id, None);
    for words in [
        "the best artifact that scores at least 50.0000 % takes the workers' 900 TRAIN",
        "trained variant 1 (\"lr 0.1\"): won with a score of 95.0000 %",
        "trained variant 2 (\"lr 0.2\"): below the floor with a score of 40.0000 %",
    ] {
        assert!(story.contains(words), "{story}");
    }
    let winner = chain.explain(id, Some(address("w2")));
    assert!(
        winner.contains("scored 95.0000 %, the best of 3 that were judged"),
        "{winner}"
    );
    assert!(
        winner.contains("takes the workers' 900 TRAIN less 300 TRAIN of compensations: 600 TRAIN"),
        "{winner}"
    );
    let beaten = chain.explain(id, Some(address("w1")));
    assert!(
        beaten.contains(&format!("that of {} scored 95.0000 %", address("w2"))),
        "{beaten}"
    );
    assert!(
        beaten.contains("50.00 % of its part by units of the workers' 900 TRAIN: 150 TRAIN"),
        "{beaten}"
    );
    let evaluator = chain.explain(id, Some(address("e1")));
    assert!(
        evaluator.contains("951000 ppm; the median is 950000 ppm"),
        "{evaluator}"
    );
}

#[test]
fn a_contest_whose_budget_ends_early_is_judged_on_what_it_paid_for() {
    let mut chain = yard();
    let mut spec = contest();
    (spec.rounds, spec.round_price) = (5, 400 * TRAIN);
    let id = begun(&mut chain, &spec);
    run_to_the_end(&mut chain, id, &WORKERS);
    let job = chain.job(id);
    assert_eq!((job.completed, job.ended.as_str()), (2, "the budget is exhausted"));
    judged(&mut chain, id, &all_scored([600_000, 500_000, 500_000]));
    let job = chain.job(id);
    // Two rounds of 400: 720 for the workers, 40 for the evaluators, 200 back.
    assert_eq!(paid_train(&job), [480, 120, 120, 20, 20]);
    assert_eq!(paid(&job, CLIENT), 200 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn of_equal_artifacts_the_one_committed_to_first_wins() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_all(&mut chain, id, &["w1", "w2", "w3"]);
    run_all(&mut chain, id, &["w3", "w1", "w2"]);
    // The order of the results does not matter.
    hand_in_all(&mut chain, id, &["w1", "w2", "w3"]);
    judged(&mut chain, id, &all_scored([800_000, 700_000, 800_000]));
    let job = chain.job(id);
    assert_eq!(job.winner, address("w3").to_string());
    assert_eq!(standing(&job, "w1"), (Standing::Beaten, 800_000));
    let why = chain.explain(id, Some(address("w1")));
    assert!(why.contains("which committed to it earlier"), "{why}");
    assert_closed(&chain, id);
}

#[test]
fn a_floor_that_nobody_reaches_refunds_all_but_the_compensations() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    judged(&mut chain, id, &all_scored([499_999, 100_000, 0]));
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Failed, "no artifact reached the floor")
    );
    assert_eq!((job.winner.as_str(), job.artifact.clone()), ("", None));
    assert_eq!(paid_train(&job), [150, 150, 150, 25, 25]);
    assert_eq!(paid(&job, CLIENT), 500 * TRAIN);
    assert_eq!(held(&chain, bank::TREASURY), 0);
    for name in EVALUATORS {
        assert_eq!(reputation(&chain, name), 51, "{name}");
    }
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w1")));
    assert!(why.contains("scored 49.9999 %, below the floor of 50.0000 %"), "{why}");

    // The floor itself is enough.
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    judged(&mut chain, id, &all_scored([500_000, 100_000, 0]));
    assert_eq!(chain.job(id).winner, address("w1").to_string());
}

#[test]
fn a_late_worker_is_dropped_and_compensated_for_its_completed_rounds() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_all(&mut chain, id, &WORKERS);
    run_all(&mut chain, id, &WORKERS[..2]);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.round_phase(), job.workers[2].active), (RoundPhase::Submit, false));
    // The second worker hands nothing in.
    hand_in_all(&mut chain, id, &["w1"]);
    chain.skip_to(chain.job(id).deadline);
    assert_eq!(chain.job(id).state(), JobState::Evaluating);
    judged(&mut chain, id, &[("w1", Some(600_000))]);
    let job = chain.job(id);
    // Units 2 : 2 : 1 of 900, halved.
    assert_eq!(paid_train(&job), [900 - 180 - 90, 180, 90, 25, 25]);
    assert_closed(&chain, id);
    assert_eq!(
        (
            reputation(&chain, "w1"),
            reputation(&chain, "w2"),
            reputation(&chain, "w3")
        ),
        (51, 40, 40)
    );
    let why = chain.explain(id, Some(address("w3")));
    assert!(
        why.contains("It submitted no artifact") && why.contains("90 TRAIN, rounded down"),
        "{why}"
    );
}

#[test]
fn units_weigh_the_compensation_and_no_utrain_is_lost() {
    let mut chain = yard();
    let mut spec = contest();
    spec.partial_share_bp = 3_333;
    for (variant, macs) in spec.variants.iter_mut().zip([1 << 50, 7, 1_000]) {
        variant.macs_per_sample = macs;
    }
    let id = post(&mut chain, &spec, BUDGET + 1);
    let joins = WORKERS
        .iter()
        .zip(0..)
        .map(|(w, index)| (*w, any::pack(&join_variant(w, id, index))));
    send_all(&mut chain, joins.collect());
    run_to_the_end(&mut chain, id, &WORKERS);
    judged(&mut chain, id, &all_scored([500_000, 500_001, 0]));
    let job = chain.job(id);
    let (pot, total) = ((BUDGET + 1) * 9 / 10, (1u128 << 50) + 7 + 1_000);
    let compensation = |macs: u128| {
        let partial = u128::from(pot * 3_333 / 10_000);
        u64::try_from(partial * (640 * macs) / (640 * total)).unwrap()
    };
    let (first, third) = (compensation(1 << 50), compensation(1_000));
    assert_eq!(
        (paid(&job, "w1"), paid(&job, "w2"), paid(&job, "w3")),
        (first, pot - first - third, third)
    );
    assert_closed(&chain, id);
}

#[test]
fn without_scores_those_who_submitted_share_the_pot_and_there_is_no_model() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_all(&mut chain, id, &WORKERS);
    run_all(&mut chain, id, &WORKERS[..2]);
    chain.skip_to(chain.job(id).deadline);
    hand_in_all(&mut chain, id, &WORKERS[..2]);
    let found = all_scored([1, 2, 3]);
    for name in EVALUATORS {
        chain.ok(name, &findings(&chain, name, id, &found[..2]).0);
    }
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Settled, "no evaluator revealed its score in time")
    );
    assert_eq!((job.artifact.clone(), paid_train(&job)), (None, [450, 450, 0, 0, 0]));
    assert_eq!(held(&chain, bank::TREASURY), 100 * TRAIN);
    assert_eq!((reputation(&chain, "e1"), reputation(&chain, "w1")), (40, 51));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w1")));
    assert!(
        why.contains("Nothing was scored: who submitted an artifact shares"),
        "{why}"
    );

    // A client that is silent on its test keys pays all the same.
    let mut chain = yard();
    let mut spec = contest();
    spec.test.as_mut().unwrap().encrypted = true;
    let id = begun(&mut chain, &spec);
    run_to_the_end(&mut chain, id, &WORKERS);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.artifact.clone(), paid_train(&job)), (None, [300, 300, 300, 0, 0]));
    assert_closed(&chain, id);
}

#[test]
fn a_contest_that_fails_compensates_completed_rounds() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_all(&mut chain, id, &WORKERS);
    for worker in WORKERS {
        chain.ok(worker, &leave(worker, id));
    }
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Failed, "every worker has left or was dropped")
    );
    // One of two rounds, at half.
    assert_eq!(paid_train(&job), [75, 75, 75, 0, 0]);
    assert_eq!(paid(&job, CLIENT), 775 * TRAIN);
    assert_closed(&chain, id);

    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    for _ in 0..2 {
        run_all(&mut chain, id, &WORKERS);
    }
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(job.reason, "no worker submitted its artifact in time");
    assert_eq!(paid_train(&job), [150, 150, 150, 0, 0]);
    assert_closed(&chain, id);
}

#[test]
fn workers_may_bring_their_own() {
    let mut chain = calm_yard();
    let id = post(&mut chain, &calm(open_contest()), BUDGET);
    chain.ok("w1", &bring("w1", id, "0.3"));
    let twin = MsgJoinJob {
        variant: Some(Variant {
            name: "another name".into(),
            ..variant("0.3")
        }),
        ..join("w2", id)
    };
    let (own, none) = (bring("w2", id, "-1"), join("w2", id));
    let mut wide = bring("w2", id, "0.4");
    wide.variant.as_mut().unwrap().program_root = vec![0; 32];
    let cases: Vec<Case<'_>> = vec![
        (
            "w2",
            any::pack(&twin),
            ("job", 30),
            vec!["trains this variant of job 1 already"],
        ),
        ("w2", any::pack(&own), ("job", 3), vec!["learning_rate is \"-1\""]),
        ("w2", any::pack(&wide), ("job", 3), vec!["outside of class exact is 32"]),
        (
            "w2",
            any::pack(&none),
            ("job", 3),
            vec!["variant is missing", "bring their own"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    send_all(
        &mut chain,
        vec![
            ("w2", any::pack(&bring("w2", id, "0.4"))),
            ("w3", any::pack(&bring("w3", id, "0.5"))),
        ],
    );
    run_to_the_end(&mut chain, id, &WORKERS);
    judged(&mut chain, id, &all_scored([600_000, 700_000, 500_000]));
    let job = chain.job(id);
    assert_eq!(job.winner, address("w2").to_string());
    assert_eq!(paid_train(&job), [150, 600, 150, 25, 25]);
    assert_closed(&chain, id);
    let why = chain.explain(id, None);
    assert!(why.contains("a variant of its own (\"lr 0.4\"): won"), "{why}");
}
