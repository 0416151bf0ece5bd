//! Products, windows and reductions: the operations that fold.

use super::builder::{affine, along, broadcast, broadcast_view, refuse};
use super::{Builder, ProgramError, Var};
use crate::definition::{Coordinate, Operation, View};

/// Windows that slide over the last two axes; each field (height, width).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Size of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub strides: [usize; 2],
    /// Padding before the first element.
    pub pads: [usize; 2],
    /// Step between the elements of a window.
    pub dilations: [usize; 2],
    /// How many windows there are.
    pub output: [usize; 2],
}

/// Where the run of neighbouring axes among `axes` that ends before `end` begins; `end` if there is none.
pub(super) fn run_start(axes: &[usize], end: usize) -> usize {
    let run = (0..end).rev().take_while(|axis| axes.contains(axis));
    run.last().unwrap_or(end)
}

impl Builder {
    /// A contraction written as `"bik,bkj->bij"`: axes of `a` and of `b`, then those of the result; what is not in the
    /// result is folded over, in the order in which it appears. An axis of extent 1 broadcasts.
    ///
    /// # Errors
    /// When the letters do not fit the shapes.
    pub fn einsum(&mut self, letters: &'static str, a: &Var, b: &Var) -> Result<Var, ProgramError> {
        let bad = || ProgramError::Shape {
            operation: "einsum",
            why: format!("{letters:?} of {:?} and {:?}", a.shape, b.shape),
        };
        let (sides, result) = letters.split_once("->").ok_or_else(bad)?;
        let (left, right) = sides.split_once(',').ok_or_else(bad)?;
        if left.len() != a.shape.len() || right.len() != b.shape.len() {
            return Err(bad());
        }
        let mut axes: Vec<char> = result.chars().collect();
        for letter in left.chars().chain(right.chars()) {
            if !axes.contains(&letter) {
                axes.push(letter);
            }
        }
        let of = |letter: char, side: &str, shape: &[usize]| side.find(letter).map_or(1, |at| shape[at]);
        let mut extents = Vec::with_capacity(axes.len());
        for letter in &axes {
            let (x, y) = (of(*letter, left, &a.shape), of(*letter, right, &b.shape));
            if x != y && x != 1 && y != 1 {
                return Err(bad());
            }
            // An axis of no elements stays one.
            extents.push(if x == 1 { y } else { x });
        }
        let view = |side: &str, shape: &[usize]| View {
            shape: shape.to_vec(),
            coordinates: side
                .chars()
                .zip(shape)
                .map(|(letter, extent)| along(axes.len(), axes.iter().position(|axis| *axis == letter && *extent != 1)))
                .collect(),
            outside: 0.0,
        };
        let operation = Operation::Contraction(view(left, &a.shape), view(right, &b.shape));
        let (output, reduced) = extents.split_at(result.len());
        self.compute(output, reduced, operation, &[a, b])
    }

