//! Opening one element of a compressed delta, and judging one element of a merge from openings alone.

use proptest::prelude::*;
use trainyard_exact::{
    Tensor, Weights,
    compress::{
        CompressedDelta, ElementClaim, ElementError, MAX_BLOCK_BYTES, Opening, OpeningError, Share, Verdict, compress,
        merge, verification_bytes,
    },
    prf::{Stream, Tag},
};

fn weights(seed: u8) -> Weights {
    let tensor = |name: &str, shape: &[usize]| {
        let mut stream = Stream::new(Tag::Init, &[&[seed], name.as_bytes()]);
        let data = (0..shape.iter().product())
            .map(|_| stream.symmetric_f32().powi(3))
            .collect();
        (name.to_owned(), Tensor::new(shape.to_vec(), data).unwrap())
    };
    Weights::from([
        tensor("conv.bias", &[8]),
        tensor("conv.weight", &[8, 1, 3, 3]),
        tensor("fc.weight", &[10, 250]),
    ])
}

fn deltas(share: u32) -> Vec<(u64, CompressedDelta)> {
    let compressed = |seed| compress(&weights(seed), None, Share::new(share).unwrap()).unwrap().0;
    vec![(64, compressed(1)), (640, compressed(2)), (31, compressed(3))]
}

/// Bytes of an opening on the wire.
fn size(opening: &Opening) -> usize {
    opening.block.len() + 32 * (opening.in_tensor.siblings.len() + 1 + opening.in_delta.siblings.len()) + 4 * 8
}

#[test]
fn every_element_of_a_merge_is_judged_rightly() {
    for share in [10_000, 1_000_000] {
        let (start, deltas) = (weights(0), deltas(share));
        let weighted: Vec<_> = deltas.iter().map(|(samples, delta)| (*samples, delta)).collect();
        let merged = merge(&start, &weighted).unwrap();
        let mut moved = 0;
        for (tensor, end) in &merged {
            for (index, end) in end.data().iter().enumerate() {
                let openings: Vec<Opening> = deltas
                    .iter()
                    .map(|(_, delta)| delta.open(tensor, index).unwrap())
                    .collect();
                let workers: Vec<_> = deltas
                    .iter()
                    .zip(&openings)
                    .map(|((n, delta), opening)| (*n, delta.root(), opening))
                    .collect();
                let shape = start[tensor].shape();
                let start = start[tensor].data()[index];
                let claim = ElementClaim {
                    tensor,
                    shape,
                    index,
                    start,
                    end: *end,
                };
                assert_eq!(
                    claim.verify(&workers),
                    Ok(Verdict::Right),
                    "element {index} of {tensor}"
                );
                let wrong = ElementClaim {
                    end: f32::from_bits(end.to_bits() ^ 1),
                    ..claim
                };
                assert_eq!(wrong.verify(&workers), Ok(Verdict::Wrong { expected: *end }));
                let bound = verification_bytes(tensor, shape.len(), end_len(&merged, tensor), 3);
                assert!(openings.iter().map(size).sum::<usize>() as u64 <= bound);
                moved += usize::from(end.to_bits() != start.to_bits());
            }
        }
        assert!(
            moved > if share == 10_000 { 60 } else { 2000 },
            "{moved} elements moved"
        );
    }
}

fn end_len(weights: &Weights, tensor: &str) -> usize {
    weights[tensor].data().len()
}

#[test]
fn an_opening_of_a_sparse_delta_is_small() {
    let large = Weights::from([("w".to_owned(), {
        let mut stream = Stream::new(Tag::Init, &[]);
        let data = (0..1 << 18).map(|_| stream.symmetric_f32()).collect();
        Tensor::new(vec![1 << 18], data).unwrap()
    })]);
    let (delta, _) = compress(&large, None, Share::new(10_000).unwrap()).unwrap();
    let sizes: Vec<usize> = (0..1 << 18)
        .step_by(1 << 10)
        .map(|at| size(&delta.open("w", at).unwrap()))
        .collect();
    let largest = *sizes.iter().max().unwrap();
    assert!(largest < 400, "an opening takes {largest} bytes");
    assert!(verification_bytes("w", 1, 1 << 18, 1) < 3000);
}

