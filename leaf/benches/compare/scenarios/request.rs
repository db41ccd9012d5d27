//! One request at a time, and how long its answer takes.

use std::{
    net::{Shutdown, TcpStream},
    thread,
    time::{Duration, Instant},
};

use super::{Figure, Pace, Scenario};
use crate::{
    Result,
    peer::Server,
    procfs,
    wire::{Client, Event},
};

const SUBJECT: &str = "bench.service";

const PAYLOAD: usize = 128;

/// A requester, a responder, one request outstanding.
pub(super) struct RequestReply;

impl Scenario for RequestReply {
    fn name(&self) -> &'static str {
        "request-reply"
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        let mut responder = Client::connect(server.address)?;
        responder.send(format!("SUB {SUBJECT} 7\r\n").as_bytes())?;
        responder.flush()?;
        let stop = responder.socket()?;
        let mut requester = Requester::connect(server)?;
        thread::scope(|scope| {
            let responder = scope.spawn(move || respond(&mut responder));
            let outcome = measure(&mut requester, server, pace);
            close(&stop);
            let responses = responder.join().map_err(|_| "the responder panicked")?;
            let figures = outcome?;
            if responses != requester.answered {
                return Err(format!("{} requests, {responses} responses", requester.answered).into());
            }
            Ok(figures)
        })
    }
}

/// Answers every request with what it says, until its connection ends; the number of answers.
fn respond(client: &mut Client) -> u64 {
    let mut count = 0;
    let mut answer = Vec::new();
    while let Ok(Event::Message(request)) = client.next() {
        let Some(reply) = &request.reply else { break };
        let payload = client.part(&request.payload);
        answer.clear();
        answer.extend_from_slice(b"PUB ");
        answer.extend_from_slice(client.part(reply));
        answer.extend_from_slice(format!(" {}\r\n", payload.len()).as_bytes());
        answer.extend_from_slice(payload);
        answer.extend_from_slice(b"\r\n");
        count += 1;
        if client.send(&answer).is_err() {
            break;
        }
    }
    count
}

/// Ends the responder's wait; it may have ended already.
fn close(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Both);
}

struct Requester {
    client: Client,
    answered: u64,
}

impl Requester {
    /// Connects, subscribed to all of its answers at once, as client libraries do.
    fn connect(server: &Server) -> Result<Self> {
        let mut client = Client::connect(server.address)?;
        client.send(b"SUB _INBOX.bench.* 1\r\n")?;
        client.flush()?;
        Ok(Self { client, answered: 0 })
    }

    /// One round trip, verified.
    fn request(&mut self) -> Result<Duration> {
        let (reply, payload) = (format!("_INBOX.bench.{}", self.answered), format!("{:0PAYLOAD$}", self.answered));
        let request = format!("PUB {SUBJECT} {reply} {PAYLOAD}\r\n{payload}\r\n");
        let start = Instant::now();
        self.client.send(request.as_bytes())?;
        let Event::Message(answer) = self.client.next()? else { return Err("a PONG for an answer".into()) };
        let time = start.elapsed();
        let is = |range, expected: &str| self.client.part(range) == expected.as_bytes();
        if !is(&answer.subject, &reply) || !is(&answer.payload, &payload) {
            return Err(format!("the answer to request {} is not the one expected", self.answered).into());
        }
        self.answered += 1;
        Ok(time)
    }

    fn request_for(&mut self, time: Duration) -> Result<Vec<Duration>> {
        let start = Instant::now();
        let mut times = Vec::with_capacity(1 << 18);
        while start.elapsed() < time {
            times.push(self.request()?);
        }
        Ok(times)
    }
}

fn measure(requester: &mut Requester, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
    requester.request_for(pace.warm_up)?;
    let cpu = procfs::cpu_time(server.pid())?;
    let mut times = requester.request_for(pace.measured)?;
    let cpu = procfs::cpu_time(server.pid())?.saturating_sub(cpu);
    times.sort_unstable();
    let percentile = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(index).map_or(f64::NAN, |time| time.as_nanos() as f64 / 1000.0)
    };
    Ok(vec![
        Figure::cost("round trip p50, µs", percentile(0.5)),
        Figure::cost("round trip p99, µs", percentile(0.99)),
        Figure::cost("round trip p99.9, µs", percentile(0.999)),
        Figure::cost("ns of server CPU per round trip", cpu.as_nanos() as f64 / times.len() as f64),
    ])
}
