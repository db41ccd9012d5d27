//! The impure part: sockets, TLS, files, signals, the clock and randomness live here and nowhere else.

#![allow(clippy::disallowed_methods, reason = "this is the part that clippy.toml sends everybody else to")]

mod activation;
mod dial;
pub mod disk;
pub mod files;
pub mod hammer;
mod health;
mod host;
pub mod http;
pub mod listener;
pub mod log;
pub mod logs;
pub mod notify;
pub mod resolver;
pub mod run;
pub mod server;
pub mod signal;
pub mod store_keys;
mod store_tool;
pub mod tls;
mod turn;
mod update;
