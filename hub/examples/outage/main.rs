//! An outage to look at: a hub, a leaf, twenty sensors on MQTT, and a link that is cut and restored.
//!
//! ```text
//! cargo run --release -p petiole-hub --example outage -- [--seconds N] [--seed N] [--plot FILE.svg]
//! ```
//!
//! Both servers are real processes (this program, started again as one of them), the sensors speak MQTT 3.1.1 with QoS 1, and the link
//! goes through a proxy that carries 8 Mbit/s when it does not fail. It fails in three ways: cut, silent, and cut with the leaf killed
//! by `kill -9` meanwhile. The exit code is 1 if anything that was acknowledged is not at the hub in the end.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a demonstration may end with the reason")]

mod hub;
mod ledger;
mod link;
mod options;
mod plot;
mod schedule;
mod screen;
mod sensor;
mod servers;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ledger::Ledger;
use link::Link;
use options::Options;
use plot::Sample;
use schedule::{Fault, Schedule};
use screen::Screen;
use servers::Servers;

const SENSORS: usize = 20;
/// How often the counters are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the rest may take once the link stays up.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    if let Some(program) = servers::role() {
        return leaf::shell::run::main(program);
    }
    match Options::parse(std::env::args().skip(1)) {
        Ok(options) => run(&options),
        Err(text) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> ExitCode {
    let ledger = Arc::new(Ledger::new(SENSORS));
    let mut servers = Servers::start();
    let link = Link::start(servers.hub_leafnodes);
    hub::count(servers.hub, ledger.clone());
    servers.start_leaf(link.port);

    let stopped = Arc::new(AtomicBool::new(false));
    let sensors: Vec<_> =
        (0..SENSORS).map(|at| sensor::start(at, servers.mqtt, options.seed, ledger.clone(), stopped.clone())).collect();
    let mut schedule = Schedule::new(options.seconds, options.seed);
    let mut screen = Screen::new(options.seconds);
    let mut samples = Vec::new();
    let started = Instant::now();
    let mut ended = None;
    loop {
        std::thread::sleep(LOOK_EVERY);
        let at = started.elapsed();
        let state = schedule.state(at);
        link.set(state.mode);
        if state.kill_leaf {
            servers.kill_leaf();
            servers.restart_leaf();
        }
        if at >= options.seconds {
            stopped.store(true, Ordering::Relaxed);
        }
        let counts = ledger.counts();
        samples.push(Sample { at, counts, fault: state.fault, killed: state.kill_leaf });
        screen.show(at, &counts, state.fault, samples.as_slice());
        if at >= options.seconds && sensors.iter().all(|sensor| sensor.is_finished()) {
            let end = *ended.get_or_insert(at);
            if counts.backlog == 0 || at > end + DRAINED_WITHIN {
                break;
            }
        }
    }
    let counts = ledger.final_counts();
    screen.summary(&counts, &schedule, &samples);
    if let Some(path) = &options.plot {
        match std::fs::write(path, plot::draw(&samples)) {
            Ok(()) => println!("The picture is in {}.", path.display()),
            Err(error) => eprintln!("cannot write {}: {error}", path.display()),
        }
    }
    if counts.lost > 0 || counts.acknowledged == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Fault {
    /// How the screen and the picture call it.
    fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Silent => "silent",
            Self::CutAndKilled => "cut, leaf killed",
        }
    }
}
