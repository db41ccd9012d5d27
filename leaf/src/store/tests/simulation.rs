//! Random work on a disk that crashes, fails, tears, fills up and rots; what was promised is checked after each step and
//! each recovery.
//!
//! `PETIOLE_SIM_SEEDS` says how many seeds are tried (1,000), `PETIOLE_SIM_FIRST` with which to begin (0),
//! `PETIOLE_SIM_SECONDS` for how long to go on instead, `PETIOLE_SIM_LOUD` that every step is printed.

#![allow(clippy::disallowed_methods, reason = "the tests are told by the environment how long to go on")]

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::bug::{Bug, plant};

mod model;
mod secrets;
mod world;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// One run; what went wrong, and otherwise a digest of all that happened and how many segments were written again.
fn run(seed: u64) -> Result<(u64, u64), String> {
    let result = catch_unwind(|| World::new(seed).run());
    result.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

/// Every seed of a row holds, some of them twice with the same trace.
#[test]
fn holds_whatever_happens() {
    let first = number("PETIOLE_SIM_FIRST").unwrap_or(0);
    let seconds = number("PETIOLE_SIM_SECONDS").map(Duration::from_secs);
    let count = number("PETIOLE_SIM_SEEDS").unwrap_or(if seconds.is_some() { u64::MAX - first } else { 1000 });
    let started = Instant::now();
    let (next, tried, compacted) = (AtomicU64::new(first), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - first >= count || seconds.is_some_and(|seconds| started.elapsed() > seconds) {
                return;
            }
            let trace = run(seed).unwrap_or_else(|text| panic!("seed {seed}: {text}"));
            if seed % 16 == 0 {
                assert_eq!(run(seed), Ok(trace), "seed {seed} is not the same twice");
            }
            tried.fetch_add(1, Ordering::Relaxed);
            compacted.fetch_add(trace.1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        work();
        other.join().unwrap();
    });
    let (tried, compacted) = (tried.into_inner(), compacted.into_inner());
    println!("{tried} seeds in {:.1?}, {compacted} segments written again", started.elapsed());
    assert!(tried < 100 || compacted > tried / 10, "hardly any segment was written again");
}

/// Each of these is found: a simulation that overlooks them would prove nothing.
#[test]
fn finds_planted_bugs() {
    const SEEDS: u64 = 4000;
    for bug in Bug::ALL {
        plant(Some(bug));
        let (mut found, mut tried) = (0, 0);
        // Three times are enough, for those that are found easily.
        while found < 3 && tried < SEEDS {
            found += u64::from(run(tried).is_err());
            tried += 1;
        }
        plant(None);
        println!("{bug:?}: found in {found} of {tried} seeds");
        assert!(found > 0, "{bug:?} is overlooked");
    }
}
