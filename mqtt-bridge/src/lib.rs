//! MQTT for a server, without sockets, clocks or a runtime: bytes and time go in, events and bytes come out.
//!
//! * [`packet`] reads what clients send, strictly and in place, for 3.1 (`MQIsdp`), 3.1.1 and 5.0.
//! * [`encode`] writes what a server sends.
//! * [`topic`] says what a topic and a filter may be and which match; [`subject`] translates both to NATS and back.
//! * [`Connection`] is the machine behind one network connection, [`Session`] what outlives it.
//!
//! The crate knows nothing of brokers: who may do what, who else wants a message, and what is on disk is its owner's.
//! Numbers in comments such as `[MQTT-3.1.2-24]` are those of the standards' conformance statements; where the two
//! standards number differently, the one meant is named.

pub mod encode;
pub mod packet;
mod property;
mod reader;
mod reason;
mod session;
pub mod subject;
pub mod topic;

pub use property::{Forwarded, Properties, Property, Value, write_property};
pub use reason::{Reason, Violation};
pub use session::{
    Ack, Added, Connection, Delivered, Ending, Event, Facts, Limits, Opening, Outgoing, QUEUED_MAX, RECEIVE_MAX,
    RELEASES_MAX, Received, Restored, Session, Sink, Step, Stored, Subscription, TOPIC_ALIASES_MAX, Will,
};

/// A protocol version; the number is the protocol level on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 3.1, whose protocol is called `MQIsdp`.
    V31 = 3,
    /// 3.1.1.
    V311 = 4,
    /// 5.0.
    V5 = 5,
}

impl Version {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }
}

/// A quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// From its number on the wire.
    pub fn new(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Nanoseconds on the owner's clock.
pub type Nanos = u64;

/// One second.
pub const SECOND: Nanos = 1_000_000_000;
