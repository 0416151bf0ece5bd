//! What a job computes, from files and flags: one model and task for all workers, or variants that compete.

use std::path::PathBuf;

use color_eyre::eyre::{OptionExt, Result, WrapErr as _, bail, ensure};
use trainyard_client::data::Manifest;
use trainyard_exact::{
    compress::check_model,
    lower::training,
    onnx::{Limits, decode},
    state_root,
    weights_file::from_safetensors,
};
use trainyard_modules::job::parse_task;
use trainyard_overlay::Overlay;
use trainyard_proto::job::{Task, Variant};

use crate::cli::model;

/// A computation as its flags name it.
#[derive(Clone, Debug)]
pub(super) struct Computation {
    pub(super) name: String,
    pub(super) model: Option<PathBuf>,
    pub(super) start: Option<PathBuf>,
    pub(super) task: Task,
}

impl Computation {
    /// The same with the changes of a `--variant`: `key=value` pairs, separated by commas.
    pub(super) fn with(&self, changes: &str) -> Result<Self> {
        let mut changed = self.clone();
        changed.name = changes.chars().take(64).collect();
        for pair in changes.split(',') {
            let (key, value) = pair.split_once('=').ok_or_eyre(format!("{pair:?} is no key=value"))?;
            changed
                .set(key.trim(), value.trim())
                .wrap_err_with(|| format!("--variant {changes}"))?;
        }
        Ok(changed)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let task = &mut self.task;
        let optimizer = task.optimizer.get_or_insert_default();
        let schedule = task.schedule.get_or_insert_default();
        let text = || value.to_string();
        match key {
            "name" => self.name = text(),
            "model" => self.model = Some(value.into()),
            "start" => self.start = Some(value.into()),
            "loss" => task.loss = text(),
            "optimizer" => {
                if value != "sgd" {
                    optimizer.momentum.clear();
                }
                optimizer.name = text();
            }
            "lr" => optimizer.learning_rate = text(),
            "momentum" => optimizer.momentum = text(),
            "weight-decay" => optimizer.weight_decay = text(),
            "schedule" => schedule.name = text(),
            "warmup" => schedule.warmup = value.parse()?,
            "schedule-steps" => schedule.steps = value.parse()?,
            "schedule-factor" => schedule.factor = text(),
            "clip-norm" => task.clip_norm = text(),
            "label-smoothing" => task.label_smoothing = text(),
            "batch-size" => task.batch_size = value.parse()?,
            "local-steps" => task.local_steps = value.parse()?,
            "seed" => task.seed = value.parse()?,
            _ => bail!("{key:?} is none of the flags of `job post` that a variant may change"),
        }
        Ok(())
    }

    /// Reads and checks the files.
    pub(super) fn load(&self, exact: bool, compressed: bool, data: [(&str, &Manifest); 2]) -> Result<Loaded> {
        let path = self
            .model
            .as_ref()
            .ok_or_eyre("--model is missing: name the ONNX file to train")?;
        let model = model::read(path)?;
        let mut graph = decode(&model, &Limits::default()).wrap_err_with(|| path.display().to_string())?;
        for (name, manifest) in data {
            ensure!(
                manifest.shape == graph.sample,
                "the {name} data's samples have shape {:?}, the model takes {:?}",
                manifest.shape,
                graph.sample
            );
        }
        if compressed {
            check_model(&graph)?;
        }
        let mut start = None;
        if let Some(path) = &self.start {
            let bytes = std::fs::read(path).wrap_err_with(|| path.display().to_string())?;
            graph.weights =
                from_safetensors(&bytes, &Default::default()).wrap_err_with(|| path.display().to_string())?;
            start = Some(bytes);
        }
        let program_root = if exact {
            let program = training(&graph, &parse_task(&self.task)?, self.task.batch_size as usize)?;
            program.root()?.to_vec()
        } else {
            Vec::new()
        };
        let variant = Variant {
            name: self.name.clone(),
            start_root: state_root(&graph.weights).to_vec(),
            task: Some(self.task.clone()),
            program_root,
            macs_per_sample: graph.macs(),
            ..Variant::default()
        };
        Ok(Loaded { variant, model, start })
    }
}

/// A computation whose files are read, and not offered yet.
pub(super) struct Loaded {
    variant: Variant,
    model: Vec<u8>,
    start: Option<Vec<u8>>,
}

impl Loaded {
    /// Offers the files to the network.
    pub(super) async fn offer(self, overlay: &Overlay) -> Result<Variant> {
        let mut variant = self.variant;
        variant.model_cid = overlay.add_bytes(self.model).await?.cid.to_string();
        if let Some(start) = self.start {
            variant.start_cid = overlay.add_bytes(start).await?.cid.to_string();
        }
        Ok(variant)
    }
}

#[cfg(test)]
mod tests {
    use trainyard_proto::job::Optimizer;

    use super::*;

    #[test]
    fn a_variant_changes_what_it_names_and_nothing_else() {
        let optimizer = Optimizer {
            name: "sgd".into(),
            learning_rate: "0.05".into(),
            momentum: "0.9".into(),
            ..Optimizer::default()
        };
        let base = Computation {
            name: String::new(),
            model: Some("mlp.onnx".into()),
            start: None,
            task: Task {
                loss: "cross_entropy".into(),
                optimizer: Some(optimizer),
                batch_size: 64,
                ..Task::default()
            },
        };
        let changed = base.with("lr=0.1, batch-size=32").unwrap();
        assert_eq!(
            (changed.name.as_str(), changed.model.clone()),
            ("lr=0.1, batch-size=32", base.model.clone())
        );
        let optimizer = changed.task.optimizer.unwrap();
        assert_eq!(
            (optimizer.learning_rate.as_str(), optimizer.momentum.as_str()),
            ("0.1", "0.9")
        );
        assert_eq!(changed.task.batch_size, 32);
        let adam = base.with("name=adam,optimizer=adam,model=cnn.onnx,lr=0.001").unwrap();
        assert_eq!((adam.name.as_str(), adam.model), ("adam", Some("cnn.onnx".into())));
        assert_eq!(
            adam.task.optimizer.unwrap().momentum,
            "",
            "adam has no momentum of its own"
        );
        for wrong in ["", "lr", "lr=0.1,", "speed=9", "batch-size=many"] {
            assert!(base.with(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
