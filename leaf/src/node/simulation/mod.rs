//! Random clients of a whole node in simulated time: no sockets, no clock. A seed decides everything: who comes and
//! goes, what they say, how it is cut into pieces, who reads slowly, when the configuration changes.
//!
//! After each step the [`world`] looks at what the node has appended for whom and compares it with a naive [`model`]:
//! each message exactly to whom it belongs, in the order of publishing; each error in its place; no bound exceeded. In
//! the end everybody leaves and nothing may be left.

mod model;
mod world;

use super::bug::{self, Bug};
use world::World;

/// Steps of one run, before everybody leaves.
const STEPS: usize = 150;
const SEEDS: u64 = 2_000;
/// A planted bug must be found by then.
const SEEDS_PER_BUG: u64 = 1_000;

/// Runs a seed: what its trace adds up to, or what went wrong and where.
fn run(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    for step in 0..STEPS {
        world.step().map_err(|why| format!("seed {seed}, step {step}: {why}"))?;
    }
    world.finish().map_err(|why| format!("seed {seed}, at the end: {why}"))?;
    Ok(world.digest())
}

#[test]
fn every_seed_keeps_every_promise() {
    let mut faults = (1..=SEEDS).filter_map(|seed| run(seed).err());
    if let Some(fault) = faults.next() {
        panic!("{fault}");
    }
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 1..=100 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

/// A simulation that finds nothing proves nothing.
#[test]
fn planted_bugs_are_found() {
    for planted in Bug::ALL {
        bug::plant(Some(planted));
        let found = (1..=SEEDS_PER_BUG).find_map(|seed| run(seed).err());
        bug::plant(None);
        let fault = found.unwrap_or_else(|| panic!("{planted:?} was not found in {SEEDS_PER_BUG} seeds"));
        println!("{planted:?}: {fault}");
    }
}
