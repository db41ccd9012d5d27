//! What is measured.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::{self, Client};
use crate::net::{B, Line, Net, Side};
use crate::process::{Server, free_port, nats_server};
use crate::tap::Tap;

const THIN: Line = Line { kbit: 256, rtt_ms: 300, loss_percent: 2, queue_bytes: 32 * 1024 };
const THINNER: Line = Line { kbit: 50, rtt_ms: 600, loss_percent: 5, queue_bytes: 16 * 1024 };
/// Bytes of a reading.
const READING: usize = 100;
/// Nothing at all for so long means that nothing will come.
const STUCK_AFTER: Duration = Duration::from_secs(90);
/// How often both servers ask for a sign of life.
const PING_EVERY: &str = "5s";

/// Which leaf, and how it keeps what must not be lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Ours, into a stream.
    Stored,
    /// Ours, to a subscriber.
    Routed,
    /// nats-server, with a stream that the hub's stream has as its source.
    NatsServer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    On,
    Off,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Stored => "petiole-leaf, `stored`",
            Self::Routed => "petiole-leaf, `routed`",
            Self::NatsServer => "nats-server leaf, stream sourced by the hub",
        }
    }

    /// The program of the leaf: the hub's is the leaf's and more.
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::NatsServer => nats_server(),
            Self::Stored | Self::Routed => Ok(ours().to_owned()),
        }
    }
}

fn ours() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_petiole-hub"))
}

impl Compression {
    fn name(self) -> &'static str {
        match self {
            Self::On => "s2_auto",
            Self::Off => "off",
        }
    }
}

/// A reading: JSON, [`READING`] bytes.
fn reading(number: u64) -> String {
    // Values that change as those of sensors do.
    let (celsius, percent) = (2000 + number * 7 % 500, 400 + number * 13 % 100);
    let text = format!(
        "{{\"sensor\":\"pump-{:02}\",\"time\":{},\"temperature\":{}.{:02},\"humidity\":{}.{},\"state\":\"ok\"",
        number % 20,
        1_790_000_000_000 + number * 50,
        celsius / 100,
        celsius % 100,
        percent / 10,
        percent % 10
    );
    format!("{text:<width$}}}", width = READING - 1)
}

fn publish(into: &mut Vec<u8>, subject: &str, reply: &str, number: u64) {
    client::publish(into, subject, reply, reading(number).as_bytes());
}

/// A leaf at side A whose hub is, or will be, at side B.
struct Scene {
    net: Net,
    leaf: u16,
    hub: u16,
    hub_leafs: u16,
    monitor: u16,
}

impl Scene {
    fn new(line: Line) -> Result<Self> {
        let net = Net::new(line)?;
        let (leaf, monitor) = net.a.run(|| Ok((free_port()?, free_port()?)))?;
        let (hub, hub_leafs) = net.b.run(|| Ok((free_port()?, free_port()?)))?;
        Ok(Self { net, leaf, hub, hub_leafs, monitor })
    }

    fn start_leaf(&self, kind: Kind, compression: Compression, rest: &str) -> Result<Server> {
        let config = format!(
            "listen: 127.0.0.1:{}\nserver_name: LEAF\nhttp: 127.0.0.1:{}\nping_interval: {PING_EVERY}\nping_max: 2\n{rest}\n\
             leafnodes {{ reconnect: 1s, compression: {}, remotes: [ {{ url: \"nats-leaf://{B}:{}\" }} ] }}\n",
            self.leaf,
            self.monitor,
            compression.name(),
            self.hub_leafs
        );
        let program = kind.program()?;
        self.net.a.run(|| Server::start(&program, "thin-leaf", &config, self.leaf))
    }

    fn start_hub(&self, program: &Path, compression: Compression, rest: &str) -> Result<Server> {
        let config = format!(
            "listen: 127.0.0.1:{}\nserver_name: HUB\nping_interval: {PING_EVERY}\nping_max: 2\n{rest}\n\
             leafnodes {{ listen: \"{B}:{}\", compression: {} }}\n",
            self.hub,
            self.hub_leafs,
            compression.name()
        );
        self.net.b.run(|| Server::start(program, "thin-hub", &config, self.hub))
    }

