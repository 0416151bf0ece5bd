//! The published test cases of ONNX's operators (see `onnx_cases/pack.py`), computed by the programs of their graphs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use trainyard_exact::onnx::{Limits, decode};
use trainyard_exact::train::Inference;

/// How far a result may be off, as in ONNX's own runner but for results near 0.
const RELATIVE: f32 = 1e-3;
const ABSOLUTE: f32 = 1e-5;

/// Cases that are computed. More is good, then raise it; fewer is a loss.
const PASSED: usize = 357;

enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

fn judge(model: &[u8], expected: &[f32]) -> Verdict {
    let graph = match decode(model, &Limits::default()) {
        Ok(graph) => graph,
        Err(error) => return Verdict::Skipped(error.to_string()),
    };
    let result = Inference::new(&graph, 1, 1).map(|mut inference| inference.run(&graph.weights, &[0.0]));
    let result = match result {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => return Verdict::Failed(error.to_string()),
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    if result.len() != expected.len() {
        return Verdict::Failed(format!("{} elements, expected {}", result.len(), expected.len()));
    }
    let close = |ours: f32, theirs: f32| {
        ours == theirs
            || ours.is_nan() && theirs.is_nan()
            || (ours - theirs).abs() <= ABSOLUTE + RELATIVE * theirs.abs()
    };
    let wrong = result
        .iter()
        .zip(expected)
        .position(|(ours, theirs)| !close(*ours, *theirs));
    match wrong {
        Some(at) => Verdict::Failed(format!("element {at} is {}, expected {}", result[at], expected[at])),
        None => Verdict::Passed,
    }
}

#[test]
fn published_cases_give_the_published_results() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/onnx_cases/cases.safetensors");
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut parts: BTreeMap<String, BTreeMap<String, &[u8]>> = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (case, part) = name.split_once('/').unwrap();
        parts
            .entry(case.to_owned())
            .or_default()
            .insert(part.to_owned(), view.data());
    }
    let (mut passed, mut failed) = (0, Vec::new());
    for (case, parts) in &parts {
        let verdict = match (parts.get("model"), parts.get("expected"), parts.get("skipped")) {
            (Some(model), Some(expected), None) => {
                let expected: Vec<f32> = expected
                    .as_chunks::<4>()
                    .0
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect();
                judge(model, &expected)
            }
            (None, None, Some(why)) => Verdict::Skipped(String::from_utf8_lossy(why).into_owned()),
            _ => Verdict::Failed("it is not whole".to_owned()),
        };
        match verdict {
            Verdict::Passed => {
                passed += 1;
                println!("passed   {case}");
            }
            Verdict::Skipped(why) => println!("skipped  {case}: {why}"),
            Verdict::Failed(why) => {
                println!("FAILED   {case}: {why}");
                failed.push(case);
            }
        }
    }
    println!(
        "{passed} passed, {} skipped, {} failed",
        parts.len() - passed - failed.len(),
        failed.len()
    );
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(passed, PASSED);
}
