//! What clients send, read in place: every slice points into the input.
//!
//! [`frame`] cuts one packet off the input; [`Packet::read`] reads it once the version is known, [`Connect::read`]
//! before that. Both accept nothing the standards call malformed; the reason in a [`Violation`] is what a client that
//! speaks 5.0 is told.

mod connect;
mod subscribe;

pub use connect::{Connect, ConnectError, Will, WillProperties};
pub use subscribe::{Options, Request, RetainHandling, Subscribe, Unsubscribe};

use crate::property::allowed;
use crate::reader::Reader;
use crate::{Forwarded, Properties, Property, QoS, Reason, Version, Violation};

/// The beginning of some input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing<'a> {
    /// So many bytes are missing, at least.
    Short(usize),
    /// A whole packet.
    Whole(Frame<'a>),
}

/// A packet between its fixed header and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type and flags.
    pub first: u8,
    /// What follows the length.
    pub body: &'a [u8],
    /// Bytes of the whole packet.
    pub used: usize,
    /// The length took more bytes than it needed.
    pub padded: bool,
}

/// Cuts the first packet off `input`, which is not empty. A packet of more than `max_bytes` is refused as soon as its
/// length is known.
///
/// # Errors
/// When the length takes more than four bytes, or is too large.
#[inline]
pub fn frame(input: &[u8], max_bytes: usize) -> Result<Framing<'_>, Violation> {
    let Some((&first, rest)) = input.split_first() else { return Ok(Framing::Short(2)) };
    let mut len = 0usize;
    for (at, &byte) in rest.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 != 0 {
            continue;
        }
        let used = 2 + at + len;
        if used > max_bytes {
            return Err(Violation::with(Reason::PacketTooLarge, "packet is too large"));
        }
        let Some(body) = input.get(2 + at..used) else { return Ok(Framing::Short(used - input.len())) };
        return Ok(Framing::Whole(Frame { first, body, used, padded: at > 0 && byte == 0 }));
    }
    if rest.len() >= 4 {
        return Err(Violation::malformed("length of more than four bytes"));
    }
    Ok(Framing::Short(1))
}

/// Whether `first` starts a CONNECT: the only packet there is before one.
pub fn is_connect(first: u8) -> bool {
    first >> 4 == 1
}

/// A packet that a client may send after CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are the standard's own names")]
pub enum Packet<'a> {
    Publish(Publish<'a>),
    PubAck { id: u16, reason: u8 },
    PubRec { id: u16, reason: u8 },
    PubRel { id: u16, reason: u8 },
    PubComp { id: u16, reason: u8 },
    Subscribe(Subscribe<'a>),
    Unsubscribe(Unsubscribe<'a>),
    PingReq,
    Disconnect(Disconnect),
    Auth(Auth<'a>),
}

/// A message on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The topic; empty when [`Self::alias`] stands for it.
    pub topic: &'a str,
    /// How it was sent.
    pub qos: QoS,
    /// To be kept for those who subscribe later.
    pub retain: bool,
    /// It may have been sent before.
    pub dup: bool,
    /// 0 for QoS 0.
    pub id: u16,
    /// The topic's alias, to be set or used.
    pub alias: Option<u16>,
    /// Seconds after which it is no longer worth delivering.
    pub expiry: Option<u32>,
    /// Its properties.
    pub properties: Properties<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// The properties that subscribers get.
    pub fn forwarded(&self) -> Forwarded<'a> {
        self.properties.forwarded()
    }
}

/// The end of a connection, announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// 0 for a normal end.
    pub reason: u8,
    /// A new session expiry interval, seconds.
    pub expiry: Option<u32>,
}

/// A step of enhanced authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auth<'a> {
    /// 0x00, 0x18 or 0x19.
    pub reason: u8,
    /// Its method.
    pub method: Option<&'a str>,
}

