//! Who judges a job, whose score counts and is paid, and what an epoch's checkpoint says of it all.

use ics23::{CommitmentProof, HostFunctionsManager};
use trainyard_app::testing::{TRAIN, address};
use trainyard_exact::merkle;
use trainyard_modules::{bank, pouw::CHECKPOINTS};
use trainyard_proto::{
    job::JobState,
    pouw::{EpochCheckpoint, QueryCheckpointRequest, QueryCheckpointResponse},
    prost::Message,
    registry::{Role, VerificationClass},
};

use crate::{job_life::assert_closed, support::*};

#[test]
fn an_evaluator_that_never_reveals_gets_nothing() {
    let mut chain = yard();
    let id = evaluating(&mut chain, &spec());
    let (commit1, reveal1) = evaluation(&chain, "e1", id, 800_000);
    let (commit2, _) = evaluation(&chain, "e2", id, 800_000);
    chain.ok("e1", &commit1);
    chain.ok("e2", &commit2);
    chain.ok("e1", &reveal1);
    assert_eq!(chain.job(id).state(), JobState::Revealing);
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 800_000));
    assert_eq!((paid(&job, "e1"), paid(&job, "e2")), (25 * TRAIN, 0));
    assert_eq!(held(&chain, bank::TREASURY), 75 * TRAIN);
    assert_eq!((reputation(&chain, "e1"), reputation(&chain, "e2")), (51, 40));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("e2")));
    assert!(why.contains("revealed none in time: it missed a duty"), "{why}");
}

#[test]
fn one_commitment_is_enough_to_go_on_and_none_skips_scoring() {
    let mut chain = yard();
    let id = evaluating(&mut chain, &plain());
    let (commit, reveal) = evaluation(&chain, "e2", id, 700_000);
    chain.ok("e2", &commit);
    chain.skip_to(chain.job(id).deadline);
    assert_eq!(chain.job(id).state(), JobState::Revealing);
    chain.ok("e2", &reveal);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), paid(&job, "e1"), paid(&job, "e2")),
        (JobState::Settled, 0, 25 * TRAIN)
    );
    assert_closed(&chain, id);

    let mut chain = yard();
    let id = evaluating(&mut chain, &plain());
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Settled, "no evaluator committed a score in time")
    );
    assert_eq!((paid(&job, "w1"), paid(&job, "e1")), (300 * TRAIN, 0));
    assert_eq!((reputation(&chain, "e1"), reputation(&chain, "w1")), (40, 51));
    assert_closed(&chain, id);
}

#[test]
fn nobody_reveals_after_committing() {
    let mut chain = yard();
    let id = evaluating(&mut chain, &plain());
    for name in EVALUATORS {
        chain.ok(name, &evaluation(&chain, name, id, 1).0);
    }
    chain.skip_to(chain.job(id).deadline);
    let job = chain.job(id);
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Settled, "no evaluator revealed its score in time")
    );
    assert_eq!(held(&chain, bank::TREASURY), 100 * TRAIN);
    assert_closed(&chain, id);
}

#[test]
fn an_outlier_is_not_paid_and_the_heavier_bond_sets_the_median() {
    let mut chain = builder().build();
    chain.ok("e1", &register("e1", Role::Evaluator, 1000 * TRAIN));
    chain.ok("e2", &register("e2", Role::Evaluator, 1500 * TRAIN));
    for worker in WORKERS {
        chain.ok(worker, &register(worker, Role::Worker, 100 * TRAIN));
    }
    let id = evaluating(&mut chain, &plain());
    score(&mut chain, id, [("e1", 900_000), ("e2", 905_001)]);
    let job = chain.job(id);
    assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 905_001));
    assert_eq!((paid(&job, "e1"), paid(&job, "e2")), (0, 25 * TRAIN));
    // Which of two lies cannot be told, so none is slashed.
    assert_eq!((reputation(&chain, "e1"), reputation(&chain, "e2")), (50, 51));
    assert_closed(&chain, id);
    let why = chain.explain(id, Some(address("e1")));
    assert!(
        why.contains("It scored 900000 ppm, more than 5000 away from the median 905001"),
        "{why}"
    );
}

