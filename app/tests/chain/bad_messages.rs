//! Messages about jobs that come from the wrong sender, at the wrong time, or with the wrong content.

use trainyard_app::testing::{Chain, TRAIN, address, key, send};
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    attest,
    job::{DataSplit, MsgCommitEvaluation, MsgCommitTrace, MsgRevealEvaluation},
    registry::{Role, VerificationClass},
};

use crate::support::*;

fn worker_addresses() -> Vec<Address> {
    WORKERS.iter().map(|worker| address(worker)).collect()
}

/// A job of `w2` and `w3` that is training.
fn job_of_others(chain: &mut Chain) -> u64 {
    let mut spec = calm(plain());
    spec.requirements.as_mut().unwrap().max_workers = 2;
    let id = post(chain, &spec, BUDGET);
    join_all(chain, id, &["w2", "w3"]);
    id
}

#[test]
fn joining_where_one_may_not() {
    let mut chain = calm_yard();
    let mut strict = calm(plain());
    strict.requirements.as_mut().unwrap().min_reputation = 51;
    let mut tolerant = calm(plain());
    tolerant.set_verification(VerificationClass::Tolerant);
    let open = post(&mut chain, &calm(plain()), BUDGET);
    let strict = post(&mut chain, &strict, BUDGET);
    let tolerant = post(&mut chain, &tolerant, BUDGET);
    let full = job_of_others(&mut chain);
    let cancelled = post(&mut chain, &calm(plain()), BUDGET);
    chain.ok(CLIENT, &cancel(CLIENT, cancelled));
    chain.ok("w1", &join("w1", open));
    // Without a bond there is no registration, and without a registration no joining.
    let other = address("other").to_string();
    let unregistered = any::pack(&join("other", open));
    assert_message_refused(
        &mut chain,
        "other",
        unregistered,
        ("registry", 3),
        &[&other, "is not registered"],
    );
    chain.ok(CLIENT, &register(CLIENT, Role::Worker, 100 * TRAIN));
    let mut servant = register("other", Role::Worker, 100 * TRAIN);
    servant.operator = address(CLIENT).to_string();
    chain.ok("other", &servant);
    let joins = |worker, id| any::pack(&join(worker, id));
    let cases: Vec<Case<'_>> = vec![
        ("w1", joins("w1", open), ("job", 8), vec!["has joined job 1 already"]),
        (
            "e1",
            joins("e1", open),
            ("registry", 8),
            vec!["does not have the role worker"],
        ),
        (
            "w1",
            joins("w1", strict),
            ("job", 10),
            vec!["its reputation is 50", "at least 51"],
        ),
        (
            "w1",
            joins("w1", tolerant),
            ("job", 10),
            vec!["VERIFICATION_CLASS_TOLERANT"],
        ),
        (
            CLIENT,
            joins(CLIENT, open),
            ("job", 10),
            vec!["a client does not work for itself"],
        ),
        (
            "other",
            joins("other", open),
            ("job", 10),
            vec!["a client does not work for itself"],
        ),
        (
            "w1",
            joins("w1", full),
            ("job", 4),
            vec!["job 4 is training", "needs it open"],
        ),
        (
            "w1",
            joins("w1", cancelled),
            ("job", 4),
            vec!["job 5 is cancelled", "needs it open"],
        ),
        ("w1", joins("w1", 99), ("job", 2), vec!["job 99 does not exist"]),
        ("w1", joins("w1", 0), ("job", 2), vec!["job 0 does not exist"]),
    ];
    assert_all_refused(&mut chain, cases);
    // Nor without the money for the stake.
    let costly = post(&mut chain, &calm(plain()), 4_000 * TRAIN);
    chain.ok("w1", &send("w1", "other", 6_000 * TRAIN));
    let words = &["is smaller than 3600000000utrain"];
    assert_message_refused(&mut chain, "w1", joins("w1", costly), ("sdk", 5), words);
}

