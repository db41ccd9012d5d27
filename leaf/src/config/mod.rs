//! The configuration: nats-server's language and options, read into one checked [`Config`].
//!
//! Nothing here opens a file, asks the environment or looks at a clock: a [`Source`] does.

mod accounts;
mod authorization;
mod check;
pub mod cli;
mod defaults;
mod digest;
mod durable;
mod duration;
mod encryption;
mod error;
mod exports;
mod flags;
mod forward;
mod leafnodes;
mod lex;
mod limits;
mod links;
mod listen;
mod log;
mod model;
mod mqtt;
mod operator;
mod own_login;
mod parse;
mod permissions;
mod read;
mod refused;
mod tls;
mod usage;
mod value;
mod websocket;

use std::io;
use std::path::Path;

pub use check::{check, remarks};
pub(crate) use defaults::GLOBAL_ACCOUNT;
pub use error::{At, Error, Errors, Place};
pub use flags::Flags;
pub use links::{ClientTls, Compression, LeafListener, Leafnodes, Mode, Remote, RemoteUrl, Timeout, Version};
pub use model::*;
pub use mqtt::Mqtt;
pub use own_login::OwnLogin;
pub use read::{Tree, parse, read, understand};
pub use websocket::Websocket;

/// Where a configuration comes from.
pub trait Source {
    /// The text of a file. A relative path is as the user gave it.
    fn read(&mut self, path: &Path) -> io::Result<String>;

    /// The value of an environment variable, `None` if it is not set or not UTF-8.
    fn env(&self, name: &str) -> Option<String>;
}

/// Reads a duration as Go writes it, in nanoseconds.
pub(crate) fn duration(text: &str) -> Option<i64> {
    duration::parse(text).ok()
}
