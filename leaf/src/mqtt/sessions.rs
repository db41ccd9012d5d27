//! Who has which session, and the sessions that nobody has.

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use mqtt_bridge::{Nanos, Session};
use slab::Slab;
use std::collections::BTreeSet;
use std::rc::Rc;

use crate::account::AccountId;
use crate::auth::directory::Identity;
use crate::interest::SubId;
use crate::node::ConnId;

/// Marks the place of a connection in a subscription as that of an absent session.
pub(crate) const ABSENT: u32 = 1 << 31;

/// A session whose client is away.
#[derive(Debug)]
pub(crate) struct Absent {
    pub(crate) account: AccountId,
    pub(crate) session: Box<Session>,
    /// Its subscriptions of the node.
    pub(crate) subs: Vec<SubId>,
    /// When it ends; `Nanos::MAX` for never.
    pub(crate) expires: Nanos,
    /// When its will is published, if it has one.
    pub(crate) will_at: Nanos,
    /// Whose it was: what its subscriptions may get.
    pub(crate) identity: Option<Rc<Identity>>,
}

impl Absent {
    /// When something is to be done about it.
    pub(crate) fn due(&self) -> Nanos {
        self.expires.min(self.will_at)
    }

    /// Whether a message may reach a subscription of which some is denied.
    pub(crate) fn may_deliver(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        let rules = self.identity.as_ref().and_then(|identity| identity.permissions.as_ref());
        rules.is_none_or(|rules| rules.may_deliver(subject, queue))
    }
}

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Connected(ConnId),
    Absent(u32),
}

#[derive(Debug, Default)]
pub(crate) struct Sessions {
    places: HashMap<(AccountId, Box<str>), Place, FixedState>,
    absent: Slab<Box<Absent>>,
    due: BTreeSet<(Nanos, u32)>,
    /// Bytes that wait for absent ones.
    pub(crate) queued_bytes: usize,
}

impl Sessions {
    /// With the node's secret for tables whose keys strangers choose.
    pub(crate) fn new(hasher: FixedState) -> Self {
        Self { places: HashMap::with_hasher(hasher), ..Self::default() }
    }

    pub(crate) fn find(&self, account: AccountId, client_id: &str) -> Option<Place> {
        // The key is owned, so this takes a copy; it happens once a connection.
        self.places.get(&(account, client_id.into())).copied()
    }

    pub(crate) fn set(&mut self, account: AccountId, client_id: &str, place: Place) {
        self.places.insert((account, client_id.into()), place);
    }

    pub(crate) fn forget(&mut self, account: AccountId, client_id: &str) {
        self.places.remove(&(account, client_id.into()));
        if self.places.capacity() > 1024 && self.places.len() < self.places.capacity() / 4 {
            self.places.shrink_to(self.places.len() * 2);
        }
    }

    /// How many nobody has.
    pub(crate) fn absent_count(&self) -> usize {
        self.absent.len()
    }

    pub(crate) fn absent(&self, at: u32) -> Option<&Absent> {
        self.absent.get(at as usize).map(|absent| &**absent)
    }

    pub(crate) fn absent_mut(&mut self, at: u32) -> Option<&mut Absent> {
        self.absent.get_mut(at as usize).map(|absent| &mut **absent)
    }

    /// Takes a session in whose client has left; says where.
    pub(crate) fn park(&mut self, absent: Absent) -> u32 {
        self.queued_bytes += absent.session.queued_bytes();
        let key = (absent.account, absent.session.client_id().into());
        let due = absent.due();
        let at = self.absent.insert(Box::new(absent)) as u32;
        self.places.insert(key, Place::Absent(at));
        self.schedule(due, at);
        at
    }

    /// Gives a session out whose client has come back.
    pub(crate) fn unpark(&mut self, at: u32) -> Option<Box<Absent>> {
        let absent = self.absent.try_remove(at as usize)?;
        self.queued_bytes -= absent.session.queued_bytes();
        self.due.remove(&(absent.due(), at));
        self.places.remove(&(absent.account, absent.session.client_id().into()));
        Some(absent)
    }

    fn schedule(&mut self, due: Nanos, at: u32) {
        if due != Nanos::MAX {
            self.due.insert((due, at));
        }
    }

    /// Its will is published: what remains is its end.
    pub(crate) fn will_done(&mut self, at: u32) {
        let Some(absent) = self.absent.get_mut(at as usize) else { return };
        self.due.remove(&(absent.due(), at));
        absent.will_at = Nanos::MAX;
        let due = absent.due();
        self.schedule(due, at);
    }

    /// Where all of them are.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.places.values().copied()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        self.due.first().map(|(due, _)| *due)
    }

    /// One that is due.
    pub(crate) fn due(&self, now: Nanos) -> Option<u32> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, at)| *at)
    }
}
