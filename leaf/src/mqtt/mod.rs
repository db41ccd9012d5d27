//! MQTT: the peer behind a connection that speaks it, and what MQTT keeps beside the connections.
//!
//! `mqtt_bridge` knows the protocol; here it meets accounts, permissions and subjects. A message from a client is
//! routed like any other, under the subject of its topic; subscriptions are subscriptions of the node. What the node does
//! for all of them is in `node::mqtt`.

mod headers;
pub(crate) mod journal;
mod peer;
mod retained;
mod sessions;
mod shared;

pub(crate) use headers::{write as write_headers, write_will as write_will_headers};
pub use peer::Mqtt;
pub(crate) use retained::{Kept, Retained};
pub(crate) use sessions::{ABSENT, Absent, Place, Sessions};
pub(crate) use shared::{Holder, Publication, Shared};
pub use shared::{Tally, sid};
