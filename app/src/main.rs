//! The node and its command line.

use std::process::ExitCode;

use trainyard_modules::upgrade;

/// A block is a great many small allocations by several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    trainyard_app::cli::main(&upgrade::THIS)
}
