//! The subjects of a log: a million of them in some 45 bytes each.
//!
//! Most subjects differ in their last token only. What comes before is kept once, as long as there are few of these prefixes; a
//! name is its prefix and the rest.

use std::cell::RefCell;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::Seq;
use crate::subject;

/// Names a subject of a log, as long as the log is open.
pub(super) type SubjectId = u32;

/// Prefixes that may be kept whatever they are good for; more, only while a quarter of the subjects have one of their own.
const PREFIXES_MIN: usize = 1024;

/// All subjects of a log. A subject whose messages are gone keeps its place until the log is opened again.
#[derive(Debug)]
pub(super) struct Subjects {
    prefixes: Prefixes,
    /// For each subject: the number of its prefix, the length of the rest, the rest.
    names: Vec<u8>,
    entries: Vec<Entry>,
    table: HashTable<SubjectId>,
    hasher: FixedState,
    live: usize,
}

/// 20 bytes, of which there may be millions.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// In two halves, so that nothing is lost to alignment.
    last: [u32; 2],
    name_at: u32,
    count: u32,
    last_bytes: u32,
}

impl Entry {
    fn last(&self) -> Seq {
        Seq::from(self.last[0]) | Seq::from(self.last[1]) << 32
    }

    fn set_last(&mut self, seq: Seq, bytes: u32) {
        self.last = [seq as u32, (seq >> 32) as u32];
        self.last_bytes = bytes;
    }
}

/// What subjects begin with, each ending in a dot; number 0 is nothing.
#[derive(Debug)]
struct Prefixes {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    table: HashTable<u32>,
}

impl Prefixes {
    fn get(&self, number: u32) -> &[u8] {
        let Some(before) = (number as usize).checked_sub(1) else { return &[] };
        let start = before.checked_sub(1).map_or(0, |at| self.ends[at]);
        &self.bytes[start as usize..self.ends[before] as usize]
    }

    /// The number of a prefix, a new one if `may_add`; 0 if it has none.
    fn intern(&mut self, hasher: &FixedState, prefix: &[u8], may_add: bool) -> u32 {
        if prefix.is_empty() {
            return 0;
        }
        let hash = hasher.hash_one(prefix);
        if let Some(&number) = self.table.find(hash, |&number| self.get(number) == prefix) {
            return number;
        }
        let Ok(end) = u32::try_from(self.bytes.len() + prefix.len()) else { return 0 };
        if !may_add {
            return 0;
        }
        self.bytes.extend_from_slice(prefix);
        self.ends.push(end);
        let number = self.ends.len() as u32;
        let Self { bytes, ends, table } = self;
        table.insert_unique(hash, number, |&number| {
            let start = (number as usize).checked_sub(2).map_or(0, |at| ends[at]);
            hasher.hash_one(&bytes[start as usize..ends[number as usize - 1] as usize])
        });
        number
    }
}

/// Names one behind the other, for a footer.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    pub(super) fn get(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }
}

impl Subjects {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            prefixes: Prefixes { bytes: Vec::new(), ends: Vec::new(), table: HashTable::new() },
            names: Vec::new(),
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            live: 0,
        }
    }

    /// How many ids there are.
    pub(super) fn len(&self) -> SubjectId {
        self.entries.len() as SubjectId
    }

    /// Subjects that have messages.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn name(&self, id: SubjectId) -> Vec<u8> {
        parts(&self.prefixes, &self.names, &self.entries[id as usize]).concat()
    }

    /// The names of some subjects.
    pub(super) fn names(&self, ids: impl Iterator<Item = SubjectId>) -> Names {
        let mut names = Names::default();
        for id in ids {
            let [prefix, rest] = parts(&self.prefixes, &self.names, &self.entries[id as usize]);
            names.bytes.extend_from_slice(prefix);
            names.bytes.extend_from_slice(rest);
            names.ends.push(names.bytes.len());
        }
        names
    }

    pub(super) fn get(&self, subject: &[u8]) -> Option<SubjectId> {
        let hash = self.hasher.hash_one(subject);
        let is_same = |&id: &SubjectId| {
            let [prefix, rest] = parts(&self.prefixes, &self.names, &self.entries[id as usize]);
            prefix.len() + rest.len() == subject.len() && subject.starts_with(prefix) && subject.ends_with(rest)
        };
        self.table.find(hash, is_same).copied()
    }

    /// The subject's id; a new one if need be. `None` when there is no room for another name (4 GiB of names).
    pub(super) fn intern(&mut self, subject: &[u8]) -> Option<SubjectId> {
        if let Some(id) = self.get(subject) {
            return Some(id);
        }
        let name_at = u32::try_from(self.names.len()).ok()?;
        let id = u32::try_from(self.entries.len()).ok()?;
        u16::try_from(subject.len()).ok()?;
        let split = subject.iter().rposition(|&b| b == b'.').map_or(0, |dot| dot + 1);
        let may_add = self.prefixes.ends.len() < PREFIXES_MIN.max(self.entries.len() / 4);
        let prefix = self.prefixes.intern(&self.hasher, &subject[..split], may_add);
        let rest = if prefix == 0 { subject } else { &subject[split..] };
        put_number(prefix, &mut self.names);
        put_number(rest.len() as u32, &mut self.names);
        self.names.extend_from_slice(rest);
        self.entries.push(Entry { last: [0; 2], name_at, count: 0, last_bytes: 0 });
        let Self { prefixes, names, entries, table, hasher, .. } = self;
        let name = RefCell::new(Vec::new());
        let hash = |&id: &SubjectId| {
            let mut name = name.borrow_mut();
            name.clear();
            parts(prefixes, names, &entries[id as usize]).iter().for_each(|part| name.extend_from_slice(part));
            hasher.hash_one(&name[..])
        };
        table.insert_unique(hasher.hash_one(subject), id, hash);
        Some(id)
    }

    /// `count` messages more, the last of them `last`.
    pub(super) fn add(&mut self, id: SubjectId, count: u32, last: Seq, last_bytes: u32) {
        let entry = &mut self.entries[id as usize];
        self.live += usize::from(entry.count == 0 && count > 0);
        entry.count += count;
        if last >= entry.last() {
            entry.set_last(last, last_bytes);
        }
    }

    pub(super) fn remove(&mut self, id: SubjectId, count: u32) {
        let entry = &mut self.entries[id as usize];
        debug_assert!(entry.count >= count, "more messages removed than there were");
        self.live -= usize::from(entry.count > 0 && entry.count <= count);
        entry.count = entry.count.saturating_sub(count);
    }

    pub(super) fn count(&self, id: SubjectId) -> u32 {
        self.entries[id as usize].count
    }

    /// The last message that is there.
    pub(super) fn set_last(&mut self, id: SubjectId, seq: Seq, bytes: u32) {
        self.entries[id as usize].set_last(seq, bytes);
    }

    /// The last message ever appended, and what it counts; it may be gone.
    pub(super) fn last(&self, id: SubjectId) -> (Seq, u32) {
        let entry = &self.entries[id as usize];
        (entry.last(), entry.last_bytes)
    }

    /// Whether a filter matches a subject; `name` is room for it.
    pub(super) fn matches(&self, id: SubjectId, filter: &[u8], name: &mut Vec<u8>) -> bool {
        let [prefix, rest] = parts(&self.prefixes, &self.names, &self.entries[id as usize]);
        name.clear();
        name.extend_from_slice(prefix);
        name.extend_from_slice(rest);
        subject::matches(filter, name)
    }

    /// The subjects with messages that `filter` matches.
    pub(super) fn matching<'a>(&'a self, filter: &'a [u8]) -> impl Iterator<Item = SubjectId> + 'a {
        let literal = !subject::has_wildcard(filter);
        let one = literal.then(|| self.get(filter)).flatten();
        let all = if literal { 0 } else { self.entries.len() as u32 };
        let mut name = Vec::new();
        one.into_iter()
            .chain((0..all).filter(move |&id| self.matches(id, filter, &mut name)))
            .filter(|&id| self.count(id) > 0)
    }
}

