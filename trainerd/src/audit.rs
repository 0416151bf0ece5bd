//! `trainerd audit`: trains a job again from what the chain has fixed, and compares every root with what was committed.
//!
//! It takes the chain's records, graph and data by their CIDs, and the key of the training data where that is encrypted.
//! Nothing that a worker says is believed: every round starts from the weights that the rounds before it gave here.

mod contest;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use color_eyre::eyre::{Context, OptionExt, Result, bail, ensure, eyre};
use serde::{Deserialize, Serialize};
use trainyard_client::{
    data::KeyVault,
    keys::{PrivateKey, generate_mnemonic},
};
use trainyard_exact::{Weights, state_root, trace};
use trainyard_modules::job::competes;
use trainyard_overlay::{Config as OverlayConfig, Overlay, PeerId, load_or_create_key};
use trainyard_proto::job::{JobSpec, Round, TraceCommit};

use crate::{
    chain::Chain,
    config::Config,
    dataset::Dataset,
    engine::{Compute, Engine},
    inputs::{Inputs, providers},
    paradigm::{
        delta::{Delta, merge},
        federated::{Share, replay},
    },
    serve::trace_key,
};

/// The states of each worker whose trace is open.
type Traces = BTreeMap<String, Vec<[u8; 32]>>;

/// Largest trace fetched, bytes.
const MAX_TRACE: u64 = 1 << 20;

/// The states of a worker's round and their salts, which open its trace; in hex.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenedTrace {
    /// State roots.
    pub states: Vec<String>,
    /// A salt for each.
    pub salts: Vec<String>,
}

impl OpenedTrace {
    /// Of what a worker knows.
    pub fn new(states: &[[u8; 32]], salts: &[[u8; 32]]) -> Self {
        let text = |hashes: &[[u8; 32]]| hashes.iter().map(hex::encode).collect();
        Self {
            states: text(states),
            salts: text(salts),
        }
    }

    /// The root that commits to states and salts.
    ///
    /// # Errors
    /// A state or salt is no hash, or there is not one salt for each state.
    pub fn root(&self, job: u64, round: u32) -> Result<[u8; 32]> {
        Ok(trace::trace_root(
            job,
            round,
            &hashes(&self.states)?,
            &hashes(&self.salts)?,
        )?)
    }

    /// The states, if they open the trace that was committed to.
    fn states(&self, job: u64, round: u32, commit: &TraceCommit) -> Result<Vec<[u8; 32]>> {
        ensure!(
            self.root(job, round)?.as_slice() == commit.trace_root,
            "what was served does not open the trace"
        );
        hashes(&self.states)
    }
}

fn hashes(texts: &[String]) -> Result<Vec<[u8; 32]>> {
    let hash = |text: &String| hex::decode(text)?.try_into().map_err(|_| eyre!("{text:?} is no hash"));
    texts.iter().map(hash).collect()
}

/// What to audit, and how.
pub struct Audit {
    /// The job.
    pub job: u64,
    /// The last round; none is the last that was closed.
    pub round: Option<u32>,
    /// The client's home, whose vault has the key of encrypted training data.
    pub vault: Option<PathBuf>,
}

/// Trains the rounds of a job again and prints what is compared.
///
/// # Errors
/// What cannot be had; or the first root that is another one here: its round, worker and segment.
pub async fn audit(home: &Path, config: &Config, audit: Audit) -> Result<()> {
    let compute = config.compute()?;
    // Questions need no account; the signer wants a key.
    let key = PrivateKey::from_mnemonic(&generate_mnemonic())?;
    let chain = Chain::connect(&config.node, &config.chain_id, key).await?;
    let home = home.join("audit");
    std::fs::create_dir_all(&home).wrap_err_with(|| format!("cannot create {}", home.display()))?;
    let settings = OverlayConfig::new(
        load_or_create_key(home.join("peer.key"))?,
        home.join("blocks"),
        config.listen()?,
        config.bootstrap()?,
    );
    let overlay = Overlay::start(settings, Arc::new(chain.clone())).await?;
    let audited = run(&chain, &overlay, compute, audit).await;
    overlay.shutdown().await;
    audited
}

