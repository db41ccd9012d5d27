//! The NATS text protocol as clients speak it: bytes to operations and back. No state but position.

mod connect;
pub mod encode;
mod info;
mod parse;

pub use connect::Connect;
pub use info::Info;
pub(crate) use parse::{Args, line, number, split};
pub use parse::{Bounds, Missing, Op, ParseError, Parsed, parse};
