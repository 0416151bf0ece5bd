//! The exact engine beside libtorch: `scripts/bench exact [--quick] [--json FILE] [--svg FILE]`.
//!
//! Both run in one process, in turns, on the same ONNX file, batch and number of threads; each number is the median of many
//! turns, and the ratio is libtorch's time by ours: 1 is equal, more is better. Kernels are given with their share of what the
//! machine can do: multiply-adds in registers, measured beside each of them, or the bandwidth of a copy.

mod kernels;
mod memory;
mod picture;
mod proof;
mod steps;

use std::fs;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use trainyard_exact::kernels::{Isa, multiply_adds};

/// One line of the report.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: f64,
    /// What libtorch takes; none where it has nothing like it.
    pub(crate) peer: Option<f64>,
}

impl Row {
    /// libtorch's number by ours.
    pub(crate) fn ratio(&self) -> Option<f64> {
        self.peer.map(|peer| peer / self.ours)
    }

    fn json(&self) -> String {
        serde_json::json!({
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
            "ratio": self.ratio(),
        })
        .to_string()
    }
}

/// How long to measure, and what was found.
pub(crate) struct Bench {
    /// Turns of each pair, and the least time of a turn.
    runs: usize,
    turn: Duration,
    pub(crate) rows: Vec<Row>,
}

impl Bench {
    /// Medians of the seconds of each, measured in turns, and the ratio of their least, which neighbours disturb least.
    pub(crate) fn pair(&self, mut ours: impl FnMut(), mut peer: impl FnMut()) -> [f64; 3] {
        let [first, second] = [self.repeats(&mut ours), self.repeats(&mut peer)];
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..self.runs {
            times[0].push(seconds(first, &mut ours));
            times[1].push(seconds(second, &mut peer));
        }
        let [least, other] = times
            .each_ref()
            .map(|times| times.iter().copied().fold(f64::INFINITY, f64::min));
        let [ours, peer] = times.map(median);
        [ours, peer, other / least]
    }

    /// How often `work` is to be done for a turn, after doing it twice.
    fn repeats(&self, work: &mut impl FnMut()) -> u32 {
        work();
        let mut repeats = 1;
        while repeats < 1 << 16 && seconds(repeats, work) * f64::from(repeats) < self.turn.as_secs_f64() {
            repeats *= 2;
        }
        repeats
    }

    /// Notes a row and prints it, with a remark behind it.
    pub(crate) fn note(&mut self, row: Row, remark: &str) {
        let peer = row.peer.map_or_else(String::new, |peer| format!("{peer:10.3}"));
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:5.2}"));
        println!(
            "{:44} {:10.3} {peer:10} {:6} {ratio:5}  {remark}",
            row.name, row.ours, row.unit
        );
        self.rows.push(row);
    }
}

/// How names say the number of threads.
pub(crate) fn on(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}

/// The seconds of one of `repeats` repetitions.
pub(crate) fn seconds(repeats: u32, work: &mut impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..repeats).for_each(|_| work());
    start.elapsed().as_secs_f64() / f64::from(repeats)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What one thread of this machine can do at best.
pub(crate) struct Machine {
    /// Billions of multiplications and additions in a second.
    pub(crate) gflops: f64,
    /// Billions of bytes read and written in a second, by a copy of what no cache holds.
    pub(crate) bandwidth: f64,
}

impl Machine {
    fn measure() -> Self {
        const ROUNDS: u32 = 100_000;
        let gflops = (0..50).map(|_| {
            let start = Instant::now();
            let (count, _) = black_box(multiply_adds(Isa::best(), ROUNDS));
            2e-9 * count as f64 / start.elapsed().as_secs_f64()
        });
        let (from, mut to) = (vec![1u8; 256 << 20], vec![0u8; 256 << 20]);
        let bandwidth = (0..5).map(|_| {
            let start = Instant::now();
            to.copy_from_slice(black_box(&from));
            black_box(&mut to);
            2e-9 * from.len() as f64 / start.elapsed().as_secs_f64()
        });
        Self {
            gflops: gflops.fold(0.0, f64::max),
            bandwidth: bandwidth.fold(0.0, f64::max),
        }
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut quick, mut json, mut svg, mut filter) = (false, None, None, String::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = arguments.next(),
            "--svg" => svg = arguments.next(),
            "--memory" => return memory::child(arguments),
            "--bench" => {}
            _ => filter = argument,
        }
    }
    let mut bench = Bench {
        runs: if quick { 5 } else { 25 },
        turn: Duration::from_millis(if quick { 2 } else { 10 }),
        rows: Vec::new(),
    };
    let machine = Machine::measure();
    println!(
        "one thread at best: {:.0} GFLOP/s in registers, {:.1} GB/s copied; ratio = libtorch's time / ours\n",
        machine.gflops, machine.bandwidth
    );
    println!("{:44} {:>10} {:>10} {:6} {:>5}", "", "ours", "libtorch", "", "ratio");
    let wanted = |name: &str| filter.is_empty() || name.contains(&filter);
    for threads in [1, 2] {
        kernels::run(&mut bench, &machine, threads, &wanted);
        steps::run(&mut bench, threads, &wanted);
    }
    if filter.is_empty() {
        proof::run(&mut bench);
        memory::run(&mut bench);
    }
    let written = [
        json.map(|path| {
            let lines: Vec<String> = bench.rows.iter().map(Row::json).collect();
            fs::write(path, lines.join("\n") + "\n")
        }),
        svg.map(|path| fs::write(path, picture::draw(&bench.rows))),
    ];
    for result in written.into_iter().flatten() {
        if let Err(error) = result {
            eprintln!("error: the report cannot be written: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
