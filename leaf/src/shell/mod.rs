//! The impure part: sockets, TLS, files, signals, the clock and randomness live here and nowhere else.

pub mod files;
pub mod http;
pub mod log;
pub mod run;
pub mod server;
pub mod signal;
pub mod tls;
