//! Durable subscriptions: what a stream at the hub holds for this leaf comes down, is kept on flash, and is published here.
//!
//! ```text
//!   stream --> durable pull consumer --> link --> [log] --> disk: written and synced --> acknowledgement to the hub
//!                                                   |
//!                                                   +--> who listens here --> kept there --> gone from the log
//! ```
//! A [`Downlink`] is one of them. It is a state machine: what comes over the link, time and what the disk did go in; requests
//! for the hub, disk operations and messages for this server come out. The hub is told that a message is here only once it is
//! synced, so a message may come again: which ones have been here is known by their numbers in the stream ([`seen`]), and kept in
//! the log with the messages' removal. A message leaves the log when those who listen have it, and theirs is synced, too; as
//! long as nobody listens to its subject it stays.

mod api;
mod bug;
mod engine;
mod envelope;
mod pull;
mod seen;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;

pub use engine::{Down, Downlink, Figures, Obstacle, Parcel, log_settings, replies};
