//! What nobody gets away with in a contest: other workers' weights, untrue scores, messages out of place.

use trainyard_app::testing::{Chain, TRAIN, address};
use trainyard_modules::{bank, gas::SIGNATURE};
use trainyard_proto::{
    any, attest,
    cosmos::tx::v1beta1::{SimulateRequest, SimulateResponse},
    job::{JobSpec, JobState, MsgCommitTrace, MsgRevealEvaluation, Standing, Variant},
    registry::{Role, VerificationClass},
};

use crate::{contest_support::*, job_life::assert_closed, support::*};

#[test]
fn nobody_wins_with_another_workers_weights() {
    let mut chain = calm_yard();
    let id = begun(&mut chain, &calm(contest()));
    run_all(&mut chain, id, &WORKERS);
    // A trace as another sent it, commitment and all, does not become one's own.
    let mut copied = run(&chain, "w1", id);
    copied.worker = address("w2").to_string();
    let refused = ("job", 31);
    let words = ["do not open the commitment of", "of round 0"];
    assert_message_refused(&mut chain, "w2", any::pack(&copied), refused, &words);
    let mut stolen = run(&chain, "w2", id);
    stolen.end_commitment = run(&chain, "w1", id).end_commitment;
    let traces = vec![
        ("w1", any::pack(&run(&chain, "w1", id))),
        ("w2", any::pack(&stolen)),
        ("w3", any::pack(&run(&chain, "w3", id))),
    ];
    send_all(&mut chain, traces);
    // Now everybody's weights are fixed. Neither the first worker's artifact nor its own opens the copied commitment.
    let mut first = hand_in(&chain, "w1", id);
    chain.ok("w1", &first);
    first.worker = address("w2").to_string();
    let words = ["do not open the commitment of", "of round 1"];
    assert_message_refused(&mut chain, "w2", any::pack(&first), refused, &words);
    let own = any::pack(&hand_in(&chain, "w2", id));
    assert_message_refused(&mut chain, "w2", own, refused, &words);
    // Nor does the own root with another's salt, nor weights that were never committed to.
    let mut other = hand_in(&chain, "w3", id);
    other.artifact.as_mut().unwrap().state_root = root("better weights");
    assert_message_refused(&mut chain, "w3", any::pack(&other), refused, &words);
    // The own root under another's file: the evaluators see that the file is another.
    let mut other = hand_in(&chain, "w3", id);
    let artifact = other.artifact.as_mut().unwrap();
    (artifact.model_cid, artifact.model_sha256) = (cid("weights w1"), root("weights w1"));
    chain.ok("w3", &other);
    chain.ok("w2", &leave("w2", id));
    judged(&mut chain, id, &[("w1", Some(900_000)), ("w3", None)]);
    let job = chain.job(id);
    assert_eq!(job.winner, address("w1").to_string());
    assert_eq!(standing(&job, "w3"), (Standing::Rejected, 0));
    // The units of the rejected one count for nobody; the second has two rounds to show.
    assert_eq!(paid_train(&job), [900 - 225, 225, 0, 25, 25]);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w3")));
    assert!(why.contains("The evaluators rejected its artifact"), "{why}");
}

/// Verifying is the dearest thing a transaction can ask for, and whoever sends it pays for every time.
#[test]
fn every_signature_of_a_reveal_is_paid_for() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    let scored = findings(&chain, "e1", id, &all_scored([1, 2, 3]));
    let rejecting = findings(&chain, "e2", id, &WORKERS.map(|worker| (worker, None)));
    chain.ok("e1", &scored.0);
    chain.ok("e2", &rejecting.0);
    assert_eq!(chain.job(id).state(), JobState::Revealing);
    let gas = |name, reveal: &MsgRevealEvaluation| {
        let request = SimulateRequest {
            tx_bytes: chain.craft(name, vec![any::pack(reveal)]).sign(),
            ..SimulateRequest::default()
        };
        let path = "/cosmos.tx.v1beta1.Service/Simulate";
        let answer: SimulateResponse = chain.query(path, &request).unwrap();
        answer.gas_info.unwrap().gas_used
    };
    let more = gas("e1", &scored.1) - gas("e2", &rejecting.1);
    assert!(more > 3 * SIGNATURE, "three signatures cost {more} gas");
}