    /// The matrix product over the last two axes, broadcast over the others; both have at least two axes.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn matmul(&mut self, a: &Var, b: &Var) -> Result<Var, ProgramError> {
        let (Some((left, &[m, k])), Some((right, &[inner, n]))) =
            (a.shape.split_last_chunk(), b.shape.split_last_chunk())
        else {
            return refuse("matmul", format!("{:?} and {:?} need two axes each", a.shape, b.shape));
        };
        if k != inner {
            return refuse("matmul", format!("{:?} times {:?}", a.shape, b.shape));
        }
        let batch = broadcast(left, right)?;
        let (rank, loops) = (batch.len(), batch.len() + 3);
        let view = |shape: &[usize], outer: &[usize], rows: usize, columns: usize| {
            let mut view = broadcast_view(outer, &batch, loops);
            view.coordinates.push(along(loops, Some(rows)));
            view.coordinates.push(along(loops, Some(columns)));
            view.shape = shape.to_vec();
            view
        };
        let operation = Operation::Contraction(
            view(&a.shape, left, rank, rank + 2),
            view(&b.shape, right, rank + 2, rank + 1),
        );
        let output = [&batch[..], &[m, n]].concat();
        self.compute(&output, &[k], operation, &[a, b])
    }

    /// The view of (N, G, C, H, W) or (N, C, H, W) images through a window: `lead` loop axes for the first axes, then
    /// rows and columns at `at`, and the window's at `inner`.
    fn window_view(shape: &[usize], loops: usize, lead: &[usize], at: usize, inner: usize, window: &Window) -> View {
        let mut coordinates: Vec<Coordinate> = lead.iter().map(|axis| along(loops, Some(*axis))).collect();
        for i in 0..2 {
            coordinates.push(affine(
                loops,
                -(window.pads[i] as i64),
                &[
                    (at + i, window.strides[i] as i64),
                    (inner + i, window.dilations[i] as i64),
                ],
            ));
        }
        View {
            shape: shape.to_vec(),
            coordinates,
            outside: 0.0,
        }
    }

    /// The convolution of `x` (N, C, H, W) with `w` (M, C / groups, kh, kw), giving (N, M, oh, ow).
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn conv(&mut self, x: &Var, w: &Var, window: &Window, groups: usize) -> Result<Var, ProgramError> {
        let (&[n, c, height, width], &[m, inner, kh, kw]) = (&x.shape[..], &w.shape[..]) else {
            return refuse("conv", format!("{:?} with {:?} needs four axes each", x.shape, w.shape));
        };
        if groups == 0 || c != inner * groups || m % groups != 0 || [kh, kw] != window.kernel {
            return refuse("conv", format!("{:?} with {:?} in {groups} groups", x.shape, w.shape));
        }
        // Loop axes: n, group, m, row, column | c, kh, kw.
        let loops = 8;
        let images = Self::window_view(&[n, groups, inner, height, width], loops, &[0, 1, 5], 3, 6, window);
        let filters = View {
            shape: vec![groups, m / groups, inner, kh, kw],
            coordinates: [1, 2, 5, 6, 7].map(|axis| along(loops, Some(axis))).to_vec(),
            outside: 0.0,
        };
        let [oh, ow] = window.output;
        let y = self.compute(
            &[n, groups, m / groups, oh, ow],
            &[inner, kh, kw],
            Operation::Contraction(filters, images),
            &[w, x],
        )?;
        self.reshape(&y, &[n, m, oh, ow])
    }

    /// Largest element of each window of `x` (N, C, H, W); padding never wins.
    ///
    /// # Errors
    /// When `x` has not four axes.
    pub fn max_pool(&mut self, x: &Var, window: &Window) -> Result<Var, ProgramError> {
        self.pool("max_pool", x, window, |view| {
            Operation::Max(View {
                outside: f32::NEG_INFINITY,
                ..view
            })
        })
    }

    /// Sum of each window of `x` (N, C, H, W).
    ///
    /// # Errors
    /// When `x` has not four axes.
    pub fn sum_pool(&mut self, x: &Var, window: &Window) -> Result<Var, ProgramError> {
        self.pool("sum_pool", x, window, Operation::Sum)
    }

    fn pool(
        &mut self,
        name: &'static str,
        x: &Var,
        window: &Window,
        operation: impl FnOnce(View) -> Operation,
    ) -> Result<Var, ProgramError> {
        let &[n, c, _, _] = &x.shape[..] else {
            return refuse(name, format!("{:?} needs four axes", x.shape));
        };
        let view = Self::window_view(&x.shape, 6, &[0, 1], 2, 4, window);
        let [oh, ow] = window.output;
        self.compute(&[n, c, oh, ow], &window.kernel, operation(view), &[x])
    }

    /// The sum over `axes`, which stay with extent 1. Runs of neighbouring axes are folded one after the other, the last
    /// run first: shorter chains are more exact, and quicker to dispute.
    ///
    /// # Errors
    /// When an axis is not there.
    pub fn sum(&mut self, x: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        self.reduce(x, axes, Operation::Sum)
    }

    /// `Σ a · b` over `axes`, which stay with extent 1; both have the same shape. The last run of neighbouring axes is
    /// contracted, the others are summed as [`Builder::sum`] does.
    ///
    /// # Errors
    /// When the shapes differ or an axis is not there.
    pub fn dot(&mut self, a: &Var, b: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        let rank = a.shape.len();
        if a.shape != b.shape || axes.iter().any(|axis| *axis >= rank) {
            return refuse("dot", format!("{:?} and {:?} over {axes:?}", a.shape, b.shape));
        }
        let end = axes.iter().max().map_or(0, |last| last + 1);
        let start = run_start(axes, end);
        let loops = rank + end - start;
        let place = |axis: usize| {
            if (start..end).contains(&axis) {
                rank + axis - start
            } else {
                axis
            }
        };
        let view = View {
            shape: a.shape.clone(),
            coordinates: (0..rank).map(|axis| along(loops, Some(place(axis)))).collect(),
            outside: 0.0,
        };
        let mut output = a.shape.clone();
        output[start..end].fill(1);
        let operation = Operation::Contraction(view.clone(), view);
        let run = self.compute(&output, &a.shape[start..end], operation, &[a, b])?;
        let rest: Vec<usize> = axes.iter().copied().filter(|axis| *axis < start).collect();
        self.sum(&run, &rest)
    }

    /// The greatest along `axes`, which stay with extent 1.
    ///
    /// # Errors
    /// When an axis is not there.
    pub fn max(&mut self, x: &Var, axes: &[usize]) -> Result<Var, ProgramError> {
        self.reduce(x, axes, Operation::Max)
    }

    fn reduce(&mut self, x: &Var, axes: &[usize], operation: fn(View) -> Operation) -> Result<Var, ProgramError> {
        if let Some(axis) = axes.iter().find(|axis| **axis >= x.shape.len()) {
            return refuse("reduce", format!("axis {axis} of {:?}", x.shape));
        }
        let mut result = x.clone();
        let mut end = x.shape.len();
        while end > 0 {
            let start = run_start(axes, end);
            if start < end && (x.shape[start..end].iter().any(|extent| *extent != 1)) {
                result = self.reduce_run(&result, start..end, operation)?;
            }
            end = start.min(end - 1);
        }
        Ok(result)
    }

    fn reduce_run(
        &mut self,
        x: &Var,
        run: std::ops::Range<usize>,
        operation: fn(View) -> Operation,
    ) -> Result<Var, ProgramError> {
        let (rank, loops) = (x.shape.len(), x.shape.len() + 1);
        let mut output = x.shape.clone();
        output[run.clone()].fill(1);
        // The run is seen as one axis.
        let extent: usize = x.shape[run.clone()].iter().product();
        let mut shape = x.shape.clone();
        shape.splice(run.clone(), [extent]);
        let coordinates = (0..shape.len())
            .map(|axis| match axis.cmp(&run.start) {
                std::cmp::Ordering::Less => along(loops, Some(axis)),
                std::cmp::Ordering::Equal => along(loops, Some(rank)),
                std::cmp::Ordering::Greater => along(loops, Some(axis + run.len() - 1)),
            })
            .collect();
        let view = View {
            shape,
            coordinates,
            outside: 0.0,
        };
        self.compute(&output, &[extent], operation(view), &[x])
    }
}
