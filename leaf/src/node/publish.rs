//! The way of a message from whoever published it to everybody who wants it.

use std::rc::Rc;

use super::bug::{Bug, planted};
use super::conn::{CloseReason, Conn};
use super::forward::Forwards;
use super::import::Link;
use super::peer::Out;
use super::system::{SERVER, System};
use super::{ConnId, Draw, Facts, Nanos, Node, Role, Tally};
use crate::account::AccountId;
use crate::account::mapping::Mapped;
use crate::account::sharing::ServiceImport;
use crate::interest::SubId;
use crate::message::Message;
use crate::mqtt::ABSENT;
use crate::store::Time;
use crate::wire::encode::{MSG_OVERHEAD_BYTES, publish_violation};

/// Bodies from this size on are shared between receivers instead of copied, bytes.
const SHARE_BYTES_MIN: usize = 16 * 1024;

/// How long a producer is held back, after each read, by a receiver that lags (see [`Facts::lag_bytes`])
/// and by one that is close to being closed.
pub(super) const HOLD_LAGGING: Nanos = 2_000_000;
pub(super) const HOLD_CRITICAL: Nanos = 10_000_000;

/// How a message came to where it is.
#[derive(Clone, Copy)]
pub(super) struct Trail<'a> {
    /// Who published it; `None` is the node itself.
    pub(super) from: Option<u32>,
    /// Imports of services it went through, answers included.
    pub(super) hops: u8,
    source: Source<'a>,
    import: Option<&'a ServiceImport>,
    before: Option<&'a Self>,
}

impl<'a> Trail<'a> {
    pub(super) fn start(from: Option<u32>) -> Self {
        Self { from, hops: 0, source: Source::Client, import: None, before: None }
    }

    /// It comes from a stream at the hub.
    pub(super) fn of_stream() -> Self {
        Self { source: Source::Stream, ..Self::start(None) }
    }

    /// The message goes on through `import`.
    pub(super) fn by(&'a self, import: &'a ServiceImport) -> Self {
        Self { from: self.from, hops: self.hops + 1, source: Source::Client, import: Some(import), before: Some(self) }
    }

    /// The message is an answer on its way back.
    pub(super) fn back(&'a self) -> Self {
        Self { from: self.from, hops: self.hops + 1, source: Source::Client, import: None, before: Some(self) }
    }

    fn steps(&'a self) -> impl Iterator<Item = &'a Self> {
        std::iter::successors(Some(self), |trail| trail.before)
    }

    /// Whether it has been there before.
    pub(super) fn went_by(&self, import: &ServiceImport) -> bool {
        self.steps().filter_map(|step| step.import).any(|one| std::ptr::eq(one, import))
    }

    pub(super) fn first_import(&'a self) -> Option<&'a ServiceImport> {
        self.steps().filter_map(|step| step.import).last()
    }
}

/// Whom a message comes from.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// Somebody of this server: all may have it.
    Client,
    /// A stream at the hub: nobody there gets it back.
    Stream,
    /// A server: of the queue groups only these may have it, for it has served the others.
    Server {
        /// Separated by blanks.
        queues: &'a [u8],
    },
}

impl Source<'_> {
    fn serves(self, queue: &[u8]) -> bool {
        match self {
            Self::Client | Self::Stream => true,
            Self::Server { queues } => queues.split(|&b| b == b' ').any(|name| name == queue),
        }
    }
}

/// The links that get a message: one frame for each, whatever it is that matches there.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The messages so far.
    epoch: u64,
    list: Vec<Mark>,
    used: usize,
}

#[derive(Debug, Default)]
struct Mark {
    conn: u32,
    queues: Vec<Rc<[u8]>>,
}

impl Marks {
    fn start(&mut self) {
        self.epoch += 1;
        self.used = 0;
    }

    fn add(&mut self, conn: &mut Conn, queue: Option<&Rc<[u8]>>) {
        if conn.marked.0 != self.epoch {
            conn.marked = (self.epoch, self.used as u32);
            if self.used == self.list.len() {
                self.list.push(Mark::default());
            }
            self.list[self.used].conn = conn.core.id.slot;
            self.list[self.used].queues.clear();
            self.used += 1;
        }
        if let Some(queue) = queue {
            self.list[conn.marked.1 as usize].queues.push(queue.clone());
        }
    }
}

