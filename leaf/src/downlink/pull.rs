//! The conversation with the hub's consumer: what is asked next, and when.
//!
//! ```text
//!   link up --> Ask --(not there)--> Make
//!                |  <------------------'
//!                |--(all acknowledged)----------------------------------------------.
//!                '--(sent, and not acknowledged)--> Confirm --> Ask --> Reset --> Pull <--> messages
//!                                                                        '-> Settle -^
//! ```
//! What the hub had sent when a link broke, and what never arrived, it sends again, but not before others: then a command would
//! overtake the one before it. So nothing new is taken until the hub has nothing outstanding: what was here is acknowledged once
//! more, and for the rest the consumer is set back (nats-server 2.14 and later) or the time waited out after which it sends again.

use std::time::Duration;

use super::api::Standing;
use super::bug::{Bug, planted};
use super::seen::STRETCHES_MAX;
use crate::node::{Nanos, SECOND, nanos};

/// A request for messages is given up by the hub after this, and made again.
pub(super) const EXPIRES: Duration = Duration::from_secs(60);
/// How long an answer may take: this, then twice as long after each failure,
const ANSWER_WITHIN: Nanos = 3 * SECOND;
/// up to this.
const ANSWER_WITHIN_MAX: Nanos = 24 * SECOND;
/// The same for what older hubs do not answer.
const RESET_WITHIN: Nanos = 3 * SECOND;
/// After a failure, how long until the next try: this, then twice as long each time,
const PAUSE_MIN: Nanos = SECOND / 2;
/// up to this.
const PAUSE_MAX: Nanos = 30 * SECOND;
/// What is due at the hub is due there a little later.
const SETTLE_MARGIN: Nanos = SECOND / 2;
/// Stretches of numbers above the hub's floor from which on it is asked where that is by now.
const STRETCHES_ASKED: usize = 256;

/// Where the conversation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// How is the consumer?
    Ask,
    /// It is to be made.
    Make,
    /// What was here is being acknowledged again.
    Confirm,
    /// What was sent in vain is to be sent again.
    Reset,
    /// It is sent again by itself, by this moment.
    Settle(Nanos),
    /// All is well: messages.
    Pull,
}

/// What is asked of the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// How the consumer stands.
    Info,
    /// To make it.
    Create,
    /// To begin again behind what was acknowledged.
    Reset,
    /// So many messages.
    Next(usize),
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this; then call [`Pull::asked`].
    Ask(Ask),
    /// Nothing before this moment, or before something else happens.
    Wait(Option<Nanos>),
}

/// What was asked and is not answered.
#[derive(Clone, Copy, Debug)]
struct Asked {
    ask: Ask,
    number: u64,
    due: Nanos,
    /// Messages that may still come for it.
    left: usize,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pull {
    stage: Stage,
    asked: Option<Asked>,
    /// Of requests: answers to earlier ones do not count.
    number: u64,
    /// Nothing is asked before this.
    resting: Option<Nanos>,
    failures: u32,
    /// On this link, what was here was acknowledged again.
    confirmed: bool,
    /// A message was passed over since the consumer was asked: it must come before any other.
    spoilt: bool,
    /// The hub's floor is being asked for in passing.
    floor_asked: bool,
    ack_wait: Nanos,
}

impl Pull {
    pub(super) fn new(ack_wait: Duration) -> Self {
        Self {
            stage: Stage::Ask,
            asked: None,
            number: 0,
            resting: None,
            failures: 0,
            confirmed: false,
            spoilt: false,
            floor_asked: false,
            ack_wait: nanos(ack_wait),
        }
    }

    /// A link came or went: everything begins anew.
    pub(super) fn restart(&mut self) {
        self.stage = Stage::Ask;
        self.asked = None;
        self.resting = None;
        self.failures = 0;
        (self.confirmed, self.spoilt) = (false, false);
    }

    /// Whether a message that was never here may be taken in now.
    pub(super) fn is_open(&self) -> bool {
        self.stage == Stage::Pull || planted(Bug::NoPatience)
    }

    /// Whether requests are made and answered.
    pub(super) fn is_well(&self) -> bool {
        self.stage == Stage::Pull && self.failures == 0
    }

    /// What to ask now, with room for so many messages; `stretches` is how many of numbers stand above the hub's floor.
    pub(super) fn next(&self, now: Nanos, room: usize, batch: usize, stretches: usize) -> Next {
        if let Some(asked) = self.asked {
            return Next::Wait(Some(asked.due));
        }
        if let Some(until) = self.resting.filter(|&until| now < until) {
            return Next::Wait(Some(until));
        }
        match self.stage {
            Stage::Ask => Next::Ask(Ask::Info),
            Stage::Make => Next::Ask(Ask::Create),
            Stage::Reset => Next::Ask(Ask::Reset),
            Stage::Settle(until) if now < until => Next::Wait(Some(until)),
            Stage::Confirm => Next::Wait(None),
            Stage::Settle(_) | Stage::Pull if stretches >= STRETCHES_ASKED && !self.floor_asked => Next::Ask(Ask::Info),
            Stage::Settle(_) | Stage::Pull if room == 0 => Next::Wait(None),
            Stage::Settle(_) | Stage::Pull => Next::Ask(Ask::Next(batch.min(room))),
        }
    }

