//! How fast the chain is. `scripts/bench chain [--quick] [--json FILE] [--accounts N,N,…] [state|network]`
//!
//! | file | measures |
//! |---|---|
//! | `state.rs` | in this process: a transfer through `CheckTx`, `FinalizeBlock` and `Commit`, over states of several sizes |
//! | `network.rs` | transfers on real CometBFT, with one validator and with four, beside the peers |
//! | `peers.rs` | CometBFT with its own kvstore, and the Cosmos SDK's `simd` |
//! | `loader.rs` | sends transactions and waits until they are committed |
//! | `report.rs` | the table, and the rows for `--json` |

mod loader;
mod network;
mod peers;
mod report;
mod state;

use std::path::PathBuf;

use report::Report;

/// What the command line asks for.
struct Options {
    quick: bool,
    json: Option<PathBuf>,
    accounts: Option<Vec<u64>>,
    parts: Vec<String>,
}

fn options() -> Options {
    let mut options = Options {
        quick: false,
        json: None,
        accounts: None,
        parts: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {} // Cargo's own.
            "--quick" => options.quick = true,
            "--json" => options.json = Some(words.next().expect("--json needs a file").into()),
            "--accounts" => {
                let list = words.next().expect("--accounts needs numbers");
                options.accounts = Some(list.split(',').map(|n| n.parse().expect("a number")).collect());
            }
            part => options.parts.push(part.into()),
        }
    }
    options
}

fn main() {
    let options = options();
    let mut report = Report::default();
    let wants = |part: &str| options.parts.is_empty() || options.parts.iter().any(|p| p == part);
    if wants("state") {
        let sizes = match &options.accounts {
            Some(sizes) => sizes.clone(),
            None if options.quick => vec![10_000, 100_000],
            None => vec![10_000, 100_000, 1_000_000],
        };
        state::run(&mut report, &sizes, options.quick);
    }
    if wants("network") {
        network::run(&mut report, if options.quick { &[1] } else { &[1, 4] }, options.quick);
    }
    if let Some(file) = &options.json {
        report.write(file);
    }
}
