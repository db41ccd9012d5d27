//! The network between leaf and hub: a proxy that carries so much, or nothing, or is not there.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// What the link carries in each direction: 8 Mbit/s, as a mobile one may.
const BYTES_A_SECOND: usize = 1_000_000;
/// How often a connection looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Open,
    /// Connections are gone, new ones refused.
    Cut,
    /// Connections stay and carry nothing; what was sent on them is lost when it ends.
    Silent,
}

/// The mode, and how often it was not [`Mode::Open`]: no connection from before a fault outlives it.
type State = Arc<Mutex<(Mode, u64)>>;

pub(crate) struct Link {
    pub(crate) port: u16,
    state: State,
}

impl Link {
    /// Listens on a port of its own for connections to `target`.
    pub(crate) fn start(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: State = Arc::new(Mutex::new((Mode::Open, 0)));
        let of_accepted = state.clone();
        spawn(move || {
            for accepted in listener.incoming().flatten() {
                let (mode, faults) = *of_accepted.lock().unwrap();
                if mode != Mode::Open {
                    continue;
                }
                let Ok(beyond) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                for (from, to) in [(&accepted, &beyond), (&beyond, &accepted)] {
                    let (from, to, state) = (from.try_clone().unwrap(), to.try_clone().unwrap(), of_accepted.clone());
                    spawn(move || carry(from, to, &state, faults));
                }
            }
        });
        Self { port, state }
    }

    pub(crate) fn set(&self, mode: Mode) {
        let mut state = self.state.lock().unwrap();
        state.1 += u64::from(mode != state.0 && mode != Mode::Open);
        state.0 = mode;
    }
}

/// Carries bytes one way until either end is gone or a fault has ended the connection.
fn carry(mut from: TcpStream, mut to: TcpStream, state: &State, faults: u64) {
    let _ = from.set_read_timeout(Some(LOOK_EVERY));
    let _ = to.set_nodelay(true);
    let mut bytes = vec![0; 8 * 1024];
    loop {
        match *state.lock().unwrap() {
            (_, now) if now == faults => {}
            (Mode::Silent, now) if now == faults + 1 => {
                sleep(LOOK_EVERY);
                continue;
            }
            _ => break,
        }
        match from.read(&mut bytes) {
            Ok(0) => break,
            Ok(n) if to.write_all(&bytes[..n]).is_ok() => {
                sleep(Duration::from_secs_f64(n as f64 / BYTES_A_SECOND as f64));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
