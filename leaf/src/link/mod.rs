//! Leaf node links: what one server says to another, on whichever side it is.
//!
//! [`Link`] is a [`Peer`](crate::node::Peer) with two parts: a [`Session`], which speaks the protocol once the link is
//! up and is the same for both sides, and a [`Handshake`] before that. [`dial::Dialler`] is the handshake of the side
//! that dials; the one of the side that is dialled is the hub's. [`Remotes`] decides when which hub is dialled.
//!
//! # What store-and-forward builds on
//!
//! All of it is on [`Node`](crate::node::Node), and none of it blocks:
//!
//! * `poll_link_event` gives [`LinkEvent`]s: a link came up or went down, in which account, and whether a hub is at the
//!   other end.
//! * `uplink(account)` is the link to a hub that is up in an account, if there is one.
//! * `is_wanted_on(link, subject)`: whether the interest that the hub announced covers a subject. What it does not
//!   cover, the hub would throw away.
//! * `room_on(link)`: bytes that go out now and wait behind nothing. It is 0 while anything waits for the socket, and
//!   otherwise what the link moves in a twentieth of a second. So pull: whenever there is room (after an event, after a
//!   reply, on each `sent`), give the next message, of the most important log first; what is not given can still be
//!   overtaken. Live messages, interest and PING have their own lanes and never wait behind what was not given yet.
//! * `send_on(link, message)` sends one message, with its reply subject, to whoever wants it at the other end.
//! * A reply comes back as any message does: subscribe to the reply subject in the account, and the link announces it.

mod dial;
mod encode;
mod hello;
mod parse;
mod remotes;
pub mod s2;
mod session;

use crate::account::AccountId;
use crate::node::ConnId;

pub use dial::Dialler;
pub use hello::{Connect, Credentials, Info, Rules};
pub use parse::Op;
pub use remotes::{Dial, RemoteState, Remotes, tls_of};
pub use session::{Handshake, Link, Session, Start, loop_words};

/// Subjects that find loops: a server that hears its own from a link has found one.
pub const LOOP_PREFIX: &[u8] = b"$LDS.";
/// The level of the protocol between servers: from here on they trace messages.
pub const PROTOCOL: i64 = 3;

/// A link came up or went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Its connection.
    pub conn: ConnId,
    /// Its account here.
    pub account: AccountId,
    /// A hub is at the other end.
    pub upstream: bool,
    /// It came up.
    pub up: bool,
}

/// `host:port`, an IPv6 address in brackets.
pub fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