#[test]
fn scores_of_class_exact_must_be_equal() {
    let exact = |name: &str, role, bond| {
        let mut message = register(name, role, bond);
        message.classes = vec![VerificationClass::Exact.into()];
        message
    };
    let mut spec = plain();
    spec.set_verification(VerificationClass::Exact);
    spec.program_root = root("program");
    for (first, paid_to_first) in [(905_000, 0), (905_001, 25 * TRAIN)] {
        let mut chain = builder().build();
        chain.ok("e1", &exact("e1", Role::Evaluator, 1000 * TRAIN));
        chain.ok("e2", &exact("e2", Role::Evaluator, 1500 * TRAIN));
        for worker in WORKERS {
            chain.ok(worker, &exact(worker, Role::Worker, 100 * TRAIN));
        }
        let id = evaluating(&mut chain, &spec);
        score(&mut chain, id, [("e1", first), ("e2", 905_001)]);
        let job = chain.job(id);
        assert_eq!((job.state(), job.score_ppm), (JobState::Settled, 905_001));
        assert_eq!((paid(&job, "e1"), paid(&job, "e2")), (paid_to_first, 25 * TRAIN));
        assert_closed(&chain, id);
    }
}

#[test]
fn evaluators_are_never_the_client_a_worker_or_of_one_operator_with_them() {
    let names = ["both", "boss", "servant", "kin", "free"];
    let mut chain = builder().fund_all(names, CASH).build();
    let register_as = |name: &str, operator: &str, roles: &[Role]| {
        let mut message = register(name, roles[0], 1000 * TRAIN);
        message.roles = roles.iter().map(|r| i32::from(*r)).collect();
        message.operator = if operator.is_empty() {
            String::new()
        } else {
            address(operator).to_string()
        };
        message
    };
    let (worker, evaluator) = (Role::Worker, Role::Evaluator);
    // The one worker both trains and evaluates, and belongs to "boss", who evaluates too, as does "servant" of the same.
    chain.ok("both", &register_as("both", "boss", &[worker, evaluator]));
    chain.ok("boss", &register_as("boss", "", &[evaluator]));
    chain.ok("servant", &register_as("servant", "boss", &[evaluator]));
    // The client evaluates for others; "kin" belongs to the client's own operator, "e1" to the client.
    chain.ok(CLIENT, &register_as(CLIENT, "house", &[evaluator]));
    chain.ok("kin", &register_as("kin", "house", &[evaluator]));
    chain.ok("e1", &register_as("e1", CLIENT, &[evaluator]));
    chain.ok("free", &register_as("free", "", &[evaluator]));
    let mut spec = plain();
    let requirements = spec.requirements.as_mut().unwrap();
    (
        requirements.min_workers,
        requirements.max_workers,
        requirements.evaluators,
    ) = (1, 1, 2);
    let id = post(&mut chain, &spec, TRAIN);
    chain.ok("both", &join("both", id));
    assert_eq!(chain.job(id).reason, "1 evaluators may judge this job, 2 are needed");

    spec.requirements.as_mut().unwrap().evaluators = 1;
    let id = post(&mut chain, &spec, TRAIN);
    chain.ok("both", &join("both", id));
    assert_eq!(drawn(&chain.job(id)), [address("free")]);
}

#[test]
fn the_lot_follows_bonds() {
    let mut chain = builder().fund("whale", 100_000 * TRAIN).build();
    chain = register_everybody(chain);
    chain.ok("whale", &register("whale", Role::Evaluator, 50_000 * TRAIN));
    let mut spec = plain();
    let requirements = spec.requirements.as_mut().unwrap();
    (
        requirements.min_workers,
        requirements.max_workers,
        requirements.evaluators,
    ) = (1, 1, 1);
    let mut whale = 0;
    for _ in 0..30 {
        let id = post(&mut chain, &spec, TRAIN);
        chain.ok("w1", &join("w1", id));
        whale += u32::from(drawn(&chain.job(id)) == [address("whale")]);
        chain.ok("w1", &leave("w1", id));
    }
    // 50 of 52 parts: fewer than 22 of 30 would come once in 10⁷ chains, and this chain is always the same.
    assert!(whale >= 22, "the whale was drawn {whale} of 30 times");
}