impl<'a> Packet<'a> {
    /// Reads a packet that came after CONNECT.
    ///
    /// # Errors
    /// When no client may send it.
    #[inline]
    pub fn read(frame: Frame<'a>, version: Version) -> Result<Self, Violation> {
        if frame.padded && version == Version::V5 {
            return Err(Violation::malformed("length is longer than it need be"));
        }
        let (kind, flags) = (frame.first >> 4, frame.first & 0x0f);
        if kind == 3 {
            return publish(flags, frame.body, version).map(Self::Publish);
        }
        // [MQTT-2.2.2-2], [MQTT-2.1.3-1]; 3.1 has DUP in what is sent as QoS 1.
        let wanted = if matches!(kind, 6 | 8 | 10) { 2 } else { 0 };
        let dup = if version == Version::V31 && wanted == 2 { flags & 8 } else { 0 };
        if flags != wanted | dup {
            return Err(Violation::malformed("reserved flags of the fixed header"));
        }
        let mut body = Reader::new(frame.body);
        match kind {
            1 => Err(Violation::protocol("a second CONNECT")),
            4..=7 => ack(kind, &mut body, version),
            8 => Subscribe::read(body, version).map(Self::Subscribe),
            10 => Unsubscribe::read(body, version).map(Self::Unsubscribe),
            12 => body.finished().map(|()| Self::PingReq),
            14 => disconnect(&mut body, version).map(Self::Disconnect),
            15 if version == Version::V5 => auth(&mut body).map(Self::Auth),
            0 | 15 => Err(Violation::malformed("reserved packet type")),
            _ => Err(Violation::protocol("a packet that only servers send")),
        }
    }
}

#[inline]
fn publish<'a>(flags: u8, body: &'a [u8], version: Version) -> Result<Publish<'a>, Violation> {
    let qos = QoS::new(flags >> 1 & 3).ok_or(Violation::malformed("QoS 3"))?;
    let (dup, retain) = (flags & 8 != 0, flags & 1 != 0);
    if dup && qos == QoS::AtMostOnce && version == Version::V5 {
        return Err(Violation::malformed("DUP in a PUBLISH of QoS 0"));
    }
    let mut body = Reader::new(body);
    let topic = body.text()?;
    let id = if qos == QoS::AtMostOnce { 0 } else { body.packet_id()? };
    let (mut alias, mut expiry, mut properties) = (None, None, Properties::default());
    if version == Version::V5 {
        properties = Properties::read(&mut body, allowed::PUBLISH)?;
        if !properties.is_empty() {
            alias = properties.number(Property::TopicAlias).map(|alias| alias as u16);
            expiry = properties.number(Property::MessageExpiry);
        }
    }
    // [MQTT-3.3.2-2], [MQTT-4.7.3-1]
    if topic.is_empty() && alias.is_none() {
        return Err(Violation::protocol("empty topic"));
    }
    if topic.bytes().any(|b| matches!(b, b'+' | b'#')) {
        return Err(Violation::with(Reason::TopicNameInvalid, "wildcard in a topic"));
    }
    Ok(Publish { topic, qos, retain, dup, id, alias, expiry, properties, payload: body.rest() })
}

fn ack<'a>(kind: u8, body: &mut Reader<'a>, version: Version) -> Result<Packet<'a>, Violation> {
    let id = body.packet_id()?;
    let mut reason = 0;
    if version == Version::V5 && !body.is_empty() {
        reason = body.u8()?;
        if !body.is_empty() {
            Properties::read(body, allowed::ACK)?;
        }
        let known: &[u8] = match kind {
            4 | 5 => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
            _ => &[0x00, 0x92],
        };
        if !known.contains(&reason) {
            return Err(Violation::protocol("unknown reason code in an acknowledgement"));
        }
    }
    body.finished()?;
    Ok(match kind {
        4 => Packet::PubAck { id, reason },
        5 => Packet::PubRec { id, reason },
        6 => Packet::PubRel { id, reason },
        _ => Packet::PubComp { id, reason },
    })
}

fn disconnect(body: &mut Reader<'_>, version: Version) -> Result<Disconnect, Violation> {
    let mut told = Disconnect { reason: 0, expiry: None };
    if version == Version::V5 && !body.is_empty() {
        told.reason = body.u8()?;
        if !body.is_empty() {
            told.expiry = Properties::read(body, allowed::DISCONNECT)?.number(Property::SessionExpiry);
        }
        const OF_CLIENTS: [u8; 14] =
            [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        if !OF_CLIENTS.contains(&told.reason) {
            return Err(Violation::protocol("unknown reason code in DISCONNECT"));
        }
    }
    body.finished()?;
    Ok(told)
}

fn auth<'a>(body: &mut Reader<'a>) -> Result<Auth<'a>, Violation> {
    let mut told = Auth { reason: 0, method: None };
    if !body.is_empty() {
        told.reason = body.u8()?;
        let properties = Properties::read(body, allowed::AUTH)?;
        told.method = properties.text(Property::AuthenticationMethod);
        if properties.binary(Property::AuthenticationData).is_some() && told.method.is_none() {
            return Err(Violation::protocol("Authentication Data without a method"));
        }
    }
    body.finished()?;
    match told.reason {
        0x00 | 0x18 | 0x19 => Ok(told),
        _ => Err(Violation::protocol("unknown reason code in AUTH")),
    }
}
