//! What is fuzzed, and what must hold of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::harness::fuzz;
use trainyard_exact::compress::{CompressedDelta, DeltaWitness, ErrorProof, MergeWitness, Share, compress, merge};
use trainyard_exact::definition::Primitive;
use trainyard_exact::kernels::{Isa, Kernel, Pool};
use trainyard_exact::lower;
use trainyard_exact::model::{CnnSpec, MlpSpec, ResNetSpec, TransformerSpec, cnn, mlp, resnet, transformer};
use trainyard_exact::onnx::{Graph, Limits, decode};
use trainyard_exact::prf::Hash;
use trainyard_exact::program::{Commitment, Executor, Instruction, Leaf, Program};
use trainyard_exact::referee::{MAX_TERMS_PER_CALL, Question, Verdict, Witness, referee};
use trainyard_exact::state::{ElementProof, StateTree, tensor_root};
use trainyard_exact::task::{Loss, Optimizer, Task};
use trainyard_exact::{Tensor, Weights, average, merkle};

/// The most that a fuzzed program may cost to be run.
const MAX_STEPS: u64 = 2_000_000;
const MAX_MEMORY: u64 = 64 << 20;

/// Small models, and exports of both exporters.
fn graphs() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        mlp(&MlpSpec {
            sample: vec![5],
            hidden: vec![4],
            classes: 3,
            seed: 0,
        })
        .unwrap(),
        cnn(&CnnSpec {
            sample: [2, 4, 4],
            filters: vec![3],
            kernel: 3,
            hidden: vec![],
            classes: 2,
            seed: 0,
        })
        .unwrap(),
        resnet(&ResNetSpec {
            sample: [1, 4, 4],
            widths: vec![2, 3],
            blocks: 1,
            classes: 2,
            seed: 0,
        })
        .unwrap(),
        transformer(&TransformerSpec {
            vocabulary: 5,
            context: 3,
            width: 4,
            heads: 2,
            layers: 1,
            causal: true,
            seed: 0,
        })
        .unwrap(),
    ];
    let exports = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exports");
    for name in ["net_training", "misc_dynamo", "bert_script", "flash_training"] {
        seeds.push(fs::read(exports.join(name).with_extension("onnx")).unwrap());
    }
    seeds
}

fn limits() -> Limits {
    Limits {
        bytes: 1 << 20,
        parameters: 1 << 18,
        evaluated: 1 << 16,
        dim: 1 << 16,
        activations: 1 << 18,
        ..Limits::default()
    }
}

fn task() -> Task {
    let optimizer = Optimizer::Sgd {
        learning_rate: 0.1,
        momentum: 0.9,
        weight_decay: 0.01,
        nesterov: true,
    };
    Task {
        clip_norm: 1.0,
        ..Task::new(Loss::Mse, optimizer)
    }
}

/// Runs a program on inputs of halves.
fn outputs(program: &Program, isa: Isa, threads: usize) -> Vec<Vec<u32>> {
    let mut executor = Executor::with_isa(program.clone(), isa, threads).unwrap();
    let inputs: Vec<Vec<f32>> = program
        .inputs()
        .iter()
        .map(|port| vec![0.5; port.shape.iter().product()])
        .collect();
    let input = |role: &_| {
        let at = program.inputs().iter().position(|port| port.role == *role)?;
        Some(&inputs[at][..])
    };
    let outputs = executor.run(input, |_, _| {}).unwrap();
    let bits = |output: &Vec<f32>| output.iter().map(|value| value.to_bits()).collect();
    outputs.iter().map(bits).collect()
}

/// A graph that decodes has checked shapes; its programs are bounded by what the graph's limits allow, and give one result on
/// every level of instructions.
fn graph(bytes: &[u8]) -> bool {
    let limits = limits();
    let Ok(graph) = decode(bytes, &limits) else {
        return false;
    };
    check_limits(&graph, &limits);
    for program in [lower::inference(&graph, 3), lower::training(&graph, &task(), 3)] {
        let Ok(program) = program else {
            continue;
        };
        let cost = program.cost();
        if cost.steps <= MAX_STEPS && cost.memory <= MAX_MEMORY {
            assert_eq!(outputs(&program, Isa::SCALAR, 1), outputs(&program, Isa::best(), 2));
        }
    }
    true
}

fn check_limits(graph: &Graph, limits: &Limits) {
    let elements = |tensors: &mut dyn Iterator<Item = &Tensor>| tensors.map(|t| t.data().len() as u64).sum::<u64>();
    assert!(graph.nodes.len() as u64 <= limits.nodes);
    assert!(elements(&mut graph.weights.values()) <= limits.parameters);
    assert!(elements(&mut graph.constants.iter()) <= limits.parameters + limits.evaluated);
    let activations = graph.nodes.iter().map(|node| {
        let sizes = node.shape.iter().map(|dim| dim.with_batch(1) as u64);
        sizes.product::<u64>()
    });
    assert!(activations.sum::<u64>() <= limits.activations);
}

#[test]
fn graphs_decode_lower_and_run() {
    fuzz("graphs", &graphs(), graph);
}

