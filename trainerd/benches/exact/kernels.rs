//! Single operations: products of matrices, convolutions and their gradients.

use std::hint::black_box;

use tch::Tensor;
use trainyard_exact::definition::Operation;
use trainyard_exact::program::{Builder, Executor, Program, ProgramError, Role, Window};

use crate::{Bench, Machine, Row, on};

fn ramp(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.4).collect()
}

fn torch(shape: &[usize]) -> Tensor {
    let dims: Vec<i64> = shape.iter().map(|dim| *dim as i64).collect();
    Tensor::from_slice(&ramp(shape.iter().product())).reshape(dims)
}

/// The two operands of every operation here.
fn roles() -> [Role; 2] {
    [Role::Samples, Role::State("w".to_owned())]
}

/// `letters` as for [`Builder::einsum`].
fn product(letters: &'static str, shapes: [&[usize]; 2]) -> Result<Program, ProgramError> {
    let mut builder = Builder::new();
    let [a, b] = roles();
    let (a, b) = (builder.input(a, shapes[0]), builder.input(b, shapes[1]));
    let result = builder.einsum(letters, &a, &b)?;
    builder.finish(vec![(Role::Result, result)])
}

fn convolution(shapes: [&[usize]; 2], window: &Window, gradients: bool) -> Result<Program, ProgramError> {
    let mut builder = Builder::new();
    let [x_role, w_role] = roles();
    let x = builder.input(x_role, shapes[0]);
    let w = builder.input(w_role.clone(), shapes[1]);
    let result = builder.conv(&x, &w, window, 1)?;
    if !gradients {
        return builder.finish(vec![(Role::Result, result)]);
    }
    let sum = builder.sum(&result, &[0, 1, 2, 3])?;
    let gradients = builder.gradients(&sum, &[&x, &w])?;
    let gradients = gradients.into_iter().flatten();
    let outputs = [Role::Result, w_role].into_iter().zip(gradients);
    let outputs = outputs.chain([(Role::Loss, sum)]).collect();
    builder.finish(outputs)
}

struct Kernel<'a> {
    name: String,
    program: Program,
    shapes: [&'a [usize]; 2],
    /// How often the multiply-adds of the forward pass are done.
    passes: usize,
}

impl Bench {
    fn kernel(&mut self, machine: &Machine, threads: usize, kernel: Kernel<'_>, mut peer: impl FnMut()) {
        let mut executor = Executor::new(kernel.program, threads).expect("there are threads");
        let inputs = kernel.shapes.map(|shape| ramp(shape.iter().product()));
        let [first, _] = roles();
        let ours = || {
            let input = |role: &Role| Some(&inputs[usize::from(*role != first)][..]);
            let outputs = executor.run(input, |_, _| {}).expect("it fits");
            executor.recycle(black_box(outputs));
        };
        let [time, other, best] = self.pair(ours, &mut peer);
        let program = executor.program();
        let mut primitives = program.instructions().iter().map(|instruction| &instruction.primitive);
        let forward = primitives.find(|primitive| matches!(primitive.operation(), Operation::Contraction(..)));
        let forward = forward.map_or(0, |primitive| primitive.elements() * primitive.terms());
        let speed = 2e-9 * (forward * kernel.passes) as f64 / time;
        let share = 100.0 * speed / machine.gflops / threads as f64;
        self.note(
            Row {
                name: format!("{}, {}", kernel.name, on(threads)),
                unit: "us",
                ours: 1e6 * time,
                peer: Some(1e6 * other),
            },
            &format!("best {best:.2}, {speed:6.1} GFLOP/s, {share:3.0} % of peak"),
        );
    }
}

pub(crate) fn run(bench: &mut Bench, machine: &Machine, threads: usize, wanted: &dyn Fn(&str) -> bool) {
    tch::set_num_threads(i32::try_from(threads).expect("it is small"));
    let _guard = tch::no_grad_guard();
    for [m, n, k] in [
        [64; 3],
        [128; 3],
        [256; 3],
        [512; 3],
        [1024; 3],
        [64, 128, 784],
        [512, 1024, 256],
    ] {
        let name = format!("matmul {m}x{k}x{n}");
        if wanted(&name) {
            let shapes: [&[usize]; 2] = [&[m, k], &[k, n]];
            let program = product("mk,kn->mn", shapes).expect("it is a product");
            let (a, b) = (torch(shapes[0]), torch(shapes[1]));
            let kernel = Kernel {
                name,
                program,
                shapes,
                passes: 1,
            };
            bench.kernel(machine, threads, kernel, || drop(black_box(a.matmul(&b))));
        }
    }
    let name = "attention scores 32x128x32x128".to_owned();
    if wanted(&name) {
        let shapes: [&[usize]; 2] = [&[32, 128, 32], &[32, 128, 32]];
        let program = product("bmk,bnk->bmn", shapes).expect("it is a product");
        let (a, b) = (torch(shapes[0]), torch(shapes[1]).transpose(1, 2));
        let kernel = Kernel {
            name,
            program,
            shapes,
            passes: 1,
        };
        bench.kernel(machine, threads, kernel, || drop(black_box(a.matmul(&b))));
    }
    for [n, channels, filters, side, stride] in [
        [64, 1, 16, 28, 1],
        [64, 16, 32, 14, 1],
        [32, 16, 16, 32, 1],
        [32, 16, 32, 32, 2],
        [32, 32, 32, 16, 1],
        [32, 64, 64, 8, 1],
    ] {
        let output = (side - 1) / stride + 1;
        let window = Window {
            kernel: [3, 3],
            strides: [stride; 2],
            pads: [1, 1],
            dilations: [1, 1],
            output: [output; 2],
        };
        let shapes: [&[usize]; 2] = [&[n, channels, side, side], &[filters, channels, 3, 3]];
        let (x, w) = (torch(shapes[0]), torch(shapes[1]));
        let strides = [stride as i64; 2];
        for gradients in [false, true] {
            let what = if gradients { "with gradients" } else { "forward" };
            let name = format!("conv {channels}>{filters} {side}x{side} /{stride} n={n} {what}");
            if !wanted(&name) {
                continue;
            }
            let program = convolution(shapes, &window, gradients).expect("it is a convolution");
            let passes = if gradients { 3 } else { 1 };
            let kernel = Kernel {
                name,
                program,
                shapes,
                passes,
            };
            let conv = |x: &Tensor, w: &Tensor| x.conv2d(w, None::<&Tensor>, strides, [1, 1], [1, 1], 1);
            if gradients {
                let operands = [x.detach().set_requires_grad(true), w.detach().set_requires_grad(true)];
                bench.kernel(machine, threads, kernel, || {
                    tch::with_grad(|| {
                        let sum = conv(&operands[0], &operands[1]).sum(tch::Kind::Float);
                        black_box(Tensor::run_backward(&[sum], &operands, false, false));
                    });
                });
            } else {
                bench.kernel(machine, threads, kernel, || drop(black_box(conv(&x, &w))));
            }
        }
    }
}
