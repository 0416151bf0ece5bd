//! Every kernel against the definition: the same bits on every level of instructions, with any number of threads.

mod contraction;
mod draw;
mod fold;
mod golden;
mod map;
mod moves;

use draw::Draw;
use proptest::prelude::*;
use std::sync::LazyLock;
use trainyard_exact::definition::Primitive;
use trainyard_exact::kernels::{Isa, Kernel, Pool};

/// The levels of this CPU; what it lacks is named on the test's output, never passed over in silence.
fn levels() -> Vec<(&'static str, Isa)> {
    let all = [
        ("scalar", Some(Isa::SCALAR)),
        ("AVX2+FMA", Isa::avx2()),
        ("AVX-512", Isa::avx512()),
    ];
    all.into_iter()
        .filter_map(|(name, isa)| isa.map(|isa| (name, isa)))
        .collect()
}

/// Pools of 1, 2, 3 and 8 threads.
static POOLS: LazyLock<[Pool; 4]> = LazyLock::new(|| [1, 2, 3, 8].map(|threads| Pool::new(threads).unwrap()));

#[test]
fn levels_of_this_cpu() {
    for (name, isa) in [("AVX2+FMA", Isa::avx2()), ("AVX-512", Isa::avx512())] {
        match isa {
            Some(_) => println!("{name}: tested"),
            // Not through `println`, which the harness swallows when a test passes.
            None => {
                let text = format!("{name}: NOT TESTED, this CPU lacks it\n");
                std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes()).unwrap();
            }
        }
    }
    assert!(levels().iter().any(|(_, isa)| *isa == Isa::best()));
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Holds the kernel of a primitive against the definition and gives the output.
fn check(primitive: &Primitive, inputs: &[Vec<f32>]) -> Vec<u32> {
    let element = |index| {
        primitive
            .element(index, |input, offset| inputs[input][offset])
            .to_bits()
    };
    let expected: Vec<u32> = (0..primitive.elements()).map(element).collect();
    let kernel = Kernel::new(primitive);
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    for (name, isa) in levels() {
        for pool in POOLS.iter() {
            let mut output = vec![f32::from_bits(0x7fab_cdef); expected.len()];
            kernel.run(isa, pool, &inputs, &mut output).unwrap();
            let found = bits(&output);
            let differs = found
                .iter()
                .zip(&expected)
                .position(|(found, expected)| found != expected);
            if let Some(index) = differs {
                let (found, expected) = (found[index], expected[index]);
                let threads = pool.threads();
                panic!(
                    "element {index}: {found:#x}, not {expected:#x}, on {name} with {threads} threads: {primitive:?}"
                );
            }
        }
    }
    expected
}

/// Numbers for every input of a primitive.
fn inputs(primitive: &Primitive, draw: &mut Draw) -> Vec<Vec<f32>> {
    let lengths = primitive.views().into_iter().map(|view| view.shape.iter().product());
    lengths.map(|count: usize| draw.numbers(count)).collect()
}

fn choices() -> impl Strategy<Value = Draw> {
    prop::collection::vec(any::<u32>(), 64).prop_map(Draw::new)
}