#[test]
fn a_job_belongs_to_its_client() {
    let mut chain = calm_yard();
    let open = post(&mut chain, &calm(spec()), BUDGET);
    let id = started(&mut chain, &calm(spec()));
    let workers = worker_addresses();
    let keys = || grant(id, DataSplit::Train, &workers);
    let mut stolen = keys();
    stolen.client = address("other").to_string();
    let mut long = keys();
    long.grants[0].sealed_key = vec![0; 257];
    let mut void = keys();
    void.grants[1].sealed_key.clear();
    let mut nobody = keys();
    nobody.grants[2].recipient = "nobody".into();
    let mut split = keys();
    split.split = 3;
    let stranger = grant(id, DataSplit::Train, &[workers[0], address("e1")]);
    let crowd = grant(id, DataSplit::Train, &vec![workers[0]; 257]);
    let (client, e1) = (address(CLIENT).to_string(), address("e1").to_string());
    let early = grant(open, DataSplit::Train, &workers);
    let tests = grant(id, DataSplit::Test, &workers);
    let cases: Vec<Case<'_>> = vec![
        (
            "other",
            any::pack(&cancel("other", open)),
            ("job", 5),
            vec![&client, "belongs to"],
        ),
        ("other", any::pack(&stolen), ("job", 5), vec![&client, "belongs to"]),
        (
            CLIENT,
            any::pack(&cancel(CLIENT, id)),
            ("job", 4),
            vec!["job 2 is training", "needs it open"],
        ),
        (CLIENT, any::pack(&cancel(CLIENT, 77)), ("job", 2), vec!["job 77"]),
        (
            CLIENT,
            any::pack(&early),
            ("job", 4),
            vec!["job 1 is open", "needs it training"],
        ),
        (
            CLIENT,
            any::pack(&tests),
            ("job", 4),
            vec!["job 2 is training", "needs it submitted"],
        ),
        (CLIENT, any::pack(&stranger), ("job", 18), vec![&e1, "no active worker"]),
        (
            CLIENT,
            any::pack(&long),
            ("job", 3),
            vec!["sealed key is 257", "1 to 256"],
        ),
        (
            CLIENT,
            any::pack(&void),
            ("job", 3),
            vec!["sealed key is 0", "1 to 256"],
        ),
        (
            CLIENT,
            any::pack(&split),
            ("job", 3),
            vec!["split is 3", "1 (train) or 2 (test)"],
        ),
        (
            CLIENT,
            any::pack(&grant(id, DataSplit::Train, &[])),
            ("job", 3),
            vec!["grants is 0", "1 to 256"],
        ),
        (
            CLIENT,
            any::pack(&crowd),
            ("job", 3),
            vec!["number of grants is 257", "1 to 256"],
        ),
        (CLIENT, any::pack(&nobody), ("sdk", 7), vec!["nobody"]),
    ];
    assert_all_refused(&mut chain, cases);
    grant_train(&mut chain, id);
    assert_message_refused(
        &mut chain,
        CLIENT,
        any::pack(&keys()),
        ("job", 12),
        &["waits for traces", "train keys"],
    );
}

