//! Traces: what became of one message, told to whoever asked for it in the message's headers.
//!
//! A traced message takes the way of every other one, but for [`super::publish`]'s `traced` half, which notes what
//! happens to it. The trace is [`Node::tracing`] meanwhile; whatever is published besides (an event, a sample) must not
//! find it there.

use std::collections::BTreeMap;
use std::rc::Rc;
use tracing::error;

use super::publish::{Source, Trail};
use super::{Conn, Kind, Node};
use crate::account::AccountId;
use crate::account::sharing::ServiceImport;
use crate::message::trace::{self, Asked};
use crate::message::{Message, header};
use crate::monitor::Rfc3339;
use crate::monitor::trace::{Egress, Event};
use crate::subject;
use crate::wire::encode::quoted;

/// Events of one trace; further ones are left out.
pub const EVENTS_MAX: usize = 4096;

/// Why somebody did not get a message, in nats-server's words.
pub(super) mod why {
    pub(in super::super) const LINK_CANNOT_TRACE: &str =
        "Not delivered because remote does not support message tracing";
    pub(in super::super) const LINK_DOES_NOT_TRACE: &str =
        "Message delivered but remote does not support message tracing so no trace event generated from there";
    pub(in super::super) const NO_ECHO: &str = "Not delivered because of no echo";
    pub(in super::super) const PUBLISH_DENIED: &str = "Not delivered because publish denied for this subject";
    pub(in super::super) const SUBSCRIPTION_DENIED: &str = "Not delivered because subscription denies this subject";
    pub(in super::super) const CLOSED: &str = "Not delivered because client is closed";
    pub(in super::super) const HAD_ENOUGH: &str = "Not delivered because auto-unsubscribe exceeded";
    pub(in super::super) const SLOW: &str = "Not delivered because fast producer not stalled and consumer is slow";
}

/// What is noted about a message on its way.
pub(crate) struct Trace {
    /// Whose message it is, and where the events go.
    account: AccountId,
    /// Where to, as the message says it from here on: beyond an import that is a reply subject of ours.
    dest: Vec<u8>,
    /// Which way the message came; empty at its origin.
    hop: String,
    /// The links it went on to.
    hops: u32,
    /// Nobody gets it.
    pub(super) only: bool,
    headers: BTreeMap<String, Vec<String>>,
    bytes: usize,
    events: Vec<Event>,
    /// Events whose account's name is to be filled in.
    unnamed: Vec<(usize, AccountId)>,
    time: Rfc3339,
}

impl Trace {
    fn note(&mut self, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push(event);
        }
    }

    fn note_in(&mut self, account: AccountId, event: Event) {
        self.unnamed.push((self.events.len(), account));
        self.note(event);
    }

    /// The message was not taken.
    pub(super) fn refused(&mut self, text: String) {
        if let Some(Event::Ingress { error, .. }) = self.events.first_mut() {
            *error = text;
        }
    }

    /// Its subject was mapped: where it came in, or beyond the import that it went through last.
    pub(super) fn mapped(&mut self, subject: &[u8], beyond_import: bool) {
        let new = shown(subject);
        match self.events.last_mut().filter(|_| beyond_import) {
            Some(Event::ServiceImport { to, .. }) => *to = new,
            Some(_) => {}
            None => self.note(Event::SubjectMapping { ts: self.time, to: new }),
        }
    }

    /// It went through an imported stream, into this account.
    pub(super) fn exported(&mut self, account: AccountId, to: &[u8]) {
        self.note_in(account, Event::StreamExport { ts: self.time, acc: String::new(), to: shown(to) });
    }

    fn imported(&mut self, account: AccountId, from: &[u8], to: &[u8]) {
        let (from, to) = (shown(from), shown(to));
        self.note_in(account, Event::ServiceImport { ts: self.time, acc: String::new(), from, to });
    }

    /// A log of store-and-forward has taken it.
    pub(super) fn stored(&mut self, stream: &str, subject: &[u8]) {
        self.note(Event::Stored { ts: self.time, stream: stream.to_owned(), subject: shown(subject) });
    }

    /// What became of it at a connection. `sub` is subject and queue group of a client's subscription.
    pub(super) fn reached(&mut self, conn: &Conn, sub: Option<(&[u8], Option<&[u8]>)>, hop: String, error: &str) {
        let kind = conn.peer.kind();
        let sub = sub.filter(|_| kind == Kind::Client);
        let event = Event::Egress(Egress {
            ts: self.time,
            kind: number(kind),
            cid: conn.core.id.cid(),
            name: name(conn),
            hop,
            acc: String::new(),
            sub: sub.map(|(subject, _)| shown(subject)).unwrap_or_default(),
            queue: sub.and_then(|(_, queue)| queue).map(shown).unwrap_or_default(),
            error: error.to_owned(),
        });
        match conn.core.account.filter(|account| *account != self.account) {
            Some(account) => self.note_in(account, event),
            None => self.note(event),
        }
    }

    /// The name of the next way that the message goes.
    pub(super) fn next_hop(&mut self) -> String {
        self.hops += 1;
        if self.hop.is_empty() { self.hops.to_string() } else { format!("{}.{}", self.hop, self.hops) }
    }
}