async fn run(chain: &Chain, overlay: &Overlay, compute: Compute, audit: Audit) -> Result<()> {
    let job = chain.job(audit.job).await?;
    let mut rounds = Vec::new();
    for number in 0..=audit.round.unwrap_or(job.round).min(job.round) {
        let round = chain.round(job.id, number).await?;
        if round.closed_at > 0 {
            rounds.push(round);
        }
    }
    let last = rounds.last().map(|round| round.round);
    ensure!(
        last.is_some() && audit.round.is_none_or(|wanted| last == Some(wanted)),
        "job {} has closed no such round yet: the last one is {last:?}",
        job.id
    );
    let peers = providers(overlay, chain, &job).await;
    let spec = job.spec.clone().ok_or_eyre("the job has no spec")?;
    if competes(&spec) {
        contest::run(chain, overlay, compute, &audit, &job, &spec, &rounds).await?;
        println!("verdict     every root is reproduced");
        return Ok(());
    }
    let inputs = Inputs::fetch(overlay, &spec, &peers).await?;
    let data = training_data(overlay, &inputs, &audit, &peers).await?;
    let engine = compute.open(&inputs.graph, &inputs.spec)?;
    println!("engine      {} with {} threads", engine.device(), compute.threads());
    println!("start root  {}", hex::encode(&inputs.spec.start_root));
    let mut auditor = Auditor {
        engine,
        data: Arc::new(data),
        spec: inputs.spec.clone(),
        weights: inputs.start.clone(),
        carried: BTreeMap::new(),
    };
    for round in rounds {
        let mut traces = Traces::new();
        for commit in &round.commits {
            match opened(chain, overlay, &round, commit).await {
                Ok(states) => _ = traces.insert(commit.worker.clone(), states),
                // A worker that is gone opens nothing: its delta is compared all the same.
                Err(e) => tracing::warn!(
                    worker = commit.worker,
                    error = format!("{e:#}"),
                    "its trace is not opened"
                ),
            }
        }
        auditor = tokio::task::spawn_blocking(move || {
            auditor.round(&round, &traces)?;
            Ok::<_, color_eyre::Report>(auditor)
        })
        .await??;
    }
    println!("verdict     every root is reproduced");
    Ok(())
}

/// The training data, opened with the client's key where it is encrypted.
async fn training_data(overlay: &Overlay, inputs: &Inputs, audit: &Audit, peers: &[PeerId]) -> Result<Dataset> {
    let train = inputs.spec.train.clone().ok_or_eyre("the job has no training data")?;
    let key = match (train.encrypted, &audit.vault) {
        (false, _) => None,
        (true, None) => bail!("the training data is encrypted: name the home that has its key with --vault"),
        (true, Some(home)) => {
            let key = KeyVault::open(home).get(&train.manifest_cid)?;
            Some(key.ok_or_else(|| eyre!("{} has no key of {}", home.display(), train.manifest_cid))?)
        }
    };
    Dataset::fetch(overlay, inputs.train.clone(), key.as_ref(), peers).await
}

/// The states that a worker passed through, as it committed to them; it serves them when its job is over.
async fn opened(chain: &Chain, overlay: &Overlay, round: &Round, commit: &TraceCommit) -> Result<Vec<[u8; 32]>> {
    let peer = chain.peer_of(&commit.worker).await?;
    let key = trace_key(round.job_id, round.round);
    let bytes = overlay.fetch_stream(peer, &key, MAX_TRACE).await?;
    serde_json::from_slice::<OpenedTrace>(&bytes)?.states(round.job_id, round.round, commit)
}

/// Where the audit stands.
struct Auditor {
    engine: Box<dyn Engine>,
    data: Arc<Dataset>,
    spec: JobSpec,
    /// At the start of the next round.
    weights: Weights,
    /// What compressing each worker's last delta lost.
    carried: BTreeMap<String, Weights>,
}

