//! What the owner of several logs asks of the thread that has their directories, and what comes back.
//!
//! ```no_run
//! use leaf::store::{Answer, Append, Log, LogId, Next, Order, Reader, Refused, Time};
//!
//! /// One of a node's logs, its one reader and the peers that wait for an acknowledgement.
//! struct Mine { id: LogId, log: Log, reader: Reader, waiting: Vec<(u64, /* peer */ usize)> }
//!
//! impl Mine {
//!     /// A peer publishes something that must not be lost.
//!     fn publish(&mut self, now: Time, peer: usize, message: &Append<'_>) -> Result<(), Refused> {
//!         let appended = self.log.append(now, message)?;
//!         self.waiting.push((appended.commit, peer));
//!         Ok(())
//!     }
//!
//!     /// At the end of each turn of the event loop, and when `Log::deadline` has come. At most one batch of a log and one
//!     /// read of a reader are out at any time.
//!     fn orders(&mut self, now: Time, out: &mut Vec<Order>) {
//!         self.log.tick(now);
//!         out.extend(self.log.poll_batch(now).map(|batch| Order::Batch { log: self.id, batch }));
//!         while let Ok(next) = self.reader.poll(&self.log) {
//!             match next {
//!                 Next::Message(record) => drop(record.payload /* send it */),
//!                 Next::Want(want) => out.push(Order::Read { log: self.id, ticket: 0, want }),
//!                 Next::Waiting => break,
//!                 Next::End => {
//!                     self.reader.rest();
//!                     break;
//!                 }
//!             }
//!         }
//!     }
//!
//!     /// The thread has done something. Afterwards `orders` again.
//!     fn answered(&mut self, now: Time, answer: Answer) {
//!         match answer {
//!             Answer::Batch { result, .. } => {
//!                 self.log.batch_done(now, result);
//!                 let log = &self.log;
//!                 self.waiting.retain(|&(commit, _peer)| !log.is_committed(commit) /* else acknowledge */);
//!             }
//!             Answer::Read { want, result, .. } => match result {
//!                 Ok(bytes) => self.reader.filled(want, Ok(&bytes)),
//!                 Err(error) => self.reader.filled(want, Err(error)),
//!             },
//!             // A log that failed (`Log::failed`) is opened again with what `Log::trusted` says.
//!             Answer::Opened { result, .. } => self.log = result.map(|opened| opened.0).unwrap_or_else(|error| panic!("{error}")),
//!             Answer::Closed { .. } => {}
//!         }
//!     }
//! }
//! ```

use std::path::PathBuf;

use super::{Batch, Disk, DiskError, FileId, Log, OpenError, ReadError, Report, Settings, Time, Want};

/// Names a log among those of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u32);

/// Something to be done with a log's directory.
#[derive(Debug)]
pub enum Order {
    /// Open the log in a directory, which is made if it is not there. A log that was open under this name is forgotten.
    Open {
        /// What it will be called.
        log: LogId,
        /// Where it is.
        directory: PathBuf,
        /// How it is kept.
        settings: Settings,
        /// See [`Log::open`].
        now: Time,
        /// See [`Log::open`].
        seed: u64,
        /// See [`Log::open`].
        trusted: Option<(FileId, u64)>,
    },
    /// Do what [`Log::poll_batch`] gave.
    Batch {
        /// Of which log.
        log: LogId,
        /// What.
        batch: Batch,
    },
    /// Read what a reader wants. Reads do not wait for batches.
    Read {
        /// Of which log.
        log: LogId,
        /// Comes back with the answer: says which reader.
        ticket: u64,
        /// What.
        want: Want,
    },
    /// Let another process have the directory.
    Close {
        /// Of which log.
        log: LogId,
    },
}

/// What was done.
#[derive(Debug)]
pub enum Answer {
    /// The log, and what was found.
    Opened {
        /// Its name.
        log: LogId,
        /// Why not, otherwise.
        result: Result<Box<(Log, Report)>, OpenError>,
    },
    /// For [`Log::batch_done`].
    Batch {
        /// Of which log.
        log: LogId,
        /// What was read for the log itself, mostly nothing; or the first error.
        result: Result<Vec<u8>, DiskError>,
    },
    /// For [`super::Reader::filled`].
    Read {
        /// Of which log.
        log: LogId,
        /// As it came.
        ticket: u64,
        /// As it came.
        want: Want,
        /// The bytes.
        result: Result<Vec<u8>, ReadError>,
    },
    /// The directory is free.
    Closed {
        /// Of which log.
        log: LogId,
    },
}

impl Order {
    /// Which log it is about.
    pub fn log(&self) -> LogId {
        match self {
            Self::Open { log, .. } | Self::Batch { log, .. } | Self::Read { log, .. } | Self::Close { log } => *log,
        }
    }

    /// Does it on a disk: what the thread does with a real one, and a simulation with its own.
    pub fn carry_out(self, disk: &mut dyn Disk) -> Answer {
        match self {
            Self::Open { log, settings, now, seed, trusted, .. } => {
                Answer::Opened { log, result: Log::open(disk, settings, now, seed, trusted).map(Box::new) }
            }
            Self::Batch { log, batch } => Answer::Batch { log, result: batch.carry_out(disk) },
            Self::Read { log, ticket, want } => Answer::Read { log, ticket, want, result: want.read(disk) },
            Self::Close { log } => Answer::Closed { log },
        }
    }
}
