//! The way of a message from whoever published it to everybody who wants it.

use std::rc::Rc;

use super::conn::{CloseReason, Conn};
use super::peer::Out;
use super::system::{SERVER, System};
use super::{ConnId, Facts, Nanos, Node, Tally};
use crate::account::AccountId;
use crate::account::mapping::Mapped;
use crate::interest::SubId;
use crate::message::Message;

/// Bodies from this size on are shared between receivers instead of copied, bytes.
const SHARE_BYTES_MIN: usize = 16 * 1024;

/// How long a producer is held back, after each read, by a receiver that lags (see [`Facts::lag_bytes`])
/// and by one that is close to being closed.
pub(super) const HOLD_LAGGING: Nanos = 2_000_000;
pub(super) const HOLD_CRITICAL: Nanos = 10_000_000;

/// What the deliveries of one message need besides the message.
struct Routing<'a> {
    node: Parts<'a>,
    from: Option<u32>,
    echo: bool,
    shared: Option<Rc<[u8]>>,
}

/// The parts of the node that deliveries change.
struct Parts<'a> {
    conns: &'a mut slab::Slab<Box<Conn>>,
    subs: &'a mut super::subs::Subs,
    pool: &'a mut super::outq::Pool,
    facts: &'a Facts,
    dirty: &'a mut Vec<ConnId>,
    closing: &'a mut Vec<ConnId>,
    spent: &'a mut Vec<SubId>,
    traced: &'a mut Vec<SubId>,
    tally: &'a mut Tally,
    hold: &'a mut Nanos,
    system: &'a mut System,
    now: Nanos,
}

/// Borrows the parts of a node one by one, so that its accounts stay free for the matches.
macro_rules! parts {
    ($node:expr) => {
        Parts {
            conns: &mut $node.conns,
            subs: &mut $node.subs,
            pool: &mut $node.pool,
            facts: &$node.facts,
            dirty: &mut $node.dirty,
            closing: &mut $node.closing,
            spent: &mut $node.spent,
            traced: &mut $node.traced,
            tally: &mut $node.tally,
            hold: &mut $node.hold,
            system: &mut $node.system,
            now: $node.now,
        }
    };
}

impl Node {
    /// Routes `message` from connection `from` to all who want it; says whether anybody got it.
    pub(super) fn publish(&mut self, from: u32, message: &Message<'_>) -> bool {
        let Some(account) = self.conns.get(from as usize).and_then(|conn| conn.core.account) else { return false };
        if self.accounts.get(account).mappings.is_empty() {
            return self.route(from, message);
        }
        let mut subject = std::mem::take(&mut self.mapped);
        subject.clear();
        let draw = self.draw.next();
        let mapped = self.accounts.get(account).mappings.apply(message.subject, draw, &mut subject);
        let delivered = match mapped {
            Mapped::Unchanged => self.route(from, message),
            Mapped::Changed => self.route(from, &Message { subject: &subject, ..*message }),
            Mapped::Dropped => false,
        };
        self.mapped = subject;
        delivered
    }

    fn route(&mut self, from: u32, message: &Message<'_>) -> bool {
        let conn = &self.conns[from as usize];
        let (Some(account), echo) = (conn.core.account, conn.peer.echo()) else { return false };
        let account = self.accounts.get_mut(account);
        account.received.count(message.body.len());
        let matched = account.interest.lookup(message.subject);
        if matched.is_empty() {
            return false;
        }
        let shared = (message.body.len() >= SHARE_BYTES_MIN && matched.len() > 1).then(|| shared(message.body));
        let mut routing = Routing { node: parts!(self), from: Some(from), echo, shared };
        let mut delivered = 0u64;
        for &id in &matched.plain {
            delivered += u64::from(routing.deliver(id, message));
        }
        for group in &matched.groups {
            let start = self.draw.below(group.members.len());
            let (tail, head) = group.members.split_at(start);
            delivered += u64::from(head.iter().chain(tail).any(|&id| routing.deliver(id, message)));
        }
        account.sent.msgs += delivered;
        account.sent.bytes += delivered * message.body.len() as u64;
        if !self.traced.is_empty() {
            self.trace_deliveries(message);
        }
        if !self.spent.is_empty() {
            self.drop_spent();
        }
        delivered > 0
    }

    /// Delivers a message of the server itself to all who want it, but not to the server.
    pub(super) fn publish_as_server(&mut self, account: AccountId, message: &Message<'_>) {
        if message.subject.is_empty() {
            return;
        }
        let account = self.accounts.get_mut(account);
        let matched = account.interest.lookup(message.subject);
        let mut routing = Routing { node: parts!(self), from: None, echo: true, shared: None };
        let mut delivered = 0u64;
        for &id in &matched.plain {
            delivered += u64::from(routing.deliver_to_peer(id, message));
        }
        for group in &matched.groups {
            let start = self.draw.below(group.members.len());
            let (tail, head) = group.members.split_at(start);
            delivered += u64::from(head.iter().chain(tail).any(|&id| routing.deliver_to_peer(id, message)));
        }
        account.sent.msgs += delivered;
        account.sent.bytes += delivered * message.body.len() as u64;
        self.drop_spent();
        // Whoever asks and does not read is not held back by the answers.
        self.hold = 0;
    }