    /// The number of the next request.
    pub(super) fn number(&self) -> u64 {
        self.number + 1
    }

    fn answer_within(&self) -> Nanos {
        (ANSWER_WITHIN << self.failures.min(3)).min(ANSWER_WITHIN_MAX)
    }

    /// It was sent.
    pub(super) fn asked(&mut self, now: Nanos, ask: Ask) {
        self.number += 1;
        let (within, left) = match ask {
            Ask::Next(count) => {
                (self.stage, self.floor_asked) = (Stage::Pull, false);
                (nanos(EXPIRES) + self.answer_within(), count)
            }
            Ask::Reset => (RESET_WITHIN, 0),
            Ask::Info | Ask::Create => (self.answer_within(), 0),
        };
        self.floor_asked |= ask == Ask::Info && self.stage == Stage::Pull;
        self.asked = Some(Asked { ask, number: self.number, due: now + within, left });
    }

    /// What is acknowledged again is on its way; the last of it asks for an answer.
    pub(super) fn confirming(&mut self, now: Nanos) {
        self.number += 1;
        self.asked = Some(Asked { ask: Ask::Info, number: self.number, due: now + self.answer_within(), left: 0 });
    }

    /// Whether this is the number of what was asked last.
    pub(super) fn is_current(&self, number: u64) -> bool {
        self.asked.is_some_and(|asked| asked.number == number)
    }

    /// The consumer is there; says whether what was here is to be acknowledged again, of which there is `some`.
    pub(super) fn found(&mut self, standing: &Standing, some: bool) -> bool {
        self.asked = None;
        self.failures = 0;
        if !standing.ack_wait.is_zero() {
            self.ack_wait = nanos(standing.ack_wait);
        }
        if self.stage == Stage::Pull {
            return false;
        }
        let spoilt = std::mem::take(&mut self.spoilt);
        self.stage = match () {
            () if standing.other_subjects && self.stage != Stage::Make => Stage::Make,
            () if (standing.pending == 0 && !spoilt) || planted(Bug::NoPatience) => Stage::Pull,
            () if !self.confirmed && some => Stage::Confirm,
            () => Stage::Reset,
        };
        self.confirmed |= self.stage == Stage::Confirm;
        self.stage == Stage::Confirm
    }

    /// It is to be made.
    pub(super) fn missing(&mut self) {
        self.asked = None;
        self.stage = Stage::Make;
    }

    /// What was acknowledged again has arrived.
    pub(super) fn all_confirmed(&mut self) {
        self.asked = None;
        self.stage = Stage::Ask;
    }

    /// The consumer was set back, or cannot be.
    pub(super) fn reset(&mut self, now: Nanos, done: bool) {
        self.asked = None;
        self.stage = match (done, self.spoilt) {
            (true, false) => Stage::Pull,
            (true, true) => Stage::Ask,
            (false, _) => Stage::Settle(now + self.ack_wait + SETTLE_MARGIN),
        };
    }

    /// Something went wrong: again from the start, after a pause that grows.
    pub(super) fn failed(&mut self, now: Nanos) {
        let pause = (PAUSE_MIN << self.failures.min(6)).min(PAUSE_MAX);
        self.failures += 1;
        self.asked = None;
        self.stage = Stage::Ask;
        self.resting = Some(now + pause);
    }

    /// A message came.
    pub(super) fn message_came(&mut self) {
        if let Some(asked) = &mut self.asked
            && let Ask::Next(_) = asked.ask
        {
            asked.left = asked.left.saturating_sub(1);
            if asked.left == 0 {
                self.asked = None;
            }
        }
    }

    /// A message that was never here was not taken: it must come again before any other.
    pub(super) fn passed_over(&mut self, now: Nanos) {
        match self.stage {
            Stage::Pull => {
                self.failed(now);
                self.confirmed = false;
                self.spoilt = true;
            }
            Stage::Settle(_) => self.stage = Stage::Settle(now + self.ack_wait + SETTLE_MARGIN),
            _ => self.spoilt = true,
        }
    }

    /// The request for messages is over.
    pub(super) fn over(&mut self) {
        self.asked = None;
    }

    /// Too many stretches: what is missing between them must come first.
    pub(super) fn bound(&mut self, now: Nanos, stretches: usize) {
        if self.stage == Stage::Pull && stretches >= STRETCHES_MAX {
            self.asked = None;
            self.stage = Stage::Settle(now + self.ack_wait + SETTLE_MARGIN);
        }
    }

