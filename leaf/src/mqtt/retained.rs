//! Retained messages: the last of each topic, for those who subscribe later.

use mqtt_bridge::{Nanos, Stored, topic};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use crate::account::AccountId;

/// What an entry takes besides its message, about, bytes.
const ENTRY_BYTES: usize = 128;

/// A message that is kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) message: Rc<Stored>,
    /// The log's name for it; 0 for none.
    pub(crate) tag: u64,
}

/// The retained messages of all accounts, by topic. In order, so that a filter's literal beginning finds its part.
#[derive(Debug, Default)]
pub(crate) struct Retained {
    accounts: BTreeMap<AccountId, BTreeMap<Box<str>, Kept>>,
    bytes: usize,
    count: usize,
    pub(crate) bytes_max: usize,
}

impl Retained {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes they take, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message fits, in place of the one there is.
    pub(crate) fn has_room(&self, account: AccountId, topic: &str, bytes: usize) -> bool {
        let old = self.get(account, topic).map_or(0, |kept| kept.message.len() + ENTRY_BYTES);
        self.bytes - old + bytes + ENTRY_BYTES <= self.bytes_max
    }

    /// Keeps a message; gives the one it replaces.
    pub(crate) fn insert(&mut self, account: AccountId, kept: Kept) -> Option<Kept> {
        let topic: Box<str> = kept.message.topic().into();
        let old = self.remove(account, &topic);
        self.bytes += kept.message.len() + ENTRY_BYTES;
        self.count += 1;
        self.accounts.entry(account).or_default().insert(topic, kept);
        old
    }

    /// Forgets the message of a topic.
    pub(crate) fn remove(&mut self, account: AccountId, topic: &str) -> Option<Kept> {
        let topics = self.accounts.get_mut(&account)?;
        let old = topics.remove(topic)?;
        if topics.is_empty() {
            self.accounts.remove(&account);
        }
        self.bytes -= old.message.len() + ENTRY_BYTES;
        self.count -= 1;
        Some(old)
    }

    /// The message of a topic.
    pub(crate) fn get_mut(&mut self, account: AccountId, topic: &str) -> Option<&mut Kept> {
        self.accounts.get_mut(&account)?.get_mut(topic)
    }

    /// All of them, with account and topic.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (AccountId, &str, &mut Kept)> {
        let accounts = self.accounts.iter_mut();
        accounts.flat_map(|(account, topics)| topics.iter_mut().map(|(topic, kept)| (*account, &**topic, kept)))
    }

    fn get(&self, account: AccountId, topic: &str) -> Option<&Kept> {
        self.accounts.get(&account)?.get(topic)
    }

    /// All that a filter matches and that have not expired.
    pub(crate) fn matching(&self, account: AccountId, filter: &str, now: Nanos) -> Vec<Rc<Stored>> {
        let Some(topics) = self.accounts.get(&account) else { return Vec::new() };
        let prefix = topic::literal_prefix(filter);
        let alive = |kept: &&Kept| kept.message.expires.is_none_or(|at| at > now);
        if prefix.len() == filter.len() {
            return topics.get(filter).filter(alive).map(|kept| kept.message.clone()).into_iter().collect();
        }
        // `a/#` matches `a` too, which does not start with `a/`.
        let parent = prefix.strip_suffix('/').filter(|parent| filter.len() == parent.len() + 2);
        let parent = parent.filter(|_| filter.ends_with('#')).and_then(|parent| topics.get_key_value(parent));
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let rest = topics.range::<str, _>(from).take_while(|(topic, _)| topic.starts_with(prefix));
        parent
            .into_iter()
            .chain(rest)
            .filter(|(topic, kept)| alive(kept) && topic::matches(filter, topic))
            .map(|(_, kept)| kept.message.clone())
            .collect()
    }

    /// Forgets what has expired; gives the log's names.
    pub(crate) fn drop_expired(&mut self, now: Nanos) -> Vec<u64> {
        let late = |kept: &Kept| kept.message.expires.is_some_and(|at| at <= now);
        let mut found: Vec<(AccountId, Box<str>)> = Vec::new();
        for (account, topics) in &self.accounts {
            found.extend(topics.iter().filter(|(_, kept)| late(kept)).map(|(topic, _)| (*account, topic.clone())));
        }
        found.iter().filter_map(|(account, topic)| self.remove(*account, topic)).map(|kept| kept.tag).collect()
    }
}

#[cfg(test)]
mod tests {
    use mqtt_bridge::{Forwarded, Outgoing, QoS};

    use super::*;

    fn kept(topic: &str, expires: Option<Nanos>) -> Kept {
        let (qos, forwarded) = (QoS::AtMostOnce, Forwarded::default());
        let message = Outgoing { topic, qos, retain: true, expires, forwarded, payload: b"x", serial: 0, stored: None };
        Kept { message: message.stored(), tag: 0 }
    }

    #[test]
    fn filters_find_theirs() {
        let mut all = Retained { bytes_max: 10_000, ..Retained::default() };
        let account = AccountId(0);
        for topic in ["a", "a/b", "a/c/d", "ab", "$SYS/a", "b", "/a"] {
            assert!(all.has_room(account, topic, 10));
            all.insert(account, kept(topic, None));
        }
        all.insert(account, kept("late", Some(5)));
        let found = |filter: &str| -> Vec<String> {
            all.matching(account, filter, 9).iter().map(|message| message.topic().to_owned()).collect()
        };
        assert_eq!(found("#"), ["/a", "a", "a/b", "a/c/d", "ab", "b"]);
        assert_eq!(found("a/#"), ["a", "a/b", "a/c/d"]);
        assert_eq!(found("a/+"), ["a/b"]);
        assert_eq!(found("a"), ["a"]);
        assert_eq!(found("+/a"), ["/a"]);
        assert_eq!(found("+"), ["a", "ab", "b"]);
        assert_eq!(found("$SYS/#"), ["$SYS/a"]);
        assert_eq!(found("late"), [""; 0]);
        assert!(all.matching(AccountId(1), "#", 0).is_empty());
        assert_eq!(all.drop_expired(9).len(), 1);
        assert_eq!(all.len(), 7);
        for topic in ["a", "a/b", "a/c/d", "ab", "$SYS/a", "b", "/a"] {
            all.remove(account, topic);
        }
        assert_eq!((all.len(), all.bytes()), (0, 0));
    }
}
