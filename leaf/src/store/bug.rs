//! Bugs that the simulator must find: planted by a test for its own thread, absent from what ships.

#[cfg(test)]
use std::cell::Cell;

/// What may be wrong with a log.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests plant"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A commit counts as soon as it is handed to the disk.
    AcknowledgedBeforeSync,
    /// Data is written, never synced.
    NoSync,
    /// A new file is not in its directory for certain.
    NoDirSync,
    /// Records are believed whatever their checksum says.
    NoChecksum,
    /// A batch goes on in the sector where the last one ended.
    SharedSector,
    /// A deletion is not recorded.
    LostDeletion,
    /// What is kept is not carried over into the next segment.
    NoSnapshot,
    /// After a crash the next number follows the last whole message.
    ReusedNumber,
    /// After a failed write or sync the log carries on.
    CarriedOnAfterFailure,
    /// A torn end is cut off at its first bad record, with what came after.
    CutAtFirstDamage,
    /// Deletions in a torn batch count although what they made room for is lost.
    DeletionBeforeRecord,
    /// A segment is written again without messages whose deletion is not on disk yet.
    CompactedUncommitted,
    /// A segment that is written again counts before it is on disk.
    CompactedHeadFirst,
    /// A segment is written again without the deletions of what older ones hold.
    NotesForgotten,
    /// A purge keeps one message less than it should.
    PurgedOneMore,
    /// A message that is overwritten is not synced.
    ErasedUnsynced,
    /// Overwriting that a crash cut short is not done again.
    EraseNotFinished,
    /// After opening again, records are encrypted with nonces that were used before.
    ReusedNonce,
    /// Records are decrypted, whatever their tag says.
    TagUnchecked,
}

#[cfg(test)]
impl Bug {
    /// All of them.
    pub(super) const ALL: [Self; 19] = [
        Self::AcknowledgedBeforeSync,
        Self::NoSync,
        Self::NoDirSync,
        Self::NoChecksum,
        Self::SharedSector,
        Self::LostDeletion,
        Self::NoSnapshot,
        Self::ReusedNumber,
        Self::CarriedOnAfterFailure,
        Self::CutAtFirstDamage,
        Self::DeletionBeforeRecord,
        Self::CompactedUncommitted,
        Self::CompactedHeadFirst,
        Self::NotesForgotten,
        Self::PurgedOneMore,
        Self::ErasedUnsynced,
        Self::EraseNotFinished,
        Self::ReusedNonce,
        Self::TagUnchecked,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants a bug in everything this thread does from now on.
#[cfg(test)]
pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is planted.
#[cfg(test)]
pub(super) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never.
#[cfg(not(test))]
#[inline(always)]
pub(super) fn planted(_: Bug) -> bool {
    false
}
