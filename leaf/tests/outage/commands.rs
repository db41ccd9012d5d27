//! The other way: what a stream at the hub holds for a leaf reaches a device behind it, while everything around fails.
//!
//! All real: nats-server with JetStream, petiole-leaf with a durable subscription, a device with an MQTT session that sleeps now and
//! then, and a NATS client. The sensors publish to the hub here, as those who give orders do.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::process::{Process, free_port, peer};
use super::proxy::{Mode, Proxy};
use super::sensor::Sensor;
use super::stream::Stream;
use super::{Dice, number};

const SENSORS: usize = 2;
/// How soon everything must be there once all is mended.
const DRAINED_WITHIN: Duration = Duration::from_secs(90);
/// How long a silent connection is kept.
const SILENCE: Duration = Duration::from_secs(2);

struct World {
    hub: Process,
    leaf: Process,
    proxy: Proxy,
    hub_port: u16,
    leaf_port: u16,
    mqtt_port: u16,
    monitor: u16,
}

fn hub_config(client: u16, leafs: u16, jetstream: &str) -> String {
    format!(
        "listen: 127.0.0.1:{client}\nserver_name: HUB\n{jetstream}\n\
         leafnodes {{ listen: \"127.0.0.1:{leafs}\" }}\n"
    )
}

fn leaf_config([client, mqtt, monitor, hub]: [u16; 4], subscription: &str) -> String {
    format!(
        "listen: 127.0.0.1:{client}\nhttp: 127.0.0.1:{monitor}\nserver_name: LEAF\nstore_dir: \"<DIR>\"\nlog_file: \"<DIR>/leaf.log\"\n\
         mqtt {{ listen: 127.0.0.1:{mqtt} }}\n\
         leafnodes {{ ping_interval: \"300ms\", ping_max: 1, reconnect: \"50ms\", reconnect_max: \"200ms\"\n\
           remotes: [ {{ url: \"nats-leaf://127.0.0.1:{hub}\" }} ] }}\n\
         durable_subscriptions: [ {{ {subscription} }} ]\n"
    )
}

const OURS: &str = env!("CARGO_BIN_EXE_petiole-leaf");
const JETSTREAM: &str = "jetstream { store_dir: \"<DIR>\", domain: HUB }";

impl World {
    fn start(program: &Path, name: &str) -> Self {
        let [hub_port, hub_leafs, leaf_port, mqtt_port, monitor] = std::array::from_fn(|_| free_port());
        let proxy = Proxy::start(hub_leafs);
        let hub = hub_config(hub_port, hub_leafs, JETSTREAM);
        let subscription = "stream: T, subjects: [\"telemetry.>\"], batch: 16, ack_wait: 2s";
        let leaf = leaf_config([leaf_port, mqtt_port, monitor, proxy.port], subscription);
        let mut world = Self {
            hub: Process::new(program, &format!("{name}-hub"), &hub),
            leaf: Process::new(Path::new(OURS), &format!("{name}-leaf"), &leaf),
            proxy,
            hub_port,
            leaf_port,
            mqtt_port,
            monitor,
        };
        world.hub.start(hub_port);
        Stream::connect(hub_port).create();
        world.leaf.start(leaf_port);
        world
    }

    /// What the leaf says of the subscription.
    fn state(&self) -> String {
        let mut text = String::new();
        let Ok(mut socket) = TcpStream::connect(("127.0.0.1", self.monitor)) else { return text };
        let _ = socket.write_all(b"GET /outboxz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = socket.read_to_string(&mut text);
        text
    }

    fn suffer(&mut self, dice: &mut Dice, leaf_too: bool) -> &'static str {
        match dice.below(if leaf_too { 8 } else { 6 }) {
            0..3 => {
                self.proxy.set(Mode::Refusing);
                sleep(dice.millis(10, 400));
                self.proxy.set(Mode::Open);
                "cut"
            }
            3..5 => {
                self.proxy.set(Mode::Silent);
                sleep(dice.millis(300, 1_200));
                self.proxy.set(Mode::Refusing);
                self.proxy.set(Mode::Open);
                "silence"
            }
            5 => {
                self.hub.kill();
                sleep(dice.millis(0, 300));
                self.hub.start(self.hub_port);
                "hub killed"
            }
            _ => {
                self.leaf.kill();
                sleep(dice.millis(0, 100));
                self.leaf.start(self.leaf_port);
                "leaf killed"
            }
        }
    }
}

