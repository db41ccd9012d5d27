//! The broker that both Petiole servers share, and the leaf.
//!
//! Everything but [`shell`] is pure: bytes and time go in; bytes, commands and deadlines come out.

pub mod account;
pub mod auth;
pub mod bundle;
pub mod client;
pub mod config;
pub mod downlink;
pub mod interest;
pub mod link;
pub mod message;
pub mod monitor;
pub mod mqtt;
pub mod node;
pub mod outbox;
pub mod shell;
pub mod store;
pub mod subject;
pub mod websocket;
pub mod wire;

/// The version of nats-server whose protocols these are; clients look for features by it.
pub const PROTOCOL_VERSION: &str = "2.15.1";
