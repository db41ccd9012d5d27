//! What the service manager is told: sd_notify(3), spoken without a library, since it is one datagram for each word.
//!
//! Without `NOTIFY_SOCKET` nobody wants to hear anything and every call does nothing.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

use super::server::Server;

/// A manager that does not read must not hold up the server for longer than this.
const SEND_WITHIN: Duration = Duration::from_millis(500);
/// How often a long start is told of; a short one is not.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Beyond what a step should take: what the manager waits before it takes the server for stuck.
const SLACK: Duration = Duration::from_secs(10);

/// The way to the service manager, if there is one.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
    /// One failure is told; the next ones would be the same.
    failed: Cell<bool>,
    /// The manager restarts a server that is silent for so long.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says: `NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`. The error says what is wrong with it.
    pub(super) fn from_env() -> Result<Self, String> {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self { socket: None, failed: Cell::new(false), watchdog: None });
        };
        let failed = |error| format!("Cannot reach the service manager: NOTIFY_SOCKET={}: {error}", name.display());
        let socket = connect(&name).map_err(failed)?;
        let (usec, pid) = (std::env::var("WATCHDOG_USEC").ok(), std::env::var("WATCHDOG_PID").ok());
        let watchdog = watchdog(usec.as_deref(), pid.as_deref(), std::process::id())?;
        Ok(Self { socket: Some(socket), failed: Cell::new(false), watchdog })
    }

    /// Listeners are open, logs are recovered: whoever waits for this server may go on. Also ends a reload.
    pub fn ready(&self, status: &str) {
        self.send(format_args!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Self::ready`] must follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let usec = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(format_args!("RELOADING=1\nMONOTONIC_USEC={usec}\nSTATUS=Reading the configuration again"));
    }

    /// The server ends, in `within` at most.
    pub fn stopping(&self, status: &str, within: Duration) {
        let usec = (within + SLACK).as_micros();
        self.send(format_args!("STOPPING=1\nEXTEND_TIMEOUT_USEC={usec}\nSTATUS={status}"));
    }

    /// Does a step of the start that may take long, as a log does to recover, and asks for more time as long as the event
    /// loop can: a step that is stuck in it is ended by the manager.
    pub(super) async fn during<T>(&self, status: &str, step: impl Future<Output = T>) -> T {
        self.asking_every(ASK_EVERY, status, step).await
    }

    async fn asking_every<T>(&self, period: Duration, status: &str, step: impl Future<Output = T>) -> T {
        tokio::pin!(step);
        loop {
            match tokio::time::timeout(period, &mut step).await {
                Ok(done) => return done,
                Err(_) => {
                    let usec = (period + SLACK).as_micros();
                    self.send(format_args!("EXTEND_TIMEOUT_USEC={usec}\nSTATUS={status}"));
                }
            }
        }
    }

    /// Feeds the manager's watchdog from the event loop, so that a loop that is stuck is noticed.
    pub(super) async fn feed_watchdog(self: Rc<Self>, server: Rc<Server>) {
        let Some(limit) = self.watchdog else { return };
        loop {
            // The node must answer too, and what waits for its sockets must get through.
            server.with_node(|_, _| ());
            self.send(format_args!("WATCHDOG=1"));
            tokio::time::sleep(limit / 2).await;
        }
    }

    fn send(&self, words: std::fmt::Arguments<'_>) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(words.to_string().as_bytes())
            && !self.failed.replace(true)
        {
            warn!("The service manager does not take word from us: {error}");
        }
    }
}

/// A path, or `@` and an abstract name.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(SEND_WITHIN))?;
    Ok(socket)
}

/// How long the manager bears silence; `None` if it does not watch this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Result<Option<Duration>, String> {
    let Some(usec) = usec else { return Ok(None) };
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return Ok(None);
    }
    match usec.parse() {
        Ok(usec) if usec > 0 => Ok(Some(Duration::from_micros(usec))),
        _ => Err(format!("WATCHDOG_USEC={usec} is no number of microseconds")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_for_one_process() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(None, None, 7), Ok(None));
        assert_eq!(watchdog(Some("1000000"), None, 7), Ok(second));
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), Ok(second));
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), Ok(None));
        for nonsense in ["", "0", "-1", "1s"] {
            assert!(watchdog(Some(nonsense), None, 7).is_err(), "{nonsense}");
        }
    }

    /// One that takes long is told of again and again, one that does not is not.
    #[test]
    fn a_long_start_asks_for_time() {
        let (ours, managers) = UnixDatagram::pair().unwrap();
        managers.set_nonblocking(true).unwrap();
        let notifier = Notifier { socket: Some(ours), failed: Cell::new(false), watchdog: None };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let heard = || {
            let mut bytes = [0; 128];
            let length = managers.recv(&mut bytes).ok()?;
            Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
        };
        let period = Duration::from_millis(2);
        let step = async {
            for _ in 0..2 {
                let word = loop {
                    match heard() {
                        Some(word) => break word,
                        None => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                };
                assert_eq!(word, "EXTEND_TIMEOUT_USEC=10002000\nSTATUS=Recovering");
            }
            7
        };
        assert_eq!(runtime.block_on(notifier.asking_every(period, "Recovering", step)), 7);
        while heard().is_some() {}
        runtime.block_on(notifier.during("Recovering", async {}));
        assert_eq!(heard(), None);
    }

    #[test]
    fn only_paths_and_abstract_names_are_sockets() {
        for name in ["vsock:2:1234", "run/notify", "/no/such/socket", "@petiole-nobody-listens"] {
            assert!(connect(OsStr::new(name)).is_err(), "{name}");
        }
    }
}
