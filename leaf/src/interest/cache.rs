//! Answers for subjects that were published before, in a table that never outgrows its bound.
//!
//! Two places for each subject; the older answer is overwritten and its memory used again, so that a
//! publisher who cycles through more subjects than fit still allocates nothing.

use super::{FIRST_TOKEN_CLASSES, Matched};

/// Answers at most.
const SLOTS_MAX: usize = 32_768;
/// Answers the table starts with, once something is published.
const SLOTS_MIN: usize = 256;
/// Subscriptions named in all answers together (4 bytes each); past it the cache starts anew.
const IDS_MAX: usize = 1_048_576;

/// When an answer was computed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Generation {
    class: u32,
    of_class: u32,
    of_all: u32,
}

impl Generation {
    pub(super) fn new(class: usize, generations: &[u32; FIRST_TOKEN_CLASSES], of_all: u32) -> Self {
        Self { class: class as u32, of_class: generations[class], of_all }
    }

    pub(super) fn is_current(self, generations: &[u32; FIRST_TOKEN_CLASSES], of_all: u32) -> bool {
        self.of_all == of_all && self.of_class == generations[self.class as usize]
    }
}

#[derive(Debug, Default)]
struct Slot {
    used: bool,
    hash: u64,
    subject: Vec<u8>,
    generation: Generation,
    result: Matched,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    slots: Vec<Slot>,
    used: usize,
    ids: usize,
    /// Overwritten answers since the table last grew: a full table earns its doubling.
    evicted: usize,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn fanout(&self) -> (usize, usize) {
        let sizes = self.slots.iter().filter(|slot| slot.used).map(|slot| slot.result.len());
        sizes.fold((0, 0), |(max, sum), n| (max.max(n), sum + n))
    }

    /// The two places of `hash`.
    fn places(&self, hash: u64) -> [usize; 2] {
        let first = (hash as usize) & (self.slots.len() - 1);
        [first, first ^ 1]
    }

    pub(super) fn find(&self, hash: u64, subject: &[u8], current: impl Fn(Generation) -> bool) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        self.places(hash).into_iter().find(|&at| {
            let slot = &self.slots[at];
            slot.hash == hash && slot.used && slot.subject == subject && current(slot.generation)
        })
    }

    pub(super) fn result(&self, slot: usize) -> &Matched {
        &self.slots[slot].result
    }

    pub(super) fn result_mut(&mut self, slot: usize) -> &mut Matched {
        &mut self.slots[slot].result
    }

    /// A place for the answer to `subject`, emptied; fill it, then call [`Self::filled`].
    pub(super) fn claim(&mut self, hash: u64, subject: &[u8], generation: Generation) -> usize {
        self.grow();
        let places = self.places(hash);
        let mine =
            |at: &usize| self.slots[*at].used && self.slots[*at].hash == hash && self.slots[*at].subject == subject;
        let free = |at: &usize| !self.slots[*at].used;
        let at = places.iter().copied().find(mine).or_else(|| places.iter().copied().find(free)).unwrap_or_else(|| {
            self.evicted += 1;
            places[self.evicted & 1]
        });
        let slot = &mut self.slots[at];
        self.ids -= slot.result.len();
        if !slot.used {
            self.used += 1;
        }
        slot.used = true;
        slot.hash = hash;
        slot.subject.clear();
        slot.subject.extend_from_slice(subject);
        slot.generation = generation;
        slot.result.clear();
        at
    }

    pub(super) fn filled(&mut self, slot: usize) {
        self.ids += self.slots[slot].result.len();
        if self.ids <= IDS_MAX {
            return;
        }
        // The answer in hand stays; the others are computed again when they are asked for.
        let kept = std::mem::take(&mut self.slots[slot]);
        let size = self.slots.len();
        self.slots.clear();
        self.slots.resize_with(size, Slot::default);
        self.ids = kept.result.len();
        self.used = 1;
        self.slots[slot] = kept;
    }

    /// The answer to this one subject is stale.
    pub(super) fn drop_one(&mut self, hash: u64, subject: &[u8]) {
        let Some(at) = self.find(hash, subject, |_| true) else { return };
        let slot = std::mem::take(&mut self.slots[at]);
        self.ids -= slot.result.len();
        self.used -= 1;
    }

    fn grow(&mut self) {
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS_MIN, Slot::default);
            return;
        }
        if self.slots.len() >= SLOTS_MAX || self.evicted < self.slots.len() / 4 {
            return;
        }
        self.evicted = 0;
        let size = self.slots.len() * 2;
        let old = std::mem::take(&mut self.slots);
        self.slots.resize_with(size, Slot::default);
        (self.used, self.ids) = (0, 0);
        for slot in old.into_iter().filter(|slot| slot.used) {
            let Some(at) = self.places(slot.hash).into_iter().find(|&at| !self.slots[at].used) else { continue };
            self.used += 1;
            self.ids += slot.result.len();
            self.slots[at] = slot;
        }
    }
}

const _: () = assert!(SLOTS_MIN.is_power_of_two() && SLOTS_MAX.is_power_of_two());
