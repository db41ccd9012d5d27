//! Store-and-forward: what must not be lost goes to a log on flash, and from there to the hub whenever there is a link.
//!
//! ```text
//!  publisher --> capture --> [log] --> disk: written and synced --> acknowledgement to the publisher
//!                              |
//!                              +--> upstream: a window of records in flight --> link --> hub
//!                                      ^------ answers: a stream's, or a fence's ------'
//! ```
//! An [`Outbox`] is one such log. It is a state machine: messages, answers, links and time go in; disk operations,
//! acknowledgements and messages for the link come out. A captured message travels this way only, also while the link is up:
//! a shortcut beside the backlog would break the order.

mod acks;
mod bug;
mod engine;
mod envelope;
mod pace;
pub mod pub_ack;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
pub mod upstream;

pub use engine::{Envelope, Figures, NotTaken, Obstacle, Outbox, Up, log_settings};
pub use upstream::{Confirm, Terms};

pub(crate) use envelope::time_to_live;
pub use envelope::{of_reply, replies};
