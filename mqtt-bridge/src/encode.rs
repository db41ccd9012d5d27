//! What a server sends. Every function appends one whole packet.

use crate::session::{Facts, Limits};
use crate::{Forwarded, Property, QoS, Reason, Version};

/// Bytes that a PUBLISH takes beside topic, properties and payload, at most: fixed header, topic length, packet id,
/// length of the properties, message expiry, topic alias. Subscription identifiers take five more each.
pub const PUBLISH_OVERHEAD_BYTES: usize = 5 + 2 + 2 + 4 + 5 + 3;

/// PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// A PUBLISH as it goes out.
#[derive(Clone, Copy, Debug)]
pub struct Publish<'a> {
    /// Empty when an alias known to the client stands for it.
    pub topic: &'a str,
    /// How it is sent.
    pub qos: QoS,
    /// It was kept, or the subscriber wants to know.
    pub retain: bool,
    /// It was sent before.
    pub dup: bool,
    /// For QoS 1 and 2.
    pub id: u16,
    /// 0 for none.
    pub alias: u16,
    /// What is left of its life, seconds.
    pub expiry: Option<u32>,
    /// Of all subscriptions it is sent for.
    pub subscription_ids: &'a [u32],
    /// The publisher's properties.
    pub forwarded: Forwarded<'a>,
    /// What it says.
    pub payload: &'a [u8],
}

