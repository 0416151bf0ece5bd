//! What is done with a graph: the loss that is minimised, the optimizer that does it, and how its rate changes.

mod schedule;

pub use schedule::{Decay, Schedule, ScheduleText};

use std::str::FromStr;

/// All that turns a graph into steps of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Task {
    /// What is minimised.
    pub loss: Loss,
    /// Share of each target of a cross-entropy that is spread evenly over the classes (Szegedy et al., arXiv 1512.00567);
    /// 0 for none.
    pub label_smoothing: f32,
    /// How it is minimised.
    pub optimizer: Optimizer,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// The largest L2 norm of all gradients together, to which greater ones are scaled down; 0 for no bound.
    pub clip_norm: f32,
}

impl Task {
    /// A loss and an optimizer at a constant rate.
    pub fn new(loss: Loss, optimizer: Optimizer) -> Self {
        Self {
            loss,
            label_smoothing: 0.0,
            optimizer,
            schedule: Schedule::default(),
            clip_norm: 0.0,
        }
    }

    /// The learning rate of step `step` of the job, counted from 1.
    pub fn rate(&self, step: u32) -> f32 {
        self.optimizer.learning_rate() * self.schedule.factor(step)
    }
}

impl Optimizer {
    /// The learning rate without its schedule.
    pub fn learning_rate(&self) -> f32 {
        match self {
            Self::Sgd { learning_rate, .. } | Self::Adam { learning_rate, .. } => *learning_rate,
        }
    }
}

/// The share of a target that is spread over the classes, as a job writes it; empty for 0.
///
/// # Errors
/// When it is no decimal number from 0 up to, but not including, 1.
pub fn label_smoothing(text: &str) -> Result<f32, TaskError> {
    share("label_smoothing", text, "0")
}

/// The bound of the gradients' norm as a job writes it; empty or 0 for none.
///
/// # Errors
/// When it is no decimal number from 0 to 1000.
pub fn clip_norm(text: &str) -> Result<f32, TaskError> {
    number("clip_norm", text, "0", "from 0 to 1000", |value| {
        (0.0..=1000.0).contains(&value)
    })
}

/// The loss of a batch: the mean over the rows of the output, which is seen as a matrix (rows, K) with K its last
/// dimension; a one-dimensional output has K = 1. There is one label for each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// `−log softmax(logits)[label]`.
    CrossEntropy,
    /// `(output − target)²`, also the mean over the outputs. The target is the label itself where a sample has one
    /// output, otherwise 1 at the label and 0 elsewhere.
    Mse,
    /// `−target · log σ(output) − (1 − target) · log(1 − σ(output))`, also the mean over the outputs; the target as for
    /// [`Loss::Mse`].
    BceWithLogits,
}

impl FromStr for Loss {
    type Err = TaskError;

    fn from_str(name: &str) -> Result<Self, TaskError> {
        match name {
            "cross_entropy" => Ok(Self::CrossEntropy),
            "mse" => Ok(Self::Mse),
            "bce_with_logits" => Ok(Self::BceWithLogits),
            _ => Err(TaskError::Loss(name.to_owned())),
        }
    }
}

/// An optimizer with its hyper-parameters, as PyTorch defines them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        learning_rate: f32,
        /// Share of the velocity that is kept; 0 for none.
        momentum: f32,
        /// Added to the gradient, times the parameter.
        weight_decay: f32,
        /// Whether to look ahead along the velocity.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba, arXiv 1412.6980).
    Adam {
        /// Learning rate.
        learning_rate: f32,
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Added to the gradient, times the parameter; with `decoupled` the parameter shrinks by it instead, times the
        /// learning rate (AdamW: Loshchilov and Hutter, arXiv 1711.05101).
        weight_decay: f32,
        /// Whether this is AdamW.
        decoupled: bool,
    },
}

/// An optimizer as a job writes it: a name and decimal strings, empty for the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptimizerText<'a> {
    /// `sgd`, `adam` or `adamw`.
    pub name: &'a str,
    /// Required.
    pub learning_rate: &'a str,
    /// SGD; 0.
    pub momentum: &'a str,
    /// 0.
    pub weight_decay: &'a str,
    /// SGD.
    pub nesterov: bool,
    /// Adam; 0.9.
    pub beta1: &'a str,
    /// Adam; 0.999.
    pub beta2: &'a str,
    /// Adam; 1e-8.
    pub epsilon: &'a str,
}

/// Why a task makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// An unknown loss.
    #[error("the loss {0:?} is not known: choose cross_entropy, mse or bce_with_logits")]
    Loss(String),
    /// An unknown optimizer.
    #[error("the optimizer {0:?} is not known: choose sgd, adam or adamw")]
    Optimizer(String),
    /// A hyper-parameter that is no number, or out of bounds.
    #[error("{name} is {found:?}, expected a decimal number {bound}")]
    Number {
        /// The hyper-parameter.
        name: &'static str,
        /// What was found.
        found: String,
        /// Its bound.
        bound: &'static str,
    },
    /// An unknown schedule.
    #[error("the schedule {0:?} is not known: choose constant, step or cosine")]
    Schedule(String),
    /// A number of steps that makes no sense.
    #[error("{name} is {found} steps, expected {bound}")]
    Steps {
        /// Which.
        name: &'static str,
        /// What was found.
        found: u64,
        /// Its bound.
        bound: &'static str,
    },
    /// A hyper-parameter the optimizer does not have.
    #[error("{name} means nothing to {optimizer:?}: leave it empty")]
    Unused {
        /// The hyper-parameter.
        name: &'static str,
        /// The optimizer or schedule.
        optimizer: String,
    },
}

