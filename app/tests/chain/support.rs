//! A yard with a client, workers and evaluators, and the messages of a job's life.

use sha2::{Digest, Sha256};
use trainyard_app::testing::{Builder, Chain, Outcome, TRAIN, address, key, peer_id};
use trainyard_modules::bank;
use trainyard_proto::{
    address::Address,
    any::{self, Any},
    attest, coin,
    job::{
        Artifact, DataRef, DataSplit, Deadlines, Job, JobSpec, JobState, KeyGrant, MsgCancelJob, MsgCommitEvaluation,
        MsgCommitTrace, MsgGrantKeys, MsgJoinJob, MsgLeaveJob, MsgPostJob, MsgRepostJob, MsgRevealEvaluation,
        MsgRoundResult, MsgSubmitResult, MsgTopUpJob, Optimizer, Paradigm, Provider, Requirements, RoundPhase, Task,
    },
    registry::{MsgRegister, Role, VerificationClass},
};

pub(crate) const CLIENT: &str = "client";
pub(crate) const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
pub(crate) const EVALUATORS: [&str; 2] = ["e1", "e2"];
/// What everybody starts with, utrain.
pub(crate) const CASH: u64 = 10_000 * TRAIN;
/// What a transaction pays unless it says otherwise, utrain.
pub(crate) const FEE: u64 = 1_000;
pub(crate) const BUDGET: u64 = 1000 * TRAIN;

/// 32 bytes that stand for something.
pub(crate) fn root(of: impl AsRef<str>) -> Vec<u8> {
    Sha256::digest(of.as_ref()).to_vec()
}

/// A text in the form of a CID.
pub(crate) fn cid(of: impl AsRef<str>) -> String {
    format!("bafy{}", &hex::encode(root(of))[..55])
}

/// A funded client, workers and evaluators, not registered; short windows, an epoch of 100 blocks.
pub(crate) fn builder() -> Builder {
    Chain::builder()
        .fund_all([CLIENT, "other"], CASH)
        .fund_all(WORKERS, CASH)
        .fund_all(EVALUATORS, CASH)
        .genesis(|genesis| {
            genesis.job.params.commit_blocks = 4;
            genesis.job.params.reveal_blocks = 4;
            genesis.registry.params.unbonding_blocks = 5;
        })
}

/// The same with everybody registered.
pub(crate) fn yard() -> Chain {
    register_everybody(builder().build())
}

pub(crate) fn register_everybody(mut chain: Chain) -> Chain {
    let mut txs = Vec::new();
    for worker in WORKERS {
        txs.push(chain.tx(worker, vec![any::pack(&register(worker, Role::Worker, 100 * TRAIN))]));
    }
    for evaluator in EVALUATORS {
        txs.push(chain.tx(
            evaluator,
            vec![any::pack(&register(evaluator, Role::Evaluator, 1000 * TRAIN))],
        ));
    }
    all_ok(&mut chain, txs);
    chain
}

pub(crate) fn all_ok(chain: &mut Chain, txs: Vec<Vec<u8>>) {
    for outcome in chain.block(txs) {
        assert!(outcome.is_ok(), "at height {}: {outcome:?}", chain.height());
    }
}

pub(crate) fn register(name: &str, role: Role, bond: u64) -> MsgRegister {
    MsgRegister {
        owner: address(name).to_string(),
        operator: String::new(),
        roles: vec![role.into()],
        bond: Some(coin::utrain(bond)),
        peer_id: peer_id(name),
        x25519_key: root(format!("{name}/x25519")),
        capability_hash: root(format!("{name}/capability")),
        classes: vec![VerificationClass::Pinned.into()],
        moniker: name.into(),
    }
}

