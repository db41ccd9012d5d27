//! A network connection: from its first byte to its last.

use std::collections::VecDeque;

use super::aliases::{Incoming, Outgoing as Aliases};
use super::message::{Delivered, Outgoing, Will};
use super::queue::{Acked, Ids, Wire, seconds_left};
use super::{Facts, Limits, RECEIVE_MAX, RELEASES_MAX, Session, Sink};
use crate::encode::{self, AckKind};
use crate::packet::{self, Connect, ConnectError, Framing, Packet, Publish, Subscribe, Unsubscribe};
use crate::{Nanos, QoS, Reason, SECOND, Version, Violation};

/// Bytes of a CONNECT at most: five fields of 65,535 bytes and some properties.
const CONNECT_BYTES_MAX: usize = 512 * 1024;

/// See the [module](super).
#[derive(Debug, Default)]
pub struct Connection {
    phase: Phase,
}

#[derive(Debug, Default)]
enum Phase {
    /// Nothing has come.
    #[default]
    Fresh,
    /// CONNECT is being decided.
    Opening(Box<Opening>),
    /// Anything goes.
    Open(Box<Open>),
    /// Nothing more goes.
    Over,
}

/// What a CONNECT said, while it is being decided.
#[derive(Debug)]
pub struct Opening {
    /// What the client speaks.
    pub version: Version,
    /// An old session is thrown away.
    pub clean: bool,
    /// Never empty once [`Connection::assign`] was called where it was.
    pub client_id: Box<str>,
    /// The client left its id to us.
    pub assigned: bool,
    /// The session's life after the connection, as it was asked for, seconds.
    pub session_expiry: u32,
    keep_alive: u16,
    receive_max: u16,
    packet_max: u32,
    alias_max: u16,
    will: Option<Box<Will>>,
}

#[derive(Debug)]
struct Open {
    version: Version,
    /// Silence that ends it; 0 for never.
    patience: Nanos,
    /// When the last whole packet came.
    heard: Nanos,
    window: u16,
    packet_max: u32,
    /// Seconds of life that CONNECT asked for.
    asked_expiry: u32,
    incoming: Incoming,
    aliases: Aliases,
    acks: VecDeque<Answer>,
    /// The owner's names of messages that need not be kept any more.
    gone: Vec<u64>,
    last: Last,
    session: Box<Session>,
}

/// The last message that was written: if it matches another subscription too, it is written anew.
#[derive(Debug, Default)]
struct Last {
    serial: u64,
    /// Bytes on the wire.
    bytes: usize,
    /// What waited after it was written.
    pending: usize,
    qos: QoS,
    id: u16,
    retain: bool,
    alias: (u16, bool),
    ids: Ids,
}

/// An acknowledgement for the client that may have to wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Which packet.
    pub kind: AckKind,
    /// Of what.
    pub id: u16,
    /// With what result.
    pub reason: Reason,
    /// Not before this is synced.
    pub commit: u64,
}

/// What waits to be said to the client, in order.
#[derive(Debug)]
enum Answer {
    Ack(Ack),
    /// SUBACK or UNSUBACK, and the commit it waits for.
    Packet(Box<[u8]>, u64),
}

impl Answer {
    fn commit(&self) -> u64 {
        match self {
            Self::Ack(ack) => ack.commit,
            Self::Packet(_, commit) => *commit,
        }
    }
}

/// What became of the front of the input.
#[derive(Debug)]
pub enum Step<'a> {
    /// So many bytes are missing, at least.
    Short(usize),
    /// A packet of this many bytes, and what it asks for.
    Done(usize, Event<'a>),
    /// The connection ends here; its last words are written.
    End(Ending),
}