/// What a connection calls itself, or is called.
fn name(conn: &Conn) -> String {
    let about = conn.peer.about();
    let link = conn.core.link.as_ref().map(|link| &*link.name);
    link.or(about.mqtt_client).unwrap_or(about.name).to_owned()
}

/// nats-server's number of a kind of connection.
fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Client => 0,
        Kind::Route => 1,
        Kind::Gateway => 2,
        Kind::Leaf => 4,
    }
}

fn shown(subject: &[u8]) -> String {
    String::from_utf8_lossy(subject).into_owned()
}

/// How a message that asks for a trace is to go on.
enum Begun {
    /// As any other.
    Untraced,
    /// As any other, and nobody behind a link is to trace it either.
    Disabled,
    /// Not at all.
    Skipped,
    Traced(Box<Trace>),
}

impl Node {
    /// Routes a message that came on a connection and may ask for a trace; says whether anybody got it, or its sender
    /// knows why not.
    #[cold]
    pub(super) fn publish_asking(&mut self, slot: u32, message: &Message<'_>, source: Source<'_>) -> bool {
        let begun = self.begin_trace(slot, message);
        if matches!(begun, Begun::Skipped) {
            return true;
        }
        if let Some(text) = self.with_peer(slot, |peer, cx| peer.refuse(cx, message)) {
            if let Begun::Traced(mut trace) = begun {
                trace.refused(text);
                self.end_trace(*trace);
            }
            return true;
        }
        match begun {
            Begun::Disabled => {
                self.with_dest(message, trace::DISABLED, |node, message| node.publish(slot, message, source))
            }
            Begun::Traced(trace) => {
                self.tracing = Some(trace);
                let delivered = self.publish(slot, message, source);
                if let Some(trace) = self.tracing.take() {
                    self.end_trace(*trace);
                }
                delivered
            }
            Begun::Untraced | Begun::Skipped => self.publish(slot, message, source),
        }
    }

    fn begin_trace(&mut self, slot: u32, message: &Message<'_>) -> Begun {
        let (Some(asked), Some(conn)) = (trace::asked(message.headers()), self.conns.get(slot as usize)) else {
            return Begun::Untraced;
        };
        let Some(account) = conn.core.account else { return Begun::Untraced };
        // What was to be traced and not delivered is not delivered without a trace either.
        let untraced = if asked.only { Begun::Skipped } else { Begun::Untraced };
        let who = conn.who(&self.accounts);
        if let Some(origin) = asked.origin_account {
            let origin = quoted(origin);
            error!(
                "{who} - Message tracing disabled because of header \"Nats-Trace-Origin-Account\" with value={origin}"
            );
            return if asked.only { Begun::Skipped } else { Begun::Disabled };
        }
        let dest = match (asked.dest, &self.accounts.get(account).trace) {
            (Some(dest), _) => dest.to_vec(),
            (None, None) => return Begun::Untraced,
            (None, Some(to)) => {
                let chance = u64::from(to.sampling);
                if conn.peer.kind() == Kind::Client && self.draw.below(100) as u64 >= chance {
                    return Begun::Disabled;
                }
                to.dest.as_bytes().to_vec()
            }
        };
        if !subject::is_valid_literal(&dest) {
            error!("{who} - Destination {} is not valid, won't be able to trace events", quoted(&dest));
            return untraced;
        }
        if !self.with_peer(slot, |peer, cx| peer.may_trace_to(cx, &dest)) {
            return Begun::Skipped;
        }
        Begun::Traced(Box::new(self.new_trace(slot, account, dest, &asked, message)))
    }

