//! Expressions over elements: each term is a loop over a block of lanes that stays in the first-level cache.
//!
//! The loops are written once; compiled for each level of instructions, the compiler turns the branchless functions
//! of `arith` into vector code. Its bits are those of the scalar code, as it may neither reorder nor contract.

use super::Isa;
use super::affine::{Affine, Data};
use super::pool::Pool;
use super::scratch::Scratch;
use super::shared::Shared;
use super::simd::{Simd, Work, fill};
use super::walk::Walk;
use crate::arith::canonical;
use crate::definition::{Expression, Function, MAX_TERMS, Primitive, Term, View};

/// Lanes of a block: a few of them fit the first-level cache.
const BLOCK: usize = 512;
/// Elements that one task writes, a multiple of blocks.
const PART: usize = 1 << 14;

/// An expression made ready.
#[derive(Clone, Debug)]
pub(super) struct Map {
    affine: Vec<Affine>,
    walks: Vec<Walk>,
    /// Positions along axes, read like inputs.
    positions: Vec<(Walk, Vec<f32>)>,
    /// What fills a slot once for all blocks.
    constants: Vec<(usize, f32)>,
    /// What fills a slot for each block: an input, or a position after those.
    reads: Vec<(usize, usize)>,
    steps: Vec<Step>,
    result: Argument,
    slots: usize,
}

/// One function of a block.
#[derive(Clone, Copy, Debug)]
struct Step {
    function: Function,
    arguments: [Argument; 3],
    /// The slot of the result; none for the last, which goes to the output.
    slot: Option<usize>,
}

/// Where the lanes of a term are.
#[derive(Clone, Copy, Debug)]
enum Argument {
    Slot(usize),
    /// An input whose elements lie in the order of the output, from this offset on.
    Input(usize, isize),
}

impl Map {
    pub(super) fn new(primitive: &Primitive, expression: &Expression, views: &[View]) -> Option<Self> {
        let output = primitive.output();
        let affine = views.iter().map(|view| Affine::new(view, output, primitive.elements()));
        let affine = affine.collect::<Option<Vec<_>>>()?;
        let walks: Vec<Walk> = affine.iter().map(|affine| Walk::new(affine, output)).collect();
        let mut map = Self {
            affine,
            walks,
            positions: Vec::new(),
            constants: Vec::new(),
            reads: Vec::new(),
            steps: Vec::new(),
            result: Argument::Slot(0),
            slots: 0,
        };
        let terms = expression.terms();
        let last = terms.len() - 1;
        // The last term that uses each; those that the result does not need are left out.
        let mut uses = [None; MAX_TERMS];
        uses[last] = Some(last);
        for (at, term) in terms.iter().enumerate().rev() {
            if let (Term::Apply(function, arguments), true) = (term, uses[at].is_some()) {
                for argument in &arguments[..function.arity()] {
                    uses[*argument] = uses[*argument].max(Some(at));
                }
            }
        }
        let mut places = [Argument::Slot(0); MAX_TERMS];
        let mut free = Vec::new();
        for (at, term) in terms.iter().enumerate().filter(|(at, _)| uses[*at].is_some()) {
            let mut slot = |map: &mut Self, reusable: bool| {
                let freed = if reusable { free.pop() } else { None };
                freed.unwrap_or_else(|| {
                    map.slots += 1;
                    map.slots - 1
                })
            };
            places[at] = match term {
                Term::Constant(value) => {
                    let slot = slot(&mut map, false);
                    map.constants.push((slot, *value));
                    Argument::Slot(slot)
                }
                Term::Input(input) => match map.walks[*input].contiguous() {
                    Some(start) => Argument::Input(*input, start),
                    None => {
                        let slot = slot(&mut map, false);
                        map.reads.push((slot, *input));
                        Argument::Slot(slot)
                    }
                },
                Term::Position(axis) => {
                    let slot = slot(&mut map, false);
                    map.reads.push((slot, views.len() + map.positions.len()));
                    map.positions.push(position(*axis, output));
                    Argument::Slot(slot)
                }
                Term::Apply(function, arguments) => {
                    let slot = (at != last).then(|| slot(&mut map, true));
                    map.steps.push(Step {
                        function: *function,
                        arguments: arguments.map(|argument| places[argument]),
                        slot,
                    });
                    Argument::Slot(slot.unwrap_or(0))
                }
            };
            // Slots of results are free again after their last use; a function never writes what it reads.
            if let Term::Apply(function, arguments) = term {
                let mut arguments = arguments[..function.arity()].to_vec();
                arguments.sort_unstable();
                arguments.dedup();
                for argument in arguments {
                    if let (Term::Apply(..), Argument::Slot(slot), true) =
                        (&terms[argument], places[argument], uses[argument] == Some(at))
                    {
                        free.push(slot);
                    }
                }
            }
        }
        map.result = places[last];
        Some(map)
    }