    /// Publishes so many readings at the leaf and waits until all are acknowledged.
    fn fill(&self, messages: u64) -> Result<()> {
        self.net.a.run(|| {
            let mut client = Client::connect(self.leaf)?;
            client.subscribe("ack.*")?;
            let (mut sent, mut heard, mut batch) = (0, 0, Vec::new());
            while heard < messages {
                batch.clear();
                while sent < messages && sent - heard < 256 {
                    publish(&mut batch, &format!("t.{}", sent % 20), "ack.a", sent);
                    sent += 1;
                }
                client.send(&batch)?;
                heard += client.hear_acks(true)?;
            }
            Ok(())
        })
    }
}

/// A file stream whose source is the stream T of another domain, on subjects of its own.
fn source_stream(port: u16, domain: &str, subjects: &str) -> Result<()> {
    let config = format!(
        "{{\"name\":\"S\",\"storage\":\"file\",\"sources\":[{{\"name\":\"T\",\"external\":{{\"api\":\"$JS.{domain}.API\",\"deliver\":\"\"}},\
         \"subject_transforms\":[{{\"src\":\">\",\"dest\":\"{subjects}\"}}]}}],\
         \"republish\":{{\"src\":\"{subjects}\",\"dest\":\"heard.>\"}}}}"
    );
    let answer = Client::connect(port)?.request("$JS.API.STREAM.CREATE.S", &config)?;
    if answer.get("error").is_some() {
        return Err(format!("no stream: {answer}").into());
    }
    Ok(())
}

/// A log that was filled without a hub drains.
pub(crate) fn drain(kind: Kind, compression: Compression, messages: u64) -> Result<()> {
    let mut scene = Scene::new(THIN)?;
    let forward = |confirm: &str| {
        format!("store_dir: \"<DIR>\"\nstore_and_forward: [ {{ name: t, subjects: \"t.>\", confirm: {confirm} }} ]")
    };
    let leaf_rest = match kind {
        Kind::Stored => forward("stored"),
        Kind::Routed => forward("routed"),
        Kind::NatsServer => "jetstream { store_dir: \"<DIR>\", domain: leaf }".to_owned(),
    };
    let _leaf = scene.start_leaf(kind, compression, &leaf_rest)?;
    if kind == Kind::NatsServer {
        scene.net.a.run(|| client::create_stream(scene.leaf, "t.>"))?;
    }
    scene.fill(messages)?;
    let hub_rest = match kind {
        Kind::Routed => "",
        Kind::Stored | Kind::NatsServer => "jetstream { store_dir: \"<DIR>\", domain: hub }",
    };
    let _hub = scene.start_hub(&nats_server()?, compression, hub_rest)?;
    let subject = match kind {
        Kind::Stored => {
            scene.net.b.run(|| client::create_stream(scene.hub, "t.>"))?;
            "t.>"
        }
        Kind::Routed => "t.>",
        Kind::NatsServer => {
            // Its subscriber hears what the stream has taken.
            scene.net.b.run(|| source_stream(scene.hub, "leaf", "sourced.>"))?;
            "heard.>"
        }
    };
    let tap = Tap::open(&scene.net.b, scene.hub, subject)?;
    // From the tenth on, so that how long it takes to connect does not count.
    let skip = messages / 10;
    let start = tap.wait(skip, STUCK_AFTER)?;
    let before = scene.net.carried()?;
    let end = tap.wait(messages, STUCK_AFTER)?;
    let after = scene.net.carried()?;
    let (Some(from), Some(to)) = (start.last, end.last) else { return Err("nothing came".into()) };
    let (time, count) = (to - from, end.messages - start.messages);
    let (up, down) = (after.0.since(before.0), after.1.since(before.1));
    println!(
        "| {}, compression {} | {:.0} % | {:.0} % | {:.0} | {:.0} + {:.0} |",
        kind.name(),
        compression.name(),
        THIN.share(up.bytes, time) * 100.0,
        THIN.share(count * READING as u64, time) * 100.0,
        count as f64 / time.as_secs_f64(),
        up.bytes as f64 / count as f64,
        down.bytes as f64 / count as f64
    );
    Ok(())
}

