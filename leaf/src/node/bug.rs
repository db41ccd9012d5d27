//! Bugs that the simulation must find: planted by a test for its own thread, absent from what ships.

#[cfg(test)]
use std::cell::Cell;

/// What may be wrong with a node.
#[cfg_attr(not(test), allow(dead_code, reason = "only tests plant"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// All members of a queue group get the message.
    WholeGroup,
    /// A connection's last subscription stays when it goes.
    LeftSubscription,
    /// A receiver that does not read may have any amount waiting.
    NoBound,
    /// A producer that was held back never goes on.
    HeldForever,
    /// Who subscribes late is not in an answer that was remembered.
    StaleAnswer,
}

#[cfg(test)]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

#[cfg(test)]
impl Bug {
    pub(super) const ALL: [Self; 5] =
        [Self::WholeGroup, Self::LeftSubscription, Self::NoBound, Self::HeldForever, Self::StaleAnswer];
}

/// Plants a bug in everything this thread does from now on.
#[cfg(test)]
pub(super) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is planted.
#[cfg(test)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn planted(_: Bug) -> bool {
    false
}
