//! Compressed deltas: their bytes, what error feedback conserves, top-k, merging in integers, and what is refused.

use proptest::prelude::*;
use trainyard_exact::{
    Tensor, Weights,
    average::{self, MergeError},
    compress::{
        BLOCK_ELEMENTS, CompressedDelta, Contribution, MAX_EXPONENT, MIN_EXPONENT, Quantum, Share, check_model,
        compress, merge, merged_element,
    },
    merkle,
    onnx::{Limits, decode},
    prf::{Stream, Tag},
    state_root,
};

fn vector(values: &[f32]) -> Weights {
    Weights::from([(
        "w".to_owned(),
        Tensor::new(vec![values.len()], values.to_vec()).unwrap(),
    )])
}

/// Values with magnitudes from 2⁻¹⁴ to 1, with zeros and repetitions among them.
fn spread(seed: u8, count: usize) -> Vec<f32> {
    let mut stream = Stream::new(Tag::Init, &[&[seed]]);
    let mut one = || {
        let exponent = stream.below(15);
        let coarse = (stream.below(255) as f32 - 127.0) / 127.0;
        coarse / (1u32 << exponent) as f32
    };
    (0..count).map(|_| one()).collect()
}

/// A model of three tensors, the last two blocks of one not full.
fn model(seed: u8) -> Weights {
    Weights::from([
        ("a".to_owned(), Tensor::new(vec![30, 100], spread(seed, 3000)).unwrap()),
        ("b".to_owned(), Tensor::new(vec![0], vec![]).unwrap()),
        ("c".to_owned(), Tensor::new(vec![7], spread(seed ^ 0xff, 7)).unwrap()),
    ])
}

fn bits(weights: &Weights) -> Vec<u32> {
    weights
        .values()
        .flat_map(Tensor::data)
        .map(|value| value.to_bits())
        .collect()
}

#[test]
fn the_bytes_are_the_documented_ones() {
    let bytes = |values: &[f32], share| {
        let (delta, error) = compress(&vector(values), None, share).unwrap();
        let bytes = delta.to_bytes();
        assert_eq!(bytes[..32], state_root(&error));
        bytes[32..].to_vec()
    };
    // 127 is the largest; −1.5 and 2.5 are halves and go to even; the exponent is 0, or lower by the same factor.
    assert_eq!(bytes(&[127.0, -1.5, 2.5, 0.25], Share::ALL), [3, 0, 0, 127, 0xfe, 2, 0]);
    assert_eq!(bytes(&[127.0 / 8.0, 0.0], Share::ALL), [1, 0, 0xfd, 127, 0]);
    // Rounding 127.5 would give 128, so the exponent rises.
    assert_eq!(bytes(&[-127.5], Share::ALL), [1, 0, 1, 0xc0]);
    assert_eq!(bytes(&[0.0; 2000], Share::ALL), [0, 0, 0, 0]);
    assert_eq!(bytes(&[], Share::ALL), [0u8; 0]);
    // Sparse: gaps of 0, 1, 254, 255 and 510 elements.
    let mut values = vec![0.0; 1024];
    for at in [0, 2, 257, 513, 1023] {
        values[at] = 64.0;
    }
    values[1023] = -64.0;
    values[1022] = 0.1;
    let expected = [5, 0, 0, 0, 64, 1, 64, 254, 64, 255, 0, 64, 255, 254, 0xc0];
    assert_eq!(bytes(&values, Share::new(4_000).unwrap()), expected);
    // Nothing follows the last value, however long the rest.
    values.truncate(1);
    values.resize(1024, 0.0);
    assert_eq!(bytes(&values, Share::ALL), [1, 0, 0, 0, 64]);
    // Below the finest grid nothing is sent, and nothing is lost.
    let tiny = vector(&[1e-20, -3e-39]);
    let (none, error) = compress(&tiny, None, Share::ALL).unwrap();
    assert_eq!(none.to_bytes()[32..], [0, 0]);
    assert_eq!(bits(&error), bits(&tiny));
}

#[test]
fn a_share_is_rounded_up() {
    assert_eq!(Share::new(0), None);
    assert_eq!(Share::new(1_000_001), None);
    assert_eq!(Share::new(1_000_000), Some(Share::ALL));
    let share = Share::new(10_000).unwrap();
    let counts = [0, 1, 100, 101, usize::MAX].map(|elements| share.of(elements));
    assert_eq!(counts, [0, 1, 1, 2, usize::MAX / 100 + 1]);
    assert_eq!(Share::ALL.of(usize::MAX), usize::MAX);
}

