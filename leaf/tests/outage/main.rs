//! Sensors publish to a leaf while everything around it fails; in the end the hub's stream has each acknowledged message exactly
//! once, and each sensor's in order.
//!
//! All real: petiole-leaf, nats-server with a JetStream stream, TCP through a proxy that cuts and that falls silent, and
//! `kill -9` of either server. `PETIOLE_OUTAGE_ROUNDS` says how many faults there are (50), `PETIOLE_OUTAGE_SEED` which ones.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod commands;
mod dice;
mod process;
mod proxy;
mod sensor;
mod stream;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dice::{Dice, number};
use process::{Process, free_port, peer};
use proxy::{Mode, Proxy};
use sensor::{Log, Sensor};
use stream::Stream;

const SENSORS: usize = 4;
/// How soon everything must be at the hub once all is mended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

struct World {
    hub: Process,
    leaf: Process,
    proxy: Proxy,
    hub_port: u16,
    leaf_port: u16,
}

impl World {
    fn start(program: &std::path::Path) -> Self {
        let (hub_port, hub_leafs, leaf_port) = (free_port(), free_port(), free_port());
        let proxy = Proxy::start(hub_leafs);
        let hub = format!(
            "listen: 127.0.0.1:{hub_port}\nserver_name: HUB\njetstream {{ store_dir: \"<DIR>\" }}\n\
             leafnodes {{ listen: \"127.0.0.1:{hub_leafs}\" }}\n"
        );
        let leaf = format!(
            "listen: 127.0.0.1:{leaf_port}\nserver_name: LEAF\nstore_dir: \"<DIR>\"\nlog_file: \"<DIR>/leaf.log\"\n\
             leafnodes {{ ping_interval: \"300ms\", ping_max: 1, reconnect: \"50ms\", reconnect_max: \"200ms\"\n\
               remotes: [ {{ url: \"nats-leaf://127.0.0.1:{}\", ignore_discovered_servers: true }} ] }}\n\
             store_and_forward: [ {{ name: t, subjects: [\"telemetry.>\"] }} ]\n",
            proxy.port
        );
        let ours = std::path::Path::new(env!("CARGO_BIN_EXE_petiole-leaf"));
        let mut world = Self {
            hub: Process::new(program, "outage-hub", &hub),
            leaf: Process::new(ours, "outage-leaf", &leaf),
            proxy,
            hub_port,
            leaf_port,
        };
        world.hub.start(hub_port);
        Stream::connect(hub_port).create();
        world.leaf.start(leaf_port);
        world
    }

    /// One fault, from its beginning to its end; says what it was.
    fn suffer(&mut self, dice: &mut Dice) -> &'static str {
        self.proxy.wait_linked();
        match dice.below(8) {
            0..3 => {
                self.proxy.set(Mode::Refusing);
                std::thread::sleep(dice.millis(10, 400));
                self.proxy.set(Mode::Open);
                "cut"
            }
            3..5 => {
                self.proxy.set(Mode::Silent);
                std::thread::sleep(dice.millis(300, 1_200));
                self.proxy.set(Mode::Refusing);
                self.proxy.set(Mode::Open);
                "silence"
            }
            5..7 => {
                self.leaf.kill();
                std::thread::sleep(dice.millis(0, 100));
                self.leaf.start(self.leaf_port);
                "leaf killed"
            }
            _ => {
                self.hub.kill();
                std::thread::sleep(dice.millis(0, 300));
                self.hub.start(self.hub_port);
                "hub killed"
            }
        }
    }
}

/// Waits until the stream has `count` messages, or more do not come.
fn drained(stream: &mut Stream, count: usize) -> Duration {
    let started = Instant::now();
    while stream.messages() < count as u64 && started.elapsed() < DRAINED_WITHIN {
        std::thread::sleep(Duration::from_millis(20));
    }
    started.elapsed()
}

/// What the sensors were promised.
fn judge(stored: &[(String, String)], logs: &[Log]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut places = HashMap::new();
    for (place, (subject, payload)) in stored.iter().enumerate() {
        let (sensor, number) = payload.split_once(':').unwrap();
        let name: (usize, u64) = (sensor.parse().unwrap(), number.parse().unwrap());
        if *subject != format!("telemetry.{sensor}") {
            wrong.push(format!("{payload} is on {subject}"));
        }
        if places.insert(name, place).is_some() {
            wrong.push(format!("{payload} is there twice"));
        }
    }
    for (sensor, log) in logs.iter().enumerate() {
        for entry in &log.acknowledged {
            let Some(place) = places.get(&(sensor, entry.number)) else {
                wrong.push(format!("{sensor}:{} was acknowledged and is lost", entry.number));
                continue;
            };
            // Only what was acknowledged before this one was published must stand before it.
            let Some(before) = entry.after else { continue };
            if places.get(&(sensor, before)).is_some_and(|before| before > place) {
                wrong.push(format!("{sensor}:{} stands before {before}", entry.number));
            }
        }
    }
    wrong
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled() {
    let Some(program) = peer() else { return };
    let rounds = number("PETIOLE_OUTAGE_ROUNDS").unwrap_or(50);
    let seed = number("PETIOLE_OUTAGE_SEED").unwrap_or(1);
    let mut dice = Dice(seed);
    let mut world = World::start(&program);
    let sensors: Vec<Sensor> = (0..SENSORS).map(|at| Sensor::start(at, world.leaf_port)).collect();
    let started = Instant::now();
    let mut faults: HashMap<&str, u32> = HashMap::new();
    for _ in 0..rounds {
        std::thread::sleep(dice.millis(50, 500));
        *faults.entry(world.suffer(&mut dice)).or_default() += 1;
    }
    let logs: Vec<Log> = sensors.into_iter().map(Sensor::stop).collect();
    let acknowledged: usize = logs.iter().map(|log| log.acknowledged.len()).sum();
    let mut stream = Stream::connect(world.hub_port);
    let took = drained(&mut stream, acknowledged);
    let stored = stream.read_all();
    println!(
        "seed {seed}, {rounds} faults in {:.0} s {faults:?}: {acknowledged} acknowledged, {} in the stream, {} published again by \
         their sensors; all there {:.1} s after the last fault",
        started.elapsed().as_secs_f64(),
        stored.len(),
        logs.iter().map(|log| log.repeated).sum::<u64>(),
        took.as_secs_f64(),
    );
    let wrong = judge(&stored, &logs);
    assert!(wrong.is_empty(), "{} wrong: {:#?}\n{}", wrong.len(), &wrong[..wrong.len().min(10)], world.leaf.tail());
    assert!(acknowledged > 1000, "the sensors did nothing");
}
