//! The subscriptions of a node.

use heapless::Vec as Inline;
use slab::Slab;

use super::import::Link;
use super::thrift::Thrift;
use crate::account::AccountId;
use crate::interest::{Place, SubId};

/// One subscription.
#[derive(Debug)]
pub struct Sub {
    /// The slot of the connection that holds it.
    pub(crate) conn: u32,
    /// In whose subjects.
    pub(crate) account: AccountId,
    pub(crate) place: Place,
    /// The subject, maybe with wildcards.
    pub subject: Box<[u8]>,
    /// The queue group.
    pub queue: Option<Box<[u8]>>,
    /// The connection's name for it.
    pub sid: Sid,
    /// Messages delivered since it was made.
    pub delivered: u64,
    /// Ends after this many; 0 is never.
    pub max: u64,
    /// Deny rules overlap: ask for each message.
    pub filtered: bool,
    /// What it has to do with other accounts.
    pub(crate) link: Option<Box<Link>>,
    /// It stands for the subscribers behind a link to another server, so many of them; 0 for one's own.
    pub weight: u32,
}

/// A subscription's name on its connection: mostly a small number, so kept in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sid {
    /// Up to 14 bytes.
    Short(Inline<u8, 14, u8>),
    /// Longer.
    Long(Box<[u8]>),
}

impl Sid {
    /// Copies `name`.
    pub fn new(name: &[u8]) -> Self {
        Inline::from_slice(name).map_or_else(|_| Self::Long(name.into()), Self::Short)
    }

    /// The name.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short(name) => name,
            Self::Long(name) => name,
        }
    }
}

/// All subscriptions, by the id that [`crate::interest`] knows them by.
#[derive(Debug, Default)]
pub(crate) struct Subs {
    /// Boxed, so that a hole costs a word.
    slab: Slab<Box<Sub>>,
    thrift: Thrift,
}

impl Subs {
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    pub(crate) fn next_id(&self) -> SubId {
        self.slab.vacant_key() as SubId
    }

    pub(crate) fn insert(&mut self, sub: Sub) -> SubId {
        self.slab.insert(Box::new(sub)) as SubId
    }

    pub(crate) fn get(&self, id: SubId) -> Option<&Sub> {
        self.slab.get(id as usize).map(|sub| &**sub)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: SubId) -> Option<&mut Sub> {
        self.slab.get_mut(id as usize).map(|sub| &mut **sub)
    }

    pub(crate) fn remove(&mut self, id: SubId) -> Option<Box<Sub>> {
        let sub = self.slab.try_remove(id as usize);
        if self.thrift.is_due(self.slab.len(), self.slab.capacity(), 4096) {
            self.slab.shrink_to_fit();
        }
        sub
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SubId, &Sub)> {
        self.slab.iter().map(|(id, sub)| (id as SubId, &**sub))
    }
}
