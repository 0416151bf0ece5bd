//! What an evaluation counts. Only integers, so that evaluators on different machines state the same document.

use color_eyre::eyre::{Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The metrics document; its canonical form is compact JSON with the fields in this order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Samples scored.
    pub samples: u64,
    /// Samples whose predicted class is their label.
    pub correct: u64,
    /// Per label: (samples, correct).
    pub classes: Vec<(u64, u64)>,
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self {
            samples: 0,
            correct: 0,
            classes: vec![(0, 0); classes],
        }
    }

    /// Counts one sample by its logits: the first of the largest is the prediction.
    pub fn count(&mut self, logits: &[f32], label: usize) -> Result<()> {
        ensure!(
            label < self.classes.len(),
            "label {label} is not below {} classes",
            self.classes.len()
        );
        ensure!(logits.iter().all(|l| l.is_finite()), "the model's output is not finite");
        let mut best = 0;
        for (class, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = class;
            }
        }
        let hit = u64::from(best == label);
        self.samples += 1;
        self.correct += hit;
        self.classes[label].0 += 1;
        self.classes[label].1 += hit;
        Ok(())
    }

    /// Accuracy in parts per million, rounded down.
    pub fn accuracy_ppm(&self) -> u32 {
        let wide = u128::from(self.correct) * 1_000_000 / u128::from(self.samples.max(1));
        u32::try_from(wide).unwrap_or(u32::MAX)
    }

    /// SHA-256 of the canonical form.
    pub fn hash(&self) -> Result<[u8; 32]> {
        Ok(Sha256::digest(serde_json::to_vec(self)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_logits_is_the_prediction() {
        let mut metrics = Metrics::new(3);
        metrics.count(&[1.0, 1.0, 0.0], 0).unwrap();
        metrics.count(&[1.0, 1.0, 0.0], 1).unwrap();
        assert_eq!(
            (metrics.samples, metrics.correct, metrics.accuracy_ppm()),
            (2, 1, 500_000)
        );
        assert!(metrics.count(&[f32::NAN, 0.0, 0.0], 0).is_err());
        assert!(metrics.count(&[0.0; 3], 3).is_err());
    }
}
