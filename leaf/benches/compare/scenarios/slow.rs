//! One subscriber stops reading: what that does to the server, and to everybody else.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{Figure, KIB, Pace, Scenario};
use crate::{
    Result,
    flow::{self, Publisher, Sharing, Subscriber},
    peer::Server,
    procfs,
    script::Script,
    wire::Client,
};

const SUBJECT: &str = "bench.flood";

const PAYLOAD: usize = 1024;

/// Messages in the cycle: 4 MiB, so that losing a round of it unnoticed by order (never by count) is out of the
/// question.
const CYCLE: usize = 4096;

/// How far the publisher may be ahead of the subscriber that reads. This bounds what that one can hold against the
/// server, so that memory and cut-off are the slow one's doing alone.
const WINDOW: usize = 16 * 1024 * 1024;

/// How often memory, and the slow consumer's socket, are looked at.
const SAMPLE: Duration = Duration::from_millis(5);

/// How long after the last message the slow consumer may still be connected before we stop waiting for its end.
const GRACE: Duration = Duration::from_secs(20);

/// A healthy subscriber, one that never reads, and far more data than a server may hold.
pub(super) struct SlowConsumer;

impl Scenario for SlowConsumer {
    fn name(&self) -> &'static str {
        "slow-consumer"
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        let script = Script::new(&[SUBJECT.to_owned()], CYCLE, PAYLOAD);
        let frames = script.frames("", |_| 1);
        let tallies = flow::tallies(1);
        let watch = Watch::default();
        let healthy = subscribe(server)?;
        let slow = Slow::connect(server)?;
        let publisher = Client::connect(server.address)?;
        thread::sleep(pace.rest);
        let base = Memory::of(server)?;
        thread::scope(|scope| {
            let healthy = Subscriber::start(scope, healthy, flow::verifier(&frames, Sharing::Each), &tallies[0])?;
            let start = Instant::now();
            let (sampled, watched) = (&watch, &slow);
            let sampler = scope.spawn(move || sampled.observe(server, watched, start));
            let publisher = Publisher::new(publisher, &script, &tallies, Sharing::Each, WINDOW);
            let outcome = flood(publisher, &watch, pace.flood_bytes, start);
            watch.done.store(true, Relaxed);
            let seen = sampler.join().map_err(|_| "the sampler panicked")?;
            healthy.stop()?;
            let (seen, flood) = (seen?, outcome?);
            Ok(figures(&base, &Memory::of(server)?, &seen, &flood))
        })
    }
}

/// Connected, subscribed, and known to the server.
fn subscribe(server: &Server) -> Result<Client> {
    let mut client = Client::connect(server.address)?;
    client.send(format!("SUB {SUBJECT} 1\r\n").as_bytes())?;
    client.flush()?;
    Ok(client)
}

/// The subscriber which never reads.
struct Slow {
    /// Kept open.
    _client: Client,
    /// The server's end of it. Our end does not tell when the server closes: behind a full window no FIN gets through.
    link: PathBuf,
    target: PathBuf,
}

impl Slow {
    fn connect(server: &Server) -> Result<Self> {
        let before = procfs::sockets(server.pid())?;
        let client = subscribe(server)?;
        let after = procfs::sockets(server.pid())?;
        let (link, target) = after.difference(&before).next().ok_or("the server has no socket for a connection")?;
        Ok(Self { _client: client, link: link.clone(), target: target.clone() })
    }

    fn is_closed(&self) -> bool {
        fs::read_link(&self.link).map_or(true, |target| target != self.target)
    }
}

/// Memory of the server, in KiB.
struct Memory {
    now: u64,
    peak: u64,
}

impl Memory {
    fn of(server: &Server) -> Result<Self> {
        Ok(Self { now: procfs::resident(server.pid())?, peak: procfs::peak_resident(server.pid())? })
    }
}

/// What the publisher and the sampler tell each other.
#[derive(Default)]
struct Watch {
    published: AtomicU64,
    closed: AtomicBool,
    done: AtomicBool,
}

/// What the sampler saw.
#[derive(Default)]
struct Seen {
    /// The most memory, in KiB.
    peak: u64,
    /// When the slow consumer's connection was closed, and how many messages had been published by then.
    closed: Option<(Duration, u64)>,
}

impl Watch {
    /// Looks at memory and at the slow consumer's socket until the publisher is done.
    fn observe(&self, server: &Server, slow: &Slow, start: Instant) -> Result<Seen> {
        let mut seen = Seen::default();
        while !self.done.load(Relaxed) {
            seen.peak = seen.peak.max(procfs::resident(server.pid())?);
            if seen.closed.is_none() && slow.is_closed() {
                seen.closed = Some((start.elapsed(), self.published.load(Relaxed)));
                self.closed.store(true, Relaxed);
            }
            thread::sleep(SAMPLE);
        }
        Ok(seen)
    }
}

/// What the publisher did.
struct Flood {
    messages: u64,
    time: Duration,
}

/// Publishes everything, then waits for the slow consumer's end.
fn flood(mut publisher: Publisher<'_>, watch: &Watch, bytes: u64, start: Instant) -> Result<Flood> {
    while publisher.sent() < bytes / PAYLOAD as u64 {
        publisher.send_chunk()?;
        watch.published.store(publisher.sent(), Relaxed);
    }
    publisher.settle()?;
    let time = start.elapsed();
    publisher.check_counts()?;
    let last = Instant::now();
    while !watch.closed.load(Relaxed) && last.elapsed() < GRACE {
        thread::sleep(SAMPLE);
    }
    Ok(Flood { messages: publisher.sent(), time })
}

fn figures(base: &Memory, end: &Memory, seen: &Seen, flood: &Flood) -> Vec<Figure> {
    // The kernel knows of peaks between two samples, unless the server once had even more while it started.
    let peak = if end.peak > base.peak { end.peak } else { seen.peak };
    let (closed, published) = seen.closed.unwrap_or((flood.time, flood.messages));
    let rate = |messages: u64, time: Duration| {
        if messages == 0 { f64::NAN } else { (messages * PAYLOAD as u64) as f64 / 1e6 / time.as_secs_f64() }
    };
    let after = rate(flood.messages - published, flood.time.saturating_sub(closed));
    vec![
        Figure::cost("peak resident over base, MiB", peak.saturating_sub(base.now) as f64 / KIB),
        Figure::cost("closed after, s", seen.closed.map_or(f64::NAN, |(time, _)| time.as_secs_f64())),
        Figure::performance("MB/s published until then", rate(published, closed)),
        Figure::performance("MB/s published afterwards", after),
    ]
}
