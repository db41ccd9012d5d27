//! petiole-hub: the server for the cloud side.

use std::process::ExitCode;

use leaf::shell::listener::Program;

static PROGRAM: Program = Program { name: "petiole-hub", listeners: &[] };

fn main() -> ExitCode {
    leaf::shell::run::main(&PROGRAM)
}