/// What a client wants.
#[derive(Debug)]
pub enum Event<'a> {
    /// Nothing more.
    None,
    /// To come in. Answer with [`Connection::accept`], or close with a reason ([`Connection::last_words`]).
    Connect(Box<Connect<'a>>),
    /// To have a message routed; [`Connection::topic`] resolves its alias. Answer with [`Connection::published`].
    Publish(Publish<'a>),
    /// The message with this packet identifier, of QoS 2, was published for good. Answer with [`Connection::released`].
    Release(u16),
    /// To subscribe. Answer with [`Connection::suback`].
    Subscribe(Subscribe<'a>),
    /// To unsubscribe. Answer with [`Connection::unsuback`].
    Unsubscribe(Unsubscribe<'a>),
    /// A message of QoS 2 has arrived but is not done. Keep that instead of the message; say when it is on disk with
    /// [`Session::saved`], then call [`Connection::synced`].
    Arrived(Received),
}

/// See [`Event::Arrived`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its packet identifier.
    pub id: u16,
    /// The owner's name for it.
    pub tag: u64,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// DISCONNECT.
    Disconnect,
    /// The first packet is not CONNECT, or one of another protocol.
    NotMqtt,
    /// A protocol level that we do not speak.
    UnknownLevel(u8),
    /// A CONNECT that is in order and cannot be accepted.
    Refused(Reason),
    /// The client broke the rules.
    Violation(Violation),
}

impl Connection {
    /// Takes one packet from the front of `input`, which is not empty. `synced` is the last commit on disk.
    pub fn next<'a>(
        &mut self,
        now: Nanos,
        limits: &Limits,
        synced: u64,
        input: &'a [u8],
        out: &mut impl Sink,
    ) -> Step<'a> {
        match &mut self.phase {
            Phase::Fresh => self.first(limits, input, out),
            Phase::Opening(_) | Phase::Over => Step::End(Ending::NotMqtt),
            Phase::Open(open) => {
                let (used, result) = match packet::frame(input, limits.packet_bytes_max) {
                    Ok(Framing::Short(missing)) => return Step::Short(missing),
                    Ok(Framing::Whole(frame)) => {
                        let packet = Packet::read(frame, open.version);
                        (frame.used, packet.and_then(|packet| open.take(now, limits, synced, packet, out)))
                    }
                    Err(violation) => (0, Err(violation)),
                };
                match result {
                    Ok(Some(event)) => Step::Done(used, event),
                    Ok(None) => {
                        // What comes behind DISCONNECT is not looked at.
                        Step::End(Ending::Disconnect)
                    }
                    Err(violation) => {
                        if open.version == Version::V5 {
                            out.append(3, |out| encode::disconnect(violation.reason, None, out));
                        }
                        Step::End(Ending::Violation(violation))
                    }
                }
            }
        }
    }

    fn first<'a>(&mut self, limits: &Limits, input: &'a [u8], out: &mut impl Sink) -> Step<'a> {
        if !packet::is_connect(input[0]) {
            return Step::End(Ending::NotMqtt);
        }
        let frame = match packet::frame(input, CONNECT_BYTES_MAX.min(limits.packet_bytes_max)) {
            Ok(Framing::Short(missing)) => return Step::Short(missing),
            Ok(Framing::Whole(frame)) => frame,
            Err(violation) => return Step::End(Ending::Violation(violation)),
        };
        let connect = match Connect::read(frame) {
            Ok(connect) => connect,
            Err(ConnectError::NotMqtt) => return Step::End(Ending::NotMqtt),
            Err(ConnectError::UnknownLevel(level)) => {
                out.append(4, |out| encode::refusal(Version::V311, Reason::UnsupportedProtocolVersion, out));
                return Step::End(Ending::UnknownLevel(level));
            }
            Err(ConnectError::Violation(version, violation)) => {
                // 3.1 and 3.1.1 close without a word [MQTT-3.1.4-1].
                if version == Version::V5 {
                    out.append(5, |out| encode::refusal(version, violation.reason, out));
                }
                return Step::End(Ending::Violation(violation));
            }
        };
        if let Some(reason) = objection(&connect, limits) {
            out.append(5, |out| encode::refusal(connect.version, reason, out));
            return Step::End(Ending::Refused(reason));
        }
        self.phase = Phase::Opening(Box::new(Opening {
            version: connect.version,
            clean: connect.clean,
            client_id: connect.client_id.into(),
            assigned: connect.client_id.is_empty(),
            session_expiry: connect.session_expiry,
            keep_alive: connect.keep_alive,
            receive_max: connect.receive_max,
            packet_max: connect.packet_max,
            alias_max: connect.alias_max,
            will: connect.will.as_ref().map(|will| Box::new(Will::new(will))),
        }));
        Step::Done(frame.used, Event::Connect(Box::new(connect)))
    }

    /// The CONNECT that is being decided.
    pub fn opening(&self) -> Option<&Opening> {
        match &self.phase {
            Phase::Opening(opening) => Some(opening),
            _ => None,
        }
    }

    /// Gives an id to a client that had none `[MQTT-3.1.3-6]`.
    pub fn assign(&mut self, client_id: &str) {
        if let Phase::Opening(opening) = &mut self.phase {
            opening.client_id = client_id.into();
        }
    }

    /// Lets the client in with its old `session` or a new one; answers with CONNACK and sends what waits.
    pub fn accept(
        &mut self,
        now: Nanos,
        limits: &Limits,
        synced: u64,
        session: Option<Box<Session>>,
        out: &mut impl Sink,
    ) {
        let Phase::Opening(opening) = std::mem::take(&mut self.phase) else { return };
        let Opening { version, client_id, assigned, session_expiry, keep_alive, .. } = *opening;
        let expiry = session_expiry.min(limits.session_expiry_max);
        let present = session.is_some();
        let mut session = session.unwrap_or_else(|| Box::new(Session::new(&client_id, expiry)));
        session.expiry = expiry;
        session.will = opening.will;
        let patience = match limits.keep_alive_max {
            max if max > 0 && version == Version::V5 && (keep_alive == 0 || keep_alive > max) => max,
            _ => keep_alive,
        };
        let facts = Facts {
            session_expiry: (expiry != session_expiry).then_some(expiry),
            assigned_id: assigned.then_some(&client_id),
            keep_alive: (patience != keep_alive).then_some(patience),
        };
        out.append(64 + client_id.len(), |out| encode::welcome(version, present, &facts, limits, out));
        let mut open = Box::new(Open {
            version,
            // One and a half times [MQTT-3.1.2-24].
            patience: Nanos::from(patience) * SECOND * 3 / 2,
            heard: now,
            window: opening.receive_max.min(limits.window_max),
            packet_max: opening.packet_max,
            asked_expiry: session_expiry,
            incoming: Incoming::default(),
            aliases: Aliases::new(opening.alias_max),
            acks: VecDeque::new(),
            gone: Vec::new(),
            last: Last::default(),
            session,
        });
        open.pump(now, synced, out);
        self.phase = Phase::Open(open);
    }

    /// What the client speaks, once it said so.
    pub fn version(&self) -> Option<Version> {
        match &self.phase {
            Phase::Opening(opening) => Some(opening.version),
            Phase::Open(open) => Some(open.version),
            Phase::Fresh | Phase::Over => None,
        }
    }

    /// Whether the client is in.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// The session of a client that is in.
    pub fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Open(open) => Some(&open.session),
            _ => None,
        }
    }

    /// The same, to change.
    pub fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Open(open) => Some(&mut open.session),
            _ => None,
        }
    }

    /// The end: takes the session out, ready for another connection.
    pub fn take_session(&mut self) -> Option<Box<Session>> {
        let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Over) else { return None };
        let mut session = open.session;
        session.queue.disconnected();
        Some(session)
    }

    /// The topic of a message, its alias resolved.
    #[inline]
    pub fn topic<'s>(&'s self, publish: &Publish<'s>) -> &'s str {
        match (&self.phase, publish.alias) {
            (Phase::Open(open), Some(alias)) if publish.topic.is_empty() => open.incoming.get(alias),
            _ => publish.topic,
        }
    }

    /// The message of a PUBLISH was routed, or not, as `reason` says; it is acknowledged once `commit` is synced.
    #[inline]
    pub fn published(&mut self, publish: &Publish<'_>, reason: Reason, commit: u64, synced: u64, out: &mut impl Sink) {
        let Phase::Open(open) = &mut self.phase else { return };
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        // [MQTT-4.3.3-9]; other versions cannot say it and go on to PUBREL.
        if kind == AckKind::PubRec && reason.is_error() && open.version == Version::V5 {
            open.session.received.remove(publish.id);
        }
        open.acknowledge(Ack { kind, id: publish.id, reason, commit }, synced, out);
    }

    /// What was kept of [`Event::Release`] is gone once `commit` is synced: PUBCOMP.
    pub fn released(&mut self, id: u16, commit: u64, synced: u64, out: &mut impl Sink) {
        let Phase::Open(open) = &mut self.phase else { return };
        open.acknowledge(Ack { kind: AckKind::PubComp, id, reason: Reason::Success, commit }, synced, out);
    }

    /// The answer to SUBSCRIBE, one for each filter; it is given once `commit` is synced.
    pub fn suback(&mut self, id: u16, answers: &[Reason], commit: u64, synced: u64, out: &mut impl Sink) {
        let Phase::Open(open) = &mut self.phase else { return };
        let version = open.version;
        let codes: Vec<u8> = answers
            .iter()
            .map(|reason| match version {
                Version::V5 => reason.code(),
                // [MQTT-3.9.3-2]. 3.1 has no way to refuse: such a subscription is granted and never hears anything.
                Version::V311 => reason.code().min(0x80),
                Version::V31 => {
                    if reason.is_error() {
                        0
                    } else {
                        reason.code()
                    }
                }
            })
            .collect();
        open.answer(commit, synced, out, |out| encode::suback(id, &codes, version, out));
    }

    /// The answer to UNSUBSCRIBE, one for each filter; it is given once `commit` is synced.
    pub fn unsuback(&mut self, id: u16, answers: &[Reason], commit: u64, synced: u64, out: &mut impl Sink) {
        let Phase::Open(open) = &mut self.phase else { return };
        let version = open.version;
        let codes: Vec<u8> = answers.iter().map(|reason| reason.code()).collect();
        open.answer(commit, synced, out, |out| encode::unsuback(id, &codes, version, out));
    }

    /// Delivers a message to one of the session's subscriptions. Where the session outlives the connection, messages of QoS 1
    /// and 2 are only queued: keep them, say so ([`Session::saved`]) and call [`Self::synced`].
    #[inline]
    pub fn deliver(
        &mut self,
        now: Nanos,
        limits: &Limits,
        message: &Outgoing<'_>,
        subscription: u32,
        out: &mut impl Sink,
    ) -> Delivered {
        let Phase::Open(open) = &mut self.phase else { return Delivered::Nothing };
        let Open { session, aliases, version, packet_max, window, last, .. } = &mut **open;
        let Session { queue, subscriptions, expiry, .. } = &mut **session;
        let Some(how) = subscriptions.get(subscription) else { return Delivered::Nothing };
        let mut message = *message;
        let mut qos = message.qos.min(how.options.qos);
        let mut ids = Ids::new(how.id);
        let mut earlier = None;
        if how.merges() && message.serial > 0 {
            if queue.merge_queued(&message, how, qos) {
                return Delivered::Merged;
            }
            if last.serial == message.serial && last.pending == out.pending() {
                // Nothing came behind it: what was written for the other subscription is taken back.
                out.retract(last.bytes);
                qos = qos.max(last.qos);
                message.retain |= last.retain;
                ids = std::mem::take(&mut last.ids);
                ids.add(how.id);
                earlier = Some((last.id, last.alias));
            }
        }
        let id = match earlier {
            Some((id, _)) if id > 0 => {
                queue.raise(qos);
                id
            }
            _ if qos == QoS::AtMostOnce => 0,
            _ if *expiry > 0 || !queue.is_open((*window).into()) => {
                let queued = queue.push(limits, &message, how, qos);
                if earlier.is_some() {
                    queue.set_ids(&ids);
                }
                return queued;
            }
            _ => match queue.pass(qos) {
                Some(id) => id,
                None => return Delivered::Full,
            },
        };
        let (alias, known) = match earlier {
            Some((_, alias)) => alias,
            None if *version == Version::V5 => aliases.find(message.topic),
            None => (0, false),
        };
        let publish = encode::Publish {
            topic: if known { "" } else { message.topic },
            qos,
            retain: message.retain,
            dup: false,
            id,
            alias,
            expiry: message.expires.map(|at| seconds_left(at, now)),
            subscription_ids: ids.as_slice(),
            forwarded: message.forwarded,
            payload: message.payload,
        };
        if *packet_max < u32::MAX && publish.packet_len(*version) > *packet_max as usize {
            if id > 0 {
                queue.withdraw();
            }
            return Delivered::TooLarge;
        }
        if alias > 0 && !known && earlier.is_none() {
            aliases.told(message.topic);
        }
        let room = publish.topic.len() + publish.forwarded.len() + publish.payload.len();
        let (version, before) = (*version, out.pending());
        out.append(room + encode::PUBLISH_OVERHEAD_BYTES + 5 * publish.subscription_ids.len(), |out| {
            publish.write(version, out);
        });
        let pending = out.pending();
        let (bytes, alias) = (pending - before, (alias, known));
        *last = Last { serial: message.serial, bytes, pending, qos, id, retain: message.retain, alias, ids };
        if earlier.is_some() { Delivered::Merged } else { Delivered::Sent }
    }

    /// Everything up to this commit is on disk: sends what waited for that. Also to be called after messages were queued.
    pub fn synced(&mut self, now: Nanos, synced: u64, out: &mut impl Sink) {
        let Phase::Open(open) = &mut self.phase else { return };
        while let Some(answer) = open.acks.pop_front_if(|answer| answer.commit() <= synced) {
            match answer {
                Answer::Ack(ack) => open.write_ack(ack, out),
                Answer::Packet(bytes, _) => out.append(bytes.len(), |out| out.extend_from_slice(&bytes)),
            }
        }
        if open.acks.is_empty() {
            open.acks = VecDeque::new();
        }
        open.pump(now, synced, out);
    }

    /// Messages that arrived, or are not worth sending any more: the owner's names of them. To be asked after every call.
    pub fn take_gone(&mut self) -> Vec<u64> {
        match &mut self.phase {
            Phase::Open(open) if !open.gone.is_empty() => std::mem::take(&mut open.gone),
            _ => Vec::new(),
        }
    }

    /// When the client must have been heard again; `None` for never.
    pub fn deadline(&self) -> Option<Nanos> {
        match &self.phase {
            Phase::Open(open) if open.patience > 0 => Some(open.heard + open.patience),
            _ => None,
        }
    }

    /// Whether the client was silent for too long.
    pub fn is_overdue(&self, now: Nanos) -> bool {
        self.deadline().is_some_and(|at| at <= now)
    }

    /// What to say before the connection is closed for a `reason` of ours; `server` is where to go instead.
    pub fn last_words(&self, reason: Reason, server: Option<&str>) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.phase {
            Phase::Opening(opening) => encode::refusal(opening.version, reason, &mut out),
            Phase::Open(open) if open.version == Version::V5 => encode::disconnect(reason, server, &mut out),
            _ => {}
        }
        out
    }
}

