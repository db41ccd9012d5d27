//! Answers that are waited for across imports.
//!
//! Whoever serves a request from another account sees a reply subject of ours, `_R_.<account>.<token>`,
//! which stands for the requester's own. A token holds the place in the table and 31 bits that the seed
//! decides, so that finding an answer's request costs no search, and guessing one is hopeless.

use foldhash::fast::FixedState;
use heapless::Vec as Inline;
use slab::Slab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::BuildHasher;
use std::rc::Rc;

use super::latency::Sample;
use super::{Nanos, nanos};
use crate::account::AccountId;
use crate::account::sharing::ServiceImport;

/// Requests across imports that wait for an answer, over all accounts. When there are more, the one goes that would
/// have expired first.
pub const OPEN_RESPONSES_MAX: usize = 1 << 16;
/// Buffers of answered requests kept for the next ones.
const SPARE_MAX: usize = 1024;

/// Begins every reply subject of ours.
pub(super) const PREFIX: &[u8] = b"_R_.";
const ACCOUNT_CHARS: usize = 6;
const TOKEN_CHARS: usize = 8;
/// Of a subject without tracking, bytes.
const SUBJECT_BYTES: usize = PREFIX.len() + ACCOUNT_CHARS + 1 + TOKEN_CHARS;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SLOT_BITS: u32 = OPEN_RESPONSES_MAX.trailing_zeros();
const CHECK_BITS: u32 = 31;

/// A reply subject of ours.
pub(super) type ReplySubject = Inline<u8, { SUBJECT_BYTES + 11 }, u8>;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Response {
    /// Where the answer is published.
    pub(super) heard_in: AccountId,
    /// Where the requester is.
    pub(super) to: AccountId,
    /// The requester's own reply subject.
    pub(super) reply: Vec<u8>,
    /// By which import the request came.
    pub(super) import: Rc<ServiceImport>,
    /// How long it takes is measured.
    pub(super) sample: Option<Box<Sample>>,
    /// It was once: the subject says so.
    pub(super) tracked: bool,
    /// Traces come this way, as many as there are, until its time is over.
    pub(super) is_trace: bool,
    token: u64,
    due: Nanos,
}