impl Publish<'_> {
    fn properties_len(&self) -> usize {
        let subscription: usize = self.subscription_ids.iter().map(|id| 1 + varint_len(*id)).sum();
        self.forwarded.len()
            + if self.alias > 0 { 3 } else { 0 }
            + if self.expiry.is_some() { 5 } else { 0 }
            + subscription
    }

    fn body_len(&self, version: Version) -> usize {
        let id = if self.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match version {
            Version::V5 => {
                let len = self.properties_len();
                varint_len(len as u32) + len
            }
            _ => 0,
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    /// Bytes of the whole packet.
    pub fn packet_len(&self, version: Version) -> usize {
        let body = self.body_len(version);
        1 + varint_len(body as u32) + body
    }

    /// Appends it.
    #[inline]
    pub fn write(&self, version: Version, out: &mut Vec<u8>) {
        let flags = u8::from(self.dup) << 3 | (self.qos as u8) << 1 | u8::from(self.retain);
        out.push(0x30 | flags);
        varint(self.body_len(version) as u32, out);
        out.extend_from_slice(&(self.topic.len() as u16).to_be_bytes());
        out.extend_from_slice(self.topic.as_bytes());
        if self.qos != QoS::AtMostOnce {
            out.extend_from_slice(&self.id.to_be_bytes());
        }
        if version == Version::V5 {
            self.write_properties(out);
        }
        out.extend_from_slice(self.payload);
    }

    fn write_properties(&self, out: &mut Vec<u8>) {
        varint(self.properties_len() as u32, out);
        if let Some(expiry) = self.expiry {
            out.push(Property::MessageExpiry as u8);
            out.extend_from_slice(&expiry.to_be_bytes());
        }
        if self.alias > 0 {
            out.push(Property::TopicAlias as u8);
            out.extend_from_slice(&self.alias.to_be_bytes());
        }
        for &id in self.subscription_ids {
            out.push(Property::SubscriptionId as u8);
            varint(id, out);
        }
        self.forwarded.write(out);
    }
}

/// Which acknowledgement; the number is its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "they are the standard's own names")]
pub enum AckKind {
    PubAck = 0x40,
    PubRec = 0x50,
    PubRel = 0x62,
    PubComp = 0x70,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP, in its shortest form.
#[inline]
pub fn ack(kind: AckKind, id: u16, reason: Reason, version: Version, out: &mut Vec<u8>) {
    let [high, low] = id.to_be_bytes();
    if version == Version::V5 && reason != Reason::Success {
        out.extend_from_slice(&[kind as u8, 3, high, low, reason.code()]);
    } else {
        out.extend_from_slice(&[kind as u8, 2, high, low]);
    }
}

/// CONNACK of somebody who is in.
pub fn welcome(version: Version, present: bool, facts: &Facts<'_>, limits: &Limits, out: &mut Vec<u8>) {
    // 3.1 has no such flag.
    let present = u8::from(present && version != Version::V31);
    if version != Version::V5 {
        return out.extend_from_slice(&[0x20, 2, present, 0]);
    }
    let mut properties = Vec::with_capacity(32);
    if let Some(expiry) = facts.session_expiry {
        number4(Property::SessionExpiry, expiry, &mut properties);
    }
    number2(Property::ReceiveMaximum, crate::RECEIVE_MAX as u16, &mut properties);
    if limits.max_qos < QoS::ExactlyOnce {
        properties.extend_from_slice(&[Property::MaximumQoS as u8, limits.max_qos as u8]);
    }
    number4(Property::MaximumPacketSize, limits.packet_bytes_max as u32, &mut properties);
    if let Some(id) = facts.assigned_id {
        text(Property::AssignedClientId, id, &mut properties);
    }
    number2(Property::TopicAliasMaximum, crate::TOPIC_ALIASES_MAX as u16, &mut properties);
    if let Some(seconds) = facts.keep_alive {
        number2(Property::ServerKeepAlive, seconds, &mut properties);
    }
    out.push(0x20);
    varint((2 + varint_len(properties.len() as u32) + properties.len()) as u32, out);
    out.extend_from_slice(&[present, 0]);
    varint(properties.len() as u32, out);
    out.extend_from_slice(&properties);
}

/// CONNACK of somebody who is not let in; nothing where the version has no word for the reason.
pub fn refusal(version: Version, reason: Reason, out: &mut Vec<u8>) {
    if version == Version::V5 {
        out.extend_from_slice(&[0x20, 3, 0, reason.code(), 0]);
    } else if let Some(code) = reason.connack_code() {
        out.extend_from_slice(&[0x20, 2, 0, code]);
    }
}

/// DISCONNECT, which only 5.0 has. `server` is the one to go to instead.
pub fn disconnect(reason: Reason, server: Option<&str>, out: &mut Vec<u8>) {
    let Some(server) = server else { return out.extend_from_slice(&[0xe0, 1, reason.code()]) };
    let mut properties = Vec::new();
    text(Property::ServerReference, server, &mut properties);
    out.push(0xe0);
    varint((1 + varint_len(properties.len() as u32) + properties.len()) as u32, out);
    out.push(reason.code());
    varint(properties.len() as u32, out);
    out.extend_from_slice(&properties);
}

/// SUBACK: one code for each filter.
pub fn suback(id: u16, codes: &[u8], version: Version, out: &mut Vec<u8>) {
    codes_packet(0x90, id, codes, version, out);
}

/// UNSUBACK; only 5.0 hears what became of each filter.
pub fn unsuback(id: u16, codes: &[u8], version: Version, out: &mut Vec<u8>) {
    codes_packet(0xb0, id, if version == Version::V5 { codes } else { &[] }, version, out);
}

fn codes_packet(first: u8, id: u16, codes: &[u8], version: Version, out: &mut Vec<u8>) {
    let properties = usize::from(version == Version::V5);
    out.push(first);
    varint((2 + properties + codes.len()) as u32, out);
    out.extend_from_slice(&id.to_be_bytes());
    if properties > 0 {
        out.push(0);
    }
    out.extend_from_slice(codes);
}

fn number2(property: Property, value: u16, out: &mut Vec<u8>) {
    out.push(property as u8);
    out.extend_from_slice(&value.to_be_bytes());
}

fn number4(property: Property, value: u32, out: &mut Vec<u8>) {
    out.push(property as u8);
    out.extend_from_slice(&value.to_be_bytes());
}

fn text(property: Property, value: &str, out: &mut Vec<u8>) {
    out.push(property as u8);
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value.as_bytes());
}

/// Appends a variable byte integer.
pub(crate) fn varint(mut value: u32, out: &mut Vec<u8>) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        _ => 4,
    }
}
