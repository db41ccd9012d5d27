//! Bugs that the simulator must find: planted by a test for its own thread, absent from what ships.

#[cfg(test)]
use std::cell::Cell;

/// What may be wrong with store-and-forward.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests plant"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A publisher is answered as soon as its message is in the log's memory.
    AcknowledgedBeforeSync,
    /// A record is let go of when it was sent.
    TrimmedOnSend,
    /// An answer confirms everything before it.
    CumulativeAnswer,
    /// A new link goes on where the old one ended.
    NoRepeat,
    /// Each sending has a message id of its own.
    NewIdEachTime,
    /// A fence of an old link counts for a new one.
    FenceOutlivesLink,
    /// A refusal counts as an answer.
    RefusalConfirms,
    /// After a restart the first record is taken for confirmed.
    CursorOneTooFar,
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
