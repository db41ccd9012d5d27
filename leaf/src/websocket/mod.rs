//! WebSocket for clients of NATS and of MQTT (RFC 6455), without sockets: the handshake, and frames both ways.
//!
//! ```text
//! socket -> TLS -> Decoder -> what the client said -> Node -> OutQueue -> Encoder -> TLS -> socket
//! ```
//! A connection is a stream of bytes to those above, as in nats-server: where messages and frames begin and end means
//! nothing, and NATS may come as text. So nothing is ever collected: an idle connection holds no buffers, and a frame may
//! be of any length. That is why the frames are our own and not a crate's, which would hand over whole messages.

mod frame;
mod handshake;
mod settings;

pub use frame::{Decoder, Encoder, Event, Fault, status};
pub use handshake::{Cookies, Endpoint, HEAD_BYTES_MAX, Origin, Refusal, Rules, Upgrade, read};
pub use settings::Settings;
