//! The variant that a worker brings to contests whose client lists none: `[variant]` in the configuration.

use std::path::PathBuf;

use color_eyre::eyre::{Result, WrapErr as _};
use serde::{Deserialize, Serialize};
use trainyard_exact::{
    lower::training,
    onnx::{Limits, decode},
    state_root,
};
use trainyard_modules::job::parse_task;
use trainyard_overlay::Overlay;
use trainyard_proto::job::{Optimizer, Task, Variant};

/// A model and how to train it. Numbers in quotes are decimal, rounded to the nearest f32.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnVariant {
    /// Shown to others.
    pub name: String,
    /// The ONNX file, with its start weights.
    pub model: PathBuf,
    /// `cross_entropy`, `mse` or `bce_with_logits`.
    pub loss: String,
    /// `sgd`, `adam` or `adamw`.
    pub optimizer: String,
    /// Learning rate.
    pub learning_rate: String,
    /// Momentum of SGD; empty is 0.
    pub momentum: String,
    /// Weight decay; empty is 0.
    pub weight_decay: String,
    /// Samples of one step.
    pub batch_size: u32,
    /// Steps of one round.
    pub local_steps: u32,
    /// Draws dropout.
    pub seed: u64,
}

impl Default for OwnVariant {
    fn default() -> Self {
        Self {
            name: String::new(),
            model: PathBuf::new(),
            loss: "cross_entropy".into(),
            optimizer: "sgd".into(),
            learning_rate: "0.05".into(),
            momentum: String::new(),
            weight_decay: String::new(),
            batch_size: 64,
            local_steps: 100,
            seed: 0,
        }
    }
}

impl OwnVariant {
    /// Reads the model, offers it to the network, and says what a job is told of it.
    ///
    /// # Errors
    /// The file cannot be read, trained, or offered.
    pub async fn offer(&self, overlay: &Overlay, exact: bool) -> Result<Variant> {
        let (variant, bytes) = self.read(exact)?;
        let model_cid = overlay.add_bytes(bytes).await?.cid.to_string();
        Ok(Variant { model_cid, ..variant })
    }

    fn read(&self, exact: bool) -> Result<(Variant, Vec<u8>)> {
        let shown = || self.model.display().to_string();
        let bytes = std::fs::read(&self.model).wrap_err_with(shown)?;
        let graph = decode(&bytes, &Limits::default()).wrap_err_with(shown)?;
        let task = Task {
            loss: self.loss.clone(),
            metric: "accuracy".into(),
            optimizer: Some(Optimizer {
                name: self.optimizer.clone(),
                learning_rate: self.learning_rate.clone(),
                momentum: self.momentum.clone(),
                weight_decay: self.weight_decay.clone(),
                ..Optimizer::default()
            }),
            batch_size: self.batch_size,
            local_steps: self.local_steps,
            seed: self.seed,
            ..Task::default()
        };
        let parsed = parse_task(&task).wrap_err("[variant]")?;
        let program_root = if exact {
            training(&graph, &parsed, self.batch_size as usize)?.root()?.to_vec()
        } else {
            Vec::new()
        };
        let variant = Variant {
            name: self.name.clone(),
            start_root: state_root(&graph.weights).to_vec(),
            task: Some(task),
            program_root,
            macs_per_sample: graph.macs(),
            ..Variant::default()
        };
        Ok((variant, bytes))
    }
}

#[cfg(test)]
mod tests {
    use trainyard_exact::model::{MlpSpec, mlp};

    use super::*;

    #[test]
    fn a_variant_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let spec = MlpSpec {
            sample: vec![3],
            hidden: vec![6],
            classes: 2,
            seed: 1,
        };
        let model = folder.path().join("mlp.onnx");
        std::fs::write(&model, mlp(&spec).unwrap()).unwrap();
        let text = format!("model = {:?}\nlearning_rate = \"0.2\"", model.display().to_string());
        let own: OwnVariant = toml::from_str(&text).unwrap();
        let (variant, _) = own.read(false).unwrap();
        assert_eq!(
            (variant.macs_per_sample, variant.program_root.len()),
            (3 * 6 + 6 * 2, 0)
        );
        assert_eq!(variant.task.clone().unwrap().optimizer.unwrap().learning_rate, "0.2");
        assert_eq!(own.read(true).unwrap().0.program_root.len(), 32);
        let fast = OwnVariant {
            learning_rate: "fast".into(),
            ..own
        };
        assert!(format!("{:#}", fast.read(false).unwrap_err()).contains("fast"));
    }
}
