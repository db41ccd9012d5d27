//! Properties of 5.0: which there are, of what type, where each may stand.

use crate::Violation;
use crate::reader::Reader;

/// A property's identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "they are the standard's own names")]
pub enum Property {
    PayloadFormat = 0x01,
    MessageExpiry = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionId = 0x0b,
    SessionExpiry = 0x11,
    AssignedClientId = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblem = 0x17,
    WillDelay = 0x18,
    RequestResponse = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardAvailable = 0x28,
    SubscriptionIdAvailable = 0x29,
    SharedAvailable = 0x2a,
}

impl Property {
    fn new(id: u8) -> Option<Self> {
        Some(match id {
            0x01 => Self::PayloadFormat,
            0x02 => Self::MessageExpiry,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0b => Self::SubscriptionId,
            0x11 => Self::SessionExpiry,
            0x12 => Self::AssignedClientId,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblem,
            0x18 => Self::WillDelay,
            0x19 => Self::RequestResponse,
            0x1a => Self::ResponseInformation,
            0x1c => Self::ServerReference,
            0x1f => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQoS,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardAvailable,
            0x29 => Self::SubscriptionIdAvailable,
            0x2a => Self::SharedAvailable,
            _ => return None,
        })
    }

    const fn bit(self) -> u64 {
        1 << self as u8
    }
}

/// Sets of properties, one for each place.
pub(crate) mod allowed {
    use super::Property as P;

    pub(crate) const PUBLISH: u64 = FORWARDED | P::MessageExpiry.bit() | P::TopicAlias.bit();
    pub(crate) const WILL: u64 = FORWARDED | P::MessageExpiry.bit() | P::WillDelay.bit();
    pub(crate) const CONNECT: u64 = P::SessionExpiry.bit()
        | P::ReceiveMaximum.bit()
        | P::MaximumPacketSize.bit()
        | P::TopicAliasMaximum.bit()
        | P::RequestResponse.bit()
        | P::RequestProblem.bit()
        | P::UserProperty.bit()
        | P::AuthenticationMethod.bit()
        | P::AuthenticationData.bit();
    pub(crate) const ACK: u64 = P::ReasonString.bit() | P::UserProperty.bit();
    pub(crate) const SUBSCRIBE: u64 = P::SubscriptionId.bit() | P::UserProperty.bit();
    pub(crate) const UNSUBSCRIBE: u64 = P::UserProperty.bit();
    pub(crate) const DISCONNECT: u64 = P::SessionExpiry.bit() | P::ReasonString.bit() | P::UserProperty.bit();
    pub(crate) const AUTH: u64 = P::AuthenticationMethod.bit() | P::AuthenticationData.bit() | ACK;
    /// What goes from the publisher to the subscribers as it is.
    pub(crate) const FORWARDED: u64 = P::PayloadFormat.bit()
        | P::ContentType.bit()
        | P::ResponseTopic.bit()
        | P::CorrelationData.bit()
        | P::UserProperty.bit();
}

/// What a property holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes, or a variable byte integer.
    Four(u32),
    /// A string.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// A user property: name and value.
    Pair(&'a str, &'a str),
}

/// A checked block of properties, without its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// Reads a block with its length: only those `allowed`, each once but user properties.
    pub(crate) fn read(from: &mut Reader<'a>, allowed: u64) -> Result<Self, Violation> {
        let len = from.varint()?;
        let block = from.take(len as usize)?;
        let mut rest = Reader::new(block);
        let mut seen = 0u64;
        while !rest.is_empty() {
            let (property, value) = one(&mut rest)?;
            if allowed & property.bit() == 0 {
                return Err(Violation::malformed("property does not belong in this packet"));
            }
            if seen & property.bit() != 0 && property != Property::UserProperty {
                return Err(Violation::protocol("property stands twice"));
            }
            seen |= property.bit();
            check(property, value)?;
        }
        Ok(Self(block))
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All of them, as they stand.
    pub fn iter(self) -> impl Iterator<Item = (Property, Value<'a>)> {
        let mut rest = Reader::new(self.0);
        // It was checked, so it ends only at its end.
        std::iter::from_fn(move || if rest.is_empty() { None } else { one(&mut rest).ok() })
    }

    /// The user properties, in their order.
    pub fn user(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.iter().filter_map(|(_, value)| match value {
            Value::Pair(name, value) => Some((name, value)),
            _ => None,
        })
    }

    /// The value of a property that holds a number.
    pub(crate) fn number(self, wanted: Property) -> Option<u32> {
        self.iter().find(|(property, _)| *property == wanted).and_then(|(_, value)| match value {
            Value::Byte(byte) => Some(byte.into()),
            Value::Two(two) => Some(two.into()),
            Value::Four(four) => Some(four),
            _ => None,
        })
    }

    /// The value of a property that holds a text.
    pub fn text(self, wanted: Property) -> Option<&'a str> {
        self.iter().find_map(|(property, value)| match value {
            Value::Text(text) if property == wanted => Some(text),
            _ => None,
        })
    }

    /// The value of a property that holds bytes.
    pub fn binary(self, wanted: Property) -> Option<&'a [u8]> {
        self.iter().find_map(|(property, value)| match value {
            Value::Binary(bytes) if property == wanted => Some(bytes),
            _ => None,
        })
    }

    /// Those that go on to subscribers.
    pub fn forwarded(self) -> Forwarded<'a> {
        let mut rest = Reader::new(self.0);
        let mut all = true;
        let mut len = 0;
        while !rest.is_empty() {
            let before = rest.rest().len();
            let Ok((property, _)) = one(&mut rest) else { break };
            if property.bit() & allowed::FORWARDED == 0 {
                all = false;
            } else {
                len += before - rest.rest().len();
            }
        }
        Forwarded { block: self.0, len, all }
    }
}