    pub(super) fn run(&self, isa: Isa, pool: &Pool, inputs: &[&[f32]], output: &mut [f32]) {
        let data: Vec<Data<'_>> = self
            .affine
            .iter()
            .zip(inputs)
            .map(|(affine, input)| affine.data(isa, pool, input))
            .collect();
        let elements = output.len();
        let output = Shared::new(output);
        pool.run(elements.div_ceil(PART), |task| {
            let first = task * PART;
            // SAFETY: the parts of different tasks do not overlap.
            let output = unsafe { output.part(first..elements.min(first + PART)) };
            isa.enter(Part {
                map: self,
                data: &data,
                first,
                output,
            });
        });
    }
}

/// Every position along an axis, and how they follow each other in the order of the output.
fn position(axis: usize, output: &[usize]) -> (Walk, Vec<f32>) {
    let ramp = (0..output[axis]).map(|at| at as f32).collect();
    let strides = (0..output.len()).map(|other| isize::from(other == axis)).collect();
    (Walk::new(&Affine::inside(0, strides), output), ramp)
}

/// What one task does: the elements from `first` on.
struct Part<'a> {
    map: &'a Map,
    data: &'a [Data<'a>],
    first: usize,
    output: &'a mut [f32],
}

impl Work for Part<'_> {
    #[inline(always)]
    fn run<S: Simd>(self) {
        let map = self.map;
        let mut scratch = Scratch::new(map.slots * BLOCK);
        let slots = scratch.as_mut_ptr();
        let slot = |slot: usize| slots.wrapping_add(slot * BLOCK);
        for (to, value) in &map.constants {
            // SAFETY: called in the level's `Work`; every slot has a block's elements.
            unsafe { fill::<S>(slot(*to), *value, BLOCK) };
        }
        let mut first = self.first;
        for (i, output) in self.output.chunks_mut(BLOCK).enumerate() {
            for (to, input) in &map.reads {
                let (walk, data) = match map.positions.get(input.wrapping_sub(self.data.len())) {
                    Some((walk, ramp)) => (walk, &ramp[..]),
                    None => (&map.walks[*input], &self.data[*input][..]),
                };
                if walk.constant() && i > 0 {
                    continue;
                }
                // SAFETY: the slot has a block's elements, and no other slice of it lives.
                let to = unsafe { std::slice::from_raw_parts_mut(slot(*to), output.len()) };
                // SAFETY: called in the level's `Work`; the view was checked to stay inside for every position.
                unsafe { walk.read::<S>(data.as_ptr(), first, to) };
            }
            let count = output.len();
            let lanes = |argument: Argument| match argument {
                // SAFETY: the slot has a block's elements, and no step writes a slot that it reads.
                Argument::Slot(at) => unsafe { std::slice::from_raw_parts(slot(at), count) },
                #[expect(clippy::cast_sign_loss, reason = "the view was checked to stay inside")]
                Argument::Input(input, start) => &self.data[input][start as usize + first..][..count],
            };
            for step in &map.steps {
                let arguments = step.arguments.map(lanes);
                match step.slot {
                    // SAFETY: as above.
                    Some(to) => apply(step.function, arguments, unsafe {
                        std::slice::from_raw_parts_mut(slot(to), output.len())
                    }),
                    None => apply(step.function, arguments, output),
                }
            }
            if map.steps.last().is_none_or(|step| step.slot.is_some()) {
                for (value, x) in output.iter_mut().zip(lanes(map.result)) {
                    *value = canonical(*x);
                }
            }
            first += BLOCK;
        }
    }
}

/// `output[i] = function(arguments[0][i], …)`; all slices are of one length.
#[inline(always)]
fn apply(function: Function, [x, y, z]: [&[f32]; 3], output: &mut [f32]) {
    // One loop for each function, so that the choice is made outside of it.
    macro_rules! loops {
        (one $($one:ident)*; two $($two:ident)*; three $($three:ident)*;) => {
            match function {
                $(Function::$one => {
                    for (out, x) in output.iter_mut().zip(x) {
                        *out = Function::$one.apply([*x, 0.0, 0.0]);
                    }
                })*
                $(Function::$two => {
                    for ((out, x), y) in output.iter_mut().zip(x).zip(y) {
                        *out = Function::$two.apply([*x, *y, 0.0]);
                    }
                })*
                $(Function::$three => {
                    for (((out, x), y), z) in output.iter_mut().zip(x).zip(y).zip(z) {
                        *out = Function::$three.apply([*x, *y, *z]);
                    }
                })*
            }
        };
    }
    loops! {
        one Negate Absolute Sqrt Rsqrt Exp Log Tanh Erf Sin Cos Sigmoid;
        two Add Subtract Multiply Divide Maximum Minimum Less Equal;
        three MultiplyAdd Select;
    }
}
