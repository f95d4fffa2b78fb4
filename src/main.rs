//! The `rejoin` program: see `rejoin --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    rejoin::cli::main()
}