#[test]
fn a_model_with_running_statistics_is_refused() {
    let read = |name: &str| {
        let path = format!("{}/tests/exports/{name}_training.onnx", env!("CARGO_MANIFEST_DIR"));
        decode(&std::fs::read(path).unwrap(), &Limits::default()).unwrap()
    };
    assert_eq!(check_model(&read("gpt")), Ok(()));
    let error = check_model(&read("resnet")).unwrap_err().to_string();
    assert!(
        error.contains("running statistics") && error.contains("mean"),
        "{error}"
    );
}

#[test]
fn what_cannot_be_compressed_is_named() {
    let table = [
        (f32::NAN, 0.0, "is NaN at element 1"),
        (f32::NEG_INFINITY, 0.0, "is -inf at element 1"),
        (f32::MAX, f32::MAX, "is inf at element 1"),
        (
            8_355_840.0,
            0.0,
            "is 8355840 at element 1; its magnitude must be below 8355840",
        ),
        (0.0, f32::NAN, "is NaN at element 1"),
    ];
    for (delta, carried, expected) in table {
        let (delta, carried) = (vector(&[1.0, delta]), vector(&[1.0, carried]));
        let error = compress(&delta, Some(&carried), Share::ALL).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
    let largest = vector(&[8_355_839.5]);
    let (compressed, _) = compress(&largest, None, Share::ALL).unwrap();
    assert_eq!(compressed.to_bytes()[32..], [1, 0, MAX_EXPONENT.cast_unsigned(), 127]);
    for carried in [Weights::new(), vector(&[1.0]), model(1)] {
        let error = compress(&vector(&[1.0, 2.0]), Some(&carried), Share::ALL)
            .unwrap_err()
            .to_string();
        assert!(error.contains("do not both have tensor"), "{error}");
    }
}

#[test]
fn malformed_bytes_are_named() {
    let like = vector(&[0.0; 1024]);
    let short = CompressedDelta::from_bytes(&[0; 31], &like).unwrap_err().to_string();
    assert_eq!(short, "31 bytes do not hold the error's root of 32");
    let gapped = |tail: &[u8]| [&[2, 0, 0, 5, 64][..], tail].concat();
    let mut dense = vec![0, 2, 0];
    dense.extend([64; 1024]);
    let table: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "block 0 of tensor \"w\": the bytes end inside the block"),
        (vec![1, 0, 0, 3], "the bytes end inside the block"),
        (vec![0, 0, 0], "1 bytes follow the last block"),
        (vec![1, 4], "it counts 1025 values for 1024 elements"),
        (dense, "it counts 512 values and holds 1024"),
        (
            vec![1, 0, 17, 0, 64],
            "its exponent is 17; it must be between -48 and 16",
        ),
        (vec![1, 0, 0x80, 0, 64], "its exponent is -128"),
        (
            gapped(&[255, 255, 255, 255, 0, 64]),
            "a value is at position 1281 of 1024 elements",
        ),
        (
            gapped(&[255, 255, 255, 254, 64]),
            "a value is at position 1025 of 1024 elements",
        ),
        (gapped(&[3, 0]), "its value at position 9 is 0"),
        (gapped(&[3, 0x80]), "its value at position 9 is -128"),
        (
            vec![1, 0, 0, 5, 63],
            "its largest magnitude is 63 at exponent 0; a smaller exponent holds it",
        ),
    ];
    for (bytes, expected) in table {
        let whole = [&[7; 32], &bytes[..]].concat();
        let error = CompressedDelta::from_bytes(&whole, &like).unwrap_err().to_string();
        assert!(error.contains(expected), "{bytes:?}: {error:?} should say {expected:?}");
    }
}