/// What the deliveries of one message need besides the message.
struct Routing<'a> {
    node: Parts<'a>,
    from: Option<u32>,
    echo: bool,
    /// It came through an imported service: streams that others import do not carry it.
    imported: bool,
    /// It goes to the hub by another way, or comes from there.
    captured: bool,
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
    own_matches: &'a mut Vec<SubId>,
    spare: &'a mut Vec<Vec<u8>>,
    tally: &'a mut Tally,
    hold: &'a mut Nanos,
    system: &'a mut System,
    forwards: &'a mut Forwards,
    now: Nanos,
    wall: Time,
}

/// Borrows the parts of a node one by one, so that its accounts stay free for the matches.
macro_rules! parts {
    ($node:expr) => {{
        $node.pool.routings += 1;
        Parts {
            conns: &mut $node.conns,
            subs: &mut $node.subs,
            pool: &mut $node.pool,
            facts: &$node.facts,
            dirty: &mut $node.dirty,
            closing: &mut $node.closing,
            spent: &mut $node.spent,
            traced: &mut $node.traced,
            own_matches: &mut $node.own_matches,
            spare: &mut $node.spare,
            tally: &mut $node.tally,
            hold: &mut $node.hold,
            system: &mut $node.system,
            forwards: &mut $node.forwards,
            now: $node.now,
            wall: (i128::from($node.now) + $node.wall) as Time,
        }
    }};
}

mod traced;

impl Node {
    /// Routes `message` from connection `from` to all who want it; says whether anybody got it.
    pub(super) fn publish(&mut self, from: u32, message: &Message<'_>, source: Source<'_>) -> bool {
        let Some(account) = self.conns.get(from as usize).and_then(|conn| conn.core.account) else { return false };
        self.accounts.get_mut(account).received.count(message.body.len());
        self.publish_in(&Trail { source, ..Trail::start(Some(from)) }, account, message)
    }

    /// Routes a message that has come to an account: maps its subject, and delivers it.
    pub(super) fn publish_in(&mut self, trail: &Trail<'_>, account: AccountId, message: &Message<'_>) -> bool {
        if self.accounts.get(account).mappings.is_empty() {
            return self.route(trail, account, message);
        }
        let mut subject = self.spare.pop().unwrap_or_default();
        let draw = self.draw.next();
        let mappings = &self.accounts.get(account).mappings;
        let concerned = mappings.concern(message.subject);
        let mapped = mappings.apply(message.subject, draw, &mut subject);
        let message = match mapped {
            Mapped::Unchanged => *message,
            Mapped::Changed => {
                if let Some(trace) = &mut self.tracing {
                    trace.mapped(&subject, trail.hops > 0);
                }
                Message { subject: &subject, ..*message }
            }
            Mapped::Dropped => {
                self.give_back(subject);
                return false;
            }
        };
        let own = trail.from.filter(|_| trail.hops == 0 && concerned);
        let refused =
            own.is_some_and(|slot| !self.with_peer(slot, |peer, cx| peer.may_publish_mapped(cx, message.subject)));
        if refused && let Some(trace) = &mut self.tracing {
            trace.refused(publish_violation(message.subject));
        }
        // Who was refused knows why: that there are no responders is not to be said, too.
        let delivered = refused || self.route(trail, account, &message);
        self.give_back(subject);
        delivered
    }

