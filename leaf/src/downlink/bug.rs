//! Bugs that the simulator must find: planted by a test for its own thread, absent from what ships.

#[cfg(test)]
use std::cell::Cell;

/// What may be wrong with a durable subscription.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests plant"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// The hub hears that a message is here before it is synced.
    AcknowledgedBeforeSync,
    /// That a message was here is kept before the message is.
    CursorBeforeRecord,
    /// Everything below the highest number counts as having been here.
    HighWaterMark,
    /// After a restart, what is in the log is not known to have been here.
    LogNotRead,
    /// What leaves the log is forgotten with it.
    SeenNotKept,
    /// A message leaves the log before those who listen have theirs on disk.
    RemovedOnPublish,
    /// What comes again is not acknowledged again.
    RepeatNotAnswered,
    /// After a new link the hub is asked at once, though it has sent what never arrived.
    NoPatience,
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
