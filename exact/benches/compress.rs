//! Size and speed of compressed deltas: `cargo bench -p trainyard-exact --bench compress`.
//!
//! Deltas of a normal-like distribution, for the weights of the built-in CNN and for one tensor of 2²³ elements; bytes sent per
//! round against f32, and milliseconds on one thread to compress, decode, and merge five workers. Medians.

use std::hint::black_box;
use std::time::Instant;
use trainyard_exact::compress::{CompressedDelta, Share, compress, merge};
use trainyard_exact::model::{CnnSpec, cnn};
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::prf::{Stream, Tag};
use trainyard_exact::{Tensor, Weights, average};

const RUNS: usize = 5;
const WORKERS: usize = 5;

fn milliseconds<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            black_box(work());
            1e3 * start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

/// A delta of the shapes of `weights`: sums of three uniform draws.
fn delta(weights: &Weights) -> Weights {
    let mut stream = Stream::new(Tag::Init, &[b"delta"]);
    let mut delta = weights.clone();
    for value in delta.values_mut().flat_map(Tensor::data_mut) {
        *value = 0.01 * (stream.symmetric_f32() + stream.symmetric_f32() + stream.symmetric_f32());
    }
    delta
}

fn main() {
    let graph = cnn(&CnnSpec::default()).expect("the built-in model is sound");
    let cnn = decode(&graph, &Limits::default())
        .expect("the built-in model decodes")
        .weights;
    let large = Tensor::new(vec![1 << 23], vec![0.0; 1 << 23]).expect("it fills its shape");
    for (name, start) in [
        ("CNN", cnn),
        ("2^23 elements", Weights::from([("w".to_owned(), large)])),
    ] {
        let elements: usize = start.values().map(|tensor| tensor.data().len()).sum();
        let delta = delta(&start);
        let floats = vec![(1, delta.clone()); WORKERS];
        let whole = milliseconds(|| average::merge(&start, &floats));
        println!(
            "{name}: {elements} elements, {} bytes as f32; merge {whole:.2} ms",
            4 * elements
        );
        for (share, ppm) in [("int8", 1_000_000), ("10 %", 100_000), ("1 %", 10_000)] {
            let share_of = Share::new(ppm).expect("it is within bounds");
            let (compressed, error) = compress(&delta, None, share_of).expect("the delta is finite");
            let bytes = compressed.to_bytes();
            let workers = vec![(1, &compressed); WORKERS];
            println!(
                "  {share:>4}: {:>8} bytes, 1/{:<5.1} compress {:.2} ms, decode {:.2} ms, root {:.2} ms, merge {:.2} ms",
                bytes.len(),
                4.0 * elements as f64 / bytes.len() as f64,
                milliseconds(|| compress(&delta, Some(&error), share_of)),
                milliseconds(|| CompressedDelta::from_bytes(&bytes, &start)),
                milliseconds(|| compressed.root()),
                milliseconds(|| merge(&start, &workers)),
            );
        }
    }
}
