//! A stream of messages from one publisher to verified subscribers, and the accounts of both ends.

use std::{
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use std::io::Write;

use crate::{
    Failure, Result,
    script::{Chunk, Found, Frames, Script, Verifier},
    wire::{Client, Control, Inbox},
};

/// How long nothing may arrive although something is missing.
const STANDSTILL: Duration = Duration::from_secs(15);

/// Room for what one read of a subscriber takes in.
const READ: usize = 128 * 1024;

/// Messages counted, with the sum of their numbers in the cycle.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    /// How many.
    pub(crate) messages: u64,
    /// Their numbers, added up.
    pub(crate) sum: u64,
}

/// What a subscriber has received so far, to be read by others.
#[derive(Default)]
pub(crate) struct Tally {
    messages: AtomicU64,
    sum: AtomicU64,
    failed: AtomicBool,
    stopping: AtomicBool,
}

impl Tally {
    /// The count so far. Its two parts belong together only while nothing arrives.
    pub(crate) fn count(&self) -> Count {
        Count { messages: self.messages.load(Relaxed), sum: self.sum.load(Relaxed) }
    }

    fn add(&self, more: Count) {
        self.sum.fetch_add(more.sum, Relaxed);
        self.messages.fetch_add(more.messages, Relaxed);
    }
}

/// A subscriber's thread.
pub(crate) struct Subscriber<'scope> {
    socket: TcpStream,
    tally: &'scope Tally,
    thread: ScopedJoinHandle<'scope, Result<()>>,
}

impl<'scope> Subscriber<'scope> {
    /// Starts to receive on a connection whose subscriptions the server knows of.
    pub(crate) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        client: Client,
        verifier: Verifier<'scope>,
        tally: &'scope Tally,
    ) -> Result<Self> {
        let (stream, mut inbox) = client.into_parts();
        inbox.reserve(READ);
        // It waits for as long as the run lasts: who stops it shuts the socket down.
        stream.set_read_timeout(None)?;
        let socket = stream.try_clone()?;
        let thread = scope.spawn(move || {
            let outcome = receive(stream, inbox, verifier, tally);
            // The end of a connection is what stopping looks like from in here.
            if outcome.is_err() && !tally.stopping.load(Relaxed) {
                tally.failed.store(true, Relaxed);
                return outcome;
            }
            Ok(())
        });
        Ok(Self { socket, tally, thread })
    }

    /// Stops receiving; the error that ended it earlier, if one did.
    pub(crate) fn stop(self) -> Result<()> {
        self.tally.stopping.store(true, Relaxed);
        // Fails if the server closed it, which the thread has reported.
        let _ = self.socket.shutdown(Shutdown::Both);
        self.thread.join().map_err(|_| "a subscriber's thread panicked")?
    }
}

/// Stops all; the first of the errors that ended one earlier.
pub(crate) fn stop_all(subscribers: Vec<Subscriber<'_>>) -> Result<()> {
    let outcomes: Vec<_> = subscribers.into_iter().map(Subscriber::stop).collect();
    outcomes.into_iter().collect()
}

/// Receives and verifies until the connection ends, which is an error, as is a wrong message.
fn receive(mut stream: TcpStream, mut inbox: Inbox, mut verifier: Verifier<'_>, tally: &Tally) -> Result<()> {
    loop {
        let mut count = Count::default();
        let found = loop {
            match verifier.take(&mut inbox) {
                Found::Message(number) => {
                    count.messages += 1;
                    count.sum += number;
                }
                other => break other,
            }
        };
        if count.messages > 0 {
            tally.add(count);
        }
        if matches!(found, Found::Foreign) && handle_control(&mut stream, &mut inbox, &verifier)? {
            continue;
        }
        if inbox.fill(&mut stream)? == 0 {
            return Err("the server closed a subscriber's connection".into());
        }
    }
}

/// Deals with a line which is no message; false if it is not there as a whole.
fn handle_control(stream: &mut TcpStream, inbox: &mut Inbox, verifier: &Verifier<'_>) -> Result<bool> {
    let Some(line) = inbox.line() else { return Ok(false) };
    let length = line.len() + 2;
    let text = inbox.at(line);
    if text.starts_with(b"MSG ") || text.starts_with(b"HMSG ") {
        return Err(wrong_message(inbox, verifier));
    }
    match Control::read(text) {
        Ok(Control::Ping) => stream.write_all(b"PONG\r\n")?,
        Ok(_) => {}
        // Damaged data looks like this too: say what was to come.
        Err(failure) => return Err(format!("{failure}; expected {}", verifier.expectation()?).into()),
    }
    inbox.consume(length);
    Ok(true)
}