#[test]
fn of_the_same_weights_the_first_counts() {
    let mut chain = yard();
    let id = begun(&mut chain, &contest());
    run_all(&mut chain, id, &WORKERS);
    // Two that are one give each other their weights before they commit.
    let (shared, salt) = end("w3", id, 1);
    let mut friend = run(&chain, "w1", id);
    friend.end_commitment = attest::end_commitment(id, 1, &address("w1"), &shared, &salt).to_vec();
    let traces = vec![
        ("w2", any::pack(&run(&chain, "w2", id))),
        ("w3", any::pack(&run(&chain, "w3", id))),
        ("w1", any::pack(&friend)),
    ];
    send_all(&mut chain, traces);
    let mut result = hand_in(&chain, "w1", id);
    result.salt = salt.to_vec();
    result.artifact.as_mut().unwrap().state_root = shared.to_vec();
    chain.ok("w1", &result);
    hand_in_all(&mut chain, id, &["w2", "w3"]);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), standing(&job, "w1").0),
        (JobState::Evaluating, Standing::Duplicate)
    );
    judged(&mut chain, id, &[("w2", Some(700_000)), ("w3", Some(800_000))]);
    let job = chain.job(id);
    assert_eq!(job.winner, address("w3").to_string());
    assert_eq!(paid_train(&job), [0, 225, 675, 25, 25]);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("w1")));
    assert!(why.contains("the same weights as another's"), "{why}");
}

#[test]
fn an_evaluator_that_favours_one_is_not_paid_and_changes_nothing() {
    let mut chain = builder().build();
    chain.ok("e1", &register("e1", Role::Evaluator, 1000 * TRAIN));
    chain.ok("e2", &register("e2", Role::Evaluator, 1500 * TRAIN));
    for worker in WORKERS {
        chain.ok(worker, &register(worker, Role::Worker, 100 * TRAIN));
    }
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    let honest = all_scored([900_000, 800_000, 700_000]);
    judge(
        &mut chain,
        id,
        [("e1", all_scored([900_000, 800_000, 999_999])), ("e2", honest)],
    );
    let job = chain.job(id);
    assert_eq!(job.winner, address("w1").to_string());
    assert_eq!(paid_train(&job), [600, 150, 150, 0, 25]);
    assert_eq!((reputation(&chain, "e1"), reputation(&chain, "e2")), (50, 51));
    // What it found of the winner is right, and is signed: whoever fetches the model may use that too.
    assert!(
        job.evaluators
            .iter()
            .all(|e| e.attestation.as_ref().is_some_and(|a| a.accepted))
    );
    assert_eq!(held(&chain, bank::TREASURY), 75 * TRAIN);
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("e1")));
    assert!(why.contains("999999 ppm; the median is 700000 ppm"), "{why}");
    assert!(
        why.contains("Not all of that lies within 5000 ppm of the medians"),
        "{why}"
    );
}

