//! The durable log: what was acknowledged is here, whatever happened to the machine.
//!
//! ```text
//!            append            poll_batch              Disk::perform (a thread of the shell)
//!   peers ----------> [Log] --------------> Batch ---------------------------------------> flash
//!            <------         <-------------                     written and synced
//!          committed()           batch_done
//! ```
//! [`Log`] is a state machine: time comes in as an argument, disk operations go out as a [`Batch`]. One batch is in
//! flight; whatever is appended meanwhile forms the next (group commit). A record counts only once
//! [`Log::committed`] has reached it. How a node owns several logs: see the example of [`order`]. `docs/STORE-FORMAT.md` describes every byte on disk.
//!
//! After a failed write or sync the log refuses everything until it is opened again: what the disk holds is then
//! unknown, and nothing is more dangerous than carrying on.

mod bug;
mod compact;
mod dedupe;
mod disk;
mod erase;
mod frame;
mod history;
mod index;
mod keys;
mod log;
mod meta;
mod open;
pub mod order;
mod purge;
mod read;
mod record;
pub mod repair;
mod retain;
mod rewrite;
mod segment;
pub mod sim;
mod subjects;
mod tail;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
pub mod verify;
mod walk;

pub use disk::{Disk, DiskError, FileId, Op};
pub use erase::ERASURES_MAX;
pub use frame::Lock;
pub(crate) use index::Ranges;
pub use keys::{KEY_BYTES, Key, KeyId, Keys, NoKey};
pub use log::{
    Append, Appended, Batch, DEADLINES_MAX, Discard, HEADERS_BYTES_MAX, KEPT_BYTES_MAX, Log, MSG_ID_BYTES_MAX,
    PAYLOAD_BYTES_MAX, Refused, SUBJECT_BYTES_MAX, Settings, State,
};
pub use open::{OpenError, Report};
pub use order::{Answer, LogId, Order};
pub use purge::{PURGE_KEEP_MAX, Purge, Purged};
pub use read::{Next, Reader};
pub use record::{Kind, Record};
pub use walk::{ReadError, WINDOW_BYTES, Want};

/// The number of a record in its log; the first is 1.
pub type Seq = u64;

/// Nanoseconds since 1970, UTC.
pub type Time = i64;

/// Bytes of a sector: what a disk writes whole or not at all. A batch never touches a sector that an earlier one wrote.
pub const SECTOR_BYTES: usize = 512;
