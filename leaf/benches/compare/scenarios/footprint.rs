//! What a server takes up before it does anything.

use std::{fs, thread};

use super::{Figure, KIB, Pace, Scenario};
use crate::{Result, peer::Server, procfs};

/// The binary's size, and memory after the start.
pub(super) struct Footprint;

impl Scenario for Footprint {
    fn name(&self) -> &'static str {
        "footprint"
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        thread::sleep(pace.rest);
        Ok(vec![
            Figure::cost("binary, MiB", fs::metadata(&server.program)?.len() as f64 / KIB / KIB),
            Figure::cost("resident after the start, MiB", procfs::resident(server.pid())? as f64 / KIB),
        ])
    }
}