#[test]
fn among_three_who_favours_one_is_slashed_and_who_is_absent_is_replaced() {
    let mut chain = calm_yard();
    chain.ok("other", &register("other", Role::Evaluator, 1000 * TRAIN));
    let mut spec = calm(contest());
    spec.requirements.as_mut().unwrap().evaluators = 3;
    let id = begun(&mut chain, &spec);
    run_to_the_end(&mut chain, id, &WORKERS);
    let (honest, bent) = (
        all_scored([900_000, 800_000, 700_000]),
        all_scored([900_000, 800_000, 999_999]),
    );
    let found = [("e1", &honest), ("e2", &bent), ("other", &honest)];
    for (name, scores) in found {
        chain.ok(name, &findings(&chain, name, id, scores).0);
    }
    for (name, scores) in found {
        chain.ok(name, &findings(&chain, name, id, scores).1);
    }
    let job = chain.job(id);
    assert_eq!(job.winner, address("w1").to_string());
    assert_eq!((bond(&chain, "e2"), reputation(&chain, "e2")), (900 * TRAIN, 0));
    assert_eq!(
        [paid(&job, "e1"), paid(&job, "e2"), paid(&job, "other")],
        [50 * TRAIN / 3, 0, 50 * TRAIN / 3]
    );
    let why = chain.explain(id, Some(address("e2")));
    assert!(why.contains("so it lost 100 TRAIN of its bond"), "{why}");

    // A rejection is not paid, and no more.
    let mut chain = calm_yard();
    chain.ok("other", &register("other", Role::Evaluator, 1000 * TRAIN));
    let id = begun(&mut chain, &spec);
    run_to_the_end(&mut chain, id, &WORKERS);
    let blind = vec![("w1", None), ("w2", Some(800_000)), ("w3", Some(700_000))];
    let found = [("e1", &honest), ("e2", &blind), ("other", &honest)];
    for (name, scores) in found {
        chain.ok(name, &findings(&chain, name, id, scores).0);
    }
    for (name, scores) in found {
        chain.ok(name, &findings(&chain, name, id, scores).1);
    }
    assert_eq!((paid(&chain.job(id), "e2"), bond(&chain, "e2")), (0, 1000 * TRAIN));

    // Two are asked for and one of them says nothing: the third takes its place.
    let mut chain = register_everybody(builder().build());
    chain.ok("other", &register("other", Role::Evaluator, 1000 * TRAIN));
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    let names = ["e1", "e2", "other"];
    let name_of = |owner: &str| names.into_iter().find(|n| address(n).to_string() == owner).unwrap();
    let first = name_of(&chain.job(id).evaluators[0].address);
    chain.ok(first, &findings(&chain, first, id, &honest).0);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.evaluators.len(), job.evaluators[1].dismissed),
        (JobState::Evaluating, 3, true)
    );
    let fresh = name_of(&job.evaluators[2].address);
    chain.ok(fresh, &findings(&chain, fresh, id, &honest).0);
    for name in [first, fresh] {
        chain.ok(name, &findings(&chain, name, id, &honest).1);
    }
    let job = chain.job(id);
    assert_eq!(
        (job.winner.clone(), job.score_ppm),
        (address("w1").to_string(), 900_000)
    );
    assert_eq!([paid(&job, first), paid(&job, fresh)], [25 * TRAIN; 2]);
}

#[test]
fn rejecting_what_others_can_score_is_not_paid() {
    let mut chain = builder().build();
    chain.ok("e1", &register("e1", Role::Evaluator, 1000 * TRAIN));
    chain.ok("e2", &register("e2", Role::Evaluator, 1500 * TRAIN));
    for worker in WORKERS {
        chain.ok(worker, &register(worker, Role::Worker, 100 * TRAIN));
    }
    let id = begun(&mut chain, &contest());
    run_to_the_end(&mut chain, id, &WORKERS);
    let lazy = vec![("w1", None), ("w2", None), ("w3", None)];
    judge(&mut chain, id, [("e1", lazy), ("e2", all_scored([600_000, 0, 0]))]);
    let job = chain.job(id);
    assert_eq!(paid_train(&job), [600, 150, 150, 0, 25]);
    assert!(
        job.evaluators.iter().any(|e| e.attestation.is_none()),
        "a rejection attests to nothing"
    );
    assert_closed(&chain, id);
}

