//! Every kernel against the definition: the same bits on every level of instructions, with any number of threads.

use proptest::prelude::*;
use trainyard_exact::definition::{Coordinate, Function, Operation, Primitive, View};
use trainyard_exact::kernels::{Isa, Kernel, KernelError, Matrix, Pool, map, matmul};

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

fn view(shape: [usize; 2], rows: [i64; 3], columns: [i64; 3]) -> View {
    let coordinate = |factors: [i64; 3]| Coordinate {
        offset: 0,
        coefficients: factors.to_vec(),
        divisor: 1,
    };
    View {
        shape: shape.to_vec(),
        coordinates: vec![coordinate(rows), coordinate(columns)],
        outside: 0.0,
    }
}

/// Bits of the product as the definition has it.
fn defined([m, n, k]: [usize; 3], a: &[f32], b: &[f32]) -> Vec<u32> {
    let operation = Operation::Contraction(view([m, k], [1, 0, 0], [0, 0, 1]), view([k, n], [0, 0, 1], [0, 1, 0]));
    let product = Primitive::new(vec![m, n], vec![k], operation).unwrap();
    let element = |index| product.element(index, |input, offset| if input == 0 { a[offset] } else { b[offset] });
    (0..m * n).map(|index| element(index).to_bits()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn transpose(rows: usize, columns: usize, data: &[f32]) -> Vec<f32> {
    (0..columns * rows)
        .map(|i| data[i % rows * columns + i / rows])
        .collect()
}

fn check(size: [usize; 3], a: &[f32], b: &[f32]) {
    let [m, n, k] = size;
    let expected = defined(size, a, b);
    let turned = transpose(k, n, b);
    let a = Matrix::row_major(a, m, k).unwrap();
    let b = [
        Matrix::row_major(b, k, n).unwrap(),
        Matrix::row_major(&turned, n, k).unwrap().transposed(),
    ];
    for (name, isa) in levels() {
        for threads in [1, 2, 3, 8] {
            for b in b {
                let mut output = vec![f32::NAN; m * n];
                matmul(isa, threads, a, b, &mut output).unwrap();
                assert!(
                    bits(&output) == expected,
                    "{size:?} differs on {name} with {threads} threads"
                );
            }
        }
    }
}

/// Ordinary numbers of many magnitudes from a fixed stream, or also every kind of special one.
fn numbers(count: usize, seed: u32, hostile: bool) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let special = [
        0.0,
        -0.0,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
        -1e-40,
        f32::INFINITY,
        f32::from_bits(0xff81_2345),
    ];
    (0..count)
        .map(|_| match next() {
            draw if hostile && draw % 64 == 0 => special[(draw / 64 % 8) as usize],
            // A sign, an exponent of −8..8 and a full mantissa.
            draw => f32::from_bits((draw & 1) << 31 | (119 + (draw >> 1) % 16) << 23 | next() >> 1 & 0x007f_ffff),
        })
        .collect()
}

/// Sizes around tiles and blocks, and large enough that eight threads are used, cut by rows and by columns.
#[test]
fn matmul_has_the_definitions_bits() {
    for (i, size) in [
        [1, 1, 1],
        [12, 32, 1],
        [13, 33, 257],
        [125, 3, 700],
        [200, 150, 71],
        [61, 301, 115],
        [2, 2100, 3],
    ]
    .into_iter()
    .enumerate()
    {
        let [m, n, k] = size;
        for hostile in [false, true] {
            let seed = u32::try_from(i).unwrap();
            check(
                size,
                &numbers(m * k, seed, hostile),
                &numbers(k * n, seed + 100, hostile),
            );
        }
    }
}

#[test]
fn matmul_without_k_is_zero_and_misfits_are_refused() {
    let mut output = [1.0; 6];
    let (a, b) = (
        Matrix::row_major(&[], 2, 0).unwrap(),
        Matrix::row_major(&[], 0, 3).unwrap(),
    );
    matmul(Isa::best(), 2, a, b, &mut output).unwrap();
    assert_eq!(output, [0.0; 6]);
    assert!(matches!(
        matmul(Isa::best(), 1, b, a, &mut output),
        Err(KernelError::Product { .. })
    ));
    assert!(matches!(
        matmul(Isa::best(), 1, a, b, &mut output[1..]),
        Err(KernelError::Product { .. })
    ));
    assert!(Matrix::row_major(&[0.0; 5], 2, 3).is_err());
    assert!(Matrix::new(&[0.0; 5], 2, 3, [1, 1]).is_ok());
    assert!(Matrix::new(&[0.0; 5], 2, 3, [usize::MAX, usize::MAX]).is_err());
}

#[test]
fn maps_have_the_definitions_bits() {
    use Function::*;
    let all = [
        Negate,
        Absolute,
        Sqrt,
        Rsqrt,
        Exp,
        Log,
        Tanh,
        Erf,
        Sin,
        Cos,
        Sigmoid,
        Add,
        Subtract,
        Multiply,
        Divide,
        Maximum,
        Minimum,
        Less,
        Equal,
        MultiplyAdd,
        Select,
    ];
    // Every exponent, ragged tails, and the special numbers.
    let mut x: Vec<f32> = (0..4099u32)
        .map(|i| f32::from_bits(i.wrapping_mul(1_048_573)))
        .collect();
    x.extend(numbers(5000, 1, true));
    let (y, z) = (numbers(x.len(), 2, true), numbers(x.len(), 3, true));
    for function in all {
        let inputs = &[&x[..], &y, &z][..function.arity()];
        let expected: Vec<u32> = (0..x.len())
            .map(|i| function.apply([x[i], y[i], z[i]]).to_bits())
            .collect();
        for (name, isa) in levels() {
            let mut output = vec![0.0; x.len()];
            map(isa, function, inputs, &mut output).unwrap();
            let differs = bits(&output)
                .into_iter()
                .zip(&expected)
                .zip(&x)
                .find(|((found, bits), _)| found != *bits);
            assert_eq!(differs, None, "{function:?} differs on {name}: (found, expected), x");
        }
    }
    assert!(matches!(
        map(Isa::best(), Add, &[&x], &mut [0.0]),
        Err(KernelError::Inputs { found: 1, needed: 2 })
    ));
    assert!(matches!(
        map(Isa::best(), Exp, &[&x], &mut [0.0]),
        Err(KernelError::Length { .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn matmul_of_any_bits(
        (size, a, b) in (1usize..30, 1usize..70, 1usize..12).prop_flat_map(|(m, n, k)| {
            let any = |count| prop::collection::vec(any::<u32>().prop_map(f32::from_bits), count);
            (Just([m, n, k]), any(m * k), any(k * n))
        })
    ) {
        check(size, &a, &b);
    }
}

#[test]
fn kernels_check_lengths_and_have_the_definitions_bits() {
    let operation = Operation::Contraction(view([5, 7], [1, 0, 0], [0, 0, 1]), view([7, 3], [0, 0, 1], [0, 1, 0]));
    let product = Primitive::new(vec![5, 3], vec![7], operation).unwrap();
    let kernel = Kernel::new(&product);
    let (a, b) = (numbers(35, 1, true), numbers(21, 2, true));
    for threads in [1, 3] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        let mut output = [0.0; 15];
        kernel.run(Isa::best(), &pool, &[&a, &b], &mut output).unwrap();
        assert_eq!(bits(&output), defined([5, 3, 7], &a, &b));
        for inputs in [&[&a[..]][..], &[&a, &a], &[&a, &b, &b]] {
            assert!(kernel.run(Isa::best(), &pool, inputs, &mut output).is_err());
        }
        assert!(kernel.run(Isa::best(), &pool, &[&a, &b], &mut output[1..]).is_err());
    }
}
