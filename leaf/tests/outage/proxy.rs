//! The network between leaf and hub.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;
use std::time::{Duration, Instant};

/// How often a connection looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long it may take until somebody connects.
const LINKED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It carries everything.
    Open,
    /// Connections are gone, new ones refused.
    Refusing,
    /// Connections stay and carry nothing; what was sent on them may be lost.
    Silent,
}

/// The mode, and how often it was [`Mode::Refusing`]: connections from before are gone.
type State = Arc<Mutex<(Mode, u64)>>;

pub(crate) struct Proxy {
    pub(crate) port: u16,
    state: State,
    /// One more than the cuts there had been when the last connection came.
    linked: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on a port of its own for connections to `target`.
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: State = Arc::new(Mutex::new((Mode::Open, 0)));
        let of_accepted = state.clone();
        let linked: Arc<AtomicU64> = Arc::default();
        let told = linked.clone();
        spawn(move || {
            for accepted in listener.incoming().flatten() {
                let (mode, cuts) = *of_accepted.lock().unwrap();
                if mode == Mode::Refusing {
                    continue;
                }
                let Ok(beyond) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                told.store(cuts + 1, Ordering::Relaxed);
                let pairs = [(&accepted, &beyond), (&beyond, &accepted)];
                for (from, to) in pairs.map(|(from, to)| (from.try_clone().unwrap(), to.try_clone().unwrap())) {
                    let state = of_accepted.clone();
                    spawn(move || carry(from, to, &state, cuts));
                }
            }
        });
        Self { port, state, linked }
    }

    /// Waits until there is a connection that was made after the last cut: there is something to break, and nobody has found a way
    /// past this proxy.
    pub(crate) fn wait_linked(&self) {
        let started = Instant::now();
        while self.linked.load(Ordering::Relaxed) != self.state.lock().unwrap().1 + 1 {
            assert!(started.elapsed() < LINKED_WITHIN, "nobody comes to the proxy any more");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.0 = mode;
        state.1 += u64::from(mode == Mode::Refusing);
    }
}

/// Carries bytes one way until either end is gone or the connection is cut.
fn carry(mut from: TcpStream, mut to: TcpStream, state: &State, cuts: u64) {
    let _ = from.set_read_timeout(Some(LOOK_EVERY));
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let (mode, now) = *state.lock().unwrap();
        if now != cuts {
            break;
        }
        if mode == Mode::Silent {
            std::thread::sleep(LOOK_EVERY);
            continue;
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) if to.write_all(&bytes[..n]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
