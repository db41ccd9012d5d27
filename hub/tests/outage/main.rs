//! Sensors publish to a leaf whose log is `routed` while the link fails and the leaf is killed. A subscriber at the hub hears each
//! acknowledged message at least once, each sensor's in order, and what it hears twice carries the same id.
//!
//! All real: petiole-leaf, petiole-hub, TCP through a proxy that cuts and that falls silent, and `kill -9` of the leaf.
//! `PETIOLE_OUTAGE_ROUNDS` says how many faults there are (50), `PETIOLE_OUTAGE_SEED` which ones.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "the parts are shared with the leaf's test")]

#[path = "../../../leaf/tests/outage/dice.rs"]
mod dice;
#[path = "../../../leaf/tests/outage/process.rs"]
mod process;
#[path = "../../../leaf/tests/outage/proxy.rs"]
mod proxy;
#[path = "../../../leaf/tests/outage/sensor.rs"]
mod sensor;
mod subscriber;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use dice::{Dice, number};
use process::{Process, free_port};
use proxy::{Mode, Proxy};
use sensor::{Log, Sensor};
use subscriber::{Heard, Subscriber};

const SENSORS: usize = 4;
/// How soon everything must be at the hub once all is mended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);

struct World {
    leaf: Process,
    proxy: Proxy,
    leaf_port: u16,
    subscriber: Subscriber,
    _hub: Process,
}

impl World {
    fn start(leaf: &Path) -> Self {
        let (hub_port, hub_leafs, leaf_port) = (free_port(), free_port(), free_port());
        let proxy = Proxy::start(hub_leafs);
        let hub = format!(
            "listen: 127.0.0.1:{hub_port}\nserver_name: HUB\nleafnodes {{ listen: \"127.0.0.1:{hub_leafs}\" }}\n"
        );
        let config = format!(
            "listen: 127.0.0.1:{leaf_port}\nserver_name: LEAF\nstore_dir: \"<DIR>\"\nlog_file: \"<DIR>/leaf.log\"\n\
             leafnodes {{ ping_interval: \"300ms\", ping_max: 1, reconnect: \"50ms\", reconnect_max: \"200ms\"\n\
               remotes: [ {{ url: \"nats-leaf://127.0.0.1:{}\", ignore_discovered_servers: true }} ] }}\n\
             store_and_forward: [ {{ name: t, subjects: [\"telemetry.>\"], confirm: routed }} ]\n",
            proxy.port
        );
        let mut hub = Process::new(Path::new(env!("CARGO_BIN_EXE_petiole-hub")), "routed-hub", &hub);
        hub.start(hub_port);
        let subscriber = Subscriber::start(hub_port, "telemetry.>");
        let mut leaf = Process::new(leaf, "routed-leaf", &config);
        leaf.start(leaf_port);
        Self { leaf, proxy, leaf_port, subscriber, _hub: hub }
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
                self.kill_leaf(dice);
                "leaf killed"
            }
            _ => {
                self.proxy.set(Mode::Refusing);
                std::thread::sleep(dice.millis(10, 200));
                self.kill_leaf(dice);
                self.proxy.set(Mode::Open);
                "leaf killed without a link"
            }
        }
    }

    fn kill_leaf(&mut self, dice: &mut Dice) {
        self.leaf.kill();
        std::thread::sleep(dice.millis(0, 100));
        self.leaf.start(self.leaf_port);
    }
}

/// Waits until so many different messages were heard, or more do not come.
fn drained(subscriber: &Subscriber, wanted: &HashSet<String>) -> Duration {
    let started = Instant::now();
    while started.elapsed() < DRAINED_WITHIN && !subscriber.has(wanted) {
        std::thread::sleep(Duration::from_millis(20));
    }
    started.elapsed()
}

/// What the sensors and the subscriber were promised.
fn judge(heard: &[Heard], logs: &[Log]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut ids, mut payloads, mut places) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (place, Heard { payload, id, publishers_id }) in heard.iter().enumerate() {
        places.entry(payload.as_str()).or_insert(place);
        let other = *ids.entry(payload).or_insert(id);
        if other != id {
            wrong.push(format!("{payload} came as {other} and as {id}"));
        }
        let other = *payloads.entry(id).or_insert(payload);
        if other != payload {
            wrong.push(format!("{id} is {other} and {payload}"));
        }
        if publishers_id.replace('-', ":") != *payload {
            wrong.push(format!("{payload} says its publisher called it {publishers_id}"));
        }
    }
    for (sensor, log) in logs.iter().enumerate() {
        for entry in &log.acknowledged {
            let Some(place) = places.get(&*format!("{sensor}:{}", entry.number)) else {
                wrong.push(format!("{sensor}:{} was acknowledged and is lost", entry.number));
                continue;
            };
            // Only what was acknowledged before this one was published must have come before it.
            let Some(before) = entry.after else { continue };
            if places.get(&*format!("{sensor}:{before}")).is_some_and(|before| before > place) {
                wrong.push(format!("{sensor}:{} came before {before}", entry.number));
            }
        }
    }
    wrong
}

#[test]
fn nothing_acknowledged_is_lost_and_repeats_are_known() {
    let leaf = Path::new(env!("CARGO_BIN_EXE_petiole-hub")).with_file_name("petiole-leaf");
    if !leaf.is_file() {
        assert!(std::env::var_os("PETIOLE_REQUIRE_PEERS").is_none(), "no {}: build the workspace", leaf.display());
        eprintln!("SKIPPED: no {}", leaf.display());
        return;
    }
    let rounds = number("PETIOLE_OUTAGE_ROUNDS").unwrap_or(50);
    let seed = number("PETIOLE_OUTAGE_SEED").unwrap_or(1);
    let mut dice = Dice(seed);
    let mut world = World::start(&leaf);
    let sensors: Vec<Sensor> = (0..SENSORS).map(|at| Sensor::start(at, world.leaf_port)).collect();
    let started = Instant::now();
    let mut faults: HashMap<&str, u32> = HashMap::new();
    for _ in 0..rounds {
        std::thread::sleep(dice.millis(50, 500));
        *faults.entry(world.suffer(&mut dice)).or_default() += 1;
    }
    let logs: Vec<Log> = sensors.into_iter().map(Sensor::stop).collect();
    let names = logs
        .iter()
        .enumerate()
        .flat_map(|(sensor, log)| log.acknowledged.iter().map(move |entry| format!("{sensor}:{}", entry.number)));
    let acknowledged: HashSet<String> = names.collect();
    let took = drained(&world.subscriber, &acknowledged);
    let heard = world.subscriber.heard();
    println!(
        "seed {seed}, {rounds} faults in {:.0} s {faults:?}: {} acknowledged, {} came to the hub, {} published again by their \
         sensors; all there {:.1} s after the last fault",
        started.elapsed().as_secs_f64(),
        acknowledged.len(),
        heard.len(),
        logs.iter().map(|log| log.repeated).sum::<u64>(),
        took.as_secs_f64(),
    );
    let wrong = judge(&heard, &logs);
    assert!(wrong.is_empty(), "{} wrong: {:#?}\n{}", wrong.len(), &wrong[..wrong.len().min(10)], world.leaf.tail());
    assert!(acknowledged.len() > 1000, "the sensors did nothing");
}
