//! What of a log was sent to the hub, and what of that the hub has answered for.
//!
//! ```text
//!   confirmed          flight: a bounded window                next
//!  ----------|----------------------------------------------|------------> not sent yet
//!            | confirmed | sent | to be sent again | sent …  |
//! ```
//! Records go up in the order of the log. [`Upstream::confirmed`] moves only over records that the hub has answered for (or
//! that are gone from the log), so whatever happens to the link, sending begins again at the first one in doubt. The hub
//! tells what comes twice by its message id.
//!
//! A stream that refuses a record may take the next one, and then the two change places. So after a refusal, and on a new link,
//! one record goes alone; the others follow when it was taken. What remains is a stream that refuses only some of the records
//! that are in flight together: who cannot have that sets the window to one record.

use std::collections::VecDeque;
use std::time::Duration;

use super::bug::{Bug, planted};
use super::pace::Pace;
use crate::node::{Nanos, SECOND};
use crate::store::Seq;

/// What makes a record of the log dispensable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Confirm {
    /// A stream at the hub acknowledged it.
    #[default]
    Stored,
    /// The hub took it off the link: the fence sent after it came back.
    Routed,
}

/// Bounds and times of one log's way up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What counts as an answer.
    pub confirm: Confirm,
    /// Records without an answer at most.
    pub window_msgs_max: usize,
    /// Their bytes at most; one record is always let through.
    pub window_bytes_max: usize,
    /// With no answer at all for so long, what is without one is sent again. (Of no meaning for [`Confirm::Routed`].)
    pub ack_wait: Duration,
    /// Bytes a second at most; 0 for no limit.
    pub rate: u64,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            confirm: Confirm::Stored,
            window_msgs_max: 4096,
            window_bytes_max: 1024 * 1024,
            ack_wait: Duration::from_secs(30),
            rate: 0,
        }
    }
}

/// A fence follows at the latest so many bytes after the one before it.
const FENCE_BYTES: usize = 64 * 1024;
/// After a refusal, how long until the next try: this, then twice as long each time,
const PAUSE_MIN: Nanos = SECOND / 2;
/// up to this.
const PAUSE_MAX: Nanos = 30 * SECOND;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read the first record at or after this number and send it; then call [`Upstream::sent`].
    Send(Seq),
    /// Send a fence; then call [`Upstream::fence_sent`].
    Fence,
    /// Nothing before this moment, or before something else happens.
    Wait(Option<Nanos>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To be sent again.
    Again,
    Sent,
    Confirmed,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    seq: Seq,
    bytes: u32,
    fate: Fate,
}

/// Figures for monitoring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records sent, repeats included.
    pub sent: u64,
    /// Records sent again.
    pub resent: u64,
    /// Refusals.
    pub refused: u64,
    /// Times that nothing was answered for [`Terms::ack_wait`].
    pub timeouts: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Upstream {
    terms: Terms,
    confirmed: Seq,
    next: Seq,
    flight: VecDeque<Flight>,
    flight_bytes: usize,
    /// Entries of `flight` to be sent again.
    again: usize,
    /// Entries of `flight` that are sent and without an answer.
    waiting: usize,
    up: bool,
    /// The last answer, or the first sending after one.
    progress: Nanos,
    /// Nothing is sent before this moment.
    paused: Option<Nanos>,
    failures: u32,
    /// One record goes alone, until it is taken.
    probing: bool,
    /// The last record before each fence on the link.
    fences: VecDeque<Seq>,
    /// Bytes sent since the last fence.
    unfenced_bytes: usize,
    unfenced: bool,
    pace: Pace,
    figures: Figures,
}

impl Upstream {
    /// Everything up to `confirmed` is answered for.
    pub fn new(terms: Terms, confirmed: Seq) -> Self {
        Self {
            pace: Pace::new(terms.rate),
            terms,
            confirmed,
            next: confirmed + 1,
            flight: VecDeque::new(),
            flight_bytes: 0,
            again: 0,
            waiting: 0,
            up: false,
            progress: 0,
            paused: None,
            failures: 0,
            probing: true,
            fences: VecDeque::new(),
            unfenced_bytes: 0,
            unfenced: false,
            figures: Figures::default(),
        }
    }