    /// Tells the requester that nobody heard it, if it asked to be told and listens for the answer.
    /// Format: ADR-4 status line, and `Nats-Subject` as nats-server 2.12 and later add.
    pub(super) fn no_responders(&mut self, from: u32, request: &Message<'_>) {
        let conn = &self.conns[from as usize];
        let Some(account) = conn.core.account else { return };
        let matched = self.accounts.get_mut(account).interest.lookup(request.reply);
        let mine = |id: &&SubId| self.subs.get(**id).is_some_and(|sub| sub.conn == from);
        let Some(&id) = matched.plain.iter().find(mine) else { return };
        let body = [b"NATS/1.0 503\r\nNats-Subject: ", request.subject, b"\r\n\r\n"].concat();
        let message = Message { subject: request.reply, reply: b"", header_len: body.len(), body: &body, framed: b"" };
        let mut routing = Routing { node: parts!(self), from: None, echo: true, shared: None };
        routing.deliver(id, &message);
        self.trace_deliveries(&message);
        self.drop_spent();
    }

    #[cold]
    fn trace_deliveries(&mut self, message: &Message<'_>) {
        for id in std::mem::take(&mut self.traced) {
            let Some(sub) = self.subs.get(id) else { continue };
            let Some(conn) = self.conns.get(sub.conn as usize) else { continue };
            conn.peer.trace_delivery(&conn.who(&self.accounts), message, sub, self.facts.trace_bytes_max);
        }
    }

    /// Removes the subscriptions that had their last message.
    fn drop_spent(&mut self) {
        while let Some(id) = self.spent.pop() {
            self.remove_sub(id);
        }
    }
}

/// The body with its CRLF, in one allocation for all receivers.
fn shared(body: &[u8]) -> Rc<[u8]> {
    let mut bytes = Vec::with_capacity(body.len() + 2);
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\r\n");
    bytes.into()
}

impl Routing<'_> {
    /// Gives `message` to one subscription, unless that cannot take it.
    #[inline]
    fn deliver(&mut self, id: SubId, message: &Message<'_>) -> bool {
        let node = &mut self.node;
        let Some(sub) = node.subs.get_mut(id) else { return false };
        let Some(conn) = node.conns.get_mut(sub.conn as usize) else { return self.ask_server(id, message) };
        if conn.closing.is_some() || (sub.max > 0 && sub.delivered >= sub.max) {
            return false;
        }
        if !self.echo && self.from == Some(sub.conn) {
            return false;
        }
        if sub.filtered && !conn.peer.may_deliver(message.subject, sub.queue.as_deref()) {
            return false;
        }
        if conn.out.pending() > node.facts.lag_bytes
            && !admit(conn, message, node.facts, node.closing, node.tally, node.hold)
        {
            return false;
        }
        sub.delivered += 1;
        if sub.delivered == sub.max {
            node.spent.push(id);
        }
        let mut out = Out { queue: &mut conn.out, pool: node.pool, now: node.now };
        conn.peer.deliver(&mut out, message, self.shared.as_ref(), sub);
        if node.facts.trace {
            node.traced.push(id);
        }
        conn.core.stats.out_msgs += 1;
        conn.core.stats.out_bytes += message.body.len() as u64;
        node.tally.out.count(message.body.len());
        if !conn.dirty {
            conn.dirty = true;
            node.dirty.push(conn.core.id);
        }
        true
    }

    /// As [`Self::deliver`], but to somebody else than the server.
    fn deliver_to_peer(&mut self, id: SubId, message: &Message<'_>) -> bool {
        let Some(sub) = self.node.subs.get_mut(id) else { return false };
        sub.conn != SERVER && self.deliver(id, message)
    }

    /// The subscription is the server's own.
    #[cold]
    fn ask_server(&mut self, id: SubId, message: &Message<'_>) -> bool {
        let node = &mut self.node;
        let Some(sub) = node.subs.get_mut(id) else { return false };
        sub.delivered += 1;
        let from = self.from.and_then(|slot| node.conns.get(slot as usize)).map(|conn| conn.core.id);
        node.system.hear(id, sub.account, from, message)
    }
}

/// A receiver lags: hold its producers back, and if it can hold no more, end it. Says whether it
/// gets this message.
#[cold]
fn admit(
    conn: &mut Conn,
    message: &Message<'_>,
    facts: &Facts,
    closing: &mut Vec<ConnId>,
    tally: &mut Tally,
    hold: &mut Nanos,
) -> bool {
    let room = message.body.len() + message.subject.len() + message.reply.len();
    let pending = conn.out.pending() + room;
    if pending > facts.limits.max_pending {
        conn.closing = Some(CloseReason::SlowConsumerPending);
        closing.push(conn.core.id);
        return false;
    }
    let critical = pending > facts.limits.max_pending / 4 * 3;
    if facts.limits.no_fast_producer_stall {
        tally.dropped += u64::from(critical);
        return !critical;
    }
    conn.holding = true;
    *hold = (*hold).max(if critical { HOLD_CRITICAL } else { HOLD_LAGGING });
    true
}
