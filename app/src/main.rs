//! The node and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainyard_app::cli::main()
}
