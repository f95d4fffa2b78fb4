//! The `rejoin` program: see `rejoin --help`.

use std::process::ExitCode;

/// Not the system's: what one thread allocates another often frees here, and glibc's arenas have a lock each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rejoin::cli::main()
}