    /// Everything up to this number is answered for, or gone.
    pub fn confirmed(&self) -> Seq {
        self.confirmed
    }

    /// Whether there is a link.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// Records that wait for an answer.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// Figures.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// Other bounds from now on.
    pub fn set_terms(&mut self, terms: Terms) {
        if terms.rate != self.terms.rate {
            self.pace = Pace::new(terms.rate);
        }
        let other_answers = terms.confirm != self.terms.confirm;
        self.terms = terms;
        if other_answers {
            // Fences that are on their way come back still, and say nothing.
            let on_their_way = self.fences.len();
            self.doubt();
            self.fences.resize(on_their_way, 0);
        }
    }

    /// There is a link: begin at the first record in doubt.
    pub fn link_up(&mut self, now: Nanos) {
        self.doubt();
        self.up = true;
        self.probing = true;
        self.failures = 0;
        self.paused = None;
        self.progress = now;
    }

    /// The link is gone; what it carried is in doubt.
    pub fn link_down(&mut self) {
        self.doubt();
        self.up = false;
    }

    /// Whatever has no answer is to be sent again.
    fn doubt(&mut self) {
        for flight in &mut self.flight {
            if flight.fate == Fate::Sent && !planted(Bug::NoRepeat) {
                flight.fate = Fate::Again;
                self.again += 1;
                self.waiting -= 1;
            }
        }
        if !planted(Bug::FenceOutlivesLink) {
            self.fences.clear();
        }
        self.unfenced = false;
        self.unfenced_bytes = 0;
    }

    /// What to do now, if the log's last record on disk is `last`.
    pub fn next(&self, now: Nanos, last: Seq) -> Next {
        if !self.up {
            return Next::Wait(None);
        }
        if let Some(until) = self.paused.filter(|&until| now < until) {
            return Next::Wait(Some(until));
        }
        if self.probing && self.waiting > 0 && self.terms.confirm == Confirm::Stored {
            return Next::Wait(self.timeout());
        }
        let again = self.first_again();
        let fresh = (again.is_none() && self.has_room() && self.next <= last).then_some(self.next);
        if self.unfenced && (self.unfenced_bytes >= FENCE_BYTES || (again.is_none() && fresh.is_none())) {
            return Next::Fence;
        }
        let Some(seq) = again.or(fresh) else { return Next::Wait(self.timeout()) };
        match self.pace.due(now) {
            Some(due) => Next::Wait(Some(due.min(self.timeout().unwrap_or(due)))),
            None => Next::Send(seq),
        }
    }

    fn first_again(&self) -> Option<Seq> {
        if self.again == 0 {
            return None;
        }
        self.flight.iter().find(|flight| flight.fate == Fate::Again).map(|flight| flight.seq)
    }

    fn has_room(&self) -> bool {
        self.flight.is_empty()
            || (self.flight.len() < self.terms.window_msgs_max && self.flight_bytes < self.terms.window_bytes_max)
    }

    /// When silence has lasted too long. A fence is not lost while its link lives, and whether it does is for the link to say;
    /// what is sent again on the same link would come with the fences of both times mixed up.
    fn timeout(&self) -> Option<Nanos> {
        (self.waiting > 0 && self.terms.confirm == Confirm::Stored)
            .then(|| self.progress.saturating_add(crate::node::nanos(self.terms.ack_wait)))
    }

    /// The record `seq` was handed to the link; it was the first there is from the number asked for on, so that everything
    /// between is gone from the log.
    pub fn sent(&mut self, now: Nanos, seq: Seq, bytes: usize) {
        if self.waiting == 0 {
            self.progress = now;
        }
        if self.again > 0 {
            self.settle_below(seq);
        }
        if let Ok(at) = self.flight.binary_search_by_key(&seq, |flight| flight.seq) {
            self.decide(at, Fate::Sent);
            self.figures.resent += 1;
        } else if seq >= self.next {
            self.waiting += 1;
            self.flight.push_back(Flight { seq, bytes: bytes.min(u32::MAX as usize) as u32, fate: Fate::Sent });
            self.flight_bytes += bytes.min(u32::MAX as usize);
            self.next = seq + 1;
        }
        self.figures.sent += 1;
        self.pace.spend(now, bytes);
        self.unfenced = self.terms.confirm == Confirm::Routed;
        self.unfenced_bytes += bytes;
        self.advance();
    }