impl TryFrom<OptimizerText<'_>> for Optimizer {
    type Error = TaskError;

    fn try_from(text: OptimizerText<'_>) -> Result<Self, TaskError> {
        let unused = |fields: &[(&'static str, bool)]| match fields.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(TaskError::Unused {
                name,
                optimizer: text.name.to_owned(),
            }),
            None => Ok(()),
        };
        if !matches!(text.name, "sgd" | "adam" | "adamw") {
            return Err(TaskError::Optimizer(text.name.to_owned()));
        }
        let learning_rate = positive("learning_rate", text.learning_rate, "")?;
        let weight_decay = share("weight_decay", text.weight_decay, "0")?;
        if text.name == "sgd" {
            unused(&[
                ("beta1", !text.beta1.is_empty()),
                ("beta2", !text.beta2.is_empty()),
                ("epsilon", !text.epsilon.is_empty()),
            ])?;
            let momentum = share("momentum", text.momentum, "0")?;
            return Ok(Self::Sgd {
                learning_rate,
                momentum,
                weight_decay,
                nesterov: text.nesterov,
            });
        }
        unused(&[("momentum", !text.momentum.is_empty()), ("nesterov", text.nesterov)])?;
        Ok(Self::Adam {
            learning_rate,
            beta1: share("beta1", text.beta1, "0.9")?,
            beta2: share("beta2", text.beta2, "0.999")?,
            epsilon: positive("epsilon", text.epsilon, "1e-8")?,
            weight_decay,
            decoupled: text.name == "adamw",
        })
    }
}

fn positive(name: &'static str, text: &str, default: &str) -> Result<f32, TaskError> {
    number(name, text, default, "above 0 and at most 1000", |value| {
        value > 0.0 && value <= 1000.0
    })
}

fn share(name: &'static str, text: &str, default: &str) -> Result<f32, TaskError> {
    number(name, text, default, "from 0 up to, but not including, 1", |value| {
        (0.0..1.0).contains(&value)
    })
}

/// The f32 nearest to a decimal number.
fn number(
    name: &'static str,
    text: &str,
    default: &str,
    bound: &'static str,
    fits: impl Fn(f32) -> bool,
) -> Result<f32, TaskError> {
    let error = || TaskError::Number {
        name,
        found: text.chars().take(64).collect(),
        bound,
    };
    let text = if text.is_empty() { default } else { text };
    let plain = text.len() <= 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f32 = text.parse().map_err(|_| error())?;
    if plain && fits(value) { Ok(value) } else { Err(error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SGD: OptimizerText<'_> = OptimizerText {
        name: "sgd",
        learning_rate: "0.05",
        momentum: "0.9",
        weight_decay: "",
        nesterov: true,
        beta1: "",
        beta2: "",
        epsilon: "",
    };
    const ADAM: OptimizerText<'_> = OptimizerText {
        name: "adam",
        momentum: "",
        nesterov: false,
        ..SGD
    };

    #[test]
    fn decimal_strings_become_the_nearest_f32() {
        let sgd = Optimizer::Sgd {
            learning_rate: 0.05,
            momentum: 0.9,
            weight_decay: 0.0,
            nesterov: true,
        };
        assert_eq!(Optimizer::try_from(SGD), Ok(sgd));
        let Ok(Optimizer::Adam {
            beta1,
            beta2,
            epsilon,
            decoupled,
            ..
        }) = Optimizer::try_from(ADAM)
        else {
            panic!("adam is refused");
        };
        assert_eq!((beta1, beta2, epsilon, decoupled), (0.9, 0.999, 1e-8, false));
        let text = OptimizerText {
            name: "adamw",
            weight_decay: "1e-2",
            ..ADAM
        };
        assert!(matches!(
            Optimizer::try_from(text),
            Ok(Optimizer::Adam {
                decoupled: true,
                weight_decay: 0.01,
                ..
            })
        ));
        assert_eq!("mse".parse(), Ok(Loss::Mse));
        assert_eq!("cross_entropy".parse(), Ok(Loss::CrossEntropy));
    }

    #[test]
    fn nonsense_is_refused_with_its_value() {
        for rate in [
            "", "0", "-1", "inf", "NaN", "infinity", "1e9", "0x10", " 1", "1_0", "1e-99",
        ] {
            let error = Optimizer::try_from(OptimizerText {
                learning_rate: rate,
                ..SGD
            })
            .unwrap_err()
            .to_string();
            assert!(error.starts_with(&format!("learning_rate is {rate:?}")), "{error}");
        }
        let long = "1".repeat(1000);
        let error = Optimizer::try_from(OptimizerText {
            learning_rate: &long,
            ..SGD
        })
        .unwrap_err();
        assert!(error.to_string().len() < 200, "{error}");
        let table = [
            (
                OptimizerText { momentum: "1", ..SGD },
                "momentum is \"1\", expected a decimal number from 0",
            ),
            (
                OptimizerText { name: "lion", ..SGD },
                "the optimizer \"lion\" is not known",
            ),
            (OptimizerText { beta1: "0.9", ..SGD }, "beta1 means nothing to \"sgd\""),
            (
                OptimizerText {
                    momentum: "0.9",
                    ..ADAM
                },
                "momentum means nothing to \"adam\"",
            ),
            (OptimizerText { beta2: "1.0", ..ADAM }, "beta2 is \"1.0\""),
        ];
        for (text, expected) in table {
            let error = Optimizer::try_from(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
        assert!("hinge".parse::<Loss>().is_err());
    }
}
