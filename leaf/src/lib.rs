//! The broker that both Petiole servers share, and the leaf.
//!
//! Everything but [`shell`] is pure: bytes and time go in; bytes, commands and deadlines come out.

pub mod account;
pub mod auth;
pub mod config;
pub mod interest;
pub mod message;
pub mod shell;
pub mod subject;
pub mod wire;
