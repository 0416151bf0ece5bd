//! Cost of state roots on one thread and on two: `cargo bench -p trainyard-exact --bench hashing`.
//!
//! The states are a CNN of 207 thousand parameters and a transformer of 4.8 million, each with Adam's two moments.
//! Each number is the best of many runs, so that other work on the machine counts for little.

use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::state::{StateTree, TensorLeaves};
use trainyard_exact::{Tensor, Weights};

const RUNS: usize = 40;

fn state(tensors: &[(&str, usize)]) -> Weights {
    let mut weights = Weights::new();
    for (name, count) in tensors {
        for prefix in ["", "opt/m/", "opt/v/"] {
            let data = (0..*count).map(|i| i as f32).collect();
            let tensor = Tensor::new(vec![*count], data).expect("as many elements as the shape has");
            weights.insert(format!("{prefix}{name}"), tensor);
        }
    }
    weights
}

fn best(mut work: impl FnMut()) -> f64 {
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn main() {
    let cnn = state(&[("conv1", 320), ("conv2", 18_496), ("fc1", 186_976), ("fc2", 1_290)]);
    let blocks: Vec<String> = (0..6).map(|i| format!("block{i}")).collect();
    let mut tensors: Vec<(&str, usize)> = vec![("embedding", 65 * 256)];
    for block in &blocks {
        tensors.push((block, 789_760));
    }
    let transformer = state(&tensors);
    for (name, weights) in [("CNN", &cnn), ("transformer", &transformer)] {
        let bytes: usize = weights.values().map(|tensor| 4 * tensor.data().len()).sum();
        for threads in [1, 2] {
            let time = best(|| {
                black_box(StateTree::of(black_box(weights), threads).root());
            });
            let (mb, ms) = (bytes as f64 / 1e6, 1e3 * time);
            println!(
                "{name}: {mb:.1} MB on {threads} threads in {ms:.2} ms, {:.0} MB/s",
                mb / time
            );
        }
    }
    let mut tree = StateTree::of(&cnn, 1);
    let time = best(|| tree.update_elements("fc1", &cnn["fc1"], 1000..1001));
    println!("CNN: one changed element in {:.1} us", 1e6 * time);
    let proof = tree.open(&cnn, "fc1", 1000).expect("the element is there").encode();
    let time = best(|| {
        black_box(TensorLeaves::new(&cnn["fc1"].data()[..1024]));
    });
    println!(
        "CNN: an element's proof has {} bytes; a chunk's leaves take {:.1} us",
        proof.len(),
        1e6 * time
    );
}