#[test]
fn a_variant_is_taken_once_and_given_back() {
    let mut chain = calm_yard();
    let id = post(&mut chain, &calm(contest()), BUDGET);
    chain.ok("w1", &join_variant("w1", id, 1));
    let (taken, none) = (join_variant("w2", id, 1), join_variant("w2", id, 3));
    let own = bring("w2", id, "0.3");
    let federated = post(&mut chain, &calm(plain()), BUDGET);
    let (picky, owner) = (join_variant("w2", federated, 1), bring("w2", federated, "0.3"));
    let w1 = address("w1").to_string();
    let cases: Vec<Case<'_>> = vec![
        ("w2", any::pack(&taken), ("job", 30), vec![&w1, "trains this variant"]),
        (
            "w2",
            any::pack(&none),
            ("job", 3),
            vec!["index of the variant is 3", "0 to 2"],
        ),
        (
            "w2",
            any::pack(&own),
            ("job", 3),
            vec!["variant is given", "the job says"],
        ),
        (
            "w2",
            any::pack(&picky),
            ("job", 3),
            vec!["index of the variant is 1", "0 to 0"],
        ),
        (
            "w2",
            any::pack(&owner),
            ("job", 3),
            vec!["variant is given", "the job says"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    chain.ok("w1", &leave("w1", id));
    chain.ok("w2", &join_variant("w2", id, 1));
    let job = chain.job(id);
    assert_eq!((job.workers.len(), job.workers[0].variant_index), (1, 1));
}

#[test]
fn who_may_not_send_what_in_a_contest() {
    let mut chain = calm_yard();
    let id = begun(&mut chain, &calm(contest()));
    let trace = |chain: &Chain, change: fn(&mut MsgCommitTrace)| {
        let mut trace = run(chain, "w1", id);
        change(&mut trace);
        any::pack(&trace)
    };
    let mut stranger = run(&chain, "w1", id);
    stranger.worker = address("e1").to_string();
    let bound = ("job", 3);
    let merged = trainyard_proto::job::MsgRoundResult {
        worker: address("w1").to_string(),
        job_id: id,
        round: 0,
        end_root: vec![0; 32],
        score_ppm: 0,
    };
    let cases: Vec<Case<'_>> = vec![
        ("e1", any::pack(&stranger), ("job", 6), vec!["not an active worker"]),
        (
            "w1",
            trace(&chain, |t| t.start_root = root("other")),
            ("job", 14),
            vec!["start root is"],
        ),
        (
            "w1",
            trace(&chain, |t| t.end_commitment.truncate(31)),
            bound,
            vec!["end commitment is 31 bytes"],
        ),
        (
            "w1",
            trace(&chain, |t| t.delta_root = vec![1; 32]),
            bound,
            vec!["delta and end commitment is both"],
        ),
        (
            "w1",
            trace(&chain, |t| {
                t.end_commitment.clear();
                (t.delta_root, t.delta_cid) = (root("delta"), cid("delta"));
            }),
            bound,
            vec!["end commitment is 0 bytes"],
        ),
        (
            "w1",
            trace(&chain, |t| t.samples = 321),
            bound,
            vec!["number of samples is 321", "1 to 320"],
        ),
        ("w1", any::pack(&merged), ("job", 12), vec!["waits for traces"]),
        (
            "w1",
            any::pack(&hand_in(&chain, "w1", id)),
            ("job", 12),
            vec!["waits for traces"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    run_all(&mut chain, id, &WORKERS);
    let late = trace(&chain, |t| t.start_salt.clear());
    let other = trace(&chain, |t| t.start_root = root("start"));
    let cases: Vec<Case<'_>> = vec![
        ("w1", late, bound, vec!["salt of the end commitment is 0 bytes"]),
        ("w1", other, ("job", 31), vec!["do not open the commitment"]),
    ];
    assert_all_refused(&mut chain, cases);
    run_all(&mut chain, id, &WORKERS);
    let mut bare = hand_in(&chain, "w1", id);
    bare.salt.clear();
    assert_message_refused(
        &mut chain,
        "w1",
        any::pack(&bare),
        bound,
        &["salt of the end commitment is 0 bytes"],
    );
    hand_in_all(&mut chain, id, &WORKERS);

    let scores = all_scored([1, 2, 3]);
    let (commit, reveal) = findings(&chain, "e1", id, &scores);
    let early = any::pack(&reveal);
    assert_message_refused(
        &mut chain,
        "e1",
        early,
        ("job", 4),
        &["is evaluating", "needs it revealing"],
    );
    chain.ok("e1", &commit);
    chain.ok("e2", &findings(&chain, "e2", id, &scores).0);
    let changed = |change: fn(&mut MsgRevealEvaluation)| {
        let mut reveal = reveal.clone();
        change(&mut reveal);
        any::pack(&reveal)
    };
    let mut stolen = findings(&chain, "e2", id, &scores).1;
    stolen.evaluator = address("e1").to_string();
    let (_, single) = {
        let mut single = evaluation(&chain, "e1", id, 5);
        single.1.model_sha256 = root("weights w1");
        single
    };
    let cases: Vec<Case<'_>> = vec![
        (
            "e1",
            any::pack(&single),
            bound,
            vec!["list of scores is 0 long", "3 artifacts"],
        ),
        (
            "e1",
            changed(|r| _ = r.scores.pop()),
            bound,
            vec!["list of scores is 2 long", "3 artifacts"],
        ),
        ("e1", changed(|r| r.scores.swap(0, 1)), bound, vec!["in their order"]),
        (
            "e1",
            changed(|r| r.scores[2].score_ppm = 4),
            ("job", 16),
            vec!["does not match its commitment"],
        ),
        (
            "e1",
            changed(|r| r.salt = root("other")),
            ("job", 16),
            vec!["does not match its commitment"],
        ),
        (
            "e1",
            changed(|r| r.scores[1].signature[3] ^= 1),
            ("job", 17),
            vec!["is not valid"],
        ),
        (
            "e1",
            changed(|r| high_s(&mut r.scores[1].signature)),
            ("job", 17),
            vec!["is not valid"],
        ),
        (
            "e1",
            changed(|r| r.scores[1].signature.clear()),
            bound,
            vec!["signature is 0"],
        ),
        (
            "e1",
            changed(|r| r.scores[1].score_ppm = 1_000_001),
            bound,
            vec!["1000001", "0 to 1000000"],
        ),
        (
            "e1",
            changed(|r| r.scores[1].metrics_hash.clear()),
            bound,
            vec!["rejected artifact is 66"],
        ),
        (
            "e1",
            any::pack(&stolen),
            ("job", 16),
            vec!["does not match its commitment"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    let mut stranger = reveal.clone();
    stranger.evaluator = address("w1").to_string();
    assert_message_refused(&mut chain, "w1", any::pack(&stranger), ("job", 7), &["was not drawn"]);
    chain.ok("e1", &reveal);
    assert_message_refused(
        &mut chain,
        "e1",
        any::pack(&reveal),
        ("job", 19),
        &["revealed its score"],
    );
}

#[test]
fn contests_that_cannot_be_posted() {
    let mut chain = calm_yard();
    type Spoiled = (fn(&mut JobSpec), &'static [&'static str]);
    let cases: [Spoiled; 11] = [
        (
            |s| s.model_cid = cid("model"),
            &["model, start weights and task of the job itself is set"],
        ),
        (
            |s| s.task = plain().task,
            &["model, start weights and task of the job itself is set"],
        ),
        (
            |s| s.floor_ppm = 1_000_001,
            &["floor (parts per million) is 1000001", "0 to 1000000"],
        ),
        (
            |s| s.delta_share_ppm = 1,
            &["share of deltas of a competitive job is 1"],
        ),
        (|s| _ = s.variants.pop(), &["number of variants is 2", "3 to 3"]),
        (
            |s| {
                s.variants.clear();
                s.requirements.as_mut().unwrap().max_workers = 17;
            },
            &["workers of a competitive job is 17", "1 to 16"],
        ),
        (
            |s| s.variants[1].name = "x".repeat(65),
            &["variant's name is 65", "0 to 64"],
        ),
        (
            |s| s.variants[1].macs_per_sample = 0,
            &["multiply-accumulates per sample is 0"],
        ),
        (|s| s.variants[1].task = None, &["task is missing"]),
        (
            |s| {
                s.variants[2] = Variant {
                    name: "twin".into(),
                    ..s.variants[0].clone()
                }
            },
            &["variant is 2, the same", "another one than variant 0"],
        ),
        (
            |s| s.set_verification(VerificationClass::Exact),
            &["program root is 0 bytes"],
        ),
    ];
    for (change, words) in cases {
        let mut spec = calm(contest());
        change(&mut spec);
        let message = any::pack(&post_msg(CLIENT, &spec, BUDGET));
        assert_message_refused(&mut chain, CLIENT, message, ("job", 3), words);
    }
    let federated: [Spoiled; 2] = [
        (
            |s| s.variants = contest().variants,
            &["variants of a federated job is 3"],
        ),
        (|s| s.floor_ppm = 1, &["floor of a federated job is 1"]),
    ];
    for (change, words) in federated {
        let mut spec = calm(plain());
        change(&mut spec);
        let message = any::pack(&post_msg(CLIENT, &spec, BUDGET));
        assert_message_refused(&mut chain, CLIENT, message, ("job", 3), words);
    }
}
