//! Listeners that the service manager opened for us: sd_listen_fds(3).
//!
//! They are known by name (`FileDescriptorName=` of the socket unit): `monitoring` and what each
//! [`Listener`](super::listener::Listener) says. A socket that nobody asks for is a mistake, not a spare.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// Sockets that were handed over and not taken yet.
#[derive(Debug, Default)]
pub(super) struct Handed(Vec<(String, TcpListener)>);

impl Handed {
    /// Takes over what the environment tells of (`LISTEN_PID`, `LISTEN_FDS`, `LISTEN_FDNAMES`), and forgets it there.
    /// To be called before there are threads, once.
    pub(super) fn from_env() -> Result<Self, String> {
        if std::env::var("LISTEN_PID").ok() != Some(std::process::id().to_string()) {
            return Ok(Self::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        let mut handed = Vec::new();
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or_default().to_owned();
            if handed.iter().any(|(other, _)| *other == name) {
                return Err(format!("The service manager hands over two sockets called {name:?}"));
            }
            let failed = |error| format!("The service manager hands over {name:?}: {error}");
            let socket = sockets.take_tcp_listener(index).map_err(failed)?;
            handed.push((name, socket.ok_or_else(|| "A socket was handed over twice".to_owned())?));
        }
        Ok(Self(handed))
    }

    /// The socket of this name, ready for tokio.
    pub(super) fn take(&mut self, name: &str) -> Option<io::Result<TcpListener>> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        let (_, socket) = self.0.swap_remove(index);
        Some(socket.set_nonblocking(true).map(|()| socket))
    }

    /// Fails if sockets are left that the configuration has no use for.
    pub(super) fn finish(self) -> Result<(), String> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        Err(format!(
            "The service manager hands over a socket called {name:?}, but the configuration has no listener of that \
             name: see FileDescriptorName= in the socket unit"
        ))
    }
}
