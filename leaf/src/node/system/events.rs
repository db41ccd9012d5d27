//! What the server tells of its own accord in the system account. Where nobody listens there, nothing is made.

use super::super::{CloseReason, Conn, ConnId, Nanos, Node, SECOND};
use super::super::{Command, Kind};
use crate::account::AccountId;
use crate::message::Message;
use crate::monitor::events::{self, Stamp};
use crate::monitor::{self, HostFacts};

/// STATSZ comes this soon after the start, then after twice as long each time …
const STATS_FIRST: Nanos = SECOND / 4;
/// … up to this.
const STATS_EVERY: Nanos = 10 * SECOND;
/// How often the connections of an account are told although they stayed the same.
const COUNTS_EVERY: Nanos = 30 * SECOND;
/// Letters of an event's name.
const ID_LETTERS: usize = 22;

/// What comes again and again while somebody listens.
pub(crate) struct Beat {
    stats_at: Nanos,
    stats_after: Nanos,
    counts_at: Nanos,
}

impl Default for Beat {
    fn default() -> Self {
        Self { stats_at: STATS_FIRST, stats_after: STATS_FIRST, counts_at: COUNTS_EVERY }
    }
}

impl Node {
    /// When the next message of the server's own accord is due.
    pub(crate) fn system_due(&self) -> Option<Nanos> {
        let beat = &self.system.beat;
        (self.has_audience() && !self.system.measuring).then(|| beat.stats_at.min(beat.counts_at))
    }

    /// Time has passed.
    pub(crate) fn beat(&mut self) {
        if !self.has_audience() {
            return;
        }
        if self.system.beat.stats_at <= self.now && !self.system.measuring {
            self.system.measuring = true;
            self.commands.push_back(Command::Measure);
        }
        if self.system.beat.counts_at <= self.now {
            self.system.beat.counts_at = self.now + COUNTS_EVERY;
            for account in self.accounts.ids() {
                if self.accounts.get(account).connections > 0 {
                    self.tell_count(account);
                }
            }
        }
    }

    /// STATSZ, if it is due.
    pub(super) fn tell_stats(&mut self, host: &HostFacts) {
        let beat = &mut self.system.beat;
        if beat.stats_at > self.now {
            return;
        }
        beat.stats_after = (beat.stats_after * 2).min(STATS_EVERY);
        beat.stats_at = self.now + beat.stats_after;
        let subject = format!("$SYS.SERVER.{}.STATSZ", self.identity.server_id);
        self.publish_stats(host, subject.as_bytes());
    }

    /// STATSZ on `subject`, if somebody listens there.
    pub(super) fn publish_stats(&mut self, host: &HostFacts, subject: &[u8]) {
        self.tell_system(subject, |node, stamp| {
            let mut body = b"{\"server\":".to_vec();
            body.extend(events::server(node, stamp.seq));
            body.extend(b",\"statsz\":");
            body.extend(monitor::stats(node, host));
            body.push(b'}');
            body
        });
    }

    /// Somebody has logged in.
    pub(crate) fn tell_login(&mut self, slot: u32) {
        let Some(account) = self.conns[slot as usize].core.account.filter(|_| self.has_audience()) else { return };
        self.tell_count(account);
        let subject = format!("$SYS.ACCOUNT.{}.CONNECT", self.accounts.get(account).name);
        self.tell_system(subject.as_bytes(), |node, stamp| events::connected(node, &node.conns[slot as usize], stamp));
    }

    /// Somebody was not let in. The system account hears of it, and `account`, which is told why.
    pub(crate) fn tell_refusal(&mut self, id: ConnId, account: AccountId, why: &str) {
        let reason = CloseReason::AuthenticationViolation.text();
        let told = |node: &Self, stamp: &Stamp, why: &str| {
            node.find(id).map(|conn| events::disconnected(node, conn, why, stamp)).unwrap_or_default()
        };
        if self.has_audience() {
            let subject = format!("$SYS.SERVER.{}.CLIENT.AUTH.ERR", self.identity.server_id);
            self.tell_system(subject.as_bytes(), |node, stamp| told(node, stamp, reason));
        }
        if self.system.account.is_some() {
            self.tell_in(account, b"$SYS.ACCOUNT.CLIENT.AUTH.ERR", |node, stamp| told(node, stamp, why));
        }
    }

    /// A connection has ended; the node has let go of it.
    pub(crate) fn tell_end(&mut self, conn: &Conn, reason: CloseReason) {
        if !self.has_audience() || !matches!(conn.peer.kind(), Kind::Client | Kind::Leaf) {
            return;
        }
        if let Some(account) = conn.core.account {
            self.tell_count(account);
        }
        let account = conn.core.account.unwrap_or(AccountId::GLOBAL);
        let subject = format!("$SYS.ACCOUNT.{}.DISCONNECT", self.accounts.get(account).name);
        self.tell_system(subject.as_bytes(), |node, stamp| events::disconnected(node, conn, reason.text(), stamp));
    }

    /// The number of an account's connections has changed. Nobody counts those of `$G`.
    fn tell_count(&mut self, account: AccountId) {
        if account == AccountId::GLOBAL {
            return;
        }
        let name = self.accounts.get(account).name.clone();
        // The older of the two subjects comes first.
        for subject in [format!("$SYS.SERVER.ACCOUNT.{name}.CONNS"), format!("$SYS.ACCOUNT.{name}.SERVER.CONNS")] {
            self.tell_system(subject.as_bytes(), |node, stamp| events::connections(node, account, stamp));
        }
    }

    /// The number of an account's connections, to somebody who asked.
    pub(super) fn answer_count(&mut self, account: AccountId, reply: &[u8]) {
        self.tell_system(reply, |node, stamp| events::connections(node, account, stamp));
    }

    /// The server begins to leave (`LAMEDUCK`) or leaves (`SHUTDOWN`).
    pub(crate) fn tell_leaving(&mut self, what: &str) {
        let subject = format!("$SYS.SERVER.{}.{what}", self.identity.server_id);
        self.tell_system(subject.as_bytes(), |node, stamp| events::server(node, stamp.seq));
    }

    /// Publishes what `body` makes in the system account, unless nobody would hear it.
    fn tell_system(&mut self, subject: &[u8], body: impl FnOnce(&Self, &Stamp) -> Vec<u8>) {
        if let Some(system) = self.system.account {
            self.tell_in(system, subject, body);
        }
    }

    /// The same in any account.
    fn tell_in(&mut self, account: AccountId, subject: &[u8], body: impl FnOnce(&Self, &Stamp) -> Vec<u8>) {
        if subject.is_empty() || self.accounts.get_mut(account).interest.lookup(subject).is_empty() {
            return;
        }
        let stamp = self.stamp();
        let body = body(self, &stamp);
        self.publish_as_server(account, &Message { subject, reply: b"", header_len: 0, body: &body, framed: b"" });
    }

    fn stamp(&mut self) -> Stamp {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let id = (0..ID_LETTERS).map(|_| char::from(LETTERS[self.draw.below(LETTERS.len())])).collect();
        Stamp { id, seq: self.next_sequence() }
    }

    /// The number of the next message of the server.
    pub(in super::super) fn next_sequence(&mut self) -> u64 {
        self.system.sequence += 1;
        self.system.sequence
    }
}