#[test]
fn what_cannot_be_merged_is_named() {
    let start = vector(&[1.0, 2.0]);
    let of = |weights: &Weights| compress(weights, None, Share::ALL).unwrap().0;
    let good = of(&start);
    let error = |start: &Weights, deltas: &[(u64, &CompressedDelta)]| merge(start, deltas).unwrap_err().to_string();
    assert_eq!(merge(&start, &[]), Err(MergeError::Samples(0)));
    assert_eq!(merge(&start, &[(0, &good)]), Err(MergeError::Samples(0)));
    assert_eq!(
        merge(&start, &[(1 << 53, &good), (1, &good)]),
        Err(MergeError::Samples((1 << 53) + 1))
    );
    let huge = [(u64::MAX, &good), (u64::MAX, &good)];
    assert_eq!(merge(&start, &huge), Err(MergeError::Samples(2 * u128::from(u64::MAX))));
    assert!(error(&start, &[(1, &good), (1, &of(&Weights::new()))]).contains("delta 1 lacks tensor \"w\""));
    assert!(error(&start, &[(1, &of(&vector(&[1.0])))]).contains("delta 0: tensor \"w\" has shape [1], expected [2]"));
    let mut more = start.clone();
    more.insert("z".to_owned(), Tensor::scalar(1.0));
    assert!(error(&start, &[(1, &of(&more))]).contains("delta 0 has an unknown tensor \"z\""));
    let infinite = vector(&[1.0, f32::INFINITY]);
    assert!(error(&infinite, &[(1, &good)]).contains("start weights: tensor \"w\" holds inf at element 1"));
}

#[test]
fn the_extremes_of_a_merge_are_exact() {
    let one = |samples, exponent, value| Contribution {
        samples,
        quantum: Quantum::new(exponent, value).unwrap(),
    };
    let largest = one(1 << 53, MAX_EXPONENT, 127);
    assert_eq!(merged_element(0.0, &[largest]), Ok(127.0 * 65536.0));
    assert_eq!(merged_element(f32::MAX, &[largest]), Ok(f32::MAX));
    let (up, down) = (
        one((1 << 52) - 1, MAX_EXPONENT, 127),
        one((1 << 52) - 1, MAX_EXPONENT, -127),
    );
    let least = one(2, MIN_EXPONENT, 1);
    // What is left when all but the least cancels, undisturbed by it: 2·2⁻⁴⁸ / 2⁵³.
    assert_eq!(merged_element(0.0, &[up, least, down]), Ok(2f32.powi(-100)));
    // No movement keeps even the sign of zero.
    assert_eq!(
        merged_element(-0.0, &[up, down]).unwrap().to_bits(),
        (-0.0f32).to_bits()
    );
    assert_eq!(Quantum::new(MAX_EXPONENT + 1, 1), None);
    assert_eq!(Quantum::new(MIN_EXPONENT - 1, 1), None);
    assert_eq!(Quantum::new(0, i8::MIN), None);
}

#[test]
fn every_order_of_workers_merges_to_the_same_bits() {
    let start = model(0);
    let share = Share::new(300_000).unwrap();
    let deltas: Vec<_> = (1..5)
        .map(|seed| compress(&model(seed), None, share).unwrap().0)
        .collect();
    let samples = [1u64, 1_000, 77, 1 << 40];
    let workers: Vec<(u64, &CompressedDelta)> = samples.into_iter().zip(&deltas).collect();
    let expected = bits(&merge(&start, &workers).unwrap());
    assert_ne!(expected, bits(&start));
    let mut orders = 0;
    for order in 0..256usize {
        let order = [order % 4, order / 4 % 4, order / 16 % 4, order / 64];
        if (0..4).all(|worker| order.contains(&worker)) {
            assert_eq!(
                bits(&merge(&start, &order.map(|worker| workers[worker])).unwrap()),
                expected
            );
            orders += 1;
        }
    }
    assert_eq!(orders, 24);
}

