//! Operations that move elements, and random numbers.

use super::builder::{affine, along, broadcast, broadcast_view, refuse};
use super::{Builder, ProgramError, Var};
use crate::definition::{Operation, View};

impl Builder {
    /// Axis `i` of the result is axis `permutation[i]` of `x`.
    ///
    /// # Errors
    /// When it is no permutation of the axes.
    pub fn transpose(&mut self, x: &Var, permutation: &[usize]) -> Result<Var, ProgramError> {
        let rank = x.shape.len();
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if sorted != (0..rank).collect::<Vec<_>>() {
            return refuse("transpose", format!("{permutation:?} of {:?}", x.shape));
        }
        let output: Vec<usize> = permutation.iter().map(|axis| x.shape[*axis]).collect();
        let place = |axis: usize| permutation.iter().position(|from| *from == axis);
        let view = View {
            shape: x.shape.clone(),
            coordinates: (0..rank).map(|axis| along(rank, place(axis))).collect(),
            outside: 0.0,
        };
        self.compute(&output, &[], Operation::Layout(vec![view]), &[x])
    }

    /// Elements `starts[i] + steps[i] · j` of each axis for `j` below `output[i]`; what lies outside `x` is `outside`. So
    /// it slices, reverses and pads.
    ///
    /// # Errors
    /// When there is not one of each for each axis.
    pub fn slice(
        &mut self,
        x: &Var,
        starts: &[i64],
        steps: &[i64],
        output: &[usize],
        outside: f32,
    ) -> Result<Var, ProgramError> {
        let rank = x.shape.len();
        if [starts.len(), steps.len(), output.len()] != [rank; 3] {
            return refuse("slice", format!("{starts:?} {steps:?} {output:?} of {:?}", x.shape));
        }
        let coordinate = |axis: usize| affine(rank, starts[axis], &[(axis, steps[axis])]);
        let view = View {
            shape: x.shape.clone(),
            coordinates: (0..rank).map(coordinate).collect(),
            outside,
        };
        self.compute(output, &[], Operation::Layout(vec![view]), &[x])
    }

    /// `x` broadcast to a shape.
    ///
    /// # Errors
    /// When it does not broadcast.
    pub fn expand(&mut self, x: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        if broadcast(shape, &x.shape)? != shape {
            return refuse("expand", format!("{:?} to {shape:?}", x.shape));
        }
        let view = broadcast_view(&x.shape, shape, shape.len());
        self.compute(shape, &[], Operation::Layout(vec![view]), &[x])
    }

    /// Tensors side by side along an axis.
    ///
    /// # Errors
    /// When there are none, or they differ along another axis.
    pub fn concat(&mut self, parts: &[&Var], axis: usize) -> Result<Var, ProgramError> {
        let bad = || ProgramError::Shape {
            operation: "concat",
            why: format!(
                "{:?} along {axis}",
                parts.iter().map(|part| &part.shape).collect::<Vec<_>>()
            ),
        };
        let mut output = parts.first().ok_or_else(bad)?.shape.clone();
        let rank = output.len();
        if axis >= rank {
            return Err(bad());
        }
        output[axis] = 0;
        let mut views = Vec::with_capacity(parts.len());
        for part in parts {
            let mut fits = part.shape.clone();
            if fits.len() != rank {
                return Err(bad());
            }
            fits[axis] = output[axis];
            if fits != output {
                return Err(bad());
            }
            let start = |at: usize| if at == axis { -(output[axis] as i64) } else { 0 };
            views.push(View {
                shape: part.shape.clone(),
                coordinates: (0..rank).map(|at| affine(rank, start(at), &[(at, 1)])).collect(),
                outside: 0.0,
            });
            output[axis] += part.shape[axis];
        }
        self.compute(&output, &[], Operation::Layout(views), parts)
    }

    /// The slices of `data` along `axis` that `indices` (whole numbers; negative ones give zeros) name: the axis is
    /// replaced by those of `indices`.
    ///
    /// # Errors
    /// When the axis is not there.
    pub fn gather(&mut self, data: &Var, indices: &Var, axis: usize) -> Result<Var, ProgramError> {
        if axis >= data.shape.len() {
            return refuse("gather", format!("axis {axis} of {:?}", data.shape));
        }
        let (before, after) = (&data.shape[..axis], &data.shape[axis + 1..]);
        let output = [before, indices.shape(), after].concat();
        let loops = output.len();
        let places = View {
            shape: indices.shape.clone(),
            coordinates: (axis..axis + indices.shape.len())
                .map(|at| along(loops, Some(at)))
                .collect(),
            outside: 0.0,
        };
        let place = |at: usize| match at.cmp(&axis) {
            std::cmp::Ordering::Less => Some(at),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some(at + indices.shape.len() - 1),
        };
        let from = View {
            shape: data.shape.clone(),
            coordinates: (0..data.shape.len()).map(|at| along(loops, place(at))).collect(),
            outside: 0.0,
        };
        self.compute(&output, &[], Operation::Gather(places, from, axis), &[indices, data])
    }

    /// Uniform random numbers in [0, 1) under `key`; each call draws another stream.
    ///
    /// # Errors
    /// When `key` has not four elements.
    pub fn random(&mut self, key: &Var, shape: &[usize]) -> Result<Var, ProgramError> {
        let view = View {
            shape: key.shape.clone(),
            coordinates: key.shape.iter().map(|_| along(shape.len(), None)).collect(),
            outside: 0.0,
        };
        self.streams += 1;
        self.compute(shape, &[], Operation::Random(view, self.streams), &[key])
    }
}