fn wrong_message(inbox: &Inbox, verifier: &Verifier<'_>) -> Failure {
    match verifier.expectation() {
        Ok(expected) => inbox.complaint(&format!("lost, reordered or damaged: expected {expected}")),
        Err(failure) => failure,
    }
}

/// How subscribers share what is published.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each gets everything.
    Each,
    /// Each message goes to one of them.
    Group,
}

/// The publishing side: sends a script in a circle, mindful of how far the subscribers are.
pub(crate) struct Publisher<'a> {
    client: Client,
    script: &'a Script,
    tallies: &'a [Tally],
    sharing: Sharing,
    /// How many messages it may be ahead.
    window: u64,
    position: usize,
    sent: Count,
}

impl<'a> Publisher<'a> {
    /// A publisher at most `window` bytes ahead of the slowest of these subscribers.
    pub(crate) fn new(
        client: Client,
        script: &'a Script,
        tallies: &'a [Tally],
        sharing: Sharing,
        window: usize,
    ) -> Self {
        let window = (window / script.message_size()) as u64;
        Self { client, script, tallies, sharing, window, position: 0, sent: Count::default() }
    }

    /// All that has been sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.messages
    }

    /// Sends the next chunk, as soon as the subscribers are near enough.
    pub(crate) fn send_chunk(&mut self) -> Result<()> {
        let chunk: &Chunk = &self.script.chunks()[self.position];
        self.position = (self.position + 1) % self.script.chunks().len();
        let target = (self.sent.messages + chunk.messages).saturating_sub(self.window);
        self.wait_for(target, Duration::from_micros(100))?;
        self.client.send(self.script.bytes(chunk))?;
        self.sent.messages += chunk.messages;
        self.sent.sum += chunk.sum;
        Ok(())
    }

    /// Sends for so long, then waits until all of it has arrived.
    pub(crate) fn send_for(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.send_chunk()?;
        }
        self.settle()
    }

    /// Waits until the server has dealt with everything, and every subscriber has received all it should.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.client.flush()?;
        self.wait_for(self.sent.messages, Duration::from_micros(500))
    }

    /// Checks, some time after settling, that everybody has received what was sent and no more.
    pub(crate) fn check_counts(&self) -> Result<()> {
        thread::sleep(Duration::from_millis(20));
        let counts: Vec<_> = self.tallies.iter().map(Tally::count).collect();
        let sums: Vec<Count> = match self.sharing {
            Sharing::Each => counts,
            Sharing::Group => vec![counts.iter().fold(Count::default(), |all, one| Count {
                messages: all.messages + one.messages,
                sum: all.sum + one.sum,
            })],
        };
        match sums.iter().find(|&&count| !self.tallies.is_empty() && count != self.sent) {
            Some(wrong) => Err(format!("sent {:?}, received {wrong:?}", self.sent).into()),
            None => Ok(()),
        }
    }

    /// Messages received in all.
    pub(crate) fn delivered(&self) -> u64 {
        self.tallies.iter().map(|tally| tally.count().messages).sum()
    }

    /// Up to where all subscribers are.
    fn received(&self) -> u64 {
        let counts = self.tallies.iter().map(|tally| tally.count().messages);
        match self.sharing {
            _ if self.tallies.is_empty() => u64::MAX,
            Sharing::Each => counts.min().unwrap_or(u64::MAX),
            Sharing::Group => counts.sum(),
        }
    }

    fn wait_for(&self, target: u64, nap: Duration) -> Result<()> {
        let mut last = (0, Instant::now());
        loop {
            let received = self.received();
            if received >= target {
                return Ok(());
            }
            if self.tallies.iter().any(|tally| tally.failed.load(Relaxed)) {
                return Err("a subscriber failed".into());
            }
            if received != last.0 {
                last = (received, Instant::now());
            } else if last.1.elapsed() > STANDSTILL {
                return Err(format!("messages are lost: {received} of {} have arrived", self.sent.messages).into());
            }
            thread::sleep(nap);
        }
    }
}

/// A tally for each of so many subscribers.
pub(crate) fn tallies(count: usize) -> Vec<Tally> {
    (0..count).map(|_| Tally::default()).collect()
}

/// Verifies with these frames, in the order the way of sharing promises.
pub(crate) fn verifier(frames: &Frames, sharing: Sharing) -> Verifier<'_> {
    match sharing {
        Sharing::Each => Verifier::ordered(frames),
        Sharing::Group => Verifier::unordered(frames),
    }
}
