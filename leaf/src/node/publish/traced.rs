//! Routing of a message that is traced: the same way, and what happens on it is noted.

use super::{Link, Mark, Parts, Routing, Source, Time, Trail, as_clients_see_it};
use crate::account::AccountId;
use crate::interest::SubId;
use crate::message::trace::HOP;
use crate::message::{Message, header};
use crate::node::Node;
use crate::node::forward::Captured;
use crate::node::system::SERVER;
use crate::node::trace::{Trace, why};

impl Node {
    /// As [`Node::route`], with a trace.
    #[cold]
    pub(super) fn route_traced(
        &mut self,
        trail: &Trail<'_>,
        id: AccountId,
        message: &Message<'_>,
        mut trace: Box<Trace>,
    ) -> bool {
        let captured = !trace.only && trail.from.is_some_and(|from| self.capture(from, id, message));
        if let Captured::Yes(at, _) = self.forwards.captured
            && captured
        {
            trace.stored(self.forwards.name(at), message.subject);
        }
        let before = self.own_matches.len();
        let stays = captured || self.comes_from_stream(id, message.subject);
        let mut anybody = captured | self.deliver_traced(trail, id, message, stays, &mut trace);
        self.drop_spent();
        self.tracing = Some(trace);
        for at in before..self.own_matches.len() {
            anybody |= self.pass_on(trail, self.own_matches[at], message);
        }
        self.own_matches.truncate(before);
        anybody
    }

    fn deliver_traced(
        &mut self,
        trail: &Trail<'_>,
        id: AccountId,
        message: &Message<'_>,
        captured: bool,
        trace: &mut Trace,
    ) -> bool {
        let from = trail.from;
        let echo = from.is_none_or(|from| self.conns[from as usize].peer.echo());
        let account = self.accounts.get_mut(id);
        let matched = account.interest.lookup(message.subject);
        let mut routing = Routing { node: parts!(self), from, echo, imported: trail.hops > 0, captured, shared: None };
        let shown = match trail.source {
            Source::Client | Source::Stream => *message,
            Source::Server { .. } => as_clients_see_it(message),
        };
        let mut delivered = 0u64;
        self.marks.start();
        for &id in &matched.plain {
            match routing.link_of(id) {
                None => delivered += u64::from(routing.deliver_traced(id, &shown, trace)),
                Some(conn) if routing.may_pass(conn, message.subject, None) => {
                    self.marks.add(&mut routing.node.conns[conn as usize], None);
                }
                Some(conn) => routing.note_denied(conn, message.subject, trace),
            }
        }
        for group in matched.groups.iter().filter(|group| trail.source.serves(&group.name)) {
            let (tail, head) = group.members.split_at(self.draw.below(group.members.len()));
            let mut members = head.iter().chain(tail);
            if members.any(|&id| routing.link_of(id).is_none() && routing.deliver_traced(id, &shown, trace)) {
                delivered += 1;
            } else if let Some(conn) = routing.choose_link(&group.members, message.subject, &group.name, &mut self.draw)
            {
                self.marks.add(&mut routing.node.conns[conn as usize], Some(&group.name));
            }
        }
        for mark in &self.marks.list[..self.marks.used] {
            delivered += u64::from(routing.forward_traced(mark, message, trace));
        }
        if !trace.only {
            account.sent.msgs += delivered;
            account.sent.bytes += delivered * message.body.len() as u64;
        }
        self.trace_deliveries(message);
        delivered > 0
    }
}

impl Routing<'_> {
    /// As [`Routing::deliver`].
    fn deliver_traced(&mut self, id: SubId, message: &Message<'_>, trace: &mut Trace) -> bool {
        let Some(sub) = self.node.subs.get(id) else { return false };
        let (of, import) = match sub.link.as_deref() {
            None | Some(Link::Shadows(_)) => return self.deliver_here_traced(id, id, message, trace),
            Some(Link::Service(_) | Link::Answers) => return self.deliver(id, message),
            Some(Link::Shadow { .. }) if self.imported => return false,
            Some(Link::Shadow { of, import }) => (*of, import.clone()),
        };
        let mut subject = Vec::new();
        import.to_local.write(message.subject, &mut subject);
        let message = Message { subject: &subject, ..*message };
        if let Some(sub) = self.node.subs.get(of) {
            trace.exported(sub.account, &subject);
        }
        match (import.allow_trace, trace.only) {
            (true, _) => self.deliver_here_traced(of, id, &message, trace),
            (false, true) => true,
            (false, false) => self.deliver_here(of, &message),
        }
    }

    /// As [`Routing::deliver_here`], to subscription `of`, which was found as `found`.
    fn deliver_here_traced(&mut self, of: SubId, found: SubId, message: &Message<'_>, trace: &mut Trace) -> bool {
        let node = &mut self.node;
        let Some(sub) = node.subs.get(of) else { return false };
        let slot = sub.conn;
        let Some(conn) = node.conns.get_mut(slot as usize) else {
            // Services of the server, and clients that are away, are no connections to tell of.
            return trace.only && slot != SERVER || self.deliver_here(of, message);
        };
        let refused = if !self.echo && self.from == Some(slot) {
            Some(why::NO_ECHO)
        } else if sub.filtered && !conn.peer.may_deliver(message.subject, sub.queue.as_deref()) {
            Some(why::SUBSCRIPTION_DENIED)
        } else if sub.max > 0 && sub.delivered >= sub.max {
            Some(why::HAD_ENOUGH)
        } else if conn.closing.is_some() {
            Some(why::CLOSED)
        } else {
            None
        };
        let delivered = refused.is_none() && (trace.only || self.deliver_here(of, message));
        let node = &self.node;
        let (Some(conn), Some(sub)) = (node.conns.get(slot as usize), node.subs.get(found)) else { return delivered };
        let lost = if conn.closing.is_some() { why::CLOSED } else { why::SLOW };
        let error = refused.unwrap_or(if delivered { "" } else { lost });
        trace.reached(conn, Some((&sub.subject, sub.queue.as_deref())), String::new(), error);
        delivered
    }

    /// As [`Routing::forward`].
    fn forward_traced(&mut self, mark: &Mark, message: &Message<'_>, trace: &mut Trace) -> bool {
        let Some(conn) = self.node.conns.get(mark.conn as usize) else { return false };
        let traces = conn.core.link.as_ref().is_some_and(|link| link.traces);
        let hop = trace.next_hop();
        if trace.only && !traces {
            trace.reached(conn, None, hop, why::LINK_CANNOT_TRACE);
            return false;
        }
        let mut body = Vec::new();
        header::set(message.headers(), HOP, hop.as_bytes(), &mut body);
        let header_len = body.len();
        body.extend_from_slice(message.payload());
        let delivered = self.forward(mark, &Message { header_len, body: &body, framed: b"", ..*message });
        let Some(conn) = self.node.conns.get(mark.conn as usize) else { return delivered };
        let error = match (delivered, traces) {
            (true, true) => "",
            (true, false) => why::LINK_DOES_NOT_TRACE,
            (false, _) => why::SLOW,
        };
        trace.reached(conn, None, hop, error);
        delivered
    }

    /// A link is not sent the message; that its user must not have it is noted.
    fn note_denied(&mut self, to: u32, subject: &[u8], trace: &mut Trace) {
        let Some(conn) = self.node.conns.get_mut(to as usize) else { return };
        if self.from != Some(to) && conn.closing.is_none() && !conn.peer.may_deliver(subject, None) {
            let hop = trace.next_hop();
            trace.reached(conn, None, hop, why::PUBLISH_DENIED);
        }
    }
}