#[test]
fn what_an_opening_does_not_show_is_refused() {
    let (_, delta) = &deltas(10_000)[0];
    let (root, shape) = (delta.root(), [10, 250]);
    let opening = delta.open("fc.weight", 1500).unwrap();
    let check = |opening: &Opening| opening.check(&root, "fc.weight", &shape, 1500);
    check(&opening).unwrap();
    let bent = |bend: fn(&mut Opening)| {
        let mut opening = opening.clone();
        bend(&mut opening);
        check(&opening).unwrap_err()
    };
    assert_eq!(bent(|o| o.block[0] ^= 1), OpeningError::Proof("block's"));
    assert_eq!(bent(|o| o.block.clear()), OpeningError::Proof("block's"));
    assert_eq!(
        bent(|o| o.block.resize(MAX_BLOCK_BYTES + 1, 0)),
        OpeningError::Long(MAX_BLOCK_BYTES + 1)
    );
    assert_eq!(bent(|o| o.blocks_root[0] ^= 1), OpeningError::Proof("block's"));
    assert_eq!(
        bent(|o| o.in_tensor.siblings[0][0] ^= 1),
        OpeningError::Proof("block's")
    );
    assert_eq!(
        bent(|o| o.in_delta.siblings[0][0] ^= 1),
        OpeningError::Proof("tensor's")
    );
    assert_eq!(bent(|o| o.in_delta.index = 0), OpeningError::Proof("tensor's"));
    assert_eq!(bent(|o| o.in_delta.leaves = u64::MAX), OpeningError::Tensors(u64::MAX));
    let place = |found, found_of| OpeningError::Place {
        found,
        found_of,
        wanted: 1,
        wanted_of: 3,
    };
    assert_eq!(bent(|o| o.in_tensor.index = 0), place(0, 3));
    assert_eq!(bent(|o| o.in_tensor.leaves = 2), place(1, 2));

    // Another element of the same block opens alike; one of another block, name, shape or root does not.
    opening.check(&root, "fc.weight", &shape, 1501).unwrap();
    assert_eq!(opening.check(&root, "fc.weight", &shape, 3).unwrap_err(), {
        OpeningError::Place {
            found: 1,
            found_of: 3,
            wanted: 0,
            wanted_of: 3,
        }
    });
    let tensor = OpeningError::Proof("tensor's");
    assert_eq!(opening.check(&root, "fc.bias", &shape, 1500).unwrap_err(), tensor);
    assert_eq!(opening.check(&root, "fc.weight", &[250, 10], 1500).unwrap_err(), tensor);
    assert_eq!(opening.check(&[0; 32], "fc.weight", &shape, 1500).unwrap_err(), tensor);
    for shape in [&[10, 250][..], &[usize::MAX, usize::MAX], &[0]] {
        let error = opening.check(&root, "fc.weight", shape, 2500).unwrap_err();
        assert_eq!(
            error,
            OpeningError::Index {
                index: 2500,
                shape: shape.to_vec()
            }
        );
    }
    assert_eq!(delta.open("fc.weight", 2500), None);
    assert_eq!(delta.open("fc.bias", 0), None);

    // The worker at fault is named.
    let claim = ElementClaim {
        tensor: "fc.weight",
        shape: &shape,
        index: 1500,
        start: 0.0,
        end: 0.0,
    };
    let error = claim
        .verify(&[(1, root, &opening), (1, [1; 32], &opening)])
        .unwrap_err();
    assert_eq!(
        error,
        ElementError::Opening {
            worker: 1,
            error: OpeningError::Proof("tensor's")
        }
    );
    let nothing = claim.verify(&[]).unwrap_err().to_string();
    assert!(nothing.contains("0 samples"), "{nothing}");
}

#[test]
fn a_malformed_block_under_a_committed_root_is_named() {
    // A root can be made over anything: here over one block with an exponent out of bounds.
    let like = Weights::from([("w".to_owned(), Tensor::new(vec![1], vec![1.0]).unwrap())]);
    let (delta, _) = compress(&like, None, Share::ALL).unwrap();
    let good = delta.open("w", 0).unwrap();
    for (block, expected) in [
        (vec![1, 0, 99, 64], "its exponent is 99"),
        ([&good.block[..], &[0]].concat(), "1 bytes follow"),
    ] {
        let blocks_root = trainyard_exact::merkle::root(&[&block]);
        let entry = [
            &[1, 0, 0, 0, b'w', 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..],
            &blocks_root,
        ]
        .concat();
        let root = trainyard_exact::merkle::root(&[entry]);
        let opening = Opening {
            block,
            blocks_root,
            ..good.clone()
        };
        let error = opening.check(&root, "w", &[1], 0).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

proptest! {
    #[test]
    fn no_opening_makes_the_referee_panic(
        block in prop::collection::vec(any::<u8>(), 0..20),
        (index, leaves, levels) in (any::<u64>(), any::<u64>(), 0usize..70),
        at in 0usize..5000,
        shape in prop::collection::vec(any::<usize>(), 0..3),
        start in any::<u32>(),
    ) {
        let proof = trainyard_exact::merkle::Proof { index, leaves, siblings: vec![[0; 32]; levels] };
        let opening = Opening { block, in_tensor: proof.clone(), blocks_root: [0; 32], in_delta: proof };
        let (start, end) = (f32::from_bits(start), 0.0);
        let claim = ElementClaim { tensor: "w", shape: &shape, index: at, start, end };
        prop_assert!(claim.verify(&[(u64::MAX, [0; 32], &opening)]).is_err());
    }
}