/// Why a CONNECT that is in order cannot be accepted.
fn objection(connect: &Connect<'_>, limits: &Limits) -> Option<Reason> {
    // [MQTT-4.12.0-1]: we have no method.
    if connect.auth_method.is_some() {
        return Some(Reason::BadAuthenticationMethod);
    }
    // [MQTT-3.1.3-8] of 3.1.1; in 3.1 an id has at least one character. Longer ones than 23 are let in.
    if connect.client_id.is_empty()
        && (connect.version == Version::V31 || connect.version == Version::V311 && !connect.clean)
    {
        return Some(Reason::ClientIdNotValid);
    }
    // [MQTT-3.2.2-12]
    if connect.will.is_some_and(|will| will.qos > limits.max_qos) {
        return Some(Reason::QoSNotSupported);
    }
    None
}

impl Open {
    /// What a packet asks for; `None` is the end.
    #[inline]
    fn take<'a>(
        &mut self,
        now: Nanos,
        limits: &Limits,
        synced: u64,
        packet: Packet<'a>,
        out: &mut impl Sink,
    ) -> Result<Option<Event<'a>>, Violation> {
        self.heard = now;
        let event = match packet {
            Packet::Publish(publish) => self.publish(limits, publish, synced, out)?,
            Packet::PubAck { id, .. } => {
                let acked = self.session.queue.finished(id, QoS::AtLeastOnce);
                self.done(now, synced, acked, out);
                Event::None
            }
            Packet::PubRec { id, reason } if reason >= 0x80 => {
                // [MQTT-4.3.3-4] of 5.0, [MQTT-4.4.0-2]
                let acked = self.session.queue.finished(id, QoS::ExactlyOnce);
                self.done(now, synced, acked, out);
                Event::None
            }
            Packet::PubRec { id, .. } => self.arrived(id, out),
            Packet::PubRel { id, .. } => self.release(id, synced, out),
            Packet::PubComp { id, .. } => {
                let acked = self.session.queue.completed(id);
                self.done(now, synced, acked, out);
                Event::None
            }
            Packet::Subscribe(subscribe) => Event::Subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => Event::Unsubscribe(unsubscribe),
            Packet::PingReq => {
                out.append(2, |out| out.extend_from_slice(&encode::PINGRESP));
                Event::None
            }
            Packet::Disconnect(told) => {
                self.disconnect(limits, told)?;
                return Ok(None);
            }
            // [MQTT-4.12.0-7]: there was no method in CONNECT.
            Packet::Auth(_) => return Err(Violation::protocol("AUTH without a method in CONNECT")),
        };
        Ok(Some(event))
    }

    #[inline]
    fn publish<'a>(
        &mut self,
        limits: &Limits,
        publish: Publish<'a>,
        synced: u64,
        out: &mut impl Sink,
    ) -> Result<Event<'a>, Violation> {
        if publish.qos > limits.max_qos {
            return Err(Violation::with(Reason::QoSNotSupported, "QoS above the maximum"));
        }
        if let Some(alias) = publish.alias {
            self.incoming.take(alias, publish.topic)?;
        }
        if publish.qos == QoS::AtMostOnce {
            return Ok(Event::Publish(publish));
        }
        let is_new = publish.qos == QoS::AtLeastOnce || !self.session.received.contains(publish.id);
        let under_way = self.acks.len().saturating_add(self.session.received.len());
        // The others have no way to know our maximum.
        if self.acks.len() >= RELEASES_MAX || self.version == Version::V5 && is_new && under_way >= RECEIVE_MAX {
            return Err(Violation::with(Reason::ReceiveMaximumExceeded, "more than our Receive Maximum under way"));
        }
        if publish.qos == QoS::AtLeastOnce {
            return Ok(Event::Publish(publish));
        }
        if self.session.received.insert(publish.id) {
            return Ok(Event::Publish(publish));
        }
        // [MQTT-4.3.3-10]: it was published already. Its own answer may still wait for the disk, and so does this one.
        let commit = self.acks.back().map_or(0, Answer::commit);
        let ack = Ack { kind: AckKind::PubRec, id: publish.id, reason: Reason::Success, commit };
        self.acknowledge(ack, synced, out);
        Ok(Event::None)
    }

    fn release<'a>(&mut self, id: u16, synced: u64, out: &mut impl Sink) -> Event<'a> {
        if self.session.received.remove(id) {
            return Event::Release(id);
        }
        // Nothing is known of it [MQTT-3.7.2-1]; the exchange is over all the same.
        let commit = self.acks.back().map_or(0, Answer::commit);
        let ack = Ack { kind: AckKind::PubComp, id, reason: Reason::PacketIdNotFound, commit };
        self.acknowledge(ack, synced, out);
        Event::None
    }

    fn arrived<'a>(&mut self, id: u16, out: &mut impl Sink) -> Event<'a> {
        let version = self.version;
        let reason = match self.session.queue.received(id) {
            Acked::Received(0) => Reason::Success,
            Acked::Received(tag) => return Event::Arrived(Received { id, tag }),
            Acked::Again => return Event::None,
            Acked::Unknown | Acked::Done(_) => Reason::PacketIdNotFound,
        };
        out.append(5, |out| encode::ack(AckKind::PubRel, id, reason, version, out));
        Event::None
    }

    fn done(&mut self, now: Nanos, synced: u64, acked: Acked, out: &mut impl Sink) {
        let Acked::Done(tag) = acked else { return };
        if tag > 0 {
            self.gone.push(tag);
        }
        self.pump(now, synced, out);
    }

    fn disconnect(&mut self, limits: &Limits, told: packet::Disconnect) -> Result<(), Violation> {
        if let Some(expiry) = told.expiry {
            if expiry > 0 && self.asked_expiry == 0 {
                return Err(Violation::protocol("session expiry raised from 0"));
            }
            self.session.expiry = expiry.min(limits.session_expiry_max);
        }
        // [MQTT-3.1.2-10]; with 0x04 and with errors the will stays.
        if told.reason == 0 {
            self.session.will = None;
        }
        Ok(())
    }

    #[inline]
    fn acknowledge(&mut self, ack: Ack, synced: u64, out: &mut impl Sink) {
        // In the order of the packets [MQTT-4.6.0-2].
        if self.acks.is_empty() && ack.commit <= synced {
            return self.write_ack(ack, out);
        }
        self.acks.push_back(Answer::Ack(ack));
    }

    fn answer(&mut self, commit: u64, synced: u64, out: &mut impl Sink, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        if self.acks.is_empty() && commit <= synced {
            return out.append(bytes.len(), |out| out.extend_from_slice(&bytes));
        }
        self.acks.push_back(Answer::Packet(bytes.into(), commit));
    }

    fn write_ack(&self, ack: Ack, out: &mut impl Sink) {
        let version = self.version;
        out.append(5, |out| encode::ack(ack.kind, ack.id, ack.reason, version, out));
    }

    fn pump(&mut self, now: Nanos, synced: u64, out: &mut impl Sink) {
        let mut wire = Wire {
            version: self.version,
            window: self.window.into(),
            packet_max: self.packet_max as usize,
            aliases: &mut self.aliases,
            now,
            synced,
        };
        self.session.queue.pump(&mut wire, out, &mut self.gone);
    }
}