    fn new_trace(
        &self,
        slot: u32,
        account: AccountId,
        dest: Vec<u8>,
        asked: &Asked<'_>,
        message: &Message<'_>,
    ) -> Trace {
        let conn = &self.conns[slot as usize];
        let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in header::fields(message.headers()).filter(|(name, v)| !name.is_empty() && !v.is_empty()) {
            headers.entry(shown(name)).or_default().push(shown(value));
        }
        let ts = Rfc3339(self.wall_now());
        let ingress = Event::Ingress {
            ts,
            kind: number(conn.peer.kind()),
            cid: conn.core.id.cid(),
            name: name(conn),
            acc: self.accounts.get(account).name.clone(),
            subj: shown(message.subject),
            error: String::new(),
        };
        let hop = if conn.core.link.is_some() { shown(asked.hop) } else { String::new() };
        Trace {
            account,
            dest,
            hop,
            hops: 0,
            only: asked.only,
            headers,
            bytes: message.body.len(),
            events: vec![ingress],
            unnamed: Vec::new(),
            time: ts,
        }
    }

    /// Tells what there was to see.
    fn end_trace(&mut self, mut trace: Trace) {
        if self.system.account.is_none() {
            return;
        }
        for (at, account) in std::mem::take(&mut trace.unnamed) {
            if let Some(event) = trace.events.get_mut(at) {
                event.set_account(&self.accounts.get(account).name);
            }
        }
        let seq = self.next_sequence();
        let Trace { account, dest, hops, headers, bytes, events, .. } = &trace;
        let body = crate::monitor::trace::event(self, seq, headers, *bytes, *hops, events);
        self.publish_as_server(*account, &Message::plain(dest, &body));
    }

    /// A traced request goes through an import: its trace ends there, unless the exporter allows it.
    pub(super) fn publish_imported(
        &mut self,
        trail: &Trail<'_>,
        import: &Rc<ServiceImport>,
        from: &[u8],
        request: &Message<'_>,
    ) -> bool {
        let Some(mut trace) = self.tracing.take() else { return self.publish_in(trail, import.exporter, request) };
        trace.imported(import.exporter, from, request.subject);
        if !import.service.allow_trace {
            return self.publish_untraced(trail, import.exporter, request, trace);
        }
        // Servers behind links tell of it in the exporter's account; from there their events find their way back.
        let (dest, hops) = (trace.dest.clone(), trace.hops);
        let token = self.expect_trace(import, &dest);
        trace.dest = token.map(|token| self.responses.subject(token).to_vec()).unwrap_or_default();
        let own = trace.dest.clone();
        self.tracing = Some(trace);
        let delivered = self.with_dest(request, &own, |node, request| node.publish_in(trail, import.exporter, request));
        let mut went_on = false;
        if let Some(trace) = &mut self.tracing {
            went_on = trace.hops > hops;
            trace.dest = dest;
        }
        if let Some(token) = token.filter(|_| !went_on) {
            self.close_response(token);
        }
        delivered
    }

    /// A traced answer goes back through an import.
    pub(super) fn publish_answer(
        &mut self,
        trail: &Trail<'_>,
        to: AccountId,
        from: &[u8],
        answer: &Message<'_>,
    ) -> bool {
        let Some(mut trace) = self.tracing.take() else { return self.publish_in(trail, to, answer) };
        trace.imported(to, from, answer.subject);
        self.publish_untraced(trail, to, answer, trace)
    }

    /// The message goes on, and its trace does not.
    fn publish_untraced(
        &mut self,
        trail: &Trail<'_>,
        account: AccountId,
        message: &Message<'_>,
        trace: Box<Trace>,
    ) -> bool {
        let delivered = !trace.only
            && self.with_dest(message, trace::DISABLED, |node, message| node.publish_in(trail, account, message));
        self.tracing = Some(trace);
        delivered
    }

    /// Calls `publish` with the message as it is when its trace goes to `dest`.
    fn with_dest(
        &mut self,
        message: &Message<'_>,
        dest: &[u8],
        publish: impl FnOnce(&mut Self, &Message<'_>) -> bool,
    ) -> bool {
        let mut body = self.spare.pop().unwrap_or_default();
        header::set(message.headers(), trace::DEST, dest, &mut body);
        let header_len = body.len();
        body.extend_from_slice(message.payload());
        let delivered = publish(self, &Message { header_len, body: &body, framed: b"", ..*message });
        self.give_back(body);
        delivered
    }
}
