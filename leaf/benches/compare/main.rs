//! Measures petiole-leaf beside nats-server: same machine, same run, same load, one table.
//!
//! ```text
//! cargo bench -p petiole-leaf --bench compare
//! cargo bench -p petiole-leaf --bench compare -- --quick
//! cargo bench -p petiole-leaf --bench compare -- --rounds 3 --only fan-out --out FILE.md
//! ```
//!
//! `--quick` shortens everything (and halves the precision: processor time comes in ticks of 10 ms). `--only NAME` keeps the scenarios whose name contains NAME; `--rounds N` repeats every scenario N times and prints
//! medians; `--server NAME` keeps one server; `--peer PATH` names the nats-server to compare with (else the variable
//! `NATS_SERVER`, else the one on the PATH; without any, ours runs alone); `--ours PATH` measures another build of
//! petiole-leaf, such as the static one of `cross/build x86_64`; `--list` prints the scenarios' names.
//!
//! # How it measures
//!
//! Both servers get the same command line (`-a 127.0.0.1 -p PORT`, everything else at its default, but for
//! accounts and users where those are what is measured) and a fresh process
//! for every measurement, so nothing one scenario leaves behind is charged to the next. Servers alternate within a
//! scenario (A B A B over the rounds), so that a machine which slows down slows down both.
//!
//! The load comes from this process, over plain blocking sockets: one thread publishes batches of 64 KiB built
//! beforehand, one thread for each subscriber compares what arrives, byte for byte, with what the protocol says must
//! arrive, which is both cheaper than parsing it and stricter. A message that is lost, doubled, reordered or damaged,
//! and a server that dies, fail the run. Timings never do: they are only printed, because what they are depends on the
//! machine.
//!
//! A measurement is a warm-up, a wait until everything sent has arrived, then a fixed time of publishing and again the
//! wait. *Server CPU* is user plus system time of all the server's threads over that second part, divided by the
//! messages delivered (published, if nobody subscribes). It is the figure to trust on a small machine: the load
//! generator shares the cores with the server, so messages per second is what the two manage together. The publisher
//! stays at most 4 MiB ahead of the slowest subscriber, which keeps every subscriber far from the limit at which a
//! server cuts off a slow consumer.
//!
//! A machine that does something else meanwhile gives other figures, so the report ends with how many cores the rest of
//! it kept busy. Latencies in particular may even get better: cores that never sleep need not be woken.
//!
//! # What it measures
//!
//! * `footprint`: size of the binary, resident memory just after the start.
//! * `accounts-10000`: 10,000 accounts of 10 users each in the configuration: time to the first client, memory.
//! * `pub-sub-16`, `-128`, `-1024`: one publisher, one subscriber, one subject, payloads of so many bytes.
//! * `fan-out-20`: one publisher, twenty subscribers, 128 bytes.
//! * `subjects-wildcard`, `subjects-literal`: 128 bytes over 10,000 subjects in scrambled order, more than a cache of
//!   recent matches holds; the one subscriber has one `bench.>` or ten thousand literal subscriptions.
//! * `no-subscriber`: 128 bytes nobody asked for.
//! * `queue-4`: a queue group of four members, 128 bytes.
//! * `permissions`: as `pub-sub-128`, of a user with lists of what it may publish and subscribe to.
//! * `stream-import`: as `pub-sub-128`, from one account to another that imports the stream under another name.
//! * `request-reply`: one requester with one request outstanding, one responder, 128 bytes each way; percentiles of the
//!   round trip.
//! * `slow-consumer`: 5 GB of 1 KiB messages to one subscriber that reads and one that does not: the server's peak
//!   memory, when it closes the one that does not read, the publisher's throughput before and after. The one that
//!   reads must get everything, in order.
//! * `idle-connections`: 5,000 connections with a subscription each: resident memory for each; then each must still
//!   get a message.
//! * `floor`: not a server: the processor time and the round trip of a relay that looks at nothing, as a note.

#![allow(clippy::disallowed_methods, reason = "not an engine")]

mod floor;
mod flow;
mod machine;
mod options;
mod peer;
mod procfs;
mod report;
mod scenarios;
mod script;
mod wire;

use std::{error::Error, fs, process::ExitCode};

use machine::Bystanders;
use options::Options;
use peer::{Contender, Server};
use report::Results;
use scenarios::{Figure, Pace, Scenario};

