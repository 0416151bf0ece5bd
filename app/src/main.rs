//! The node and its command line.

use std::process::ExitCode;

use trainyard_modules::upgrade;

fn main() -> ExitCode {
    trainyard_app::cli::main(&upgrade::THIS)
}
