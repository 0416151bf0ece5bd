//! The messages of a contest.

use trainyard_app::testing::{Chain, TRAIN, address, key};
use trainyard_proto::{
    any::{self, Any},
    attest,
    job::{
        Artifact, ArtifactScore, Job, JobSpec, JobState, MsgCommitEvaluation, MsgCommitTrace, MsgJoinJob,
        MsgRevealEvaluation, MsgSubmitResult, Paradigm, RoundPhase, Standing, Variant,
    },
};

use crate::support::*;

/// A variant with a learning rate.
pub(crate) fn variant(rate: &str) -> Variant {
    let mut task = spec().task.unwrap();
    task.optimizer.as_mut().unwrap().learning_rate = rate.into();
    Variant {
        name: format!("lr {rate}"),
        model_cid: cid("model"),
        start_root: root("start"),
        task: Some(task),
        macs_per_sample: 1_000,
        ..Variant::default()
    }
}

/// Two rounds of three variants, nothing encrypted, a floor of 50 %.
pub(crate) fn contest() -> JobSpec {
    JobSpec {
        model_cid: String::new(),
        start_root: Vec::new(),
        task: None,
        macs_per_sample: 0,
        paradigm: Paradigm::Competitive.into(),
        variants: ["0.05", "0.1", "0.2"].map(variant).to_vec(),
        floor_ppm: 500_000,
        ..plain()
    }
}

/// The same with variants that workers bring.
pub(crate) fn open_contest() -> JobSpec {
    JobSpec {
        variants: Vec::new(),
        ..contest()
    }
}

pub(crate) fn join_variant(worker: &str, job_id: u64, variant_index: u32) -> MsgJoinJob {
    MsgJoinJob {
        variant_index,
        ..join(worker, job_id)
    }
}

pub(crate) fn bring(worker: &str, job_id: u64, rate: &str) -> MsgJoinJob {
    MsgJoinJob {
        variant: Some(variant(rate)),
        ..join(worker, job_id)
    }
}

pub(crate) fn send_all(chain: &mut Chain, messages: Vec<(&str, Any)>) {
    let txs = messages
        .into_iter()
        .map(|(name, message)| chain.tx(name, vec![message]))
        .collect();
    all_ok(chain, txs);
}

/// A contest whose workers take the variants in their order.
pub(crate) fn begun(chain: &mut Chain, spec: &JobSpec) -> u64 {
    let id = post(chain, spec, BUDGET);
    let joins = WORKERS
        .iter()
        .zip(0..)
        .map(|(w, index)| (*w, any::pack(&join_variant(w, id, index))));
    send_all(chain, joins.collect());
    assert_eq!(chain.job(id).state(), JobState::Training);
    id
}

/// The root of the weights that a worker has after a round, and the salt that hides it.
pub(crate) fn end(worker: &str, job_id: u64, round: u32) -> ([u8; 32], [u8; 32]) {
    let of = |what| root(format!("{what} {worker} {job_id} {round}")).try_into().unwrap();
    (of("weights"), of("salt"))
}

/// A worker's trace of the current round, from the weights that its last one ended with.
pub(crate) fn run(chain: &Chain, worker: &str, job_id: u64) -> MsgCommitTrace {
    let round = chain.job(job_id).round;
    let (start_root, start_salt) = match round.checked_sub(1) {
        Some(last) => end(worker, job_id, last),
        None => (root("start").try_into().unwrap(), [0; 32]),
    };
    let (own, salt) = end(worker, job_id, round);
    MsgCommitTrace {
        worker: address(worker).to_string(),
        job_id,
        round,
        start_root: start_root.to_vec(),
        start_salt: if round == 0 { Vec::new() } else { start_salt.to_vec() },
        trace_root: root(format!("trace {worker} {round}")),
        samples: 320,
        end_commitment: attest::end_commitment(job_id, round, &address(worker), &own, &salt).to_vec(),
        ..MsgCommitTrace::default()
    }
}

/// A worker's artifact.
pub(crate) fn hand_in(chain: &Chain, worker: &str, job_id: u64) -> MsgSubmitResult {
    let (state_root, salt) = end(worker, job_id, chain.job(job_id).round);
    MsgSubmitResult {
        worker: address(worker).to_string(),
        job_id,
        artifact: Some(Artifact {
            model_cid: cid(format!("weights {worker}")),
            model_sha256: root(format!("weights {worker}")),
            state_root: state_root.to_vec(),
        }),
        salt: salt.to_vec(),
    }
}