/// Three workers, two evaluators, two rounds, everything encrypted.
pub(crate) fn spec() -> JobSpec {
    JobSpec {
        name: "digits".into(),
        model_cid: cid("model"),
        start_cid: String::new(),
        start_root: root("start"),
        task: Some(Task {
            loss: "cross_entropy".into(),
            metric: "accuracy".into(),
            optimizer: Some(Optimizer {
                name: "sgd".into(),
                learning_rate: "0.05".into(),
                momentum: "0.9".into(),
                ..Optimizer::default()
            }),
            batch_size: 32,
            local_steps: 10,
            seed: 7,
            ..Task::default()
        }),
        train: Some(data("train", 50_000)),
        test: Some(data("test", 10_000)),
        provider: Some(Provider {
            peer_id: peer_id(CLIENT),
            addresses: vec!["/ip4/127.0.0.1/tcp/4001".into()],
        }),
        paradigm: Paradigm::Federated.into(),
        verification: VerificationClass::Pinned.into(),
        requirements: Some(Requirements {
            min_workers: 2,
            max_workers: 3,
            evaluators: 2,
            ..Requirements::default()
        }),
        rounds: 2,
        deadlines: Some(Deadlines {
            open: 6,
            grant: 5,
            round: 5,
            submit: 5,
        }),
        partial_share_bp: 5_000,
        macs_per_sample: 1_000,
        delta_share_ppm: 0,
        ..JobSpec::default()
    }
}

fn data(split: &str, samples: u64) -> DataRef {
    DataRef {
        manifest_cid: cid(split),
        plaintext_root: root(split),
        samples,
        encrypted: true,
    }
}

/// The same without encryption.
pub(crate) fn plain() -> JobSpec {
    let mut spec = spec();
    for data in [&mut spec.train, &mut spec.test].into_iter().flatten() {
        data.encrypted = false;
    }
    spec
}

pub(crate) fn post_msg(client: &str, spec: &JobSpec, budget: u64) -> MsgPostJob {
    MsgPostJob {
        client: address(client).to_string(),
        spec: Some(spec.clone()),
        budget: Some(coin::utrain(budget)),
    }
}

/// Posts a job and returns its number.
pub(crate) fn post(chain: &mut Chain, spec: &JobSpec, budget: u64) -> u64 {
    let outcome = chain.ok(CLIENT, &post_msg(CLIENT, spec, budget));
    outcome.attribute("job_posted", "job_id").unwrap().parse().unwrap()
}

pub(crate) fn cancel(client: &str, job_id: u64) -> MsgCancelJob {
    MsgCancelJob {
        client: address(client).to_string(),
        job_id,
    }
}

pub(crate) fn top_up(client: &str, job_id: u64, amount: u64) -> MsgTopUpJob {
    MsgTopUpJob {
        client: address(client).to_string(),
        job_id,
        amount: Some(coin::utrain(amount)),
    }
}

pub(crate) fn repost(client: &str, job_id: u64, budget: u64) -> MsgRepostJob {
    MsgRepostJob {
        client: address(client).to_string(),
        job_id,
        budget: Some(coin::utrain(budget)),
        ..MsgRepostJob::default()
    }
}

pub(crate) fn join(worker: &str, job_id: u64) -> MsgJoinJob {
    MsgJoinJob {
        worker: address(worker).to_string(),
        job_id,
        ..MsgJoinJob::default()
    }
}

pub(crate) fn leave(worker: &str, job_id: u64) -> MsgLeaveJob {
    MsgLeaveJob {
        worker: address(worker).to_string(),
        job_id,
    }
}

/// Everybody in `workers` joins, in one block.
pub(crate) fn join_all(chain: &mut Chain, job_id: u64, workers: &[&str]) {
    let txs = workers
        .iter()
        .map(|w| chain.tx(w, vec![any::pack(&join(w, job_id))]))
        .collect();
    all_ok(chain, txs);
}

/// A job with every worker in it.
pub(crate) fn started(chain: &mut Chain, spec: &JobSpec) -> u64 {
    let id = post(chain, spec, BUDGET);
    join_all(chain, id, &WORKERS);
    assert_eq!(chain.job(id).state(), JobState::Training);
    id
}

