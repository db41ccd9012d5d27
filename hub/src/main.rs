//! petiole-hub: the server for the cloud side.

use std::process::ExitCode;

use hub::accept;
use leaf::shell::listener::{Listener, Program};

static LISTENERS: [Listener; 1] = [accept::LISTENER];
static PROGRAM: Program = Program { name: "petiole-hub", listeners: &LISTENERS };

fn main() -> ExitCode {
    leaf::shell::run::main(&PROGRAM)
}