pub(crate) fn run_all(chain: &mut Chain, id: u64, workers: &[&'static str]) {
    let traces = workers.iter().map(|w| (*w, any::pack(&run(chain, w, id)))).collect();
    send_all(chain, traces);
}

pub(crate) fn hand_in_all(chain: &mut Chain, id: u64, workers: &[&'static str]) {
    let results = workers
        .iter()
        .map(|w| (*w, any::pack(&hand_in(chain, w, id))))
        .collect();
    send_all(chain, results);
}

/// Both rounds and the artifacts of these workers.
pub(crate) fn run_to_the_end(chain: &mut Chain, id: u64, workers: &[&'static str]) {
    run_all(chain, id, workers);
    assert_eq!(
        chain.job(id).round,
        1,
        "a round closes with its last trace, nothing is merged"
    );
    run_all(chain, id, workers);
    assert_eq!(chain.job(id).round_phase(), RoundPhase::Submit);
    hand_in_all(chain, id, workers);
}

/// An evaluator's commitment to what it found of some workers' artifacts, none where it rejects one, and the reveal.
pub(crate) fn findings(
    chain: &Chain,
    evaluator: &str,
    job_id: u64,
    found: &[(&str, Option<u32>)],
) -> (MsgCommitEvaluation, MsgRevealEvaluation) {
    let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    let job = chain.job(job_id);
    let (mut digests, mut scores) = (Vec::new(), Vec::new());
    for (worker, score) in found {
        let worker = address(worker).to_string();
        let state = job.workers.iter().find(|w| w.address == worker).unwrap();
        let model = fixed(&state.artifact.clone().unwrap().model_sha256);
        let metrics = root(format!("metrics {score:?}"));
        let digest = score.map(|score| attest::attestation(chain.chain_id(), job_id, &model, &fixed(&metrics), score));
        digests.push(digest);
        scores.push(ArtifactScore {
            worker,
            score_ppm: score.unwrap_or(0),
            metrics_hash: if score.is_some() { metrics } else { Vec::new() },
            signature: digest.map_or(Vec::new(), |d| key(evaluator).sign_digest(&d).to_vec()),
        });
    }
    let salt = root(format!("salt {evaluator}"));
    let digest = attest::findings(job_id, &digests);
    let evaluator_address = address(evaluator).to_string();
    (
        MsgCommitEvaluation {
            evaluator: evaluator_address.clone(),
            job_id,
            commitment: attest::commitment(&digest, &fixed(&salt), &address(evaluator)).to_vec(),
        },
        MsgRevealEvaluation {
            evaluator: evaluator_address,
            job_id,
            salt,
            scores,
            ..MsgRevealEvaluation::default()
        },
    )
}

/// What each of some workers' artifacts scores, to an evaluator.
pub(crate) type Scores<'a> = (&'a str, Vec<(&'a str, Option<u32>)>);

/// The evaluators commit, then reveal.
pub(crate) fn judge(chain: &mut Chain, id: u64, found: [Scores<'_>; 2]) {
    let pairs = found.map(|(name, scores)| (name, findings(chain, name, id, &scores)));
    send_all(
        chain,
        pairs
            .iter()
            .map(|(name, (commit, _))| (*name, any::pack(commit)))
            .collect(),
    );
    assert_eq!(chain.job(id).state(), JobState::Revealing);
    send_all(
        chain,
        pairs
            .iter()
            .map(|(name, (_, reveal))| (*name, any::pack(reveal)))
            .collect(),
    );
}

/// Both evaluators find the same.
pub(crate) fn judged(chain: &mut Chain, id: u64, scores: &[(&str, Option<u32>)]) {
    judge(chain, id, EVALUATORS.map(|name| (name, scores.to_vec())));
}

pub(crate) fn standing(job: &Job, worker: &str) -> (Standing, u32) {
    let worker = address(worker).to_string();
    let state = job.workers.iter().find(|w| w.address == worker).unwrap();
    (state.standing(), state.score_ppm)
}

/// What the workers and evaluators are paid, TRAIN.
pub(crate) fn paid_train(job: &Job) -> [u64; 5] {
    ["w1", "w2", "w3", "e1", "e2"].map(|name| paid(job, name) / TRAIN)
}

pub(crate) fn all_scored(scores: [u32; 3]) -> Vec<(&'static str, Option<u32>)> {
    WORKERS.into_iter().zip(scores.map(Some)).collect()
}