    fn route(&mut self, trail: &Trail<'_>, account: AccountId, message: &Message<'_>) -> bool {
        let from = trail.from;
        let of_stream = self.comes_from_stream(account, message.subject);
        if let Some(from) = from
            && self.is_for_downlinks(from, account, of_stream, message.subject)
        {
            self.tracing = None;
            return self.downlinks_hear(account, of_stream, &as_clients_see_it(message), message.subject);
        }
        if let Some(trace) = self.tracing.take() {
            return self.route_traced(trail, account, message, trace);
        }
        let echo = from.is_none_or(|from| self.conns[from as usize].peer.echo());
        // What is captured goes to the hub from its log and on no other way: a shortcut would break the order.
        let captured = from.is_some_and(|from| self.capture(from, account, message));
        let account = self.accounts.get_mut(account);
        let matched = account.interest.lookup(message.subject);
        if matched.is_empty() {
            return captured;
        }
        let shared = (message.body.len() >= SHARE_BYTES_MIN && matched.len() > 1).then(|| shared(message.body));
        let before = self.own_matches.len();
        let stays = captured || of_stream;
        let mut routing = Routing { node: parts!(self), from, echo, imported: trail.hops > 0, captured: stays, shared };
        let mut delivered = 0u64;
        let shown = match trail.source {
            Source::Client | Source::Stream => *message,
            Source::Server { .. } => as_clients_see_it(message),
        };
        self.marks.start();
        for &id in &matched.plain {
            match routing.link_of(id) {
                None => delivered += u64::from(routing.deliver(id, &shown)),
                Some(conn) if routing.may_pass(conn, message.subject, None) => {
                    self.marks.add(&mut routing.node.conns[conn as usize], None);
                }
                Some(_) => {}
            }
        }
        for group in matched.groups.iter().filter(|group| trail.source.serves(&group.name)) {
            let start = self.draw.below(group.members.len());
            let (tail, head) = group.members.split_at(start);
            if planted(Bug::WholeGroup) {
                delivered += tail.iter().filter(|&&id| routing.deliver(id, &shown)).count() as u64;
            }
            let mut members = head.iter().chain(tail);
            // Those of this server come first.
            if members.any(|&id| routing.link_of(id).is_none() && routing.deliver(id, &shown)) {
                delivered += 1;
            } else if let Some(conn) = routing.choose_link(&group.members, message.subject, &group.name, &mut self.draw)
            {
                self.marks.add(&mut routing.node.conns[conn as usize], Some(&group.name));
            }
        }
        // Each link gets it once, whatever matches there.
        for mark in &self.marks.list[..self.marks.used] {
            delivered += u64::from(routing.forward(mark, message));
        }
        account.sent.msgs += delivered;
        account.sent.bytes += delivered * message.body.len() as u64;
        if !self.traced.is_empty() {
            self.trace_deliveries(message);
        }
        if !self.spent.is_empty() {
            self.drop_spent();
        }
        let mut anybody = captured || delivered > 0;
        // Whoever publishes further adds further ones behind, and takes them away again.
        for at in before..self.own_matches.len() {
            anybody |= self.pass_on(trail, self.own_matches[at], message);
        }
        self.own_matches.truncate(before);
        anybody
    }

    /// Delivers a message of the server itself to all who want it, but not to the server.
    pub(super) fn publish_as_server(&mut self, account: AccountId, message: &Message<'_>) {
        if message.subject.is_empty() {
            return;
        }
        let tracing = self.tracing.take();
        self.route(&Trail::start(None), account, message);
        self.tracing = tracing;
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
        let mut routing =
            Routing { node: parts!(self), from: None, echo: true, imported: false, captured: false, shared: None };
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

/// JetStream sends a message on the subject of its consumer, and names the message's own subject in the reply: after
/// an `@` behind at least eight dots of `$JS.ACK.…`. Clients see the message's own (nats-server: `processInboundMsg`).
fn as_clients_see_it<'a>(message: &Message<'a>) -> Message<'a> {
    const DOTS_MIN: usize = 8;
    if !message.reply.starts_with(b"$JS.ACK.") {
        return *message;
    }
    let mut dots = 0;
    for (at, &b) in message.reply.iter().enumerate() {
        match b {
            b'.' => dots += 1,
            b'@' if dots >= DOTS_MIN => {
                return Message { subject: &message.reply[at + 1..], reply: &message.reply[..at], ..*message };
            }
            _ => {}
        }
    }
    *message
}

