//! Who wants a subject: the subscriptions of one account.
//!
//! Subscriptions to literal subjects sit in a hash table, those with wildcards in a trie, and the
//! answers for published subjects in a bounded [`cache`]. An answer remembers the generation it was
//! computed in. A literal subscription changes the answer for one subject and drops that alone; one
//! with wildcards starts a new generation, of its own first token where that is literal, so that
//! an inbox coming or going does not disturb the telemetry.

mod cache;
mod entry;
mod trie;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::hash::BuildHasher;

use crate::node::bug::{Bug, planted};
use crate::subject;
use cache::{Cache, Generation};
use entry::Entry;
use trie::Trie;

/// Names a subscription; the caller keeps what belongs to it.
pub type SubId = u32;

/// Subjects of answers to other accounts are published once: no need to remember who wants them.
const SHORT_LIVED: &[u8] = b"_R_.";

/// Called with a pattern, a queue group and their subscriptions.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], Option<&[u8]>, &[SubId]);

/// Generations are kept for this many classes of first tokens.
const FIRST_TOKEN_CLASSES: usize = 64;

/// What a lookup found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matched {
    /// Plain subscriptions: each gets the message.
    pub plain: Vec<SubId>,
    /// Queue groups: one member of each gets the message.
    pub groups: Vec<Group>,
}

/// A queue group: all matching subscriptions that share the queue name, whatever their subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The queue name.
    pub name: std::rc::Rc<[u8]>,
    /// Its members, never empty.
    pub members: Vec<SubId>,
}

impl Matched {
    /// Whether nobody wants it.
    pub fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.groups.is_empty()
    }

    /// How many subscriptions are in it.
    pub fn len(&self) -> usize {
        self.plain.len() + self.groups.iter().map(|g| g.members.len()).sum::<usize>()
    }

    fn clear(&mut self) {
        self.plain.clear();
        self.groups.clear();
    }
}

/// Where a subscription stands, so that removing it costs the same however many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

/// Counters as `/subsz` shows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Subscriptions that came.
    pub inserts: u64,
    /// Subscriptions that went.
    pub removes: u64,
    /// Lookups.
    pub matches: u64,
    /// Lookups that the cache answered.
    pub cache_hits: u64,
}

/// The subscriptions of one account. Until somebody subscribes or publishes it is hardly anything: of ten thousand
/// accounts many sleep.
#[derive(Debug)]
pub struct Interest {
    tables: Option<Box<Tables>>,
    seed: u64,
    caching: bool,
}

#[derive(Debug)]
struct Tables {
    hasher: FixedState,
    literals: HashMap<Box<[u8]>, Entry, FixedState>,
    wild: Trie,
    generations: [u32; FIRST_TOKEN_CLASSES],
    generation: u32,
    cache: Cache,
    caching: bool,
    uncached: Matched,
    count: usize,
    counters: Counters,
}

impl Interest {
    /// No subscriptions. `seed` keeps hostile subjects from colliding; `caching` is off with
    /// `disable_sublist_cache`.
    pub fn new(seed: u64, caching: bool) -> Self {
        Self { tables: None, seed, caching }
    }

    fn tables(&mut self) -> &mut Tables {
        let (seed, caching) = (self.seed, self.caching);
        self.tables.get_or_insert_with(|| Box::new(Tables::new(seed, caching)))
    }

    /// How many subscriptions there are.
    pub fn len(&self) -> usize {
        self.tables.as_ref().map_or(0, |tables| tables.count)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many answers the cache holds.
    pub fn cached(&self) -> usize {
        self.tables.as_ref().map_or(0, |tables| tables.cache.len())
    }

    /// The counters for monitoring.
    pub fn counters(&self) -> Counters {
        self.tables.as_ref().map_or_else(Counters::default, |tables| tables.counters)
    }

    /// The largest and the sum of fan-outs over the cached answers.
    pub fn cached_fanout(&self) -> (usize, usize) {
        self.tables.as_ref().map_or((0, 0), |tables| tables.cache.fanout())
    }

    /// Adds subscription `id` to `pattern`, which must be valid ([`subject::is_valid`]).
    /// The place is needed to remove it again.
    pub fn insert(&mut self, pattern: &[u8], queue: Option<&[u8]>, id: SubId) -> Place {
        self.tables().insert(pattern, queue, id)
    }

    /// Removes the subscription at `place`. If another one took its place, that one is returned:
    /// its place is now `place`.
    pub fn remove(&mut self, pattern: &[u8], queue: Option<&[u8]>, place: Place) -> Option<SubId> {
        self.tables.as_mut()?.remove(pattern, queue, place)
    }

    /// The subscriptions to exactly this pattern, in this queue group or in none.
    pub fn members(&self, pattern: &[u8], queue: Option<&[u8]>) -> &[SubId] {
        self.tables.as_ref().map_or(&[], |tables| tables.members(pattern, queue))
    }

    /// Calls `f` with each pattern and queue group and its subscriptions, in an order that depends only on how they
    /// came and went.
    pub fn each(&self, f: Visit<'_>) {
        if let Some(tables) = &self.tables {
            tables.each(f);
        }
    }

    /// Everybody who wants `subject`, whose tokens are all taken literally.
    #[inline]
    pub fn lookup(&mut self, subject: &[u8]) -> &Matched {
        self.tables().lookup(subject)
    }
}

impl Tables {
    fn new(seed: u64, caching: bool) -> Self {
        let hasher = FixedState::with_seed(seed);
        Self {
            literals: HashMap::with_hasher(hasher.clone()),
            wild: Trie::new(hasher.clone()),
            hasher,
            generations: [0; FIRST_TOKEN_CLASSES],
            generation: 0,
            cache: Cache::default(),
            caching,
            uncached: Matched::default(),
            count: 0,
            counters: Counters::default(),
        }
    }