/// The properties of a message that subscribers get unchanged `[MQTT-3.3.2-4]`, `-15`, `-16`, `-17`, `-18`, `-20`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded<'a> {
    block: &'a [u8],
    len: usize,
    /// Nothing in the block stays behind.
    all: bool,
}

impl<'a> Forwarded<'a> {
    /// A block in which everything goes on; it is one that [`Self::write`] wrote.
    pub fn known(block: &'a [u8]) -> Self {
        Self { block, len: block.len(), all: true }
    }

    /// Reads a block that was kept somewhere; `None` if it is none.
    pub fn parse(block: &'a [u8]) -> Option<Self> {
        let mut rest = Reader::new(block);
        while !rest.is_empty() {
            let (property, value) = one(&mut rest).ok()?;
            if property.bit() & allowed::FORWARDED == 0 || check(property, value).is_err() {
                return None;
            }
        }
        Some(Self::known(block))
    }

    /// Bytes they take.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Appends them to `out`.
    pub fn write(self, out: &mut Vec<u8>) {
        if self.all {
            return out.extend_from_slice(self.block);
        }
        let mut rest = Reader::new(self.block);
        while !rest.is_empty() {
            let before = rest.rest();
            let Ok((property, _)) = one(&mut rest) else { return };
            if property.bit() & allowed::FORWARDED != 0 {
                out.extend_from_slice(&before[..before.len() - rest.rest().len()]);
            }
        }
    }

    /// Them, to look into.
    pub fn properties(self) -> impl Iterator<Item = (Property, Value<'a>)> {
        Properties(self.block).iter().filter(|(property, _)| property.bit() & allowed::FORWARDED != 0)
    }
}

/// Appends one property to a block.
pub fn write_property(property: Property, value: Value<'_>, out: &mut Vec<u8>) {
    let text = |bytes: &[u8], out: &mut Vec<u8>| {
        // Whoever calls this has a text of a packet or has cut it.
        let bytes = &bytes[..bytes.len().min(u16::MAX.into())];
        out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    out.push(property as u8);
    match value {
        Value::Byte(byte) => out.push(byte),
        Value::Two(two) => out.extend_from_slice(&two.to_be_bytes()),
        Value::Four(four) if property == Property::SubscriptionId => crate::encode::varint(four, out),
        Value::Four(four) => out.extend_from_slice(&four.to_be_bytes()),
        Value::Text(value) => text(value.as_bytes(), out),
        Value::Binary(bytes) => text(bytes, out),
        Value::Pair(name, value) => {
            text(name.as_bytes(), out);
            text(value.as_bytes(), out);
        }
    }
}

/// Reads one property.
fn one<'a>(from: &mut Reader<'a>) -> Result<(Property, Value<'a>), Violation> {
    use Property as P;
    // Identifiers are variable byte integers, but all there are fit one byte.
    let id = from.u8()?;
    let property = P::new(id).ok_or(Violation::malformed("unknown property"))?;
    let value = match property {
        P::PayloadFormat
        | P::RequestProblem
        | P::RequestResponse
        | P::MaximumQoS
        | P::RetainAvailable
        | P::WildcardAvailable
        | P::SubscriptionIdAvailable
        | P::SharedAvailable => Value::Byte(from.u8()?),
        P::ServerKeepAlive | P::ReceiveMaximum | P::TopicAliasMaximum | P::TopicAlias => Value::Two(from.u16()?),
        P::MessageExpiry | P::SessionExpiry | P::WillDelay | P::MaximumPacketSize => Value::Four(from.u32()?),
        P::SubscriptionId => Value::Four(from.varint()?),
        P::ContentType
        | P::ResponseTopic
        | P::AssignedClientId
        | P::AuthenticationMethod
        | P::ResponseInformation
        | P::ServerReference
        | P::ReasonString => Value::Text(from.text()?),
        P::CorrelationData | P::AuthenticationData => Value::Binary(from.binary()?),
        P::UserProperty => Value::Pair(from.text()?, from.text()?),
    };
    Ok((property, value))
}

/// What a value may be, whatever the packet.
fn check(property: Property, value: Value<'_>) -> Result<(), Violation> {
    use Property as P;
    match (property, value) {
        (P::PayloadFormat | P::RequestProblem | P::RequestResponse, Value::Byte(2..)) => {
            Err(Violation::protocol("property is neither 0 nor 1"))
        }
        (P::ReceiveMaximum, Value::Two(0)) => Err(Violation::protocol("Receive Maximum 0")),
        (P::MaximumPacketSize, Value::Four(0)) => Err(Violation::protocol("Maximum Packet Size 0")),
        (P::SubscriptionId, Value::Four(0)) => Err(Violation::protocol("Subscription Identifier 0")),
        (P::TopicAlias, Value::Two(0)) => Err(Violation::with(crate::Reason::TopicAliasInvalid, "Topic Alias 0")),
        // [MQTT-3.3.2-14]; an empty one is no topic either.
        (P::ResponseTopic, Value::Text(topic)) if !crate::topic::is_name(topic) => {
            Err(Violation::protocol("Response Topic is not a topic name"))
        }
        _ => Ok(()),
    }
}