impl Auditor {
    fn round(&mut self, round: &Round, traces: &Traces) -> Result<()> {
        let number = round.round;
        let here = state_root(&self.weights);
        println!("round {number}");
        same(&format!("round {number}: the start root"), &here, &round.start_root)?;
        let mut deltas = Vec::new();
        let commits = round
            .workers
            .iter()
            .filter_map(|worker| round.commits.iter().find(|c| c.worker == *worker));
        for commit in commits {
            let worker = &commit.worker;
            let share = Share::of(&self.spec, round, worker)?;
            let trained = replay(self.engine.as_mut(), &self.data, &share, &self.weights)?;
            let (delta, error) = Delta::new(&self.spec, &self.weights, &trained.end, self.carried.get(worker))?;
            if let Some(error) = error {
                self.carried.insert(worker.clone(), error);
            }
            if let Some(states) = traces.get(worker) {
                same_states(&format!("round {number}, {worker}"), &trained.states, states)?;
            }
            same(
                &format!("round {number}, {worker}: the delta's root"),
                &delta.root(),
                &commit.delta_root,
            )?;
            let opened = traces.get(worker).map_or(0, Vec::len);
            println!("  delta     {}  {worker}, {opened} states", hex::encode(delta.root()));
            deltas.push((commit.samples, delta));
        }
        self.weights = merge(&self.weights, &deltas)?;
        let root = state_root(&self.weights);
        same(&format!("round {number}: the merged root"), &root, &round.end_root)?;
        println!("  merged    {}", hex::encode(root));
        Ok(())
    }
}

/// Compares the states of a round, and names the first segment that ends in another one.
fn same_states(what: &str, here: &[[u8; 32]], opened: &[[u8; 32]]) -> Result<()> {
    let differs = |at: &usize| opened.get(*at) != here.get(*at);
    if let Some(at) = (0..opened.len().max(here.len())).find(differs) {
        let text = |states: &[[u8; 32]]| states.get(at).map_or("nothing".to_owned(), hex::encode);
        bail!(
            "{what}: segment {at} of {} ends here in {}, its trace says {}",
            here.len() - 1,
            text(here),
            text(opened)
        );
    }
    Ok(())
}

