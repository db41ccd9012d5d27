//! petiole-hub: the server for the cloud side.

use std::process::ExitCode;

fn main() -> ExitCode {
    leaf::shell::run::main("petiole-hub")
}