/// More is offered in both directions than fits.
pub(crate) fn overload(kind: Kind, seconds: u64) -> Result<()> {
    let mut scene = Scene::new(THINNER)?;
    let program = kind.program()?;
    let _hub = scene.start_hub(&program, Compression::On, "")?;
    let _leaf = scene.start_leaf(kind, Compression::On, "")?;
    let above = Tap::open(&scene.net.b, scene.hub, "up.>")?;
    let below = Tap::open(&scene.net.a, scene.leaf, "down.>")?;
    let stop = AtomicBool::new(false);
    let stop = &stop;
    let (a, b, leaf, hub) = (&scene.net.a, &scene.net.b, scene.leaf, scene.hub);
    let result = scope(|threads| {
        threads.spawn(move || offer(a, leaf, "up.x", stop));
        threads.spawn(move || offer(b, hub, "down.x", stop));
        let watched = watch(&scene.net.a, scene.monitor, Duration::from_secs(seconds), || {
            above.heard().messages > 0 && below.heard().messages > 0
        });
        stop.store(true, Ordering::Relaxed);
        watched
    });
    let (links, time) = result?;
    let (up, down) = scene.net.carried()?;
    println!(
        "| {} | {:.0} %, {:.0} % | {}, {} | {} times |",
        if kind == Kind::NatsServer { "nats-server both" } else { "petiole both" },
        THINNER.share(up.bytes, time) * 100.0,
        THINNER.share(down.bytes, time) * 100.0,
        above.heard().messages,
        below.heard().messages,
        links - 1
    );
    Ok(())
}

/// Publishes ten times what fits, until it is to stop.
fn offer(side: &Side, port: u16, subject: &str, stop: &AtomicBool) {
    const EVERY: Duration = Duration::from_millis(20);
    let Ok(mut client) = side.run(|| Client::connect(port)) else { return };
    let (mut number, mut batch) = (0, Vec::new());
    while !stop.load(Ordering::Relaxed) {
        batch.clear();
        for _ in 0..12 {
            publish(&mut batch, subject, "", number);
            number += 1;
        }
        if client.send(&batch).is_err() {
            return;
        }
        sleep(EVERY);
    }
}

/// Looks at the leaf's links until `seconds` after there was one and everything flowed; how many different ones there were, and how long
/// since the first.
fn watch(side: &Side, monitor: u16, time: Duration, flows: impl Fn() -> bool) -> Result<(usize, Duration)> {
    let mut links: Vec<u64> = Vec::new();
    let mut linked = None;
    let started = Instant::now();
    while linked.is_none_or(|at: Instant| at.elapsed() < time) {
        let page: serde_json::Value = serde_json::from_str(&side.run(|| client::get(monitor, "/leafz"))?)?;
        for link in page["leafs"].as_array().into_iter().flatten() {
            let Some(id) = link["id"].as_u64() else { continue };
            if !links.contains(&id) {
                links.push(id);
            }
            linked.get_or_insert_with(Instant::now);
        }
        if started.elapsed() > STUCK_AFTER + time {
            return Err("no link".into());
        }
        sleep(Duration::from_millis(200));
    }
    if !flows() {
        println!("nothing came through in at least one direction:");
    }
    Ok((links.len(), linked.map_or(time, |at| at.elapsed())))
}

/// How long an alarm takes while a backlog of telemetry drains.
pub(crate) fn alarms(count: u64) -> Result<()> {
    let mut scene = Scene::new(THIN)?;
    let logs = "store_dir: \"<DIR>\"\nstore_and_forward: [ { name: t, subjects: \"t.>\", confirm: routed }\n\
                { name: a, subjects: \"alarms.>\", confirm: routed, priority: 10 } ]";
    let _leaf = scene.start_leaf(Kind::Routed, Compression::On, logs)?;
    scene.fill(60_000)?;
    let _hub = scene.start_hub(&nats_server()?, Compression::On, "")?;
    let backlog = Tap::open(&scene.net.b, scene.hub, "t.>")?;
    let heard = Tap::open(&scene.net.b, scene.hub, "alarms.>")?;
    backlog.wait(2000, STUCK_AFTER)?;
    let mut client = scene.net.a.run(|| Client::connect(scene.leaf))?;
    let mut times = Vec::new();
    for number in 0..count {
        sleep(Duration::from_millis(700));
        let mut bytes = Vec::new();
        publish(&mut bytes, "alarms.fire", "", number);
        let at = Instant::now();
        client.send(&bytes)?;
        let there = heard.wait(number + 1, STUCK_AFTER)?;
        times.push(there.last.ok_or("no time")? - at);
    }
    if backlog.heard().messages >= 60_000 {
        return Err("the backlog was gone too soon".into());
    }
    times.sort_unstable();
    let (up, _) = scene.net.carried()?;
    println!(
        "| with {} of {} packets lost so far | {:.0} ms | {:.0} ms | {} |",
        up.lost,
        up.packets,
        times[times.len() / 2].as_secs_f64() * 1e3,
        times[times.len() - 1].as_secs_f64() * 1e3,
        times.len()
    );
    Ok(())
}
