//! A thin link, as a vehicle has at the edge of a network: what Petiole makes of it, and nats-server 2.15 beside it.
//!
//! ```text
//! cargo bench -p petiole-hub --bench thin                       # all of it, about ten minutes; needs root
//! cargo bench -p petiole-hub --bench thin -- --only drain,overload,alarms --quick
//! ```
//!
//! Two network namespaces, and between them an emulator (`emulator.py`, in user space, for not every kernel has `netem`). The hub is
//! nats-server wherever a log drains, so that only the leaf differs, and the same program as the leaf where both directions are full.

#![allow(clippy::disallowed_methods, reason = "not an engine")]

#[path = "../../../leaf/benches/forward/client.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod client;
mod net;
#[path = "../../../leaf/benches/forward/process.rs"]
#[allow(dead_code, reason = "shared with another benchmark")]
mod process;
mod scenes;
mod tap;

use std::error::Error;

use scenes::{Compression, Kind};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    only: Option<Vec<String>>,
    quick: bool,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self { only: None, quick: false };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--only" => {
                    let names = arguments.next().ok_or("--only NAME,NAME")?;
                    options.only = Some(names.split(',').map(str::to_owned).collect());
                }
                "--quick" => options.quick = true,
                "--bench" => {}
                other => return Err(format!("unknown option {other}").into()),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|one| one == name))
    }
}

fn main() -> Result<()> {
    let options = Options::parse()?;
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: network namespaces need root");
        return Ok(());
    }
    let parts = if options.quick { 4 } else { 1 };
    if options.wants("drain") {
        println!(
            "| drain at 256 kbit/s, 300 ms, 2 % lost | line used | payload of the line | messages/s | bytes on the wire a message, up + down |"
        );
        println!("|---|--:|--:|--:|--:|");
        for (kind, compression) in [
            (Kind::Stored, Compression::On),
            (Kind::Routed, Compression::On),
            (Kind::Routed, Compression::Off),
            (Kind::NatsServer, Compression::On),
            (Kind::NatsServer, Compression::Off),
        ] {
            scenes::drain(kind, compression, 16_000 / parts)?;
        }
        println!();
    }
    if options.wants("overload") {
        println!(
            "| 50 kbit/s, 600 ms, 5 % lost, both ways overloaded | line used up, down | messages up, down | disconnected |"
        );
        println!("|---|--:|--:|--:|");
        for kind in [Kind::Routed, Kind::NatsServer] {
            scenes::overload(kind, 120 / parts)?;
        }
        println!();
    }
    if options.wants("alarms") {
        println!("| alarms beside a backlog, 256 kbit/s, 300 ms, 2 % lost | median | at most | of |");
        println!("|---|--:|--:|--:|");
        scenes::alarms(40 / parts)?;
    }
    Ok(())
}
