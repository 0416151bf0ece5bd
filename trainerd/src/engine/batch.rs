//! What a batch and a state must be to fit a graph.

use trainyard_exact::Weights;
use trainyard_exact::onnx::Graph;
use trainyard_exact::task::Loss;

use super::EngineError;

/// The sizes of a graph's samples and outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Values of one sample.
    pub(super) sample: usize,
    /// Rows of one sample's output.
    rows: usize,
    /// Values of a row.
    pub(super) classes: usize,
    /// Whether labels are numbers and not classes.
    pub(super) numeric: bool,
}

impl Sizes {
    pub(super) fn new(graph: &Graph, loss: Loss) -> Self {
        let output: Vec<usize> = graph.output_shape.iter().map(|dim| dim.with_batch(1)).collect();
        let classes = if output.len() > 1 {
            output.last().copied().unwrap_or(1)
        } else {
            1
        };
        Self {
            sample: graph.sample.iter().product(),
            rows: output.iter().take(output.len().saturating_sub(1)).product(),
            classes,
            numeric: loss != Loss::CrossEntropy && classes == 1,
        }
    }

    /// Values of one sample's output.
    pub(super) fn outputs(&self) -> usize {
        self.rows * self.classes
    }

    /// How many samples there are.
    pub(super) fn count(&self, samples: &[f32]) -> Result<usize, EngineError> {
        if samples.is_empty() || !samples.len().is_multiple_of(self.sample) {
            return Err(EngineError::Samples {
                values: samples.len(),
                sample: self.sample,
            });
        }
        Ok(samples.len() / self.sample)
    }

    /// Checks the labels of `count` samples.
    pub(super) fn check_labels(&self, count: usize, labels: &[i64]) -> Result<(), EngineError> {
        let (rows, classes) = (count * self.rows, self.classes);
        if labels.len() != rows {
            let labels = labels.len();
            return Err(EngineError::Labels { labels, rows });
        }
        let outside = |label: &i64| usize::try_from(*label).map_or(true, |label| label >= classes);
        match labels.iter().position(outside).filter(|_| !self.numeric) {
            Some(row) => {
                let label = labels[row];
                Err(EngineError::Label { row, label, classes })
            }
            None => Ok(()),
        }
    }
}

/// Checks that `found` has the names and shapes of `expected`.
pub(super) fn same_shapes(what: &'static str, expected: &Weights, found: &Weights) -> Result<(), EngineError> {
    let fail = |problem| Err(EngineError::State { what, problem });
    if let Some(name) = expected.keys().find(|name| !found.contains_key(*name)) {
        return fail(format!("lack the tensor {name:?}"));
    }
    for (name, tensor) in found {
        match expected.get(name) {
            None => return fail(format!("have an unknown tensor {name:?}")),
            Some(other) if other.shape() != tensor.shape() => {
                return fail(format!(
                    "have {name:?} with shape {:?}, expected {:?}",
                    tensor.shape(),
                    other.shape()
                ));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Checks that `found` are weights of a graph with the weights `expected`, without NaN and infinity.
pub(super) fn check_weights(expected: &Weights, found: &Weights) -> Result<(), EngineError> {
    let what = "the weights";
    same_shapes(what, expected, found)?;
    for (name, tensor) in found {
        if let Some((index, value)) = tensor.first_non_finite() {
            let problem = format!("hold {value} at element {index} of {name:?}");
            return Err(EngineError::State { what, problem });
        }
    }
    Ok(())
}
