//! A subscriber that counts, in a namespace of its own.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Result;
use crate::client::Client;
use crate::net::Side;

/// What was heard so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) messages: u64,
    pub(crate) first: Option<Instant>,
    pub(crate) last: Option<Instant>,
}

pub(crate) struct Tap(Arc<Mutex<Heard>>);

impl Tap {
    /// Subscribes on the server at this port and counts until it ends.
    pub(crate) fn open(side: &Side, port: u16, subject: &str) -> Result<Self> {
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let mut client = side.run(|| {
            let mut client = Client::connect(port)?;
            client.subscribe(subject)?;
            Ok(client)
        })?;
        let theirs = heard.clone();
        std::thread::spawn(move || {
            loop {
                match client.next_message() {
                    Ok(_) => {}
                    // Nothing came for a while: the client's patience is not ours.
                    Err(error) if is_timeout(&*error) => continue,
                    Err(_) => return,
                }
                let Ok(mut heard) = theirs.lock() else { return };
                let now = Instant::now();
                heard.messages += 1;
                heard.first.get_or_insert(now);
                heard.last = Some(now);
            }
        });
        Ok(Self(heard))
    }

    pub(crate) fn heard(&self) -> Heard {
        self.0.lock().map(|heard| *heard).unwrap_or_default()
    }

    /// Waits until so many were heard.
    ///
    /// # Errors
    /// When nothing more comes for `stuck_after`.
    pub(crate) fn wait(&self, messages: u64, stuck_after: Duration) -> Result<Heard> {
        let mut moved = (Instant::now(), 0);
        loop {
            let heard = self.heard();
            if heard.messages >= messages {
                return Ok(heard);
            }
            if heard.messages > moved.1 {
                moved = (Instant::now(), heard.messages);
            }
            if moved.0.elapsed() > stuck_after {
                return Err(format!("only {} of {messages} messages came", heard.messages).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind.is_some_and(|kind| matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
}
