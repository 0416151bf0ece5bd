//! How the learning rate changes from step to step of a job.

use super::{TaskError, number};
use crate::arith;

/// The most steps of a job: their numbers must be exact in f32.
const MAX_STEPS: u64 = 1 << 24;

/// The factor of the learning rate at each step: `min(1, step / warmup) · decay(step)`, steps counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Schedule {
    /// Steps over which the rate rises to its value; 0 for none.
    pub warmup: u32,
    /// How it falls.
    pub decay: Decay,
}

/// How the learning rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Decay {
    /// Not at all.
    #[default]
    Constant,
    /// Times `factor` after every `every` steps: `factor^⌊(step − 1) / every⌋`.
    Step {
        /// Steps between two changes.
        every: u32,
        /// In (0, 1].
        factor: f32,
    },
    /// Half a cosine from 1 to `floor` (Loshchilov and Hutter, arXiv 1608.03983):
    /// `floor + (1 − floor) · (1 + cos(π · min(1, (step − 1) / steps))) / 2`.
    Cosine {
        /// Steps until the floor.
        steps: u32,
        /// In [0, 1).
        floor: f32,
    },
}

/// A schedule as a job writes it: names, decimal strings and numbers of steps; empty or 0 for the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScheduleText<'a> {
    /// `constant`, `step` or `cosine`.
    pub name: &'a str,
    /// Steps of warm-up.
    pub warmup: u64,
    /// `step`: steps between two changes; `cosine`: steps until the floor.
    pub steps: u64,
    /// `step`: the factor, 0.1; `cosine`: the floor, 0.
    pub factor: &'a str,
}

impl TryFrom<ScheduleText<'_>> for Schedule {
    type Error = TaskError;

    fn try_from(text: ScheduleText<'_>) -> Result<Self, TaskError> {
        let steps = |name, found: u64, least: u64| {
            let bound = if least == 0 { "0 to 16777216" } else { "1 to 16777216" };
            let fits = (least..=MAX_STEPS).contains(&found);
            let steps = u32::try_from(found).ok().filter(|_| fits);
            steps.ok_or(TaskError::Steps { name, found, bound })
        };
        let decay = match text.name {
            "" | "constant" => {
                if text.steps != 0 || !text.factor.is_empty() {
                    let name = if text.steps != 0 { "steps" } else { "factor" };
                    let optimizer = "constant".to_owned();
                    return Err(TaskError::Unused { name, optimizer });
                }
                Decay::Constant
            }
            "step" => Decay::Step {
                every: steps("steps", text.steps, 1)?,
                factor: number("factor", text.factor, "0.1", "above 0 and at most 1", |value| {
                    value > 0.0 && value <= 1.0
                })?,
            },
            "cosine" => Decay::Cosine {
                steps: steps("steps", text.steps, 1)?,
                floor: number(
                    "factor",
                    text.factor,
                    "0",
                    "from 0 up to, but not including, 1",
                    |value| (0.0..1.0).contains(&value),
                )?,
            },
            other => return Err(TaskError::Schedule(other.chars().take(64).collect())),
        };
        Ok(Self {
            warmup: steps("warmup", text.warmup, 0)?,
            decay,
        })
    }
}

impl Schedule {
    /// The factor at `step` (from 1), in f32 and in the order in which it is written above; the power by repeated
    /// squaring, the lowest bit of its exponent first.
    pub fn factor(&self, step: u32) -> f32 {
        let warm = if self.warmup == 0 {
            1.0
        } else {
            (step as f32 / self.warmup as f32).min(1.0)
        };
        let before = step.saturating_sub(1);
        let decay = match self.decay {
            Decay::Constant => 1.0,
            Decay::Step { every, factor } => power(factor, before / every.max(1)),
            Decay::Cosine { steps, floor } => {
                let done = (before as f32 / steps.max(1) as f32).min(1.0);
                floor + (1.0 - floor) * (1.0 + arith::cos(std::f32::consts::PI * done)) / 2.0
            }
        };
        warm * decay
    }
}

fn power(base: f32, exponent: u32) -> f32 {
    let (mut result, mut square) = (1.0, base);
    for bit in 0..u32::BITS {
        if exponent >> bit & 1 == 1 {
            result *= square;
        }
        square *= square;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_schedules_or_are_refused() {
        let cosine = ScheduleText {
            name: "cosine",
            warmup: 10,
            steps: 100,
            factor: "0.1",
        };
        let schedule = Schedule::try_from(cosine).unwrap();
        assert_eq!(
            schedule,
            Schedule {
                warmup: 10,
                decay: Decay::Cosine { steps: 100, floor: 0.1 }
            }
        );
        let expected = |step: f64| 0.1 + 0.9 * (1.0 + (std::f64::consts::PI * (step - 1.0) / 100.0).cos()) / 2.0;
        assert!((f64::from(schedule.factor(5)) - 0.5 * expected(5.0)).abs() < 1e-6);
        assert!((f64::from(schedule.factor(61)) - expected(61.0)).abs() < 1e-6);
        assert!((f64::from(schedule.factor(1000)) - 0.1).abs() < 1e-6);
        assert_eq!(Schedule::try_from(ScheduleText::default()), Ok(Schedule::default()));
        let refused = [
            (
                ScheduleText {
                    name: "linear",
                    ..cosine
                },
                "\"linear\" is not known",
            ),
            (ScheduleText { steps: 0, ..cosine }, "steps is 0 steps, expected 1 to"),
            (
                ScheduleText {
                    warmup: 1 << 25,
                    ..cosine
                },
                "warmup is 33554432 steps",
            ),
            (ScheduleText { factor: "1", ..cosine }, "factor is \"1\""),
            (
                ScheduleText { name: "", ..cosine },
                "steps means nothing to \"constant\"",
            ),
        ];
        for (text, expected) in refused {
            let error = Schedule::try_from(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should say {expected:?}");
        }
    }

    #[test]
    fn a_step_schedule_falls_after_every_so_many_steps() {
        let schedule = Schedule {
            warmup: 0,
            decay: Decay::Step { every: 3, factor: 0.5 },
        };
        let rates: Vec<f32> = (1..=7).map(|step| schedule.factor(step)).collect();
        assert_eq!(rates, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25]);
    }
}