pub(crate) fn grant(job_id: u64, split: DataSplit, recipients: &[Address]) -> MsgGrantKeys {
    let grants = recipients.iter().map(|to| KeyGrant {
        recipient: to.to_string(),
        sealed_key: [to.0.as_slice(), &[7; 60]].concat(),
    });
    MsgGrantKeys {
        client: address(CLIENT).to_string(),
        job_id,
        split: split.into(),
        grants: grants.collect(),
    }
}

pub(crate) fn grant_train(chain: &mut Chain, id: u64) {
    let workers: Vec<Address> = chain
        .job(id)
        .workers
        .iter()
        .map(|w| w.address.parse().unwrap())
        .collect();
    chain.ok(CLIENT, &grant(id, DataSplit::Train, &workers));
}

pub(crate) fn grant_test(chain: &mut Chain, id: u64) {
    chain.ok(CLIENT, &grant(id, DataSplit::Test, &drawn(&chain.job(id))));
}

/// The addresses of the evaluators that were drawn.
pub(crate) fn drawn(job: &Job) -> Vec<Address> {
    job.evaluators.iter().map(|e| e.address.parse().unwrap()).collect()
}

/// A trace of the job's current round.
pub(crate) fn trace(chain: &Chain, worker: &str, job_id: u64) -> MsgCommitTrace {
    let job = chain.job(job_id);
    MsgCommitTrace {
        worker: address(worker).to_string(),
        job_id,
        round: job.round,
        start_root: job.round_root,
        trace_root: root(format!("trace {worker} {}", job.round)),
        delta_root: root(format!("delta {worker} {}", job.round)),
        delta_cid: cid(format!("delta {worker} {}", job.round)),
        samples: 320,
        ..MsgCommitTrace::default()
    }
}

/// The root that honest workers merge a round to.
pub(crate) fn merged(job_id: u64, round: u32) -> Vec<u8> {
    root(format!("merged {job_id} {round}"))
}

pub(crate) fn vote(chain: &Chain, worker: &str, job_id: u64) -> MsgRoundResult {
    let round = chain.job(job_id).round;
    MsgRoundResult {
        worker: address(worker).to_string(),
        job_id,
        round,
        end_root: merged(job_id, round),
        score_ppm: 0,
    }
}

pub(crate) fn result(chain: &Chain, worker: &str, job_id: u64) -> MsgSubmitResult {
    MsgSubmitResult {
        worker: address(worker).to_string(),
        job_id,
        artifact: Some(Artifact {
            model_cid: cid("weights"),
            model_sha256: root("weights"),
            state_root: chain.job(job_id).round_root,
        }),
        ..MsgSubmitResult::default()
    }
}

pub(crate) fn commit_all(chain: &mut Chain, id: u64, workers: &[&str]) {
    let msgs: Vec<_> = workers.iter().map(|w| (*w, any::pack(&trace(chain, w, id)))).collect();
    deliver_all(chain, msgs);
}

pub(crate) fn vote_all(chain: &mut Chain, id: u64, workers: &[&str]) {
    let msgs: Vec<_> = workers.iter().map(|w| (*w, any::pack(&vote(chain, w, id)))).collect();
    deliver_all(chain, msgs);
}

pub(crate) fn submit_all(chain: &mut Chain, id: u64, workers: &[&str]) {
    let msgs: Vec<_> = workers.iter().map(|w| (*w, any::pack(&result(chain, w, id)))).collect();
    deliver_all(chain, msgs);
}

fn deliver_all(chain: &mut Chain, msgs: Vec<(&str, Any)>) {
    let txs = msgs.into_iter().map(|(name, msg)| chain.tx(name, vec![msg])).collect();
    all_ok(chain, txs);
}

/// All rounds of a job whose workers are `workers`, and its result.
pub(crate) fn train(chain: &mut Chain, id: u64, workers: &[&str]) {
    if chain.job(id).round_phase() == RoundPhase::Keys {
        grant_train(chain, id);
    }
    while chain.job(id).round_phase() == RoundPhase::Train {
        commit_all(chain, id, workers);
        vote_all(chain, id, workers);
    }
    assert_eq!(chain.job(id).round_phase(), RoundPhase::Submit);
    submit_all(chain, id, workers);
}

