//! petiole-leaf: the server for gateways, vehicles and plant floors.

use std::process::ExitCode;

fn main() -> ExitCode {
    leaf::shell::run::main("petiole-leaf")
}