    /// Whatever was to be sent again below `seq` is gone.
    fn settle_below(&mut self, seq: Seq) {
        let end = self.flight.partition_point(|flight| flight.seq < seq);
        for at in 0..end {
            if self.flight[at].fate == Fate::Again {
                self.decide(at, Fate::Confirmed);
            }
        }
    }

    fn decide(&mut self, at: usize, fate: Fate) {
        let flight = &mut self.flight[at];
        self.again -= usize::from(flight.fate == Fate::Again);
        self.waiting -= usize::from(flight.fate == Fate::Sent);
        flight.fate = fate;
        self.again += usize::from(fate == Fate::Again);
        self.waiting += usize::from(fate == Fate::Sent);
    }

    /// There is no record from `seq`, which was asked for, up to the log's end: it is all gone.
    pub fn gone_from(&mut self, seq: Seq, last: Seq) {
        let start = self.flight.partition_point(|flight| flight.seq < seq);
        for at in start..self.flight.len() {
            if self.flight[at].fate == Fate::Again {
                self.decide(at, Fate::Confirmed);
            }
        }
        if seq >= self.next {
            self.next = last + 1;
        }
        self.advance();
    }

    /// Everything below `first` is gone from the log.
    pub fn gone_below(&mut self, first: Seq) {
        let end = self.flight.partition_point(|flight| flight.seq < first);
        for at in 0..end {
            self.decide(at, Fate::Confirmed);
        }
        self.next = self.next.max(first);
        self.advance();
    }

    /// The hub has stored the record `seq`. Answers to what was sent on an earlier link count as well.
    pub fn stored(&mut self, now: Nanos, seq: Seq) {
        let Ok(at) = self.flight.binary_search_by_key(&seq, |flight| flight.seq) else { return };
        let from = if planted(Bug::CumulativeAnswer) { 0 } else { at };
        for at in from..=at {
            self.decide(at, Fate::Confirmed);
        }
        self.progress = now;
        self.failures = 0;
        self.probing = false;
        self.advance();
    }

    /// The hub does not take the record `seq` now: it is tried again, after a pause that grows.
    pub fn refused(&mut self, now: Nanos, seq: Seq) {
        let Ok(at) = self.flight.binary_search_by_key(&seq, |flight| flight.seq) else { return };
        if self.flight[at].fate != Fate::Sent {
            return;
        }
        self.decide(at, Fate::Again);
        self.probing = true;
        self.progress = now;
        self.figures.refused += 1;
        if self.paused.is_none_or(|until| until <= now) {
            let pause = (PAUSE_MIN << self.failures.min(6)).min(PAUSE_MAX);
            self.failures += 1;
            self.paused = Some(now + pause);
        }
    }

    /// A fence is on its way, behind everything sent so far.
    pub fn fence_sent(&mut self) {
        self.unfenced = false;
        self.unfenced_bytes = 0;
        let last = self.flight.iter().rev().find(|flight| flight.fate == Fate::Sent).map_or(self.confirmed, |f| f.seq);
        self.fences.push_back(last);
    }

    /// The oldest fence came back: the hub has taken everything that was sent before it.
    pub fn fence_returned(&mut self, now: Nanos) {
        let Some(last) = self.fences.pop_front() else { return };
        let end = self.flight.partition_point(|flight| flight.seq <= last);
        for at in 0..end {
            // What was put in doubt in the meantime stays in doubt.
            if self.flight[at].fate == Fate::Sent {
                self.decide(at, Fate::Confirmed);
            }
        }
        self.progress = now;
        self.failures = 0;
        self.advance();
    }

    /// Time has passed: silence for too long puts everything in doubt.
    pub fn tick(&mut self, now: Nanos) {
        if self.up && self.timeout().is_some_and(|due| due <= now) {
            self.figures.timeouts += 1;
            self.doubt();
            self.progress = now;
        }
    }