#[test]
fn checkpoints_tell_an_epochs_work_and_prove_it() {
    let mut chain = builder().epoch_blocks(30).build();
    chain = register_everybody(chain);
    let id = evaluating(&mut chain, &plain());
    score(&mut chain, id, [("e1", 1), ("e2", 1)]);
    assert!(chain.height() < 30);
    chain.skip_to(30);
    let asked: QueryCheckpointResponse = chain
        .query(
            "/trainyard.pouw.v1.Query/Checkpoint",
            &QueryCheckpointRequest { epoch: 0 },
        )
        .unwrap();
    let checkpoint = asked.checkpoint.unwrap();
    let EpochCheckpoint {
        epoch,
        first_height,
        last_height,
        ref commits_root,
        units,
        commits,
        models,
        ..
    } = checkpoint;
    assert_eq!((epoch, first_height, last_height), (0, 1, 30));
    // Two rounds of three workers, 320 samples each, 1 000 multiply-accumulates per sample.
    assert_eq!((commits, models, units), (6, 1, 6 * 320 * 1_000));
    let leaves: Vec<Vec<u8>> = (0..2)
        .flat_map(|round| WORKERS.map(|w| committed(id, round, w)))
        .collect();
    assert_eq!(commits_root, &merkle::root(&leaves).to_vec());

    // Against the app hash of its height, as a header carries it; not against another's.
    let key = CHECKPOINTS.raw_key(&0);
    let response = chain.abci_query("/store/main/key", key.clone(), 30, true);
    assert_eq!(EpochCheckpoint::decode(response.value.clone()).unwrap(), checkpoint);
    let proof = CommitmentProof::decode(response.proof_ops.unwrap().ops[0].data.as_slice()).unwrap();
    let holds = |root: &[u8], value: &[u8]| {
        ics23::verify_membership::<HostFunctionsManager>(
            &proof,
            &trainyard_client::proof::spec(),
            &root.to_vec(),
            &key,
            value,
        )
    };
    let app_hash = chain.app_hash();
    assert!(holds(&app_hash, &response.value));
    let mut other = checkpoint.clone();
    other.units += 1;
    assert!(!holds(&app_hash, &other.encode_to_vec()));
    chain.skip(1);
    assert!(!holds(&chain.app_hash(), &response.value));

    // The next epoch starts from nothing.
    chain.skip_to(60);
    let asked: QueryCheckpointResponse = chain
        .query(
            "/trainyard.pouw.v1.Query/Checkpoint",
            &QueryCheckpointRequest { epoch: 1 },
        )
        .unwrap();
    let empty = asked.checkpoint.unwrap();
    assert_eq!(
        (empty.first_height, empty.commits, empty.models, empty.units),
        (31, 0, 0, 0)
    );
    assert_eq!(empty.commits_root, merkle::root::<Vec<u8>>(&[]).to_vec());
}

/// A leaf of the epoch's commits: the message as it was sent.
fn committed(job_id: u64, round: u32, worker: &str) -> Vec<u8> {
    trainyard_proto::job::MsgCommitTrace {
        worker: address(worker).to_string(),
        job_id,
        round,
        start_root: if round == 0 {
            root("start")
        } else {
            merged(job_id, round - 1)
        },
        trace_root: root(format!("trace {worker} {round}")),
        delta_root: root(format!("delta {worker} {round}")),
        delta_cid: cid(format!("delta {worker} {round}")),
        samples: 320,
        ..trainyard_proto::job::MsgCommitTrace::default()
    }
    .encode_to_vec()
}