impl Routing<'_> {
    /// The connection of a subscription that stands for others, behind a link.
    #[inline]
    fn link_of(&self, id: SubId) -> Option<u32> {
        self.node.subs.get(id).filter(|sub| sub.weight > 0).map(|sub| sub.conn)
    }

    /// Whether the message may be sent on the link `to`: not back where it came from, nor to another server of the
    /// cluster it came from; and the other side may have it.
    fn may_pass(&mut self, to: u32, subject: &[u8], queue: Option<&[u8]>) -> bool {
        if self.from == Some(to) {
            return false;
        }
        let origin = self.from.and_then(|from| self.node.conns.get(from as usize)?.core.link.as_ref());
        let Some(conn) = self.node.conns.get(to as usize) else { return false };
        let Some(link) = &conn.core.link else { return false };
        if self.captured && link.role == Role::Spoke {
            return false;
        }
        if origin.is_some_and(|origin| !origin.cluster.is_empty() && origin.cluster == link.cluster) {
            return false;
        }
        let Some(conn) = self.node.conns.get_mut(to as usize) else { return false };
        conn.closing.is_none() && conn.peer.may_deliver(subject, queue)
    }

    /// One of the links with members of a queue group, by how many there are.
    fn choose_link(&mut self, members: &[SubId], subject: &[u8], queue: &[u8], draw: &mut Draw) -> Option<u32> {
        let mut chosen = None;
        let mut sum = 0;
        for &id in members {
            let Some(sub) = self.node.subs.get(id) else { continue };
            let (conn, weight) = (sub.conn, sub.weight as usize);
            if weight == 0 || !self.may_pass(conn, subject, Some(queue)) {
                continue;
            }
            sum += weight;
            if draw.below(sum) < weight {
                chosen = Some(conn);
            }
        }
        chosen
    }

    /// Sends `message` on a link.
    fn forward(&mut self, mark: &Mark, message: &Message<'_>) -> bool {
        let node = &mut self.node;
        let Some(conn) = node.conns.get_mut(mark.conn as usize) else { return false };
        if conn.pending() > node.facts.lag_bytes && !admit_to_link(conn, node.facts, node.tally, node.hold) {
            return false;
        }
        let Conn { peer, out, pacer, core, .. } = &mut **conn;
        let queue = match pacer {
            Some(pacer) => pacer.data(out),
            None => out,
        };
        let mut out = Out { queue, urgent: None, pool: node.pool, now: node.now };
        if !peer.forward(&mut out, message, self.shared.as_ref(), &mark.queues) {
            return false;
        }
        if let Some(pacer) = pacer {
            pacer.message_written();
        }
        core.stats.out_msgs += 1;
        core.stats.out_bytes += message.body.len() as u64;
        node.tally.out.count(message.body.len());
        if !conn.dirty {
            conn.dirty = true;
            node.dirty.push(conn.core.id);
        }
        true
    }

    /// Gives `message` to one subscription, unless that cannot take it.
    #[inline]
    fn deliver(&mut self, id: SubId, message: &Message<'_>) -> bool {
        let Some(sub) = self.node.subs.get_mut(id) else { return false };
        if sub.link.is_some()
            && let Some(delivered) = self.deliver_elsewhere(id, message)
        {
            return delivered;
        }
        self.deliver_here(id, message)
    }

    #[inline]
    fn deliver_here(&mut self, id: SubId, message: &Message<'_>) -> bool {
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
        if conn.out.pending() > node.facts.lag_bytes {
            let line = MSG_OVERHEAD_BYTES + message.subject.len() + message.reply.len() + sub.sid.as_bytes().len();
            if !admit(conn, line + message.body.len(), node.facts, node.closing, node.tally, node.hold) {
                return false;
            }
        }
        sub.delivered += 1;
        if sub.delivered == sub.max {
            node.spent.push(id);
        }
        let queue = match &mut conn.pacer {
            Some(pacer) => pacer.data(&mut conn.out),
            None => &mut conn.out,
        };
        let mut out = Out { queue, urgent: None, pool: node.pool, now: node.now };
        conn.peer.deliver(&mut out, message, self.shared.as_ref(), sub);
        if let Some(pacer) = &mut conn.pacer {
            pacer.message_written();
        }
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

    /// The subscription is the server's own, or one whose client is away.
    #[cold]
    fn ask_server(&mut self, id: SubId, message: &Message<'_>) -> bool {
        let node = &mut self.node;
        let Some(sub) = node.subs.get_mut(id) else { return false };
        if sub.conn != SERVER {
            let Some(shared) = &mut node.pool.mqtt else { return false };
            return shared.deliver_absent(sub.conn & !ABSENT, message, sub, node.now, node.pool.routings);
        }
        // It does not talk to itself.
        let Some(from) = self.from else { return false };
        sub.delivered += 1;
        if let Some(log) = node.system.outbox_of(id) {
            return node.forwards.hear(log, node.now, node.wall, message);
        }
        if node.system.is_downlink(id) {
            // What the hub sends does not come this way (see `Node::downlinks_hear`).
            return false;
        }
        let from = node.conns.get(from as usize).map(|conn| conn.core.id);
        node.system.hear(id, sub.account, from, message)
    }
}

