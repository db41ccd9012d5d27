//! The subscriptions of a session.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::packet::Options;
use crate::topic;

/// Up to here a walk over all of them is as quick as a table.
const INDEXED_FROM: usize = 16;

/// One subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// As it came, share and all.
    pub filter: Box<str>,
    /// How messages come.
    pub options: Options,
    /// The subscription identifier; 0 for none.
    pub id: u32,
    /// A level of it is a wildcard to NATS alone: ask [`topic::matches`] about each message.
    pub exact: bool,
    /// It starts with a wildcard, so topics that start with `$` are not for it.
    pub hides_dollar: bool,
    is_shared: bool,
}

impl Subscription {
    /// A subscription to `filter`, which is one.
    pub fn new(filter: &str, options: Options, id: u32) -> Self {
        let inner = topic::Asked::parse(filter).map_or(filter, |asked| asked.filter);
        Self {
            filter: filter.into(),
            options,
            id,
            exact: topic::has_nats_wildcard(inner),
            hides_dollar: inner.starts_with(['+', '#']),
            is_shared: inner.len() < filter.len(),
        }
    }

    /// Whether a message on `topic`, which NATS found to match, is for it.
    #[inline]
    pub fn takes(&self, topic: &str) -> bool {
        if self.hides_dollar && topic.starts_with('$') {
            return false;
        }
        !self.exact || topic::matches(self.inner(), topic)
    }

    /// Whether it shares a copy with others that match: a member of a shared subscription has one of its own.
    pub(super) fn merges(&self) -> bool {
        !self.is_shared
    }

    /// The filter without the share.
    pub fn inner(&self) -> &str {
        topic::Asked::parse(&self.filter).map_or(&self.filter, |asked| asked.filter)
    }
}

/// What became of a new subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Where it is.
    pub index: u32,
    /// There was one to the same filter, which it replaced.
    pub replaced: bool,
}

#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    slots: Vec<Option<Box<Subscription>>>,
    count: usize,
    free: Vec<u32>,
    /// From [`INDEXED_FROM`] on: the slots by filter. Its hash needs no secret: whoever makes its own
    /// filters collide slows down its own subscribing, as far as it may have subscriptions.
    table: Option<Box<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    slots: HashTable<u32>,
    hasher: FixedState,
}

impl Table {
    fn hash(&self, filter: &str) -> u64 {
        self.hasher.hash_one(filter)
    }
}

impl Subscriptions {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> Option<&Subscription> {
        self.slots.get(index as usize)?.as_deref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Subscription)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| Some((at as u32, slot.as_deref()?)))
    }

    fn find(&self, filter: &str) -> Option<u32> {
        match &self.table {
            None => self.iter().find(|(_, have)| *have.filter == *filter).map(|(at, _)| at),
            Some(table) => {
                let named = |at: &u32| self.get(*at).is_some_and(|have| *have.filter == *filter);
                table.slots.find(table.hash(filter), named).copied()
            }
        }
    }

    pub(super) fn insert(&mut self, subscription: Subscription) -> Added {
        if let Some(index) = self.find(&subscription.filter) {
            self.slots[index as usize] = Some(Box::new(subscription));
            return Added { index, replaced: true };
        }
        let index = self.free.pop().unwrap_or_else(|| {
            if self.slots.capacity() == 0 {
                self.slots.reserve_exact(1);
            }
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        self.slots[index as usize] = Some(Box::new(subscription));
        self.count += 1;
        self.index(index);
        Added { index, replaced: false }
    }

    fn index(&mut self, index: u32) {
        if self.count < INDEXED_FROM {
            return;
        }
        let Self { slots, table, .. } = self;
        let news: Vec<u32> = match table {
            Some(_) => vec![index],
            None => (0..slots.len() as u32).filter(|at| slots[*at as usize].is_some()).collect(),
        };
        let Table { slots: table, hasher } = &mut **table.get_or_insert_default();
        let hash = |at: &u32| slots[*at as usize].as_ref().map_or(0, |have| hasher.hash_one(&*have.filter));
        for at in news {
            table.insert_unique(hash(&at), at, hash);
        }
    }

    pub(super) fn remove(&mut self, filter: &str) -> Option<(u32, Subscription)> {
        let index = self.find(filter)?;
        if let Some(table) = &mut self.table {
            let hash = table.hash(filter);
            if let Ok(entry) = table.slots.find_entry(hash, |at| *at == index) {
                entry.remove();
            }
        }
        let removed = self.slots[index as usize].take()?;
        self.count -= 1;
        self.free.push(index);
        if self.count == 0 {
            *self = Self::default();
        }
        Some((index, *removed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many come and go; each is found, and a place that is free is used again.
    #[test]
    fn keeps_them_by_filter() {
        let mut all = Subscriptions::default();
        for n in 0..1000 {
            let added = all.insert(Subscription::new(&format!("a/{n}"), Options::default(), n));
            assert!(!added.replaced);
        }
        for n in (0..1000).step_by(2) {
            assert_eq!(all.remove(&format!("a/{n}")).map(|(_, s)| s.id), Some(n));
            assert_eq!(all.remove(&format!("a/{n}")), None);
        }
        assert_eq!(all.len(), 500);
        let again = all.insert(Subscription::new("a/1", Options::default(), 7));
        assert!(again.replaced);
        assert_eq!(all.get(again.index).map(|s| s.id), Some(7));
        assert!((all.insert(Subscription::new("b", Options::default(), 0)).index as usize) < 1000);
        assert_eq!(all.iter().count(), 501);
    }

    #[test]
    fn says_what_nats_cannot_tell_apart() {
        let takes = |filter: &str, topic: &str| Subscription::new(filter, Options::default(), 0).takes(topic);
        assert!(takes("a/*", "a/*") && !takes("a/*", "a/b"));
        assert!(takes("#", "a") && !takes("#", "$SYS/a"));
        assert!(takes("$share/g/#", "a") && !takes("$share/g/#", "$SYS/a"));
        assert!(takes("$SYS/#", "$SYS/a"));
    }
}