/// A primitive that decodes has this one encoding, and every element of it can be evaluated: reading only what there is,
/// with at most as many steps as it says, to the bits that its kernel gives.
fn primitive(bytes: &[u8]) -> bool {
    let Ok(primitive) = Primitive::decode(bytes) else {
        return false;
    };
    assert_eq!(primitive.encode(), bytes);
    let sizes: Vec<usize> = primitive
        .views()
        .iter()
        .map(|view| view.shape.iter().product())
        .collect();
    let value = |input: usize, offset: usize| ((offset * 7 + input * 3) % 5) as f32 - 1.0;
    let read = |input: usize, offset: usize| {
        assert!(offset < sizes[input], "element {offset} of input {input} is read");
        value(input, offset)
    };
    let (elements, terms) = (primitive.elements(), primitive.terms());
    for index in [0, elements / 2, elements.saturating_sub(1), elements] {
        let last = terms.saturating_sub(100);
        for range in [0..100, last..terms, terms..usize::MAX] {
            let result = primitive.fold(index, range, primitive.start(), read);
            assert!(!result.is_nan() || result.to_bits() == 0x7fc0_0000);
        }
    }
    let small = |count: usize| count <= 1 << 12;
    if small(elements) && small(terms) && elements * terms <= 1 << 15 && sizes.iter().all(|size| small(*size)) {
        let inputs: Vec<Vec<f32>> = (0..)
            .zip(&sizes)
            .map(|(input, size)| (0..*size).map(|offset| value(input, offset)).collect())
            .collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let expected: Vec<u32> = (0..elements)
            .map(|index| primitive.element(index, read).to_bits())
            .collect();
        let pool = Pool::new(1).unwrap();
        for isa in [Some(Isa::SCALAR), Isa::avx2(), Isa::avx512()].into_iter().flatten() {
            let mut output = vec![0.0; elements];
            Kernel::new(&primitive).run(isa, &pool, &inputs, &mut output).unwrap();
            let found: Vec<u32> = output.iter().map(|value: &f32| value.to_bits()).collect();
            assert_eq!(found, expected, "{isa:?} {primitive:?}");
        }
    }
    true
}

#[test]
fn primitives_decode_and_evaluate() {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for bytes in graphs() {
        let graph = decode(&bytes, &Limits::default()).unwrap();
        let program = lower::training(&graph, &task(), 2).unwrap();
        seeds.extend(
            program
                .instructions()
                .iter()
                .map(|instruction| instruction.primitive.encode()),
        );
    }
    seeds.sort();
    seeds.dedup();
    fuzz("primitives", &seeds, primitive);
}

#[test]
fn leaves_of_programs_decode() {
    let mut seeds = Vec::new();
    for bytes in graphs() {
        let graph = decode(&bytes, &Limits::default()).unwrap();
        let program = lower::training(&graph, &task(), 2).unwrap();
        seeds.extend(Commitment::new(&program).unwrap().leaves().iter().map(Leaf::encode));
    }
    seeds.sort();
    seeds.dedup();
    fuzz("leaves of programs", &seeds, |bytes| {
        let Ok(leaf) = Leaf::decode(bytes) else {
            return false;
        };
        assert_eq!(leaf.encode(), bytes);
        true
    });
}

/// Honest questions about some elements of a step, with their witnesses.
fn questions(model: &[u8]) -> Vec<(Question, Witness)> {
    let graph = decode(model, &Limits::default()).unwrap();
    let program = lower::training(&graph, &task(), 2).unwrap();
    let commitment = Commitment::new(&program).unwrap();
    let mut values: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
    for (number, port) in program.inputs().iter().enumerate() {
        let count = port.shape.iter().product();
        values.insert(number, (0..count).map(|i| (i % 3) as f32 * 0.25).collect());
    }
    for (number, constant) in (program.inputs().len()..).zip(program.constants()) {
        values.insert(number, constant.data().to_vec());
    }
    let mut questions = Vec::new();
    for (number, instruction) in (program.first()..).zip(program.instructions()) {
        let Instruction { primitive, operands } = instruction;
        let read = |input: usize, offset: usize| values[&operands[input]][offset];
        let result: Vec<f32> = (0..primitive.elements())
            .map(|index| primitive.element(index, read))
            .collect();
        let roots: Vec<Hash> = values.values().map(|value| tensor_root(value)).collect();
        let element = primitive.elements() / 2;
        if number % 5 == 0 && primitive.terms() <= MAX_TERMS_PER_CALL {
            let question = Question {
                program: commitment.root(),
                header: *commitment.header(),
                prefix: merkle::root(&roots),
                value: number as u64,
                element,
                range: 0..primitive.terms(),
                before: primitive.start(),
                after: result[element],
            };
            let witness = Witness::new(&commitment, &question, &roots, &values).unwrap();
            questions.push((question, witness));
        }
        values.insert(number, result);
    }
    questions
}

