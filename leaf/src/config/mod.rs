//! The configuration: nats-server's language and options, read into one checked [`Config`].

mod model;

pub use model::*;