/// A name's prefix and its rest.
fn parts<'a>(prefixes: &'a Prefixes, names: &'a [u8], entry: &Entry) -> [&'a [u8]; 2] {
    let (prefix, at) = number_at(names, entry.name_at as usize);
    let (len, at) = number_at(names, at);
    [prefixes.get(prefix), &names[at..][..len as usize]]
}

/// Seven bits a byte, the lowest first.
fn put_number(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number, and where it ends.
fn number_at(bytes: &[u8], mut at: usize) -> (u32, usize) {
    let (mut number, mut shift) = (0, 0);
    loop {
        let byte = bytes[at];
        number |= u32::from(byte & 0x7F) << shift;
        at += 1;
        if byte & 0x80 == 0 {
            return (number, at);
        }
        shift += 7;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_found_by_name_and_pattern() {
        let mut subjects = Subjects::new(1);
        for at in 0..1000u64 {
            let id = subjects.intern(format!("a.{}.{}", at % 10, at).as_bytes()).unwrap();
            subjects.add(id, 1, at, 5);
        }
        assert_eq!(subjects.live(), 1000);
        assert_eq!(subjects.matching(b"a.3.*").count(), 100);
        assert_eq!(subjects.matching(b"a.3.13").count(), 1);
        let id = subjects.get(b"a.3.13").unwrap();
        assert_eq!((subjects.last(id), subjects.count(id)), ((13, 5), 1));
        subjects.remove(id, 1);
        assert_eq!((subjects.live(), subjects.matching(b"a.3.*").count()), (999, 99));
        assert_eq!(subjects.get(b"b"), None);
    }

    /// Whatever names look like, they come back; prefixes of their own do not pay for ever.
    #[test]
    fn names_come_back() {
        let long = "x".repeat(60_000);
        let mut names: Vec<String> = (0..5000).map(|at| format!("device{at}.status")).collect();
        names.extend((0..5000).map(|at| format!("plant.line{}.d{at}", at % 7)));
        names.extend(["", ".", "a", "a.", ".a", "a..b", "d0.x", &long, &format!("{long}.b")].map(str::to_owned));
        let mut subjects = Subjects::new(1);
        let ids: Vec<SubjectId> = names.iter().map(|name| subjects.intern(name.as_bytes()).unwrap()).collect();
        let all = subjects.names(ids.iter().copied());
        for (at, name) in names.iter().enumerate() {
            assert_eq!(
                (subjects.get(name.as_bytes()), subjects.intern(name.as_bytes())),
                (Some(ids[at]), Some(ids[at]))
            );
            assert_eq!((subjects.name(ids[at]), all.get(at)), (name.as_bytes().to_vec(), name.as_bytes()));
        }
        assert_eq!(
            (subjects.get(b"device1.statu"), subjects.get(b"plant.line1."), subjects.get(b"b")),
            (None, None, None)
        );
        assert!(subjects.prefixes.ends.len() < 3000, "{}", subjects.prefixes.ends.len());
    }
}