/// Whatever is shown about an honest claim, the referee finds that it holds or refuses.
#[test]
fn the_referee_is_not_misled() {
    let questions = questions(&graphs()[1]);
    let seeds: Vec<Vec<u8>> = questions.iter().map(|(_, witness)| witness.encode()).collect();
    fuzz("referee", &seeds, |bytes| {
        let mut accepted = false;
        for (question, _) in &questions {
            let Ok(witness) = Witness::decode(bytes, question) else {
                continue;
            };
            assert_eq!(witness.encode(), bytes);
            let verdict = referee(question, &witness);
            assert!(verdict.is_err() || verdict == Ok(Verdict::Holds), "{verdict:?}");
            accepted = true;
        }
        accepted
    });
}

fn weights(seed: usize) -> Weights {
    let tensor = |name: &str, shape: &[usize]| {
        let count = shape.iter().product();
        let data = (0..count)
            .map(|i: usize| ((i * 31 + seed * 7) % 97) as f32 / 97.0 - 0.5)
            .collect();
        (name.to_owned(), Tensor::new(shape.to_vec(), data).unwrap())
    };
    Weights::from([tensor("bias", &[8]), tensor("weight", &[10, 130]), tensor("x", &[])])
}

#[test]
fn proofs_of_elements_decode_and_prove_only_what_is() {
    let weights = weights(0);
    let tree = StateTree::of(&weights, 1);
    let root = tree.root();
    let elements = [("bias", 3), ("weight", 0), ("weight", 1299), ("x", 0)];
    let seeds = elements.map(|(name, element)| tree.open(&weights, name, element).unwrap().encode());
    fuzz("proofs of elements", &seeds, |bytes| {
        let Ok(proof) = ElementProof::decode(bytes) else {
            return false;
        };
        assert_eq!(proof.encode(), bytes);
        for (name, tensor) in &weights {
            for element in 0..tensor.data().len() + 1 {
                if let Ok(value) = proof.verify(&root, name, element) {
                    assert_eq!(value.to_bits(), tensor.data()[element].to_bits());
                }
            }
        }
        true
    });
}

fn compressed(seed: usize) -> CompressedDelta {
    compress(&weights(seed), None, Share::new(100_000).unwrap()).unwrap().0
}

/// Every delta that decodes can be merged, unless it is too large to be.
#[test]
fn deltas_decode() {
    let like = weights(0);
    let seeds = [1, 2, 3].map(|seed| compressed(seed).to_bytes());
    fuzz("deltas", &seeds, |bytes| {
        let Ok(delta) = CompressedDelta::from_bytes(bytes, &like) else {
            return false;
        };
        assert_eq!(delta.to_bytes(), bytes);
        if let Ok(merged) = merge(&like, &[(1, &delta)]) {
            assert_eq!(merged.len(), like.len());
        }
        true
    });
}

#[test]
fn witnesses_of_merges_decode_and_judge() {
    let (start, delta) = (weights(0), compressed(1));
    let end = merge(&start, &[(5, &delta)]).unwrap();
    let trees = [&start, &end].map(|state| StateTree::of(state, 1));
    let roots = trees.each_ref().map(StateTree::root);
    let elements = [("bias", 3), ("weight", 700)];
    let seeds = elements.map(|(name, index)| {
        let witness = MergeWitness::open((&trees[0], &start), (&trees[1], &end), &[&delta], name, index);
        witness.unwrap().encode()
    });
    fuzz("witnesses of merges", &seeds, |bytes| {
        let Ok(witness) = MergeWitness::decode(bytes, 1) else {
            return false;
        };
        assert_eq!(witness.encode(), bytes);
        for (name, index) in elements {
            let verdict = witness.verify(&roots[0], &roots[1], &[(5, delta.root())], name, index);
            assert!(verdict.unwrap_or(true), "an honest merge is judged wrong");
        }
        true
    });
}

#[test]
fn witnesses_of_deltas_decode_and_judge() {
    let (before, after) = (weights(0), weights(5));
    let delta = average::delta(&before, &after).unwrap();
    let (delta, error) = compress(&delta, None, Share::new(100_000).unwrap()).unwrap();
    let trees = [&before, &after, &error].map(|state| StateTree::of(state, 1));
    let elements = [("bias", 3), ("weight", 700)];
    let seeds = elements.map(|(name, index)| {
        let witness = DeltaWitness {
            before: trees[0].open(&before, name, index).unwrap(),
            after: trees[1].open(&after, name, index).unwrap(),
            sent: delta.open(name, index).unwrap(),
            error: ErrorProof::open(&delta, (&trees[2], &error), name, index).unwrap(),
            carried: None,
        };
        witness.encode()
    });
    fuzz("witnesses of deltas", &seeds, |bytes| {
        let Ok(witness) = DeltaWitness::decode(bytes, true) else {
            return false;
        };
        assert_eq!(witness.encode(), bytes);
        let roots = trees.each_ref().map(StateTree::root);
        for (name, index) in elements {
            let verdict = witness.verify(&roots[0], &roots[1], &delta.root(), None, name, index);
            assert!(verdict.unwrap_or(true), "an honest delta is judged wrong");
        }
        true
    });
}