#[test]
fn work_that_is_not_asked_for() {
    let mut chain = calm_yard();
    let theirs = job_of_others(&mut chain);
    let id = started(&mut chain, &calm(plain()));
    chain.ok("w2", &trace(&chain, "w2", id));
    let honest = trace(&chain, "w1", id);
    let bent = |change: fn(&mut MsgCommitTrace)| {
        let mut message = honest.clone();
        change(&mut message);
        any::pack(&message)
    };
    let (expected, wrong) = (hex::encode(root("start")), hex::encode(root("elsewhere")));
    let cases: Vec<Case<'_>> = vec![
        (
            "w1",
            any::pack(&trace(&chain, "w1", theirs)),
            ("job", 6),
            vec!["is not an active worker of job 1"],
        ),
        (
            "e1",
            any::pack(&trace(&chain, "e1", id)),
            ("job", 6),
            vec!["is not an active worker of job 2"],
        ),
        (
            "w2",
            any::pack(&trace(&chain, "w2", id)),
            ("job", 13),
            vec!["has sent its trace of round 0"],
        ),
        (
            "w1",
            bent(|m| m.round = 1),
            ("job", 11),
            vec!["is in round 0", "names round 1"],
        ),
        (
            "w1",
            bent(|m| m.start_root = root("elsewhere")),
            ("job", 14),
            vec![&expected, &wrong],
        ),
        (
            "w1",
            bent(|m| m.samples = 0),
            ("job", 3),
            vec!["number of samples is 0", "1 to 320"],
        ),
        (
            "w1",
            bent(|m| m.samples = 321),
            ("job", 3),
            vec!["number of samples is 321", "1 to 320"],
        ),
        (
            "w1",
            bent(|m| m.samples = u64::MAX),
            ("job", 3),
            vec!["18446744073709551615", "1 to 320"],
        ),
        (
            "w1",
            bent(|m| m.trace_root = vec![0; 33]),
            ("job", 3),
            vec!["trace root is 33 bytes", "32 bytes"],
        ),
        (
            "w1",
            bent(|m| m.delta_root.clear()),
            ("job", 3),
            vec!["delta root is 0 bytes", "32 bytes"],
        ),
        (
            "w1",
            bent(|m| m.delta_cid = "x".into()),
            ("job", 3),
            vec!["delta CID is \"x\"", "46 to 120"],
        ),
        ("w1", bent(|m| m.job_id = 99), ("job", 2), vec!["job 99"]),
        (
            "w1",
            any::pack(&vote(&chain, "w1", id)),
            ("job", 12),
            vec!["waits for traces, not for merged roots"],
        ),
        (
            "w1",
            any::pack(&result(&chain, "w1", id)),
            ("job", 12),
            vec!["waits for traces, not for the result"],
        ),
        (
            "w1",
            any::pack(&leave("w1", theirs)),
            ("job", 6),
            vec!["is not an active worker of job 1"],
        ),
    ];
    assert_all_refused(&mut chain, cases);

    commit_all(&mut chain, id, &["w1", "w3"]);
    let mut other_round = vote(&chain, "w1", id);
    other_round.round = 7;
    let mut short = vote(&chain, "w1", id);
    short.end_root.pop();
    chain.ok("w2", &vote(&chain, "w2", id));
    let cases: Vec<Case<'_>> = vec![
        (
            "w1",
            any::pack(&honest),
            ("job", 12),
            vec!["waits for merged roots, not for traces"],
        ),
        (
            "w1",
            any::pack(&other_round),
            ("job", 11),
            vec!["is in round 0", "names round 7"],
        ),
        (
            "w1",
            any::pack(&short),
            ("job", 3),
            vec!["end root is 31 bytes", "32 bytes"],
        ),
        (
            "w2",
            any::pack(&vote(&chain, "w2", id)),
            ("job", 13),
            vec!["has sent its merged root of round 0"],
        ),
    ];
    assert_all_refused(&mut chain, cases);

    vote_all(&mut chain, id, &["w1", "w3"]);
    commit_all(&mut chain, id, &WORKERS);
    vote_all(&mut chain, id, &WORKERS);
    let mut other_root = result(&chain, "w1", id);
    other_root.artifact.as_mut().unwrap().state_root = root("elsewhere");
    let mut no_file = result(&chain, "w1", id);
    no_file.artifact.as_mut().unwrap().model_sha256.clear();
    let mut empty = result(&chain, "w1", id);
    empty.artifact = None;
    chain.ok("w2", &result(&chain, "w2", id));
    let agreed = hex::encode(merged(id, 1));
    let cases: Vec<Case<'_>> = vec![
        ("w1", any::pack(&other_root), ("job", 14), vec![&agreed, &wrong]),
        (
            "w1",
            any::pack(&no_file),
            ("job", 3),
            vec!["model SHA-256 is 0 bytes", "32 bytes"],
        ),
        ("w1", any::pack(&empty), ("job", 3), vec!["model CID is \"\""]),
        (
            "w2",
            any::pack(&result(&chain, "w2", id)),
            ("job", 13),
            vec!["has sent its result of round 1"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
}

fn blind_commitment(evaluator: &str, job_id: u64) -> Any {
    any::pack(&MsgCommitEvaluation {
        evaluator: address(evaluator).to_string(),
        job_id,
        commitment: root("any"),
    })
}

#[test]
fn scores_that_do_not_count() {
    let mut chain = calm_yard();
    let training = job_of_others(&mut chain);
    let id = evaluating(&mut chain, &calm(spec()));
    let (commit, reveal) = evaluation(&chain, "e1", id, 900_000);
    let (stranger, strange_reveal) = evaluation(&chain, "w1", id, 900_000);
    let (early, early_reveal) = evaluation(&chain, "e1", training, 900_000);
    let mut short = commit.clone();
    short.commitment.pop();
    let keys = grant(id, DataSplit::Test, &drawn(&chain.job(id)));
    chain.ok("e1", &commit);
    let cases: Vec<Case<'_>> = vec![
        (
            "w1",
            any::pack(&stranger),
            ("job", 7),
            vec!["was not drawn as an evaluator of job 2"],
        ),
        (
            "e1",
            any::pack(&early),
            ("job", 4),
            vec!["job 1 is training", "needs it evaluating"],
        ),
        (
            "e1",
            any::pack(&early_reveal),
            ("job", 4),
            vec!["job 1 is training", "needs it revealing"],
        ),
        (
            "e1",
            any::pack(&commit),
            ("job", 15),
            vec!["has committed to a score of job 2 already"],
        ),
        ("e2", blind_commitment("e2", 99), ("job", 2), vec!["job 99"]),
        (
            "e1",
            any::pack(&short),
            ("job", 3),
            vec!["commitment is 31 bytes", "32 bytes"],
        ),
        (
            "e1",
            any::pack(&reveal),
            ("job", 4),
            vec!["job 2 is evaluating", "needs it revealing"],
        ),
        (
            CLIENT,
            any::pack(&keys),
            ("job", 4),
            vec!["job 2 is evaluating", "needs it submitted"],
        ),
    ];
    assert_all_refused(&mut chain, cases);

    // A copied commitment is bound to its author: another cannot reveal it.
    let mut copy = commit.clone();
    copy.evaluator = address("e2").to_string();
    chain.ok("e2", &copy);
    let mut copied = reveal.clone();
    copied.evaluator = address("e2").to_string();
    let bent = |change: fn(&mut MsgRevealEvaluation)| {
        let mut message = reveal.clone();
        change(&mut message);
        any::pack(&message)
    };
    let mismatch = || vec!["does not match its commitment"];
    let forged = |m: &mut MsgRevealEvaluation| m.signature = key("w1").sign_digest(&[7; 32]).to_vec();
    let cases: Vec<Case<'_>> = vec![
        ("e2", any::pack(&copied), ("job", 16), mismatch()),
        ("e1", bent(|m| m.score_ppm = 900_001), ("job", 16), mismatch()),
        ("e1", bent(|m| m.salt = root("pepper")), ("job", 16), mismatch()),
        ("e1", bent(|m| m.metrics_hash = root("others")), ("job", 16), mismatch()),
        ("e1", bent(|m| m.model_sha256 = root("others")), ("job", 16), mismatch()),
        (
            "e1",
            bent(forged),
            ("job", 17),
            vec!["the signature of", "is not valid"],
        ),
        (
            "e1",
            bent(|m| high_s(&mut m.signature)),
            ("job", 17),
            vec!["is not valid"],
        ),
        (
            "e1",
            bent(|m| m.signature.truncate(63)),
            ("job", 3),
            vec!["signature is 63 bytes", "64 bytes"],
        ),
        (
            "e1",
            bent(|m| m.score_ppm = 1_000_001),
            ("job", 3),
            vec!["score is 1000001", "0 to 1000000"],
        ),
        (
            "e1",
            bent(|m| m.salt.clear()),
            ("job", 3),
            vec!["salt is 0 bytes", "32 bytes"],
        ),
        ("w1", any::pack(&strange_reveal), ("job", 7), vec!["was not drawn"]),
        (
            "e2",
            blind_commitment("e2", id),
            ("job", 4),
            vec!["job 2 is revealing", "needs it evaluating"],
        ),
    ];
    assert_all_refused(&mut chain, cases);
    chain.ok("e1", &reveal);
    let words = &["has revealed its score of job 2 already"];
    assert_message_refused(&mut chain, "e1", any::pack(&reveal), ("job", 19), words);
}