/// Whatever went wrong, to be printed.
type Failure = Box<dyn Error + Send + Sync>;

/// The result of anything that can go wrong here.
type Result<T> = std::result::Result<T, Failure>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The whole run; true if nothing was lost and nobody died.
fn run() -> Result<bool> {
    if std::env::args().nth(1).is_some_and(|first| first == "--relay") {
        floor::relay()?;
        return Ok(true);
    }
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        return Ok(true);
    };
    let chosen: Vec<_> = scenarios::all().into_iter().filter(|scenario| options.wants(scenario.name())).collect();
    if options.list {
        chosen.iter().for_each(|scenario| println!("{}", scenario.name()));
        return Ok(true);
    }
    if chosen.is_empty() && !options.wants("floor") {
        return Err("no scenario has such a name; --list prints them".into());
    }
    let mut results = Results::new(contenders(&options)?, options.rounds);
    if results.contenders.len() == 1 {
        results.note(format!("Only {} ran: nothing to compare with.", results.contenders[0].name));
    }
    let pace = if options.quick { Pace::quick() } else { Pace::full() };
    machine::raise_descriptor_limit(pace.descriptors());
    let bystanders = Bystanders::watch()?;
    for scenario in &chosen {
        compare(scenario.as_ref(), &pace, &mut results);
    }
    if options.wants("floor") {
        match floor::measure(&pace) {
            Ok(text) => results.note(text),
            Err(failure) => results.note(format!("The kernel alone was not measured: {failure}.")),
        }
    }
    results.note(format!("Everything else on the machine kept {:.2} cores busy meanwhile.", bystanders.cores()?));
    publish(&results, &options)?;
    Ok(results.failures.is_empty())
}

/// The servers of this run, ours first.
fn contenders(options: &Options) -> Result<Vec<Contender>> {
    let built = || env!("CARGO_BIN_EXE_petiole-leaf").into();
    let ours = Contender::new("petiole-leaf", options.ours.clone().unwrap_or_else(built));
    let peer = peer::find_peer(options.peer.as_deref())?.map(|path| Contender::new("nats-server", path));
    if peer.is_none() {
        eprintln!("nats-server is missing (not on the PATH, no NATS_SERVER, no --peer): measuring petiole-leaf alone");
    }
    let servers: Vec<_> =
        [Some(ours), peer].into_iter().flatten().filter(|one| options.wants_server(one.name)).collect();
    if servers.is_empty() {
        return Err("no server of that name; there are petiole-leaf and nats-server".into());
    }
    Ok(servers)
}

/// All rounds of one scenario, the servers taking turns.
fn compare(scenario: &dyn Scenario, pace: &Pace, results: &mut Results) {
    if let Some(reason) = scenario.impossible(pace) {
        eprintln!("{}: skipped, {reason}", scenario.name());
        results.note(format!("{} was skipped: {reason}.", scenario.name()));
        return;
    }
    for round in 0..results.rounds {
        for index in 0..results.contenders.len() {
            let contender = &results.contenders[index];
            eprint!("{} {} (round {} of {}): ", scenario.name(), contender.name, round + 1, results.rounds);
            let outcome = measure(scenario, contender, pace);
            match &outcome {
                Ok(figures) => eprintln!("{}", report::one_line(figures)),
                Err(failure) => eprintln!("FAILED: {failure}"),
            }
            results.record(scenario.name(), index, outcome);
        }
    }
}

/// One scenario against one freshly started server.
fn measure(scenario: &dyn Scenario, contender: &Contender, pace: &Pace) -> Result<Vec<Figure>> {
    let mut server = Server::start(contender, &scenario.configuration())?;
    let figures = scenario.run(&server, pace);
    // Its death explains more than the broken pipe it caused.
    server.check_alive()?;
    figures.map_err(|failure| format!("{failure}{}", server.log_tail()).into())
}

/// Prints the report, and writes it where the options say.
fn publish(results: &Results, options: &Options) -> Result<()> {
    let text = report::markdown(results, &machine::describe(), options.quick);
    print!("{text}");
    if let Some(path) = &options.out {
        fs::write(path, &text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    for failure in &results.failures {
        eprintln!("FAILED: {failure}");
    }
    Ok(())
}