    fn advance(&mut self) {
        while let Some(flight) = self.flight.front().filter(|flight| flight.fate == Fate::Confirmed) {
            self.flight_bytes -= flight.bytes as usize;
            self.flight.pop_front();
        }
        self.confirmed = self.flight.front().map_or(self.next, |flight| flight.seq) - 1;
        if self.flight.is_empty() && self.flight.capacity() > 64 {
            self.flight.shrink_to(64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(confirm: Confirm) -> Upstream {
        let terms = Terms { confirm, window_msgs_max: 4, window_bytes_max: 1000, ..Terms::default() };
        Upstream::new(terms, 0)
    }

    /// There is a link, and the first record was taken.
    fn proven(up: &mut Upstream, now: Nanos) {
        up.link_up(now);
        up.probing = false;
    }

    #[test]
    fn the_first_record_goes_alone() {
        let mut up = upstream(Confirm::Stored);
        let there = [1, 2, 3];
        up.link_up(0);
        assert_eq!(send_all(&mut up, 0, &there), [1]);
        up.stored(1, 1);
        assert_eq!(send_all(&mut up, 1, &there), [2, 3]);
        up.refused(2, 2);
        up.refused(2, 3);
        assert_eq!(send_all(&mut up, 3 + PAUSE_MIN, &there), [2]);
        up.stored(4 + PAUSE_MIN, 2);
        assert_eq!(send_all(&mut up, 4 + PAUSE_MIN, &there), [3]);
    }

    /// Sends all it may, of a log in which only `there` exist; what was sent.
    fn send_all(up: &mut Upstream, now: Nanos, there: &[Seq]) -> Vec<Seq> {
        let last = there.last().copied().unwrap_or(0);
        let mut sent = Vec::new();
        loop {
            match up.next(now, last) {
                Next::Send(from) => match there.iter().copied().find(|&seq| seq >= from) {
                    Some(seq) => {
                        up.sent(now, seq, 100);
                        sent.push(seq);
                    }
                    None => up.gone_from(from, last),
                },
                Next::Fence => up.fence_sent(),
                Next::Wait(_) => return sent,
            }
        }
    }

    #[test]
    fn sends_in_order_within_its_window() {
        let mut up = upstream(Confirm::Stored);
        let there: Vec<Seq> = (1..=10).collect();
        assert_eq!(up.next(0, 10), Next::Wait(None), "no link");
        proven(&mut up, 0);
        assert_eq!(send_all(&mut up, 0, &there), [1, 2, 3, 4]);
        up.stored(1, 2);
        assert_eq!((up.confirmed(), up.in_flight()), (0, 4), "the first is in doubt still");
        up.stored(1, 1);
        assert_eq!((up.confirmed(), up.in_flight()), (2, 2));
        assert_eq!(send_all(&mut up, 1, &there), [5, 6]);
    }

    #[test]
    fn a_new_link_begins_at_the_first_in_doubt_and_skips_what_is_answered() {
        let mut up = upstream(Confirm::Stored);
        let there: Vec<Seq> = (1..=10).collect();
        proven(&mut up, 0);
        send_all(&mut up, 0, &there);
        up.stored(1, 3);
        up.link_down();
        assert_eq!(up.next(1, 10), Next::Wait(None));
        proven(&mut up, 2);
        assert_eq!(send_all(&mut up, 2, &there), [1, 2, 4]);
        // The answer to the first sending comes late, over the new link.
        for seq in [1, 2, 4] {
            up.stored(3, seq);
        }
        assert_eq!((up.confirmed(), up.figures().resent), (4, 3));
    }

    #[test]
    fn what_is_gone_from_the_log_needs_no_answer() {
        let mut up = upstream(Confirm::Stored);
        proven(&mut up, 0);
        assert_eq!(send_all(&mut up, 0, &[3, 7]), [3, 7]);
        up.link_down();
        proven(&mut up, 1);
        assert_eq!(send_all(&mut up, 1, &[7]), [7], "3 expired");
        assert_eq!(up.confirmed(), 6);
        up.gone_below(9);
        assert_eq!((up.confirmed(), up.in_flight()), (8, 0));
        up.link_down();
        proven(&mut up, 2);
        assert_eq!(send_all(&mut up, 2, &[]), Vec::<Seq>::new());
        up.gone_from(9, 20);
        assert_eq!(up.confirmed(), 20);
    }

    #[test]
    fn a_refusal_pauses_longer_each_time() {
        let mut up = upstream(Confirm::Stored);
        let there = [1, 2];
        proven(&mut up, 0);
        assert_eq!(send_all(&mut up, 0, &there), [1, 2]);
        up.refused(0, 1);
        up.refused(0, 2);
        assert_eq!(up.next(1, 2), Next::Wait(Some(PAUSE_MIN)), "one pause for both");
        up.probing = false;
        assert_eq!(send_all(&mut up, PAUSE_MIN, &there), [1, 2]);
        up.refused(PAUSE_MIN, 1);
        assert_eq!(up.next(PAUSE_MIN, 2), Next::Wait(Some(3 * PAUSE_MIN)));
        up.stored(PAUSE_MIN, 2);
        assert_eq!(send_all(&mut up, 3 * PAUSE_MIN, &there), [1]);
        up.stored(4 * PAUSE_MIN, 1);
        assert_eq!((up.confirmed(), up.figures().refused), (2, 3));
    }

    #[test]
    fn silence_for_too_long_puts_all_in_doubt() {
        let mut up = upstream(Confirm::Stored);
        let there = [1, 2];
        proven(&mut up, 0);
        send_all(&mut up, 5, &there);
        let due = 5 + 30 * SECOND;
        assert_eq!(up.next(6, 2), Next::Wait(Some(due)));
        up.tick(due - 1);
        assert_eq!(send_all(&mut up, due - 1, &there), Vec::<Seq>::new());
        up.tick(due);
        assert_eq!((send_all(&mut up, due, &there), up.figures().timeouts), (vec![1, 2], 1));
    }

    #[test]
    fn fences_confirm_what_was_before_them() {
        let mut up = upstream(Confirm::Routed);
        up.link_up(0);
        assert_eq!(send_all(&mut up, 0, &[1, 2]), [1, 2]);
        assert_eq!(send_all(&mut up, 0, &[1, 2, 3]), [3]);
        up.fence_returned(1);
        assert_eq!(up.confirmed(), 2);
        up.link_down();
        up.fence_returned(1);
        assert_eq!(up.confirmed(), 2, "a fence of a link that is gone says nothing");
        up.link_up(2);
        assert_eq!(send_all(&mut up, 2, &[3]), [3]);
        up.fence_returned(3);
        assert_eq!(up.confirmed(), 3);
    }

    /// The simulator's: a fence from before the silence was taken for one from after it.
    #[test]
    fn a_slow_fence_is_waited_for() {
        let mut up = upstream(Confirm::Routed);
        up.link_up(0);
        assert_eq!(send_all(&mut up, 0, &[1, 2]), [1, 2]);
        up.tick(1000 * SECOND);
        assert_eq!(send_all(&mut up, 1000 * SECOND, &[1, 2, 3]), [3]);
        up.fence_returned(1000 * SECOND);
        assert_eq!(up.confirmed(), 2);
    }

    #[test]
    fn many_bytes_are_fenced_before_the_end() {
        let terms = Terms { confirm: Confirm::Routed, ..Terms::default() };
        let mut up = Upstream::new(terms, 0);
        up.link_up(0);
        for seq in 1.. {
            match up.next(0, Seq::MAX) {
                Next::Send(_) => up.sent(0, seq, 1000),
                Next::Fence => {
                    assert_eq!(seq as usize - 1, FENCE_BYTES.div_ceil(1000));
                    return;
                }
                Next::Wait(_) => panic!("the window is larger"),
            }
        }
    }

    #[test]
    fn keeps_its_rate() {
        let mut up = Upstream::new(Terms { rate: 1000, ..Terms::default() }, 0);
        proven(&mut up, 0);
        let mut sent = 0;
        let mut now = 0;
        while now < 10 * SECOND {
            match up.next(now, Seq::MAX) {
                Next::Send(seq) => {
                    up.sent(now, seq, 100);
                    up.stored(now, seq);
                    sent += 100;
                }
                Next::Wait(Some(due)) => now = due,
                other => panic!("{other:?}"),
            }
        }
        assert!((10_000..=11_500).contains(&sent), "{sent}");
    }
}