/// A job that is ready for its evaluators' commitments.
pub(crate) fn evaluating(chain: &mut Chain, spec: &JobSpec) -> u64 {
    let id = started(chain, spec);
    train(chain, id, &WORKERS);
    if chain.job(id).state() == JobState::Submitted {
        grant_test(chain, id);
    }
    assert_eq!(chain.job(id).state(), JobState::Evaluating);
    id
}

/// An evaluator's commitment to a score and the reveal that fits it.
pub(crate) fn evaluation(
    chain: &Chain,
    evaluator: &str,
    job_id: u64,
    score_ppm: u32,
) -> (MsgCommitEvaluation, MsgRevealEvaluation) {
    let fixed = |bytes: &[u8]| <[u8; 32]>::try_from(bytes).unwrap();
    let model = chain.job(job_id).artifact.unwrap_or_default().model_sha256;
    let model = if model.is_empty() { root("weights") } else { model };
    let (metrics, salt) = (root(format!("metrics {score_ppm}")), root(format!("salt {evaluator}")));
    let digest = attest::attestation(chain.chain_id(), job_id, &fixed(&model), &fixed(&metrics), score_ppm);
    let commitment = attest::commitment(&digest, &fixed(&salt), &address(evaluator)).to_vec();
    let evaluator_address = address(evaluator).to_string();
    (
        MsgCommitEvaluation {
            evaluator: evaluator_address.clone(),
            job_id,
            commitment,
        },
        MsgRevealEvaluation {
            evaluator: evaluator_address,
            job_id,
            score_ppm,
            metrics_hash: metrics,
            model_sha256: model,
            salt,
            signature: key(evaluator).sign_digest(&digest).to_vec(),
            ..MsgRevealEvaluation::default()
        },
    )
}

/// Both evaluators commit, then reveal.
pub(crate) fn score(chain: &mut Chain, id: u64, scores: [(&str, u32); 2]) {
    let pairs = scores.map(|(name, score)| (name, evaluation(chain, name, id, score)));
    let commits = pairs
        .iter()
        .map(|(name, (commit, _))| (*name, any::pack(commit)))
        .collect();
    deliver_all(chain, commits);
    let reveals = pairs
        .iter()
        .map(|(name, (_, reveal))| (*name, any::pack(reveal)))
        .collect();
    deliver_all(chain, reveals);
}

/// What an account holds and has paid for transactions, utrain: what it would hold if they were free.
pub(crate) fn worth(chain: &Chain, name: &str) -> u64 {
    let account = chain.account(address(name)).unwrap_or_default();
    chain.balance(address(name)) + account.sequence * FEE
}

/// What a module's account holds, utrain.
pub(crate) fn held(chain: &Chain, module: &str) -> u64 {
    chain.balance(Address::of_module(module))
}

/// A node's bond, utrain; 0 when it is not registered.
pub(crate) fn bond(chain: &Chain, name: &str) -> u64 {
    chain.node(name).map_or(0, |node| node.bond)
}

/// What a node has lost of its bond in penalties, utrain.
pub(crate) fn lost(chain: &Chain, name: &str) -> u64 {
    let owner = address(name).to_string();
    let penalties = chain.export().registry.penalties;
    penalties.iter().filter(|p| p.owner == owner).map(|p| p.amount).sum()
}

pub(crate) fn reputation(chain: &Chain, name: &str) -> u32 {
    chain.node(name).unwrap().reputation
}

/// Payments of the settled ledger to a name, apart from its stake.
pub(crate) fn paid(job: &Job, name: &str) -> u64 {
    let to = address(name).to_string();
    job.payments
        .iter()
        .filter(|p| p.recipient == to && p.reason != "stake")
        .map(|p| p.amount)
        .sum()
}

/// A spec whose deadlines are far away, so that nothing happens by itself.
pub(crate) fn calm(mut spec: JobSpec) -> JobSpec {
    spec.deadlines = Some(Deadlines {
        open: 5_000,
        grant: 5_000,
        round: 5_000,
        submit: 5_000,
    });
    spec
}

