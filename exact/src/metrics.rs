//! Scores of a classifier from integer counts, so that equal predictions give equal scores.

use crate::prf::{Hash, Tag, hash};
use crate::tensor::Tensor;

/// Most classes: the counts are a square of it.
const MAX_CLASSES: usize = 4096;

/// How often samples of each class were taken for each class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confusion {
    classes: usize,
    counts: Vec<u64>,
}

/// Why predictions cannot be scored.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricsError {
    /// The number of classes.
    #[error("{0} classes cannot be scored, expected 2 to {MAX_CLASSES}")]
    Classes(usize),
    /// Predictions and labels do not fit together.
    #[error("predictions of shape {shape:?} for {labels} labels, expected ({labels}, {classes})")]
    Shape {
        /// Shape of the predictions.
        shape: Vec<usize>,
        /// Number of labels.
        labels: usize,
        /// Number of classes.
        classes: usize,
    },
    /// A label outside the classes.
    #[error("sample {sample} has the label {label}, expected 0 to {max}", max = classes - 1)]
    Label {
        /// Position in the batch.
        sample: usize,
        /// The label found.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A prediction that is not a number.
    #[error("sample {sample} has a prediction that is not a number")]
    NotANumber {
        /// Position in the batch.
        sample: usize,
    },
}

impl Confusion {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// When there are fewer than 2 classes or too many.
    pub fn new(classes: usize) -> Result<Self, MetricsError> {
        if !(2..=MAX_CLASSES).contains(&classes) {
            return Err(MetricsError::Classes(classes));
        }
        Ok(Self {
            classes,
            counts: vec![0; classes * classes],
        })
    }

    /// Counts a batch: `logits` (N, classes) against N labels. The largest logit is the prediction, the first of equals.
    /// Nothing is counted when there is an error.
    ///
    /// # Errors
    /// When shapes do not fit, a label is outside the classes or a logit is NaN.
    pub fn add(&mut self, logits: &Tensor, labels: &[i64]) -> Result<(), MetricsError> {
        let classes = self.classes;
        if *logits.shape() != [labels.len(), classes] {
            return Err(MetricsError::Shape {
                shape: logits.shape().to_vec(),
                labels: labels.len(),
                classes,
            });
        }
        let mut cells = Vec::with_capacity(labels.len());
        for (sample, (row, label)) in logits.data().chunks_exact(classes).zip(labels).enumerate() {
            let Some(truth) = usize::try_from(*label).ok().filter(|truth| *truth < classes) else {
                return Err(MetricsError::Label {
                    sample,
                    label: *label,
                    classes,
                });
            };
            if row.iter().any(|logit| logit.is_nan()) {
                return Err(MetricsError::NotANumber { sample });
            }
            let best = (1..classes).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            cells.push(truth * classes + best);
        }
        for cell in cells {
            self.counts[cell] += 1;
        }
        Ok(())
    }

    /// Number of samples counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Number of samples whose class was found.
    pub fn correct(&self) -> u64 {
        (0..self.classes)
            .map(|class| self.counts[class * (self.classes + 1)])
            .sum()
    }

    /// Share of samples whose class was found, in parts per million, rounded down; 0 where nothing was counted.
    pub fn accuracy_ppm(&self) -> u32 {
        let ppm = u128::from(self.correct()) * 1_000_000 / u128::from(self.total().max(1));
        u32::try_from(ppm).unwrap_or(1_000_000)
    }

    /// Counts of samples of class `truth` (row) taken for class `prediction` (column), row-major.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The hash that stands for these counts: SHA-256 of the tag, the number of classes and every count, u64 le each.
    pub fn hash(&self) -> Hash {
        let counts: Vec<u8> = self.counts.iter().flat_map(|count| count.to_le_bytes()).collect();
        hash(Tag::Metrics, &[&(self.classes as u64).to_le_bytes(), &counts])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[[f32; 3]]) -> Tensor {
        Tensor::new(vec![rows.len(), 3], rows.concat()).unwrap()
    }

    #[test]
    fn predictions_are_counted_by_class() {
        let mut confusion = Confusion::new(3).unwrap();
        assert_eq!(confusion.accuracy_ppm(), 0);
        let empty = confusion.hash();
        let rows = logits(&[
            [0.0, 2.0, 1.0],
            [5.0, 5.0, 5.0],
            [f32::NEG_INFINITY, 0.0, f32::INFINITY],
        ]);
        confusion.add(&rows, &[1, 1, 2]).unwrap();
        assert_eq!(confusion.counts(), [0, 0, 0, 1, 1, 0, 0, 0, 1]);
        assert_eq!(
            (confusion.correct(), confusion.total(), confusion.accuracy_ppm()),
            (2, 3, 666_666)
        );
        assert_ne!(confusion.hash(), empty);
    }

    #[test]
    fn what_cannot_be_scored_is_named_and_not_counted() {
        let mut confusion = Confusion::new(3).unwrap();
        let good = [0.0, 1.0, 2.0];
        let table = [
            (
                logits(&[good]),
                vec![0, 1],
                "predictions of shape [1, 3] for 2 labels, expected (2, 3)",
            ),
            (
                logits(&[good, good]),
                vec![0, 3],
                "sample 1 has the label 3, expected 0 to 2",
            ),
            (
                logits(&[good, good]),
                vec![0, -1],
                "sample 1 has the label -1, expected 0 to 2",
            ),
            (
                logits(&[good, [0.0, f32::NAN, 0.0]]),
                vec![0, 0],
                "sample 1 has a prediction that is not a number",
            ),
        ];
        for (logits, labels, expected) in table {
            assert_eq!(confusion.add(&logits, &labels).unwrap_err().to_string(), expected);
        }
        assert_eq!(confusion.total(), 0);
        assert_eq!(Confusion::new(1), Err(MetricsError::Classes(1)));
        assert_eq!(Confusion::new(usize::MAX), Err(MetricsError::Classes(usize::MAX)));
    }
}
