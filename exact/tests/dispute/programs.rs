//! Small random programs with random states and batches, and their execution by the definition alone.

use trainyard_exact::definition::{Coordinate, Operation, Primitive, View};
use trainyard_exact::prf::{Stream, Tag};
use trainyard_exact::program::{Builder, Program, Role, Var};
use trainyard_exact::trace::Batch;
use trainyard_exact::train::key_words;
use trainyard_exact::{Tensor, Weights};

/// Random numbers of a seed.
pub(crate) struct Random(Stream);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Stream::new(Tag::Init, &[&seed.to_le_bytes()]))
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0.below(u32::try_from(bound).unwrap()) as usize
    }

    pub(crate) fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.0.symmetric_f32()).collect()
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let data = self.values(shape.iter().product());
        Tensor::new(shape.to_vec(), data).unwrap()
    }
}

/// A training step of a kind, what it starts from and what it is fed.
pub(crate) struct Case {
    pub(crate) program: Program,
    pub(crate) start: Weights,
    pub(crate) batches: Vec<Batch>,
}

fn along(loops: usize, axis: usize) -> Coordinate {
    let coefficients = (0..loops).map(|at| i64::from(at == axis)).collect();
    Coordinate {
        offset: 0,
        coefficients,
        divisor: 1,
    }
}

fn view(shape: &[usize], coordinates: Vec<Coordinate>) -> View {
    View {
        shape: shape.to_vec(),
        coordinates,
        outside: 0.0,
    }
}

/// One of the primitives that a plain step does not have, of a `[rows, columns]` value and labels below 3.
fn curiosity(random: &mut Random, builder: &mut Builder, x: &Var, labels: &Var) -> Var {
    let (rows, columns) = (x.shape()[0], x.shape()[1]);
    let list = labels.shape()[0];
    match random.below(5) {
        0 => builder.transpose(x, &[1, 0]).unwrap(),
        1 => builder.concat(&[x, x], 1).unwrap(),
        2 => builder.gather(x, labels, 0).unwrap(),
        3 => {
            // Loop axes: row, column, position in the list.
            let scatter = Operation::ScatterAdd(
                view(&[list], vec![along(3, 2)]),
                view(&[rows, columns], vec![along(3, 0), along(3, 1)]),
                along(3, 0),
            );
            let scatter = Primitive::new(vec![3, columns], vec![list], scatter).unwrap();
            builder.push(scatter, &[labels, x]).unwrap()
        }
        _ => {
            let find = Operation::Find(
                view(&[rows, columns], vec![along(2, 0), along(2, 1)]),
                view(
                    &[rows, columns],
                    vec![
                        along(2, 0),
                        Coordinate {
                            offset: 0,
                            ..along(2, 2)
                        },
                    ],
                ),
            );
            let find = Primitive::new(vec![rows], vec![columns], find).unwrap();
            builder.push(find, &[x, x]).unwrap()
        }
    }
}

pub(crate) fn case(random: &mut Random, steps: usize) -> Case {
    let longest = if random.one_in(8) { 300 } else { 24 };
    let (rows, inner, columns) = (1 + random.below(4), 1 + random.below(longest), 1 + random.below(4));
    let mut builder = Builder::new();
    let labels = builder.input(Role::Labels, &[rows]);
    let w = builder.input(Role::State("w".to_owned()), &[inner, columns]);
    let x = builder.input(Role::Samples, &[rows, inner]);
    let rate = builder.input(Role::Rate, &[1]);
    let momentum = builder.input(Role::State("opt/w".to_owned()), &[inner, columns]);
    builder.input(Role::State("frozen".to_owned()), &[3]);
    let key = builder.input(Role::Key, &[4]);
    let decay = builder.constant(Tensor::scalar(0.75));
    let mut product = builder.matmul(&x, &w).unwrap();
    if random.one_in(2) {
        let mask = builder.random(&key, product.shape()).unwrap();
        product = builder
            .map(&[&product, &mask], |terms, inputs| {
                let half = terms.constant(0.5);
                let keep = terms.less(inputs[1], half);
                terms.multiply(inputs[0], keep)
            })
            .unwrap();
    }
    let mut extra = product.clone();
    for _ in 0..random.below(3) {
        extra = if extra.shape().len() == 2 {
            curiosity(random, &mut builder, &extra, &labels)
        } else {
            extra
        };
    }
    let axes: Vec<usize> = (0..extra.shape().len()).collect();
    let loss = if random.one_in(2) {
        builder.sum(&extra, &axes).unwrap()
    } else {
        builder.max(&extra, &axes).unwrap()
    };
    let turned = builder.transpose(&x, &[1, 0]).unwrap();
    let gradient = builder.matmul(&turned, &product).unwrap();
    let momentum = builder
        .map(&[&momentum, &gradient, &decay], |terms, inputs| {
            terms.multiply_add(inputs[0], inputs[2], inputs[1])
        })
        .unwrap();
    let next = builder
        .map(&[&w, &momentum, &rate], |terms, inputs| {
            let change = terms.multiply(inputs[1], inputs[2]);
            terms.subtract(inputs[0], change)
        })
        .unwrap();
    let outputs = vec![
        (Role::Loss, loss),
        (Role::State("w".to_owned()), next),
        (Role::State("opt/w".to_owned()), momentum),
    ];
    let program = builder.finish(outputs).unwrap();
    let start = Weights::from([
        ("frozen".to_owned(), random.tensor(&[3])),
        ("opt/w".to_owned(), random.tensor(&[inner, columns])),
        ("w".to_owned(), random.tensor(&[inner, columns])),
    ]);
    let batches = (0..steps).map(|_| Batch {
        samples: random.values(rows * inner),
        labels: (0..rows).map(|_| random.below(3) as f32).collect(),
        rate: 0.125,
        key: random.below(1 << 30) as u64,
    });
    Case {
        program,
        start,
        batches: batches.collect(),
    }
}

/// All values of a step, `tamper` changing each before anything reads it.
pub(crate) fn execute(
    case: &Case,
    step: usize,
    state: &Weights,
    mut tamper: impl FnMut(usize, &mut Vec<f32>, &[Vec<f32>]),
) -> Vec<Vec<f32>> {
    let program = &case.program;
    let mut values: Vec<Vec<f32>> = Vec::with_capacity(program.values());
    let mut push = |mut value: Vec<f32>, values: &mut Vec<Vec<f32>>| {
        tamper(values.len(), &mut value, values);
        values.push(value);
    };
    for port in program.inputs() {
        let value = match &port.role {
            Role::State(name) => state[name].data().to_vec(),
            Role::Samples => case.batches[step].samples.clone(),
            Role::Labels => case.batches[step].labels.clone(),
            Role::Rate => vec![case.batches[step].rate],
            _ => key_words(case.batches[step].key).to_vec(),
        };
        push(value, &mut values);
    }
    for constant in program.constants() {
        push(constant.data().to_vec(), &mut values);
    }
    for instruction in program.instructions() {
        let primitive = &instruction.primitive;
        let element = |index| primitive.element(index, |input, at| values[instruction.operands[input]][at]);
        let value = (0..primitive.elements()).map(element).collect();
        push(value, &mut values);
    }
    values
}

/// The state after a step with these values.
pub(crate) fn after(case: &Case, before: &Weights, values: &[Vec<f32>]) -> Weights {
    let mut after = before.clone();
    for port in case.program.outputs() {
        if let Role::State(name) = &port.role {
            let tensor = Tensor::new(port.shape.clone(), values[port.value].clone()).unwrap();
            after.insert(name.clone(), tensor);
        }
    }
    after
}