impl Response {
    fn is_tracked(&self) -> bool {
        self.tracked || self.sample.is_some()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Responses {
    slots: Slab<Response>,
    /// When requests expire. An answered one's entry stays until its time has come or the heap is swept.
    due: BinaryHeap<Reverse<(Nanos, u64)>>,
    spare: Vec<Vec<u8>>,
    hasher: FixedState,
    drawn: u64,
    /// Requests that made room for others.
    pub(super) evicted: u64,
}

impl Responses {
    pub(super) fn new(hasher: FixedState) -> Self {
        let (slots, due, spare) = (Slab::new(), BinaryHeap::new(), Vec::new());
        Self { slots, due, spare, hasher, drawn: 0, evicted: 0 }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Expects an answer in `heard_in` to what `to` asked by `import`. Returns its token, and who made room for it.
    pub(super) fn open(
        &mut self,
        now: Nanos,
        heard_in: AccountId,
        to: AccountId,
        reply: &[u8],
        import: Rc<ServiceImport>,
    ) -> (u64, Option<Response>) {
        let evicted = if self.slots.len() >= OPEN_RESPONSES_MAX { self.evict() } else { None };
        let mut own = self.spare.pop().unwrap_or_default();
        own.extend_from_slice(reply);
        let entry = self.slots.vacant_entry();
        self.drawn += 1;
        let check = self.hasher.hash_one(self.drawn) & ((1 << CHECK_BITS) - 1);
        let token = check << SLOT_BITS | entry.key() as u64;
        let due = now.saturating_add(nanos(import.service.threshold));
        entry.insert(Response {
            heard_in,
            to,
            reply: own,
            import,
            sample: None,
            tracked: false,
            is_trace: false,
            token,
            due,
        });
        self.due.push(Reverse((due, token)));
        self.sweep();
        (token, evicted)
    }

    /// An id for an event, as good as unique.
    pub(super) fn event_id(&mut self) -> String {
        let mut halves = [0, 0].map(|_: i32| {
            self.drawn += 1;
            String::from_utf8_lossy(&digits::<11>(self.hasher.hash_one(self.drawn))).into_owned()
        });
        std::mem::take(&mut halves[0]) + &halves[1]
    }

    /// The reply subject of a request.
    pub(super) fn subject(&self, token: u64) -> ReplySubject {
        let mut subject = ReplySubject::new();
        let Some(response) = self.get(token) else { return subject };
        let prefix = self.prefix(response.heard_in);
        let digits = digits::<TOKEN_CHARS>(token);
        let tracked: &[u8] = if response.is_tracked() { b".T" } else { b"" };
        for part in [&prefix[..], &digits, tracked] {
            // It has room for all of them.
            let _ = subject.extend_from_slice(part);
        }
        subject
    }

    /// What all reply subjects heard in an account begin with, its dot included.
    pub(super) fn prefix(&self, account: AccountId) -> [u8; SUBJECT_BYTES - TOKEN_CHARS] {
        let mut prefix = [b'.'; SUBJECT_BYTES - TOKEN_CHARS];
        prefix[..PREFIX.len()].copy_from_slice(PREFIX);
        let digits = digits::<ACCOUNT_CHARS>(self.hasher.hash_one(account.0));
        prefix[PREFIX.len()..PREFIX.len() + ACCOUNT_CHARS].copy_from_slice(&digits);
        prefix
    }

    /// The request that an answer to `subject`, published in `account`, belongs to.
    pub(super) fn find(&self, account: AccountId, subject: &[u8]) -> Option<u64> {
        let token = subject.get(SUBJECT_BYTES - TOKEN_CHARS..SUBJECT_BYTES)?;
        let mut number = 0u64;
        for digit in token {
            number = number * 62 + DIGITS.iter().position(|have| have == digit)? as u64;
        }
        let response = self.get(number).filter(|response| response.heard_in == account)?;
        let rest: &[u8] = if response.is_tracked() { b".T" } else { b"" };
        (&subject[SUBJECT_BYTES..] == rest && subject.starts_with(&self.prefix(account))).then_some(number)
    }

    fn get(&self, token: u64) -> Option<&Response> {
        self.slots.get(slot(token)).filter(|response| response.token == token)
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Response> {
        self.slots.get_mut(slot(token)).filter(|response| response.token == token)
    }

    /// There was an answer, and there may be more: the time starts anew.
    pub(super) fn renew(&mut self, token: u64, now: Nanos) {
        if let Some(response) = self.get_mut(token) {
            response.due = now.saturating_add(nanos(response.import.service.threshold));
        }
    }

    /// No more answers are taken.
    pub(super) fn close(&mut self, token: u64) -> Option<Response> {
        self.get(token)?;
        Some(self.slots.remove(slot(token)))
    }

    /// Gives the buffer of a closed one back.
    pub(super) fn reuse(&mut self, mut reply: Vec<u8>) {
        if self.spare.len() < SPARE_MAX {
            reply.clear();
            self.spare.push(reply);
        }
    }

    /// When [`Self::expired`] has something to say, at the earliest.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// The next request whose time is up.
    pub(super) fn expired(&mut self, now: Nanos) -> Option<Response> {
        while let Some(&Reverse((at, token))) = self.due.peek() {
            if at > now {
                return None;
            }
            self.due.pop();
            match self.get(token).map(|response| response.due) {
                Some(due) if due > now => self.due.push(Reverse((due, token))),
                Some(_) => return self.close(token),
                None => {}
            }
        }
        None
    }

    /// Closes all that `goes` chooses.
    pub(super) fn retain(&mut self, keeps: impl Fn(&Response) -> bool) {
        self.slots.retain(|_, response| keeps(response));
    }

    fn evict(&mut self) -> Option<Response> {
        while let Some(Reverse((_, token))) = self.due.pop() {
            if let Some(response) = self.close(token) {
                self.evicted += 1;
                return Some(response);
            }
        }
        None
    }

    /// Most requests are answered long before they expire: their entries must not pile up.
    fn sweep(&mut self) {
        if self.due.len() > 2 * self.slots.len() + SPARE_MAX {
            let slots = &self.slots;
            self.due.retain(|Reverse((_, token))| slots.get(slot(*token)).is_some_and(|one| one.token == *token));
        }
    }
}

fn slot(token: u64) -> usize {
    (token & (OPEN_RESPONSES_MAX as u64 - 1)) as usize
}

fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [0; N];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    digits
}

const _: () = assert!(OPEN_RESPONSES_MAX.is_power_of_two());
// A token fits into its digits.
const _: () = assert!((1u64 << (SLOT_BITS + CHECK_BITS)) < 62u64.pow(TOKEN_CHARS as u32));

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::account::rename::Renaming;
    use crate::account::sharing::Service;
    use crate::config::ResponseKind;
    use std::time::Duration;

    const HERE: AccountId = AccountId(1);
    const THERE: AccountId = AccountId(2);

    fn import(seconds: u64) -> Rc<ServiceImport> {
        let service = Service {
            response: ResponseKind::Singleton,
            threshold: Duration::from_secs(seconds),
            latency: None,
            allow_trace: false,
        };
        let to_remote = Renaming::new("s", "s").unwrap().back;
        let local = b"s".as_slice().into();
        Rc::new(ServiceImport {
            importer: HERE,
            exporter: THERE,
            local,
            to_remote,
            share: false,
            service: service.into(),
        })
    }

    fn open(responses: &mut Responses, now: Nanos, reply: &[u8], import: &Rc<ServiceImport>) -> u64 {
        responses.open(now, THERE, HERE, reply, import.clone()).0
    }

    #[test]
    fn an_answer_finds_its_request_and_nobody_elses() {
        let mut responses = Responses::new(FixedState::with_seed(7));
        let import = import(1);
        let tokens: Vec<u64> = [b"a", b"b"].iter().map(|reply| open(&mut responses, 0, *reply, &import)).collect();
        for (token, reply) in tokens.iter().zip([b"a", b"b"]) {
            let subject = responses.subject(*token);
            assert!(subject.starts_with(&responses.prefix(THERE)));
            assert_eq!(responses.find(THERE, &subject), Some(*token));
            assert_eq!(responses.find(HERE, &subject), None, "it is heard in the exporter's account alone");
            assert_eq!(responses.find(THERE, &[&subject[..], b".x"].concat()), None);
            assert_eq!(responses.find(THERE, &subject[..subject.len() - 1]), None);
            assert_eq!(responses.close(*token).unwrap().reply, reply);
            assert_eq!(responses.find(THERE, &subject), None, "it was answered");
        }
        // The place is taken again, by another token.
        let next = open(&mut responses, 0, b"c", &import);
        assert_eq!(slot(next), slot(tokens[1]));
        assert_ne!(next, tokens[1]);
    }

    #[test]
    fn time_runs_out_for_each_in_its_turn() {
        let mut responses = Responses::new(FixedState::with_seed(7));
        let (slow, quick) = (import(10), import(1));
        let first = open(&mut responses, 0, b"slow", &slow);
        let second = open(&mut responses, 0, b"quick", &quick);
        let third = open(&mut responses, 0, b"renewed", &quick);
        responses.renew(third, 500_000_000);
        assert_eq!(responses.due(), Some(1_000_000_000));
        assert!(responses.expired(999_999_999).is_none());
        assert_eq!(responses.expired(1_000_000_000).unwrap().reply, b"quick");
        assert!(responses.expired(1_000_000_000).is_none());
        assert!(responses.close(second).is_none());
        assert_eq!(responses.expired(1_500_000_000).unwrap().reply, b"renewed");
        assert_eq!(responses.expired(10_000_000_000).unwrap().reply, b"slow");
        assert!(responses.close(first).is_none());
        assert_eq!((responses.len(), responses.due()), (0, None));
    }

    #[test]
    fn the_table_is_bounded_and_so_is_its_heap() {
        let mut responses = Responses::new(FixedState::with_seed(7));
        let import = import(1);
        for at in 0..=OPEN_RESPONSES_MAX as u64 {
            open(&mut responses, at, b"x", &import);
        }
        assert_eq!((responses.len(), responses.evicted), (OPEN_RESPONSES_MAX, 1));
        responses.retain(|_| false);
        for at in 0..100_000 {
            let token = open(&mut responses, at, b"x", &import);
            let reply = responses.close(token).unwrap().reply;
            responses.reuse(reply);
        }
        assert!(responses.due.len() <= 2 * SPARE_MAX, "{}", responses.due.len());
    }
}