/// What came: the payload, and whether it was said to be a repeat.
type Came = Arc<Mutex<Vec<(String, bool)>>>;

/// Who receives until told to stop, over one connection after the other.
struct Receiver {
    came: Came,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Receiver {
    fn start(mut visit: impl FnMut(&Came, &AtomicBool) -> std::io::Result<()> + Send + 'static) -> Self {
        let (came, stopped) = (Came::default(), Arc::new(AtomicBool::new(false)));
        let (told, asked) = (came.clone(), stopped.clone());
        let thread = spawn(move || {
            while !asked.load(Ordering::Relaxed) {
                if visit(&told, &asked).is_err() {
                    sleep(Duration::from_millis(10));
                }
            }
        });
        Self { came, stopped, thread }
    }

    fn distinct(&self) -> usize {
        self.came.lock().unwrap().iter().map(|(payload, _)| payload).collect::<HashSet<_>>().len()
    }

    fn stop(self) -> Vec<(String, bool)> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        std::mem::take(&mut *self.came.lock().unwrap())
    }
}

fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let rest = parts.concat();
    [&[first, rest.len() as u8], &rest[..]].concat()
}

/// A device: an MQTT session of QoS 1 that outlives its connections, of which each ends after a while.
fn device(port: u16) -> Receiver {
    let mut visits = 0;
    Receiver::start(move |came, stopped| {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(SILENCE))?;
        socket.set_nodelay(true)?;
        socket.write_all(&packet(0x10, &[b"\0\x04MQTT\x04\0\0\x3c\0\x06device"]))?;
        socket.write_all(&packet(0x82, &[b"\0\x01\0\x0btelemetry/#\x01"]))?;
        visits += 1;
        let until = 50 + 150 * (visits % 5);
        for _ in 0..until {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            let mut head = [0; 2];
            socket.read_exact(&mut head)?;
            let mut rest = vec![0; head[1].into()];
            socket.read_exact(&mut rest)?;
            if head[0] & 0xf0 != 0x30 {
                continue;
            }
            let topic = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let payload = String::from_utf8(rest[topic + 4..].to_vec()).unwrap();
            came.lock().unwrap().push((payload, head[0] & 8 != 0));
            socket.write_all(&packet(0x40, &[&rest[topic + 2..topic + 4]]))?;
        }
        // It sleeps for a while.
        drop(socket);
        sleep(Duration::from_millis(50));
        Ok(())
    })
}

/// A NATS client of the leaf. What is published while it is not connected is not for it.
fn client(port: u16) -> Receiver {
    Receiver::start(move |came, stopped| {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let mut reader = BufReader::new(socket.try_clone()?);
        socket.write_all(b"CONNECT {\"verbose\":false,\"headers\":false}\r\nSUB telemetry.* 1\r\n")?;
        let mut line = String::new();
        while !stopped.load(Ordering::Relaxed) {
            match reader.read_line(&mut line) {
                Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // What there is of the line stays.
                Err(_) => continue,
            }
            match line.split(' ').next() {
                Some("PING\r\n") => socket.write_all(b"PONG\r\n")?,
                Some("MSG") => {
                    let mut payload = String::new();
                    while !payload.ends_with('\n') {
                        let _ = reader.read_line(&mut payload);
                    }
                    came.lock().unwrap().push((payload.trim_end().to_owned(), false));
                }
                _ => {}
            }
            line.clear();
        }
        Ok(())
    })
}

/// What must have come, and in which order; how often something came again that was not said to be a repeat.
fn judge(who: &str, stored: &[(String, String)], came: &[(String, bool)], wrong: &mut Vec<String>) -> usize {
    let places: HashMap<&str, usize> = stored.iter().enumerate().map(|(at, (_, p))| (p.as_str(), at)).collect();
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut seen = HashSet::new();
    let mut again = 0;
    for (payload, is_repeat) in came {
        let Some(&place) = places.get(payload.as_str()) else {
            wrong.push(format!("{who}: {payload} is not in the stream"));
            continue;
        };
        if !seen.insert(payload.as_str()) {
            again += usize::from(!is_repeat);
            continue;
        }
        let sensor = payload.split(':').next().unwrap();
        if last.insert(sensor, place).is_some_and(|before| before > place) {
            wrong.push(format!("{who}: {payload} came out of its order"));
        }
    }
    let lost = stored.iter().filter(|(_, payload)| !seen.contains(payload.as_str()));
    wrong.extend(lost.map(|(_, payload)| format!("{who}: {payload} never came")));
    again
}