impl Routing<'_> {
    /// What becomes of a message for a subscription that is linked to other accounts; `None` if it is one of this.
    fn deliver_elsewhere(&mut self, id: SubId, message: &Message<'_>) -> Option<bool> {
        match self.node.subs.get(id)?.link.as_deref()? {
            Link::Shadows(_) => None,
            // A message of a service is not one of a stream.
            Link::Shadow { .. } if self.imported => Some(false),
            Link::Shadow { of, import } => {
                let (of, import) = (*of, import.clone());
                if import.to_local.is_same() {
                    return Some(self.deliver_here(of, message));
                }
                let mut subject = self.node.spare.pop().unwrap_or_default();
                import.to_local.write(message.subject, &mut subject);
                let delivered = self.deliver_here(of, &Message { subject: &subject, ..*message });
                subject.clear();
                self.node.spare.push(subject);
                Some(delivered)
            }
            Link::Service(_) | Link::Answers => {
                self.node.own_matches.push(id);
                Some(false)
            }
        }
    }
}

/// A receiver lags: hold its producers back, and if it cannot hold `room` bytes more, end it. Says whether it
/// gets the message.
#[cold]
fn admit(
    conn: &mut Conn,
    room: usize,
    facts: &Facts,
    closing: &mut Vec<ConnId>,
    tally: &mut Tally,
    hold: &mut Nanos,
) -> bool {
    let pending = conn.out.pending() + room;
    if pending > facts.limits.max_pending && !planted(Bug::NoBound) {
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

/// A link lags. One that catches up soon holds its producers back; to a slow one, more than it moves in some seconds is
/// not sent at all: nobody on this server waits for a bad network, and the link does not end because of it.
#[cold]
fn admit_to_link(conn: &mut Conn, facts: &Facts, tally: &mut Tally, hold: &mut Nanos) -> bool {
    let Some(pacer) = &conn.pacer else { return true };
    let max = pacer.backlog_max(facts.limits.max_pending);
    if conn.pending() > max {
        tally.dropped += 1;
        conn.core.stats.dropped += 1;
        return false;
    }
    if pacer.is_fast() {
        conn.holding = true;
        let critical = conn.pending() > max / 4 * 3;
        *hold = (*hold).max(if critical { HOLD_CRITICAL } else { HOLD_LAGGING });
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_of_a_stored_message_is_shown() {
        let reply = b"$JS.ACK.ORDERS.D.1.1.1.1795461460873766749.0@orders.1";
        let message = Message { subject: b"deliver.d", reply, header_len: 0, body: b"", framed: b"" };
        let shown = as_clients_see_it(&message);
        assert_eq!((shown.subject, shown.reply), (&b"orders.1"[..], &reply[..44]));
        for reply in [&b"$JS.ACK.A@b"[..], b"_INBOX.a.b.c.d.e.f.g.h.i@x", b"$JS.ACK.a.b.c.d.e.f.g"] {
            let message = Message { reply, ..message };
            assert_eq!(as_clients_see_it(&message), message);
        }
    }
}
