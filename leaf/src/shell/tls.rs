//! TLS for the listeners, without sockets: a server's settings, and a connection as a machine of bytes.

mod settings;
mod stream;

pub use settings::{ServerTls, connect};
pub use stream::{MAX_BUFFERED_INPUT, MAX_BUFFERED_OUTPUT, Progress, TlsStream};

#[cfg(test)]
mod fixtures {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use crate::config::{HandshakeFirst, Tls};

    /// A file that `tests/certs/make.sh` made.
    pub(super) fn certificate_file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/certs").join(name)
    }

    /// A block with one certificate, for `localhost`, and the CA that signed it.
    pub(super) fn block() -> Tls {
        Tls {
            certs: vec![(certificate_file("server.pem"), certificate_file("server-key.pem"))],
            ca_file: Some(certificate_file("ca.pem")),
            verify: false,
            map: false,
            pinned: std::collections::BTreeSet::new(),
            timeout: Duration::from_secs(2),
            only_1_3: false,
            cipher_suites: Vec::new(),
            curve_preferences: Vec::new(),
            handshake_first: HandshakeFirst::No,
            connection_rate_limit: 0,
        }
    }
}