fn run(name: &str, seed: u64, leaf_too: bool) {
    let Some(program) = peer() else { return };
    let rounds = number("PETIOLE_OUTAGE_ROUNDS").map_or(12, |rounds| rounds / 4);
    let seed = number("PETIOLE_OUTAGE_SEED").unwrap_or(seed);
    let mut dice = Dice(seed);
    let mut world = World::start(&program, name);
    let device = device(world.mqtt_port);
    let client = (!leaf_too).then(|| client(world.leaf_port));
    let sensors: Vec<Sensor> = (0..SENSORS).map(|at| Sensor::start(at, world.hub_port)).collect();
    let mut faults: HashMap<&str, u32> = HashMap::new();
    for _ in 0..rounds {
        sleep(dice.millis(50, 500));
        *faults.entry(world.suffer(&mut dice, leaf_too)).or_default() += 1;
    }
    for sensor in sensors {
        sensor.stop();
    }
    let ended = Instant::now();
    let stored = Stream::connect(world.hub_port).read_all();
    let all_there =
        || device.distinct() >= stored.len() && client.as_ref().is_none_or(|client| client.distinct() >= stored.len());
    while !all_there() && ended.elapsed() < DRAINED_WITHIN {
        sleep(Duration::from_millis(20));
    }
    let took = ended.elapsed();
    let state = world.state();
    let mut wrong = Vec::new();
    let again = judge("device", &stored, &device.stop(), &mut wrong);
    let again_here = client.map(|client| judge("client", &stored, &client.stop(), &mut wrong));
    println!(
        "seed {seed}, {rounds} faults {faults:?}: {} in the stream, again and not marked so: {again} at the device, {again_here:?} at \
         the client; all there {:.1} s after the last was published",
        stored.len(),
        took.as_secs_f64(),
    );
    if !leaf_too && (again, again_here) != (0, Some(0)) {
        wrong.push(format!("{again} and {again_here:?} came again though the leaf was never killed"));
    }
    assert!(
        wrong.is_empty(),
        "{} wrong: {:#?}\n{}\n{state}",
        wrong.len(),
        &wrong[..wrong.len().min(10)],
        world.leaf.tail()
    );
    assert!(stored.len() > 300, "the sensors did nothing");
    assert!(!leaf_too || faults.contains_key("leaf killed"), "the leaf was never killed");
}

#[test]
fn commands_come_once_whatever_becomes_of_the_link_and_the_hub() {
    run("commands", 3, false);
}

#[test]
fn commands_come_also_when_the_leaf_is_killed() {
    run("commands-kill", 7, true);
}

/// Waits until the leaf's log says so.
fn logs(leaf: &Process, text: &str) {
    let started = Instant::now();
    while !leaf.logged(text) {
        assert!(started.elapsed() < DRAINED_WITHIN, "{text:?} is not in the log:\n{}", leaf.tail());
        sleep(Duration::from_millis(20));
    }
}