#[test]
fn a_score_of_another_model_does_not_count() {
    let mut chain = calm_yard();
    let id = evaluating(&mut chain, &calm(plain()));
    // Committed to, and revealed as committed, but not the model of the job.
    let fixed = |bytes: Vec<u8>| <[u8; 32]>::try_from(bytes).unwrap();
    let other = fixed(root("another model"));
    let digest = attest::attestation(chain.chain_id(), id, &other, &fixed(root("metrics")), 5);
    let evaluator = address("e1").to_string();
    let commit = MsgCommitEvaluation {
        evaluator: evaluator.clone(),
        job_id: id,
        commitment: attest::commitment(&digest, &fixed(root("salt")), &address("e1")).to_vec(),
    };
    chain.ok("e1", &commit);
    chain.ok("e2", &evaluation(&chain, "e2", id, 5).0);
    let reveal = MsgRevealEvaluation {
        evaluator,
        job_id: id,
        score_ppm: 5,
        metrics_hash: root("metrics"),
        model_sha256: other.to_vec(),
        salt: root("salt"),
        signature: key("e1").sign_digest(&digest).to_vec(),
        ..MsgRevealEvaluation::default()
    };
    let (found, expected) = (hex::encode(other), hex::encode(root("weights")));
    assert_message_refused(&mut chain, "e1", any::pack(&reveal), ("job", 14), &[&found, &expected]);
}

#[test]
fn a_finished_job_takes_no_more_messages() {
    let mut chain = calm_yard();
    let id = evaluating(&mut chain, &calm(plain()));
    let (commit, reveal) = evaluation(&chain, "e1", id, 5);
    score(&mut chain, id, [("e1", 5), ("e2", 5)]);
    let cases: Vec<(&str, Any)> = vec![
        (CLIENT, any::pack(&cancel(CLIENT, id))),
        (CLIENT, any::pack(&grant(id, DataSplit::Train, &worker_addresses()))),
        ("w1", any::pack(&join("w1", id))),
        ("w1", any::pack(&leave("w1", id))),
        ("w1", any::pack(&trace(&chain, "w1", id))),
        ("w1", any::pack(&vote(&chain, "w1", id))),
        ("w1", any::pack(&result(&chain, "w1", id))),
        ("e1", any::pack(&commit)),
        ("e1", any::pack(&reveal)),
    ];
    for (signer, message) in cases {
        assert_message_refused(&mut chain, signer, message, ("job", 4), &["job 1 is settled"]);
    }
}
