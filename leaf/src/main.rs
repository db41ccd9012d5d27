//! petiole-leaf: the server for gateways, vehicles and plant floors.

use std::process::ExitCode;

use leaf::shell::listener::Program;

static PROGRAM: Program = Program { name: "petiole-leaf", listeners: &[] };

fn main() -> ExitCode {
    leaf::shell::run::main(&PROGRAM)
}