/// What stands in the way is named, and when it goes, so do the messages.
#[test]
fn what_stands_in_the_way_is_named() {
    let Some(program) = peer() else { return };
    let [hub_port, leafs, leaf_port, mqtt_port, monitor] = std::array::from_fn(|_| free_port());
    let config = leaf_config([leaf_port, mqtt_port, monitor, leafs], "stream: T, subjects: [\"telemetry.>\"]");
    let mut leaf = Process::new(Path::new(OURS), "obstacle-leaf", &config);
    for (at, (jetstream, word)) in [
        ("", "the hub's JetStream has no domain"),
        ("jetstream { store_dir: \"<DIR>\" }", "the hub's JetStream has no domain"),
        (JETSTREAM, "the hub says: stream not found (10059)"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("obstacle-hub-{at}");
        let mut hub = Process::new(&program, &name, &hub_config(hub_port, leafs, jetstream));
        hub.start(hub_port);
        leaf.start(leaf_port);
        logs(&leaf, word);
        if jetstream == JETSTREAM {
            let receiver = client(leaf_port);
            let mut stream = Stream::connect(hub_port);
            stream.create();
            let sensor = Sensor::start(0, hub_port);
            let started = Instant::now();
            while receiver.distinct() < 5 && started.elapsed() < DRAINED_WITHIN {
                sleep(Duration::from_millis(20));
            }
            sensor.stop();
            assert!(receiver.distinct() >= 5, "{}", leaf.tail());
            receiver.stop();
        }
        leaf.kill();
        hub.kill();
    }
}

/// A client that says and hears lines.
struct Lines(BufReader<TcpStream>);

impl Lines {
    fn connect(port: u16) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(DRAINED_WITHIN)).unwrap();
        let mut lines = Self(BufReader::new(socket));
        lines.say("CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n");
        lines
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// All lines before the answer to a PING.
    fn so_far(&mut self) -> Vec<String> {
        self.say("PING\r\n");
        let mut all = Vec::new();
        loop {
            match self.line() {
                line if line == "PONG" => return all,
                line if line == "PING" => self.say("PONG\r\n"),
                line => all.push(line),
            }
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection has ended");
        line.trim_end().to_owned()
    }

    fn until(&mut self, last: &str) -> Vec<String> {
        let mut all = Vec::new();
        while all.last().is_none_or(|line| line != last) {
            all.push(self.line());
        }
        all
    }
}

fn told(world: &World, text: &str) {
    let started = Instant::now();
    while !world.state().contains(text) {
        assert!(started.elapsed() < DRAINED_WITHIN, "{text:?} is not in {}\n{}", world.state(), world.leaf.tail());
        sleep(Duration::from_millis(20));
    }
}

/// What nobody listens to waits, over a `kill -9`, too; what comes from the stream comes once, though the hub has it live as well;
/// what is published here on the same subject stays here.
#[test]
fn a_command_waits_for_who_listens_and_comes_once() {
    let Some(program) = peer() else { return };
    let mut world = World::start(&program, "waits");
    let mut giver = Lines::connect(world.hub_port);
    giver.say("HPUB telemetry.a answer 18 21\r\nNATS/1.0\r\nA: 1\r\n\r\none\r\n");
    giver.so_far();
    told(&world, "\"waiting_messages\": 1,");
    world.leaf.kill();
    world.leaf.start(world.leaf_port);
    told(&world, "\"waiting_messages\": 1,");
    let mut car = Lines::connect(world.leaf_port);
    car.say("SUB > 1\r\n");
    let first = car.until("one");
    let head = "HMSG telemetry.a 1 52 55/NATS/1.0/Nats-Stream: T/Nats-Sequence: 1/A: 1//one";
    assert!(first.join("/").ends_with(head), "{first:?}");
    // The hub has heard that somebody here wants everything: what is published on another subject comes live.
    let started = Instant::now();
    while !car.so_far().contains(&"live".to_owned()) {
        assert!(started.elapsed() < DRAINED_WITHIN, "nothing comes live");
        giver.say("PUB other 4\r\nlive\r\n");
        giver.so_far();
    }
    giver.say("PUB telemetry.b 3\r\ntwo\r\nPUB other 5\r\nthree\r\n");
    // Had the live copy come, too, it would be before this one.
    let rest = car.until("three");
    told(&world, "\"published\": 2,");
    let all = [rest, car.so_far()].concat();
    assert_eq!(all.iter().filter(|line| *line == "two").count(), 1, "{all:?}");
    car.say("PUB telemetry.c 4\r\nhere\r\n");
    car.until("here");
    // What it publishes afterwards has arrived at the hub: so had the other one, if it had gone there.
    giver.say("SUB done 1\r\n");
    while !giver.so_far().contains(&"last".to_owned()) {
        assert!(started.elapsed() < 2 * DRAINED_WITHIN, "nothing goes up");
        car.say("PUB done 4\r\nlast\r\n");
        car.so_far();
    }
    assert_eq!(Stream::connect(world.hub_port).messages(), 2, "what is published here stays here");
}
