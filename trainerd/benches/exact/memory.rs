//! Peak memory of each engine: what a process of its own holds at most while it trains, less what it held before.

use std::fs;
use std::process::{Command, ExitCode};

use trainyard_trainerd::engine::Engine;

use crate::steps::models;
use crate::{Bench, Row};

/// A field of this process's status, in MiB.
fn status(field: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: f64 = line
        .trim_start_matches(':')
        .trim()
        .strip_suffix(" kB")?
        .trim()
        .parse()
        .ok()?;
    Some(kib / 1024.0)
}

/// Runs as a process of its own: `--memory ENGINE MODEL` trains three steps and prints the MiB they took.
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let (engine, name) = (arguments.next(), arguments.next());
    let models = models();
    let Some(model) = models.iter().find(|model| Some(model.name) == name.as_deref()) else {
        return ExitCode::FAILURE;
    };
    tch::set_num_threads(1);
    let (samples, labels) = model.batch();
    // From here on the peak counts anew.
    let before = fs::write("/proc/self/clear_refs", "5")
        .ok()
        .and_then(|()| status("VmRSS"));
    let mut engine: Box<dyn Engine> = match engine.as_deref() {
        Some("exact") => Box::new(model.exact(1)),
        _ => Box::new(model.libtorch()),
    };
    for number in 1..=3 {
        engine.step(&samples, &labels, number, 1).expect("it trains");
    }
    match (before, status("VmHWM")) {
        (Some(before), Some(peak)) => {
            println!("{}", peak - before);
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

/// The memory of every model. Nothing is noted where the system does not tell a process's memory.
pub(crate) fn run(bench: &mut Bench) {
    let measure = |engine: &str, model: &str| -> Option<f64> {
        let child = Command::new(std::env::current_exe().ok()?)
            .args(["--memory", engine, model])
            .output()
            .ok()?;
        String::from_utf8(child.stdout).ok()?.trim().parse().ok()
    };
    for model in models() {
        if let (Some(ours), Some(peer)) = (measure("exact", model.name), measure("libtorch", model.name)) {
            let row = Row {
                name: format!("memory of {} batch {}", model.name, model.batch),
                unit: "MiB",
                ours,
                peer: Some(peer),
            };
            bench.note(row, "");
        }
    }
}
