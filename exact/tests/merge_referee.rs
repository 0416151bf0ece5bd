//! Judging one element of a merge, or of a worker's compressed delta, from openings alone.

use std::sync::LazyLock;

use proptest::prelude::*;
use trainyard_exact::{
    Tensor, Weights, average,
    compress::{
        CompressedDelta, DeltaWitness, ErrorProof, MAX_BLOCK_BYTES, MergeWitness, Opening, OpeningError, Share,
        WitnessError, compress, merge,
    },
    merkle,
    prf::{Hash, Stream, Tag},
    state::{StateTree, entry, state_root},
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

fn compressed(seed: u8, share: u32) -> CompressedDelta {
    compress(&weights(seed), None, Share::new(share).unwrap()).unwrap().0
}

/// A merge of three workers, with the trees of its start and its end.
struct Round {
    deltas: Vec<CompressedDelta>,
    workers: Vec<(u64, Hash)>,
    states: [(StateTree, Weights); 2],
}

impl Round {
    fn new(share: u32) -> Self {
        let deltas: Vec<_> = (1..4).map(|seed| compressed(seed, share)).collect();
        let weighted: Vec<_> = [64, 640, 31].into_iter().zip(&deltas).collect();
        let start = weights(0);
        let end = merge(&start, &weighted).unwrap();
        let workers = weighted
            .iter()
            .map(|(samples, delta)| (*samples, delta.root()))
            .collect();
        let states = [start, end].map(|state| (StateTree::of(&state, 1), state));
        Self {
            deltas,
            workers,
            states,
        }
    }

    fn roots(&self) -> [Hash; 2] {
        self.states.each_ref().map(|(tree, _)| tree.root())
    }

    fn witness(&self, tensor: &str, index: usize) -> MergeWitness {
        let [before, after] = self.states.each_ref().map(|(tree, weights)| (tree, weights));
        let deltas: Vec<_> = self.deltas.iter().collect();
        MergeWitness::open(before, after, &deltas, tensor, index).unwrap()
    }
}

#[test]
fn every_element_of_a_merge_is_judged_rightly() {
    for share in [10_000, 1_000_000] {
        let round = Round::new(share);
        let [start, end] = round.roots();
        let mut moved = 0;
        for (tensor, merged) in &round.states[1].1 {
            for index in (0..merged.data().len()).step_by(3) {
                let witness = round.witness(tensor, index);
                assert_eq!(witness.verify(&start, &end, &round.workers, tensor, index), Ok(true));
                // The same proofs in the other direction: the element should have moved, or should not have come back.
                let backward = MergeWitness {
                    before: witness.after.clone(),
                    after: witness.before.clone(),
                    ..witness
                };
                let changed = merged.data()[index] != round.states[0].1[tensor].data()[index];
                assert_eq!(
                    backward.verify(&end, &start, &round.workers, tensor, index),
                    Ok(!changed)
                );
                moved += usize::from(changed);
            }
        }
        assert!(moved > if share == 10_000 { 20 } else { 800 }, "{moved} elements moved");
    }
}

#[test]
fn one_wrong_bit_of_a_merge_is_found() {
    let mut round = Round::new(10_000);
    let wrong = &mut round.states[1];
    let value = &mut wrong.1.get_mut("fc.weight").unwrap().data_mut()[777];
    *value = f32::from_bits(value.to_bits() ^ 1);
    wrong.0 = StateTree::of(&wrong.1, 1);
    let [start, end] = round.roots();
    let judge = |index| {
        round
            .witness("fc.weight", index)
            .verify(&start, &end, &round.workers, "fc.weight", index)
    };
    assert_eq!([776, 777, 778].map(judge), [Ok(true), Ok(false), Ok(true)]);
    // A tensor of another shape at the end is wrong, whatever it holds.
    let flat = round.states[0].1["fc.weight"].data().to_vec();
    round.states[1]
        .1
        .insert("fc.weight".to_owned(), Tensor::new(vec![2500], flat).unwrap());
    round.states[1].0 = StateTree::of(&round.states[1].1, 1);
    let witness = round.witness("fc.weight", 0);
    assert_eq!(
        witness.verify(&start, &round.roots()[1], &round.workers, "fc.weight", 0),
        Ok(false)
    );
}

#[test]
fn a_witness_of_a_merge_is_bound_to_its_round() {
    let round = Round::new(10_000);
    let [start, end] = round.roots();
    let witness = round.witness("fc.weight", 5);
    let refused = |start: &Hash, end: &Hash, workers: &[(u64, Hash)], tensor: &str, index| {
        witness
            .verify(start, end, workers, tensor, index)
            .unwrap_err()
            .to_string()
    };
    let workers = &round.workers;
    assert!(refused(&end, &end, workers, "fc.weight", 5).starts_with("the element before"));
    assert!(refused(&start, &start, workers, "fc.weight", 5).starts_with("the element after"));
    assert!(refused(&start, &end, workers, "conv.bias", 5).starts_with("the element before"));
    assert!(refused(&start, &end, workers, "fc.weight", 500).starts_with("the element before"));
    assert_eq!(
        refused(&start, &end, &workers[1..], "fc.weight", 5),
        "there are openings of 3 workers, the round has 2"
    );
    let swapped = [workers[0], workers[2], workers[1]];
    assert!(refused(&start, &end, &swapped, "fc.weight", 5).starts_with("what worker 1 sent"));
    let none = workers.iter().map(|(_, root)| (0, *root)).collect::<Vec<_>>();
    assert!(refused(&start, &end, &none, "fc.weight", 5).contains("0 samples"));
}

/// Two rounds of one worker: states before and after training, and errors carried on.
struct Worker {
    before: (StateTree, Weights),
    after: (StateTree, Weights),
    deltas: [CompressedDelta; 2],
    errors: [(StateTree, Weights); 2],
}

impl Worker {
    /// In its second round the worker carries in `carried(error)` in place of its error.
    fn new(carried: impl FnOnce(&mut Weights)) -> Self {
        let treed = |weights: Weights| (StateTree::of(&weights, 1), weights);
        let share = Share::new(100_000).unwrap();
        let (first, error) = compress(&weights(7), None, share).unwrap();
        let (before, after) = (weights(8), weights(9));
        let mut bent = error.clone();
        carried(&mut bent);
        let delta = average::delta(&before, &after).unwrap();
        let (second, next) = compress(&delta, Some(&bent), share).unwrap();
        Self {
            before: treed(before),
            after: treed(after),
            deltas: [first, second],
            errors: [treed(error), treed(next)],
        }
    }

    fn witness(&self, tensor: &str, index: usize) -> DeltaWitness {
        let error = |at: usize| {
            let (tree, error) = &self.errors[at];
            ErrorProof::open(&self.deltas[at], (tree, error), tensor, index).unwrap()
        };
        DeltaWitness {
            before: self.before.0.open(&self.before.1, tensor, index).unwrap(),
            after: self.after.0.open(&self.after.1, tensor, index).unwrap(),
            sent: self.deltas[1].open(tensor, index).unwrap(),
            error: error(1),
            carried: Some(error(0)),
        }
    }

    fn judge(&self, witness: &DeltaWitness, tensor: &str, index: usize) -> Result<bool, WitnessError> {
        let (before, after) = (self.before.0.root(), self.after.0.root());
        let [first, second] = self.deltas.each_ref().map(CompressedDelta::root);
        witness.verify(&before, &after, &second, Some(&first), tensor, index)
    }
}

#[test]
fn every_element_of_a_delta_is_judged_rightly() {
    let honest = Worker::new(|_| ());
    let cheat = Worker::new(|error| error.get_mut("fc.weight").unwrap().data_mut()[123] += 0.5);
    for (tensor, weights) in &honest.before.1 {
        for index in (0..weights.data().len()).step_by(3) {
            let witness = honest.witness(tensor, index);
            assert_eq!(
                honest.judge(&witness, tensor, index),
                Ok(true),
                "element {index} of {tensor}"
            );
            let bytes = witness.encode();
            assert!(bytes.len() < 3500, "{} bytes", bytes.len());
            assert_eq!(DeltaWitness::decode(&bytes, false), Ok(witness));
            assert!(DeltaWitness::decode(&bytes, true).is_err());
            let found = cheat.judge(&cheat.witness(tensor, index), tensor, index);
            assert_eq!(found, Ok(tensor != "fc.weight" || index != 123));
        }
    }
}

#[test]
fn a_witness_of_a_delta_is_bound_to_it() {
    let worker = Worker::new(|_| ());
    let witness = worker.witness("conv.bias", 2);
    let bent = |bend: fn(&mut DeltaWitness)| {
        let mut witness = witness.clone();
        bend(&mut witness);
        worker.judge(&witness, "conv.bias", 2).unwrap_err().to_string()
    };
    assert!(bent(|w| w.carried = None).contains("an error carried in is shown: false; a delta before: true"));
    assert!(bent(|w| w.carried = Some(w.error.clone())).contains("the root of the error carried in"));
    assert!(bent(|w| w.error.root[0] ^= 1).contains("the root of the error carried on"));
    assert!(bent(|w| w.error.in_delta = w.sent.in_delta.clone()).contains("the root of the error carried on"));
    assert!(bent(|w| w.error.element = w.before.clone()).contains("the element carried on"));
    assert!(bent(|w| w.after = w.before.clone()).contains("the element after"));
    assert!(bent(|w| w.sent.block.clear()).contains("what worker 0 sent"));
    // A first delta has nothing carried in.
    let (before, after) = (worker.before.0.root(), worker.after.0.root());
    let delta = average::delta(&worker.before.1, &worker.after.1).unwrap();
    let (first, error) = compress(&delta, None, Share::ALL).unwrap();
    let tree = StateTree::of(&error, 1);
    let witness = DeltaWitness {
        sent: first.open("conv.bias", 2).unwrap(),
        error: ErrorProof::open(&first, (&tree, &error), "conv.bias", 2).unwrap(),
        carried: None,
        ..witness
    };
    let judge = |previous| witness.verify(&before, &after, &first.root(), previous, "conv.bias", 2);
    assert_eq!(judge(None), Ok(true));
    assert_eq!(
        judge(Some(&[0; 32])),
        Err(WitnessError::Carried {
            shown: false,
            before: true
        })
    );
    assert_eq!(DeltaWitness::decode(&witness.encode(), true), Ok(witness));
}

#[test]
fn an_opening_of_a_sparse_delta_is_small() {
    let large = Weights::from([("w".to_owned(), {
        let mut stream = Stream::new(Tag::Init, &[]);
        let data = (0..1 << 18).map(|_| stream.symmetric_f32()).collect();
        Tensor::new(vec![1 << 18], data).unwrap()
    })]);
    let (delta, error) = compress(&large, None, Share::new(10_000).unwrap()).unwrap();
    let trees = [&large, &error].map(|state| StateTree::of(state, 1));
    let sizes = (0..1 << 18).step_by(1 << 10).map(|at| {
        let states = [(&trees[0], &large), (&trees[1], &error)];
        let with = |deltas: &[&CompressedDelta]| {
            let witness = MergeWitness::open(states[0], states[1], deltas, "w", at).unwrap();
            witness.encode().len()
        };
        with(&[&delta]) - with(&[])
    });
    let largest = sizes.max().unwrap();
    assert!(largest < 450, "an opening takes {largest} bytes");
    assert!(MergeWitness::verification_bytes(10) < 100_000);
}

#[test]
fn what_an_opening_does_not_show_is_refused() {
    let delta = compressed(1, 10_000);
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
    let place = |found, found_of, wanted| OpeningError::Place {
        found,
        found_of,
        wanted,
        wanted_of: 3,
    };
    assert_eq!(bent(|o| o.in_tensor.index = 0), place(0, 3, 1));
    assert_eq!(bent(|o| o.in_tensor.leaves = 2), place(1, 2, 1));

    // Another element of the same block opens alike; one of another block, name, shape or root does not.
    opening.check(&root, "fc.weight", &shape, 1501).unwrap();
    assert_eq!(
        opening.check(&root, "fc.weight", &shape, 3).unwrap_err(),
        place(1, 3, 0)
    );
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
}

#[test]
fn a_malformed_block_under_a_committed_root_is_named() {
    // A root can be made over anything.
    let like = Weights::from([("w".to_owned(), Tensor::new(vec![1], vec![1.0]).unwrap())]);
    let (delta, error) = compress(&like, None, Share::ALL).unwrap();
    let good = delta.open("w", 0).unwrap();
    for (block, expected) in [
        (vec![1, 0, 99, 64], "its exponent is 99"),
        ([&good.block[..], &[0]].concat(), "1 bytes follow"),
    ] {
        let blocks_root = merkle::root(&[&block]);
        let leaves = [state_root(&error).to_vec(), entry("w", &[1], &blocks_root)];
        let opening = Opening {
            block,
            blocks_root,
            ..good.clone()
        };
        let error = opening
            .check(&merkle::root(&leaves), "w", &[1], 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error:?} should say {expected:?}");
    }
}

#[test]
fn a_quantum_at_a_grid_too_fine_is_no_rounding() {
    use trainyard_exact::compress::Quantum;
    let quantum = |exponent, value| Quantum::new(exponent, value).unwrap();
    assert_eq!(quantum(0, 3).remainder(2.75), Some(-0.25));
    assert_eq!(quantum(0, 2).remainder(2.5), Some(0.5));
    assert_eq!(quantum(0, 3).remainder(2.5), None);
    assert_eq!(quantum(0, 0).remainder(2.5), Some(2.5));
    assert_eq!(quantum(0, 127).remainder(127.25), Some(0.25));
    for whole in [127.5, 1e6, f32::MAX, f32::INFINITY, f32::NAN] {
        assert_eq!(quantum(0, 127).remainder(whole), None, "{whole}");
    }
    assert_eq!(quantum(-48, 0).remainder(f32::NAN), None);
    assert_eq!(quantum(-48, 0).remainder(8_355_840.0), None);
}

proptest! {
    #[test]
    fn changed_bytes_never_judge_otherwise(index in 0usize..2500, at: usize, flip in 1u8.., cut: bool) {
        static ROUND: LazyLock<Round> = LazyLock::new(|| Round::new(20_000));
        let round = &*ROUND;
        let [start, end] = round.roots();
        let witness = round.witness("fc.weight", index);
        let mut bytes = witness.encode();
        prop_assert_eq!(MergeWitness::decode(&bytes, 3), Ok(witness));
        prop_assert!(MergeWitness::decode(&bytes, 2).is_err());
        let at = at % bytes.len();
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        if let Ok(other) = MergeWitness::decode(&bytes, 3) {
            prop_assert!(other.verify(&start, &end, &round.workers, "fc.weight", index).is_err());
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..900), shape in prop::collection::vec(any::<usize>(), 0..3)) {
        if let Ok(witness) = MergeWitness::decode(&bytes, 9) {
            prop_assert!(witness.verify(&[0; 32], &[0; 32], &[], "w", 0).is_err());
        }
        if let Ok(witness) = DeltaWitness::decode(&bytes, true) {
            prop_assert!(witness.verify(&[0; 32], &[0; 32], &[0; 32], None, "w", 0).is_err());
        }
        let half = bytes.len() / 2;
        let proof = merkle::Proof { index: 0, leaves: u64::MAX, siblings: vec![[0; 32]; half / 8] };
        let opening = Opening { block: bytes, in_tensor: proof.clone(), blocks_root: [0; 32], in_delta: proof };
        prop_assert!(opening.check(&[0; 32], "w", &shape, half).is_err());
    }
}
