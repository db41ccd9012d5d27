//! A long outage: messages are buffered while there is no hub, then drained into a real nats-server.
//!
//! ```text
//! cargo bench -p petiole-leaf --bench forward                  # 5,000,000 messages of 100 bytes, stored and routed
//! cargo bench -p petiole-leaf --bench forward -- --messages 200000 --only stored
//! ```
//!
//! nats-server is the one in `NATS_SERVER` or on the PATH. Everything is real: petiole-leaf with its log on the disk of the temporary
//! directory, acknowledged publishes (so many outstanding), a JetStream file stream (`stored`) or a subscriber (`routed`) at the hub, which
//! must have got every message in the end. Local latency is from a publish on the leaf to the same client's subscription, beside the drain.

#![allow(clippy::disallowed_methods, reason = "not an engine")]

mod client;
mod process;

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use client::Client;
use process::{Server, free_port};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Acknowledgements that the publisher is ahead of.
const OUTSTANDING: u64 = 4096;
const SUBJECTS: u64 = 1000;
const PAYLOAD: [u8; 100] = [b'x'; 100];
/// How long nothing may move before a run is given up.
const STUCK_AFTER: Duration = Duration::from_secs(60);

struct Options {
    messages: u64,
    only: Option<String>,
}

fn options() -> Result<Options> {
    let mut options = Options { messages: 5_000_000, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--messages" => options.messages = arguments.next().ok_or("--messages N")?.parse()?,
            "--quick" => options.messages = 200_000,
            "--only" => options.only = arguments.next(),
            "--bench" => {}
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    Ok(options)
}

fn main() -> Result<()> {
    let options = options()?;
    println!("{} messages of {} bytes on {SUBJECTS} subjects\n", options.messages, PAYLOAD.len());
    for confirm in ["stored", "routed"] {
        if options.only.as_deref().is_none_or(|only| only == confirm) {
            run(confirm, options.messages)?;
        }
    }
    Ok(())
}

fn run(confirm: &str, messages: u64) -> Result<()> {
    let hub_program = process::nats_server()?;
    let (hub_port, hub_leafs, leaf_port, monitor) = (free_port()?, free_port()?, free_port()?, free_port()?);
    let leaf = format!(
        "listen: 127.0.0.1:{leaf_port}\nhttp: 127.0.0.1:{monitor}\nstore_dir: \"<DIR>\"\nserver_name: LEAF\n\
         leafnodes {{ reconnect: 200ms, reconnect_max: 500ms, remotes: [ {{ url: \"nats-leaf://127.0.0.1:{hub_leafs}\" }} ] }}\n\
         store_and_forward: [ {{ name: t, subjects: \"t.>\", confirm: {confirm} }} ]\n"
    );
    let hub = format!(
        "listen: 127.0.0.1:{hub_port}\nserver_name: HUB\njetstream {{ store_dir: \"<DIR>\", max_file: 20GB }}\n\
         leafnodes {{ listen: 127.0.0.1:{hub_leafs} }}\n"
    );
    let leaf = Server::start(Path::new(env!("CARGO_BIN_EXE_petiole-leaf")), "leaf", &leaf, leaf_port)?;
    let empty = leaf.resident()?;

    let started = Instant::now();
    fill(leaf_port, messages)?;
    let filled = started.elapsed();
    let (full, written) = (leaf.resident()?, outbox(monitor, "written_bytes")?);
    let idle = latency(leaf_port, || Ok(false), 4000)?;

    let hub = Server::start(&hub_program, "hub", &hub, hub_port)?;
    let mut counter = match confirm {
        "stored" => {
            client::create_stream(hub_port, "t.>")?;
            None
        }
        _ => Some(Client::count(hub_port, "t.>")?),
    };
    while outbox(monitor, "sent")? == 0.0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let (drain, before) = (Instant::now(), messages as f64 - outbox(monitor, "pending_messages")?);
    let mut moved = (Instant::now(), messages as f64);
    let busy = latency(
        leaf_port,
        || {
            let pending = outbox(monitor, "pending_messages")?;
            if pending < moved.1 {
                moved = (Instant::now(), pending);
            }
            if moved.0.elapsed() > STUCK_AFTER {
                return Err(format!("stuck with {pending} pending").into());
            }
            Ok(pending > 0.0)
        },
        usize::MAX,
    )?;
    let drained = drain.elapsed();
    let peak = leaf.peak_resident()?;
    let there = match &mut counter {
        Some(counter) => counter.heard(messages)?,
        None => client::stream_messages(hub_port)?,
    };
    if there < messages {
        return Err(format!("{there} of {messages} messages are at the hub").into());
    }
    let rate = |count: f64, time: Duration| count / time.as_secs_f64();
    println!("| {confirm} | |\n|---|--:|");
    println!("| taken in, synced and acknowledged | {:.0} messages/s |", rate(messages as f64, filled));
    println!("| written to flash per payload byte | {:.2} |", written / (messages * PAYLOAD.len() as u64) as f64);
    println!("| resident: empty, full, at most | {}, {}, {} KiB |", empty, full, peak);
    println!("| drained | {:.0} messages/s |", rate(messages as f64 - before, drained));
    println!("| local latency p50, p99: idle | {:.0}, {:.0} us |", idle.0, idle.1);
    println!("| local latency p50, p99: draining | {:.0}, {:.0} us |", busy.0, busy.1);
    println!("| at the hub | {there} of {messages} |\n");
    drop(hub);
    Ok(())
}

/// Publishes so many messages and waits for all acknowledgements.
fn fill(port: u16, messages: u64) -> Result<()> {
    let mut client = Client::connect(port)?;
    client.subscribe("ack.*")?;
    let (mut sent, mut heard) = (0, 0);
    let mut batch = Vec::new();
    while heard < messages {
        batch.clear();
        while sent < messages && sent - heard < OUTSTANDING && batch.len() < 64 * 1024 {
            client::publish(&mut batch, &format!("t.{}", sent % SUBJECTS), "ack.a", &PAYLOAD);
            sent += 1;
        }
        client.send(&batch)?;
        heard += client.hear_acks(sent - heard > OUTSTANDING / 2 || sent == messages)?;
    }
    Ok(())
}

/// The median and the 99th percentile, in microseconds, of the way from a publish to a subscription on the leaf, for as long as `go_on`
/// says (asked every 100), at least 1,000 and at most `most` times.
fn latency(port: u16, mut go_on: impl FnMut() -> Result<bool>, most: usize) -> Result<(f64, f64)> {
    let (mut publisher, mut subscriber) = (Client::connect(port)?, Client::connect(port)?);
    subscriber.subscribe("live.*")?;
    let mut times = Vec::new();
    let mut bytes = Vec::new();
    loop {
        for _ in 0..100 {
            bytes.clear();
            client::publish(&mut bytes, "live.a", "", b"x");
            let started = Instant::now();
            publisher.send(&bytes)?;
            subscriber.next_message()?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
            std::thread::sleep(Duration::from_micros(500));
        }
        let more = go_on()?;
        if times.len() >= most || (times.len() >= 1000 && !more && most == usize::MAX) {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((times[times.len() / 2], times[times.len() * 99 / 100]))
}

/// A figure of `/outboxz`.
fn outbox(monitor: u16, field: &str) -> Result<f64> {
    let page: serde_json::Value = serde_json::from_str(&client::get(monitor, "/outboxz")?)?;
    page["outboxes"][0][field].as_f64().ok_or_else(|| format!("no {field} in {page}").into())
}