    fn insert(&mut self, pattern: &[u8], queue: Option<&[u8]>, id: SubId) -> Place {
        self.count += 1;
        self.counters.inserts += 1;
        self.forget(pattern);
        if subject::has_wildcard(pattern) {
            return self.wild.entry(pattern).insert(queue, id);
        }
        if let Some(entry) = self.literals.get_mut(pattern) {
            return entry.insert(queue, id);
        }
        self.literals.entry(pattern.into()).or_default().insert(queue, id)
    }

    fn remove(&mut self, pattern: &[u8], queue: Option<&[u8]>, place: Place) -> Option<SubId> {
        self.count -= 1;
        self.counters.removes += 1;
        self.forget(pattern);
        if subject::has_wildcard(pattern) {
            return self.wild.remove(pattern, queue, place);
        }
        let entry = self.literals.get_mut(pattern)?;
        let moved = entry.remove(queue, place);
        if entry.is_empty() {
            self.literals.remove(pattern);
            self.shrink();
        }
        moved
    }

    fn members(&self, pattern: &[u8], queue: Option<&[u8]>) -> &[SubId] {
        let entry = match subject::has_wildcard(pattern) {
            true => self.wild.find(pattern),
            false => self.literals.get(pattern),
        };
        entry.map_or(&[], |entry| entry.members(queue))
    }

    fn each(&self, f: Visit<'_>) {
        for (pattern, entry) in &self.literals {
            entry.each(pattern, f);
        }
        self.wild.each(f);
    }

    fn lookup(&mut self, subject: &[u8]) -> &Matched {
        self.counters.matches += 1;
        if !self.caching || subject.starts_with(SHORT_LIVED) {
            self.uncached.clear();
            collect(&self.literals, &mut self.wild, subject, &mut self.uncached);
            return &self.uncached;
        }
        let hash = self.hasher.hash_one(subject);
        let generations = (&self.generations, self.generation);
        if let Some(slot) = self.cache.find(hash, subject, |g| g.is_current(generations.0, generations.1)) {
            self.counters.cache_hits += 1;
            return self.cache.result(slot);
        }
        let class = self.class(subject);
        let now = Generation::new(class, &self.generations, self.generation);
        let slot = self.cache.claim(hash, subject, now);
        let result = self.cache.result_mut(slot);
        collect(&self.literals, &mut self.wild, subject, result);
        self.cache.filled(slot);
        self.cache.result(slot)
    }

    /// The subscriptions to a literal or wildcard pattern changed: answers it could touch are stale.
    fn forget(&mut self, pattern: &[u8]) {
        if planted(Bug::StaleAnswer) {
            return;
        }
        if !subject::has_wildcard(pattern) {
            let hash = self.hasher.hash_one(pattern);
            self.cache.drop_one(hash, pattern);
            return;
        }
        let first = subject::tokens(pattern).next().unwrap_or_default();
        if first == b"*" || first == b">" {
            self.generation = self.generation.wrapping_add(1);
        } else {
            let class = self.class(pattern);
            self.generations[class] = self.generations[class].wrapping_add(1);
        }
    }

    fn class(&self, subject: &[u8]) -> usize {
        let first = subject::tokens(subject).next().unwrap_or_default();
        self.hasher.hash_one(first) as usize % FIRST_TOKEN_CLASSES
    }

    /// Gives memory back after a crowd has left.
    fn shrink(&mut self) {
        if self.literals.capacity() > 1024 && self.literals.len() < self.literals.capacity() / 4 {
            self.literals.shrink_to(self.literals.len() * 2);
        }
    }
}

fn collect(literals: &HashMap<Box<[u8]>, Entry, FixedState>, wild: &mut Trie, subject: &[u8], result: &mut Matched) {
    if let Some(entry) = literals.get(subject) {
        entry.collect(result);
    }
    wild.collect(subject, result);
}

#[cfg(test)]
mod tests;
