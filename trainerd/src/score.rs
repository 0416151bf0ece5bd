//! `trainerd score`: an auditor's own evaluation of a model, on data of its own, without chain or mesh.

use std::{collections::BTreeMap, path::Path};

use color_eyre::eyre::{Context, OptionExt, Result, ensure};
use sha2::{Digest, Sha256};
use trainyard_client::data::{Input, Inputs, PackOptions, pack, read_shard};
use trainyard_exact::{
    onnx, state_root,
    weights_file::{Limits, from_safetensors},
};
use trainyard_proto::job::{Optimizer, Task};

use crate::{
    dataset::Dataset,
    engine::{Compute, Kind},
    metrics::Metrics,
    roles::evaluator::evaluate,
};

/// What an auditor finds.
pub struct Score {
    /// Counts.
    pub metrics: Metrics,
    /// SHA-256 of the weights' file.
    pub sha256: [u8; 32],
    /// State root of the weights.
    pub state_root: [u8; 32],
}

/// Scores weights on labelled data, which is packed in memory just as a client packs it.
pub fn score(model: &Path, weights: &Path, data: Input, compute: Compute) -> Result<Score> {
    let read = |path: &Path| std::fs::read(path).wrap_err_with(|| path.display().to_string());
    let graph = onnx::decode(&read(model)?, &onnx::Limits::default()).wrap_err_with(|| model.display().to_string())?;
    let bytes = read(weights)?;
    let weights = from_safetensors(&bytes, &Limits::default())?;
    let data = packed(data, graph.sample.clone())?;
    // Scoring needs no optimizer; the engine wants one named.
    let optimizer = Optimizer {
        name: "sgd".into(),
        learning_rate: "1".into(),
        ..Optimizer::default()
    };
    let task = Task {
        loss: "cross_entropy".into(),
        optimizer: Some(optimizer),
        ..Task::default()
    };
    let mut engine = compute.engine(compute.kind.unwrap_or(Kind::LibTorch), &graph, &task)?;
    engine.set_weights(&weights)?;
    let metrics = evaluate(engine.as_mut(), &data, usize::MAX)?;
    ensure!(metrics.samples > 0, "there is no sample to score");
    Ok(Score {
        metrics,
        sha256: Sha256::digest(&bytes).into(),
        state_root: state_root(&weights),
    })
}

/// Labelled data as a client packs it, in memory.
pub(crate) fn packed(data: Input, shape: Vec<usize>) -> Result<Dataset> {
    let mut stored = BTreeMap::new();
    let options = PackOptions {
        name: "score".into(),
        inputs: Inputs::Given {
            train: data.clone(),
            test: data,
        },
        seed: 0,
        encrypt_train: false,
        encrypt_test: false,
        normalisation: None,
        shape: Some(shape),
    };
    let packed = pack(&options, &mut |bytes| {
        // Nothing leaves this process: a shard's name needs no network.
        let name = hex::encode(Sha256::digest(bytes));
        stored.insert(name.clone(), bytes.to_vec());
        Ok(name)
    })?;
    let manifest = packed.test.manifest;
    let mut shards = Vec::new();
    for (index, info) in manifest.shards.iter().enumerate() {
        shards.push(read_shard(
            &manifest,
            index,
            stored.get(&info.cid).ok_or_eyre("a shard is gone")?,
            None,
        )?);
    }
    Dataset::new(manifest, shards)
}