    /// Time has passed; says whether an answer that was needed did not come.
    pub(super) fn tick(&mut self, now: Nanos) -> bool {
        let Some(asked) = self.asked.filter(|asked| asked.due <= now) else { return false };
        match (asked.ask, self.stage) {
            (Ask::Next(_), _) => self.asked = None,
            (Ask::Reset, _) => self.reset(now, false),
            (_, Stage::Confirm) => self.all_confirmed(),
            (Ask::Info, Stage::Pull) => self.asked = None,
            (Ask::Info | Ask::Create, _) => {
                self.failed(now);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull() -> Pull {
        Pull::new(Duration::from_secs(5))
    }

    fn ask(pull: &mut Pull, now: Nanos) -> Option<Ask> {
        match pull.next(now, 100, 10, 0) {
            Next::Ask(ask) => {
                pull.asked(now, ask);
                Some(ask)
            }
            Next::Wait(_) => None,
        }
    }

    fn standing(pending: u64) -> Standing {
        Standing { pending, ..Standing::default() }
    }

    #[test]
    fn a_new_consumer_is_made_and_asked() {
        let mut pull = pull();
        assert_eq!(ask(&mut pull, 0), Some(Ask::Info));
        assert_eq!(ask(&mut pull, 0), None, "one question at a time");
        pull.missing();
        assert_eq!(ask(&mut pull, 0), Some(Ask::Create));
        assert!(!pull.found(&standing(0), false));
        assert_eq!(ask(&mut pull, 0), Some(Ask::Next(10)));
        (0..9).for_each(|_| pull.message_came());
        assert_eq!(ask(&mut pull, 0), None);
        pull.message_came();
        assert_eq!(ask(&mut pull, 0), Some(Ask::Next(10)));
    }

    #[test]
    fn what_is_outstanding_comes_first() {
        let mut pull = pull();
        ask(&mut pull, 0);
        assert!(pull.found(&standing(2), true), "acknowledge again");
        assert_eq!((ask(&mut pull, 0), pull.is_open()), (None, false));
        pull.confirming(0);
        pull.all_confirmed();
        assert_eq!(ask(&mut pull, 0), Some(Ask::Info));
        assert!(!pull.found(&standing(1), true), "not a second time");
        assert_eq!(ask(&mut pull, 0), Some(Ask::Reset));
        pull.reset(0, true);
        assert_eq!(ask(&mut pull, 0), Some(Ask::Next(10)));
    }

    #[test]
    fn an_old_hub_is_waited_for() {
        let mut pull = pull();
        ask(&mut pull, 0);
        assert!(!pull.found(&standing(1), false));
        assert_eq!(ask(&mut pull, 0), Some(Ask::Reset));
        assert!(!pull.tick(RESET_WITHIN));
        let until = RESET_WITHIN + 5 * SECOND + SETTLE_MARGIN;
        assert_eq!(pull.next(RESET_WITHIN, 100, 10, 0), Next::Wait(Some(until)));
        pull.passed_over(RESET_WITHIN + SECOND);
        assert_eq!(ask(&mut pull, until), None, "what was passed over has its time, too");
        assert_eq!(ask(&mut pull, until + SECOND), Some(Ask::Next(10)));
        assert!(pull.is_open());
    }

    #[test]
    fn failures_rest_longer_each_time() {
        let mut pull = pull();
        ask(&mut pull, 0);
        assert!(pull.tick(ANSWER_WITHIN), "no answer");
        assert_eq!(pull.next(ANSWER_WITHIN, 1, 1, 0), Next::Wait(Some(ANSWER_WITHIN + PAUSE_MIN)));
        pull.failed(0);
        assert_eq!(pull.next(0, 1, 1, 0), Next::Wait(Some(2 * PAUSE_MIN)));
        pull.restart();
        assert_eq!(pull.next(0, 1, 1, 0), Next::Ask(Ask::Info));
    }

    #[test]
    fn without_room_nothing_is_asked_for() {
        let mut pull = pull();
        ask(&mut pull, 0);
        pull.found(&standing(0), false);
        assert_eq!(pull.next(0, 0, 10, 0), Next::Wait(None));
        assert_eq!(pull.next(0, 3, 10, 0), Next::Ask(Ask::Next(3)));
        assert_eq!(pull.next(0, 3, 10, STRETCHES_ASKED), Next::Ask(Ask::Info), "where is the hub's floor?");
        pull.asked(0, Ask::Info);
        pull.found(&standing(7), true);
        assert_eq!(pull.next(0, 3, 10, STRETCHES_ASKED), Next::Ask(Ask::Next(3)));
        pull.bound(0, STRETCHES_MAX);
        assert!(matches!(pull.next(0, 3, 10, 0), Next::Wait(Some(_))));
    }
}
