//! `store hammer`: appends until it is killed, for the crash tests. Says on its output what it acknowledges.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use super::disk::Disks;
use crate::store::{Answer, Append, Keys, Log, LogId, Order, Refused, Settings, Time};

/// Messages that wait for their sync.
const OUTSTANDING: u64 = 64;
const ID: LogId = LogId(1);
/// Every so many messages, what was acknowledged is kept as a cursor.
const CURSOR_EVERY: u64 = 50;

/// How the log is kept: small, so that segments come and go all the time.
pub fn settings() -> Settings {
    Settings { segment_bytes: 128 * 1024, msgs_max: 5000, ..Settings::default() }
}

/// What message `seq` holds.
pub fn payload(seq: u64) -> String {
    format!("{seq:0>width$}", width = 20 + (seq * 37 % 400) as usize)
}

/// Appends for ever.
///
/// # Errors
/// When the log cannot be opened or fails.
pub(super) fn run(directory: &Path, now: Time, keys: Option<Arc<Keys>>) -> Result<bool, String> {
    let (tell, answers) = channel();
    let mut disks = Disks::start(move |answer| drop(tell.send(answer))).map_err(|error| error.to_string())?;
    let open = Order::Open {
        log: ID,
        directory: directory.to_owned(),
        settings: Settings { keys, ..settings() },
        now,
        seed: now as u64,
        trusted: None,
    };
    disks.order(open);
    let mut log = match answers.recv() {
        Ok(Answer::Opened { result, .. }) => result.map_err(|error| error.to_string())?.0,
        other => return Err(format!("{other:?}")),
    };
    println!("open {}", log.state().last_seq);
    loop {
        round(&mut log, &mut disks, &answers, now)?;
    }
}

fn round(log: &mut Log, disks: &mut Disks, answers: &Receiver<Answer>, now: Time) -> Result<(), String> {
    while log.state().last_seq - log.committed() < OUTSTANDING {
        let seq = log.state().last_seq + 1;
        let payload = payload(seq);
        match log.append(now, &Append { subject: b"hammer", payload: payload.as_bytes(), ..Append::default() }) {
            Ok(_) => {}
            Err(Refused::Busy | Refused::DiskFull) => break,
            Err(error) => return Err(error.to_string()),
        }
        if seq.is_multiple_of(CURSOR_EVERY) {
            let cursor = log.committed().to_le_bytes();
            log.keep(now, b"cursor", Some(&cursor)).map_err(|error| error.to_string())?;
        }
    }
    let Some(batch) = log.poll_batch(now) else { return Ok(()) };
    disks.order(Order::Batch { log: ID, batch });
    match answers.recv() {
        Ok(Answer::Batch { result, .. }) => log.batch_done(now, result),
        other => return Err(format!("{other:?}")),
    }
    // One write, so that a kill does not cut a number in half.
    io::stdout().write_all(format!("{}\n", log.committed()).as_bytes()).map_err(|error| error.to_string())
}