/// What must become of a transaction that is refused.
pub(crate) struct Refusal<'a> {
    /// Codespace and code.
    pub(crate) failure: (&'a str, u32),
    /// Parts of the log: the value found and the bound it broke.
    pub(crate) words: &'a [&'a str],
    /// Who has paid the fee of [`FEE`] all the same, because the messages failed and not the ante.
    pub(crate) payer: Option<&'a str>,
}

/// Puts a transaction into a block unchecked and asserts that it fails as it should, and that nothing else has changed in
/// the whole state than the beacon and, where the ante passed, one account's fee, sequence and public key.
pub(crate) fn assert_refused(chain: &mut Chain, tx: Vec<u8>, refusal: &Refusal<'_>) {
    let checked = chain.check(&tx);
    refuse(chain, tx, &checked, refusal);
}

fn refuse(chain: &mut Chain, tx: Vec<u8>, checked: &Outcome, refusal: &Refusal<'_>) {
    assert_eq!(
        checked.is_ok(),
        refusal.payer.is_some(),
        "CheckTx sees the ante only: {checked:?}"
    );
    let mut expected = chain.export();
    let outcome = chain.block_unchecked([tx]).remove(0);
    assert!(outcome.included && outcome.data.is_empty(), "{outcome:?}");
    assert_eq!(outcome.failure(), refusal.failure, "{outcome:?}");
    for word in refusal.words {
        assert!(outcome.log.contains(word), "{:?} lacks {word:?}", outcome.log);
    }
    let after = chain.export();
    expected.core.beacon.clone_from(&after.core.beacon);
    if let Some(payer) = refusal.payer {
        let payer = address(payer).to_string();
        let account = expected.auth.accounts.iter_mut().find(|a| a.address == payer).unwrap();
        account.sequence += 1;
        account
            .pub_key
            .clone_from(&after.auth.accounts.iter().find(|a| a.address == payer).unwrap().pub_key);
        let collector = Address::of_module(bank::FEE_COLLECTOR).to_string();
        let balances = &mut expected.bank.balances;
        balances.iter_mut().find(|b| b.address == payer).unwrap().amount -= FEE;
        balances.iter_mut().find(|b| b.address == collector).unwrap().amount += FEE;
    }
    assert_eq!(after, expected, "{} left something behind", outcome.log);
}

/// [`assert_refused`] for one message. One that is wrong by itself is refused before it costs anything.
pub(crate) fn assert_message_refused(
    chain: &mut Chain,
    signer: &str,
    message: Any,
    failure: (&str, u32),
    words: &[&str],
) {
    let tx = chain.craft(signer, vec![message]).sign();
    let checked = chain.check(&tx);
    let payer = checked.is_ok().then_some(signer);
    refuse(chain, tx, &checked, &Refusal { failure, words, payer });
}

/// Who sends which message, with which codespace and code it is refused, and parts of what is said.
pub(crate) type Case<'a> = (&'a str, Any, (&'a str, u32), Vec<&'a str>);

/// Each case must be refused; see [`assert_message_refused`].
pub(crate) fn assert_all_refused(chain: &mut Chain, cases: Vec<Case<'_>>) {
    for (signer, message, failure, words) in cases {
        assert_message_refused(chain, signer, message, failure, &words);
    }
}

/// Registered parties, and windows in which nothing happens by itself.
pub(crate) fn calm_yard() -> Chain {
    let calm = builder().epoch_blocks(100_000).genesis(|genesis| {
        genesis.job.params.commit_blocks = 5_000;
        genesis.job.params.reveal_blocks = 5_000;
    });
    register_everybody(calm.build())
}

/// The other signature that a verifier without the rule of low s would take: `s` becomes the curve's order less `s`.
pub(crate) fn high_s(signature: &mut [u8]) {
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let order = hex::decode(ORDER).unwrap();
    let mut borrow = 0;
    for (digit, of) in signature[32..].iter_mut().zip(order).rev() {
        let difference = i16::from(of) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
}