#[test]
fn the_format_stays_as_it_is() {
    let share = Share::new(100_000).unwrap();
    let (first, error) = compress(&model(1), None, share).unwrap();
    let (second, _) = compress(&model(2), Some(&error), share).unwrap();
    let merged = merge(&model(0), &[(64, &first), (128, &second)]).unwrap();
    let bytes: Vec<Vec<u8>> = merged.values().map(Tensor::to_le_bytes).collect();
    let roots = [first.root(), second.root(), merkle::root(&bytes)];
    let hex = roots.map(|root| root.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(hex, GOLDEN);
}

/// Roots of two rounds' compressed deltas, and of the weights they merge to.
const GOLDEN: [&str; 3] = [
    "ccf66ef1db56404e6ce8fff98f6e0a4545928342fbfa0af7c930bd8fdb47e76f",
    "e31d185cfc24d53f642c0684980582217125c2babd383f08c79154000e628d40",
    "bd1e87a2870dc3119e6e86fecb9e2ecf1b92098ce44b66a1b6336e665358b016",
];

/// Minimises the mean over workers of ½·Σ λᵢ·(xᵢ − tᵢ)², each worker with targets `t` of its own, sending 1 % of its
/// step. Returns the distance from the minimum as a share of the distance at the start.
fn descend(feedback: bool) -> f64 {
    const WORKERS: u8 = 3;
    const COUNT: usize = 1000;
    let targets: Vec<Vec<f32>> = (0..WORKERS).map(|worker| spread(worker, COUNT)).collect();
    let curvature: Vec<f32> = (0..COUNT).map(|i| 0.5 + (i % 16) as f32 / 16.0).collect();
    let mean: Vec<f64> = (0..COUNT)
        .map(|i| targets.iter().map(|t| f64::from(t[i])).sum::<f64>() / f64::from(WORKERS))
        .collect();
    let distance = |x: &[f32]| {
        x.iter()
            .zip(&mean)
            .map(|(x, mean)| (f64::from(*x) - mean).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let mut x = vector(&vec![0.0; COUNT]);
    let first = distance(x["w"].data());
    let mut errors: Vec<Option<Weights>> = vec![None; usize::from(WORKERS)];
    for _ in 0..6000 {
        let mut deltas = Vec::new();
        for (target, error) in targets.iter().zip(&mut errors) {
            let at = x["w"].data().iter().zip(target).zip(&curvature);
            let step: Vec<f32> = at
                .map(|((x, target), curvature)| -0.002 * curvature * (x - target))
                .collect();
            let (delta, lost) = compress(&vector(&step), error.as_ref(), Share::new(10_000).unwrap()).unwrap();
            *error = feedback.then_some(lost);
            deltas.push(delta);
        }
        let weighted: Vec<_> = deltas.iter().map(|delta| (1, delta)).collect();
        x = merge(&x, &weighted).unwrap();
    }
    distance(x["w"].data()) / first
}

#[test]
fn error_feedback_makes_one_percent_converge() {
    let (with, without) = (descend(true), descend(false));
    assert!(with < 0.03, "with error feedback {with} of the distance is left");
    assert!(without > 10.0 * with, "without it {without}, with it {with}");
}

/// Values of every kind that can be compressed: subnormal, tiny, ordinary, large, zeros of both signs.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => -1f32..1.0,
        1 => -4e6f32..4e6,
        1 => any::<u32>().prop_map(|bits| f32::from_bits(bits & 0x9fff_ffff)),
        1 => prop::sample::select(vec![0.0, -0.0, 1.0, -1.0, 0.5, 1e-9]),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost(
        pairs in prop::collection::vec((value(), value()), 0..2100),
        ppm in prop_oneof![1u32..=1_000_000, Just(1_000_000)],
    ) {
        let (delta, carried): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let share = Share::new(ppm).unwrap();
        let whole: Vec<f32> = delta.iter().zip(&carried).map(|(delta, carried)| delta + carried).collect();
        let (compressed, error) = compress(&vector(&delta), Some(&vector(&carried)), share).unwrap();
        let sent = compressed.dequantised();
        // The largest k magnitudes, by sorting; of equal ones the lowest indices.
        let mut order: Vec<usize> = (0..whole.len()).collect();
        order.sort_by(|i, j| whole[*j].abs().total_cmp(&whole[*i].abs()).then(i.cmp(j)));
        let chosen = &order[..share.of(whole.len())];
        for (at, value) in whole.iter().enumerate() {
            let (sent, error) = (sent["w"].data()[at], error["w"].data()[at]);
            // Exact in f64: the two overlap in few bits, or one of them is 0.
            prop_assert_eq!(f64::from(sent) + f64::from(error), f64::from(*value));
            if !chosen.contains(&at) {
                prop_assert_eq!(sent, 0.0);
            }
        }
        for block in chosen.iter().map(|at| at / BLOCK_ELEMENTS).collect::<std::collections::BTreeSet<_>>() {
            let members = || chosen.iter().filter(|at| **at / BLOCK_ELEMENTS == block);
            let largest = members().map(|at| whole[*at].abs()).fold(0.0, f32::max);
            // The quantum is at most 1/63.75 of the block's largest, or 2⁻⁴⁸; half of it may be lost.
            let half = (f64::from(largest) / 127.5).max(2f64.powi(-49));
            for at in members() {
                prop_assert!(f64::from(error["w"].data()[*at].abs()) <= half);
            }
        }
        let bytes = compressed.to_bytes();
        let back = CompressedDelta::from_bytes(&bytes, &vector(&delta)).unwrap();
        prop_assert_eq!(back.root(), compressed.root());
        prop_assert_eq!(back, compressed);
    }

    #[test]
    fn dense_merging_is_near_float_merging(
        seeds in prop::collection::vec((any::<u8>(), 1u64..1000), 1..5),
        start in any::<u8>(),
    ) {
        let start = model(start);
        let deltas: Vec<(u64, Weights)> = seeds.iter().map(|(seed, samples)| (*samples, model(*seed))).collect();
        let compressed: Vec<_> =
            deltas.iter().map(|(samples, delta)| (*samples, compress(delta, None, Share::ALL).unwrap().0)).collect();
        let weighted: Vec<_> = compressed.iter().map(|(samples, delta)| (*samples, delta)).collect();
        let integers = merge(&start, &weighted).unwrap();
        let floats = average::merge(&start, &deltas).unwrap();
        // Each delta is within half a quantum, and no delta exceeds 1: so is their average; plus the rounding to f32 of
        // values below 2.
        let bound = 1.0 / 127.5 + 2f64.powi(-23);
        for (name, tensor) in &floats {
            for (float, integer) in tensor.data().iter().zip(integers[name].data()) {
                prop_assert!((f64::from(*float) - f64::from(*integer)).abs() <= bound);
            }
        }
    }

    #[test]
    fn quotients_are_rounded_once(
        parts in prop::collection::vec((1u64..1 << 50, MIN_EXPONENT..=MAX_EXPONENT, -127i8..=127), 1..6),
    ) {
        let quantum = |exponent, value| Quantum::new(exponent, value).unwrap();
        let list: Vec<_> = parts.iter().map(|(n, s, q)| Contribution { samples: *n, quantum: quantum(*s, *q) }).collect();
        let total: i128 = parts.iter().map(|(samples, ..)| i128::from(*samples)).sum();
        let sum: i128 = parts.iter().map(|(n, s, q)| (i128::from(*n) * i128::from(*q)) << (s - MIN_EXPONENT)).sum();
        let found = merged_element(0.0, &list).unwrap();
        if sum == 0 {
            prop_assert_eq!(found, 0.0);
            return Ok(());
        }
        prop_assert_eq!(found < 0.0, sum < 0);
        // found = significand·2^exponent in units of 2^MIN_EXPONENT; twice its distance from sum/total is at most one in
        // the last place, and less where the significand is odd.
        let significand = i128::from(found.to_bits() & 0x7f_ffff | 0x80_0000);
        let exponent = (found.abs().to_bits() >> 23).cast_signed() - 150 - i32::from(MIN_EXPONENT);
        let (up, down) = (exponent.max(0), (-exponent).max(0));
        let twice = 2 * ((sum.abs() << down) - ((total * significand) << up)).abs();
        let last = total << up;
        prop_assert!(twice < last || twice == last && significand % 2 == 0, "{found} for {sum}/{total}");
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in prop::collection::vec(any::<u8>(), 0..90), elements in 0usize..3000) {
        let like = vector(&vec![0.0; elements]);
        if let Ok(delta) = CompressedDelta::from_bytes(&bytes, &like) {
            prop_assert_eq!(delta.to_bytes(), bytes);
        }
    }

    #[test]
    fn damage_is_refused_or_canonical(seed: u8, ppm in 1u32..=1_000_000, at in any::<usize>(), flip: u8, cut in 0usize..9) {
        let weights = model(seed);
        let (delta, _) = compress(&weights, None, Share::new(ppm).unwrap()).unwrap();
        let mut bytes = delta.to_bytes();
        let length = bytes.len();
        bytes[at % length] ^= flip;
        bytes.truncate(length - cut.min(length));
        match CompressedDelta::from_bytes(&bytes, &weights) {
            Ok(other) => {
                prop_assert_eq!(other.to_bytes() == delta.to_bytes(), other.root() == delta.root());
                prop_assert_eq!(other.to_bytes(), bytes);
                // Whatever is decoded can be merged.
                merge(&weights, &[(1, &other)]).unwrap();
            }
            Err(_) => prop_assert!(flip != 0 || cut != 0),
        }
    }
}
