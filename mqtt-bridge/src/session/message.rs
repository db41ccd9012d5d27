//! Messages on their way to a client.

use std::cell::OnceCell;
use std::rc::Rc;

use crate::{Forwarded, Nanos, QoS};

/// A message to be delivered, as it was published.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// Its topic, a topic name.
    pub topic: &'a str,
    /// How it was published; subscriptions may lower it.
    pub qos: QoS,
    /// Whether it carries the retain flag to this subscriber.
    pub retain: bool,
    /// When it is no longer worth delivering.
    pub expires: Option<Nanos>,
    /// The publisher's properties.
    pub forwarded: Forwarded<'a>,
    /// What it says.
    pub payload: &'a [u8],
    /// Tells one routing of a message from the next: a client with several matching subscriptions gets one copy
    /// `[MQTT-3.3.5-1]`, `[MQTT-3.3.4-4]` of 5.0. 0 is not any.
    pub serial: u64,
    /// A copy for all who must keep one.
    pub stored: Option<&'a OnceCell<Rc<Stored>>>,
}

impl Outgoing<'_> {
    /// A copy, shared with others where that is possible.
    pub fn stored(&self) -> Rc<Stored> {
        match self.stored {
            None => Rc::new(Stored::new(self)),
            Some(cell) => cell.get_or_init(|| Rc::new(Stored::new(self))).clone(),
        }
    }
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Sent.
    Sent,
    /// In the queue, to be sent with this packet identifier.
    Queued(u16),
    /// Nothing is kept of QoS 0.
    Nothing,
    /// It went out, or into the queue, for another subscription already; that copy now speaks for this one too.
    Merged,
    /// The queue is full: this message is not delivered.
    Full,
    /// Larger than the client takes; dropped as if it had been delivered `[MQTT-3.1.2-25]`.
    TooLarge,
}

/// A message that is kept: one allocation for all who need it.
#[derive(Debug, PartialEq, Eq)]
pub struct Stored {
    /// Topic, properties, payload.
    bytes: Box<[u8]>,
    topic: u16,
    properties: u32,
    /// When it is no longer worth delivering.
    pub expires: Option<Nanos>,
    /// How it was published.
    pub qos: QoS,
}

impl Stored {
    /// Copies a message.
    pub fn new(message: &Outgoing<'_>) -> Self {
        let (topic, forwarded) = (message.topic.as_bytes(), message.forwarded);
        let mut bytes = Vec::with_capacity(topic.len() + forwarded.len() + message.payload.len());
        bytes.extend_from_slice(topic);
        forwarded.write(&mut bytes);
        bytes.extend_from_slice(message.payload);
        Self {
            bytes: bytes.into(),
            topic: topic.len() as u16,
            properties: forwarded.len() as u32,
            expires: message.expires,
            qos: message.qos,
        }
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        // It was a `str` when it was copied.
        std::str::from_utf8(&self.bytes[..self.topic.into()]).unwrap_or_default()
    }

    /// The publisher's properties.
    pub fn forwarded(&self) -> Forwarded<'_> {
        Forwarded::known(self.properties())
    }

    /// The same as they are kept.
    pub fn properties(&self) -> &[u8] {
        let from = usize::from(self.topic);
        &self.bytes[from..from + self.properties as usize]
    }

    /// Topic, properties and payload, one behind the other.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What it says.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[usize::from(self.topic) + self.properties as usize..]
    }

    /// Bytes it takes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: a topic has at least one byte.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// To be delivered again, by its first publication's rules.
    pub fn outgoing(&self, retain: bool) -> Outgoing<'_> {
        Outgoing {
            topic: self.topic(),
            qos: self.qos,
            retain,
            expires: self.expires,
            forwarded: self.forwarded(),
            payload: self.payload(),
            serial: 0,
            stored: None,
        }
    }
}

/// A message for the time after the connection broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where to.
    pub topic: Box<str>,
    /// What it says.
    pub payload: Box<[u8]>,
    /// How.
    pub qos: QoS,
    /// To be kept.
    pub retain: bool,
    /// Seconds to wait.
    pub delay: u32,
    /// Seconds after its publication when it is no longer worth delivering.
    pub expiry: Option<u32>,
    /// Properties that subscribers get.
    pub properties: Box<[u8]>,
}

impl Will {
    pub(super) fn new(will: &crate::packet::Will<'_>) -> Self {
        let mut properties = Vec::with_capacity(will.properties.forwarded.len());
        will.properties.forwarded.write(&mut properties);
        Self {
            topic: will.topic.into(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            delay: will.properties.delay,
            expiry: will.properties.expiry,
            properties: properties.into(),
        }
    }

    /// Its properties.
    pub fn forwarded(&self) -> Forwarded<'_> {
        Forwarded::known(&self.properties)
    }
}