fn same(what: &str, here: &[u8], chain: &[u8]) -> Result<()> {
    ensure!(
        here == chain,
        "{what} is {} here, {} on the chain",
        hex::encode(here),
        hex::encode(chain)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use trainyard_client::data::{Input, LabelColumn};
    use trainyard_exact::{
        kernels::Isa,
        model::{MlpSpec, mlp},
        onnx::{Graph, Limits, decode},
    };
    use trainyard_proto::{
        job::{Optimizer, Task},
        registry::VerificationClass,
    };

    use super::*;
    use crate::{paradigm::federated::Trained, score::packed};

    const WORKERS: [&str; 2] = ["anna", "bert"];

    fn spec() -> JobSpec {
        let optimizer = Optimizer {
            name: "sgd".into(),
            learning_rate: "0.1".into(),
            momentum: "0.9".into(),
            ..Optimizer::default()
        };
        JobSpec {
            task: Some(Task {
                loss: "cross_entropy".into(),
                optimizer: Some(optimizer),
                batch_size: 4,
                local_steps: 5,
                ..Task::default()
            }),
            verification: VerificationClass::Exact.into(),
            delta_share_ppm: 300_000,
            ..JobSpec::default()
        }
    }

    fn graph() -> Graph {
        let spec = MlpSpec {
            sample: vec![3],
            hidden: vec![6],
            classes: 2,
            seed: 1,
        };
        decode(&mlp(&spec).unwrap(), &Limits::default()).unwrap()
    }

    fn data(folder: &Path) -> Dataset {
        let path = folder.join("data.csv");
        let rows = (0..40).map(|i| format!("{}.5,{},{},{}\n", i % 7, i % 5, i % 3, i % 2));
        std::fs::write(&path, rows.collect::<String>()).unwrap();
        let input = Input::Csv {
            path,
            label: LabelColumn::Index(3),
            header: Some(false),
        };
        packed(input, vec![3]).unwrap()
    }

    fn auditor(folder: &Path, isa: Isa, threads: usize) -> Auditor {
        let compute = Compute {
            kind: None,
            threads,
            isa: Some(isa),
        };
        Auditor {
            engine: compute.open(&graph(), &spec()).unwrap(),
            data: Arc::new(data(folder)),
            spec: spec(),
            weights: graph().weights,
            carried: BTreeMap::new(),
        }
    }

    /// Two rounds as honest workers leave them on the chain, and their traces.
    fn history(folder: &Path) -> Vec<(Round, Traces)> {
        let mut node = auditor(folder, Isa::best(), 1);
        let mut history = Vec::new();
        for number in 0..2 {
            let mut round = Round {
                round: number,
                start_root: state_root(&node.weights).to_vec(),
                beacon: vec![u8::try_from(number).unwrap(); 32],
                workers: WORKERS.map(String::from).to_vec(),
                ..Round::default()
            };
            let (mut deltas, mut traces) = (Vec::new(), Traces::new());
            for worker in WORKERS {
                let share = Share::of(&node.spec, &round, worker).unwrap();
                let Trained { end, states } = replay(node.engine.as_mut(), &node.data, &share, &node.weights).unwrap();
                let (delta, error) = Delta::new(&node.spec, &node.weights, &end, node.carried.get(worker)).unwrap();
                node.carried.extend(error.map(|error| (worker.to_owned(), error)));
                round.commits.push(TraceCommit {
                    worker: worker.into(),
                    delta_root: delta.root().to_vec(),
                    samples: share.samples(),
                    ..TraceCommit::default()
                });
                traces.insert(worker.to_owned(), states);
                deltas.push((share.samples(), delta));
            }
            node.weights = merge(&node.weights, &deltas).unwrap();
            round.end_root = state_root(&node.weights).to_vec();
            history.push((round, traces));
        }
        history
    }

    #[test]
    fn honest_rounds_are_reproduced_and_the_first_difference_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let history = history(folder.path());
        assert_eq!(history[1].1["bert"].len(), 6);
        let audit = |history: &[(Round, Traces)]| -> Result<()> {
            let mut auditor = auditor(folder.path(), Isa::SCALAR, 3);
            history
                .iter()
                .try_for_each(|(round, traces)| auditor.round(round, traces))
        };
        audit(&history).unwrap();
        let says = |change: fn(&mut Round, &mut Traces), expected: &str| {
            let mut changed = history.clone();
            let (round, traces) = &mut changed[1];
            change(round, traces);
            let error = audit(&changed).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        };
        says(
            |_, traces| traces.get_mut("bert").unwrap()[3][0] ^= 1,
            "round 1, bert: segment 3 of 5 ends here in",
        );
        says(
            |_, traces| traces.get_mut("anna").unwrap().truncate(5),
            "round 1, anna: segment 5 of 5 ends here in",
        );
        says(
            |round, traces| {
                round.commits[1].delta_root[0] ^= 1;
                traces.clear();
            },
            "round 1, bert: the delta's root is",
        );
        // A worker that took another's batches.
        says(|round, _| round.workers.reverse(), "round 1, bert: segment 1 of 5");
        says(|round, _| round.end_root[0] ^= 1, "round 1: the merged root is");
        says(|round, _| round.start_root[0] ^= 1, "round 1: the start root is");
    }

    #[test]
    fn a_trace_opens_with_its_own_states_only() {
        let (states, secret) = ([[1; 32], [2; 32], [3; 32]], [9; 32]);
        let salts = trace::salts(&secret, 7, 2, 3);
        let commit = TraceCommit {
            trace_root: trace::trace_root(7, 2, &states, &salts).unwrap().to_vec(),
            ..TraceCommit::default()
        };
        let bytes = serde_json::to_vec(&OpenedTrace::new(&states, &salts)).unwrap();
        let opened: OpenedTrace = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(opened.states(7, 2, &commit).unwrap(), states);
        assert!(opened.states(7, 3, &commit).is_err());
        let other = OpenedTrace::new(&[[1; 32], [2; 32], [4; 32]], &salts);
        let error = other.states(7, 2, &commit).unwrap_err().to_string();
        assert!(error.contains("does not open the trace"), "{error}");
        let short = OpenedTrace::new(&states, &salts[..2]);
        assert!(short.states(7, 2, &commit).is_err());
    }
}
