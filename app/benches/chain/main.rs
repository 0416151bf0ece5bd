//! How fast the chain is. `scripts/bench chain [--quick] [--json FILE] [--accounts N,N,…] [--validators N,N] [state|network]`
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

/// As in the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the command line asks for.
struct Options {
    quick: bool,
    json: Option<PathBuf>,
    accounts: Option<Vec<u64>>,
    validators: Option<Vec<u8>>,
    parts: Vec<String>,
}

fn options() -> Options {
    let mut options = Options {
        quick: false,
        json: None,
        accounts: None,
        validators: None,
        parts: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--bench" => {} // Cargo's own.
            "--quick" => options.quick = true,
            "--json" => options.json = Some(words.next().expect("--json needs a file").into()),
            "--accounts" => options.accounts = Some(numbers("--accounts", words.next())),
            "--validators" => options.validators = Some(numbers("--validators", words.next())),
            part => options.parts.push(part.into()),
        }
    }
    options
}

/// What stands behind an option: numbers with commas between them.
fn numbers<T: std::str::FromStr>(option: &str, list: Option<String>) -> Vec<T> {
    let number = |text: &str| text.parse().ok();
    let list = list.and_then(|list| list.split(',').map(number).collect());
    list.unwrap_or_else(|| panic!("{option} needs numbers with commas between them"))
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
        let validators = match &options.validators {
            Some(numbers) => numbers.clone(),
            None if options.quick => vec![1],
            None => vec![1, 4],
        };
        network::run(&mut report, &validators, options.quick);
    }
    if let Some(file) = &options.json {
        report.write(file);
    }
}
