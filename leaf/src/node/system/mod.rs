//! The server as one of its own subscribers: services in the interest of accounts, and their answers.
//!
//! A service is a subscription whose place of a connection says [`SERVER`]. Messages find it like any
//! other, across queue groups, mappings and imports; what it hears waits in the inbox until the node has
//! finished with the batch. Then the shell is asked for what only the host knows
//! ([`super::Command::Measure`]), and all that waits is answered ([`Node::measured`]).

mod events;
mod serve;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::VecDeque;
use tracing::warn;

use super::{Command, ConnId, Nanos, Node, Sid, Sub};
use crate::account::AccountId;
use crate::interest::SubId;
use crate::message::Message;
use crate::monitor::{Endpoint, HostFacts};
pub(super) use events::Beat;

/// In place of a connection's slot: the subscription is the server's own.
pub(super) const SERVER: u32 = u32::MAX;

/// Requests that wait at the same time; further ones get no answer, as if they were lost, and are counted.
pub const REQUESTS_MAX: usize = 256;
/// What they may hold together, bytes; beyond it as above.
pub const REQUEST_BYTES_MAX: usize = 8 << 20;

/// What the server does for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Its name, host and id.
    Identity,
    /// STATSZ.
    Stats,
    /// A page of monitoring.
    Page(Endpoint),
    /// A page about the account that the subject names.
    Account(Topic),
    /// The same about the account it is asked in.
    Own(Topic),
    /// STATZ of all accounts.
    Accounts,
    /// Who the asker is.
    User,
    /// How many subscriptions a subject has.
    Subscribers,
    /// The same, asked by another server.
    CountSubs,
    /// Read the configuration again.
    Reload,
    /// End a connection.
    Kick,
    /// Ask a client to leave.
    Leave,
    /// Bring, list or delete the JWTs of accounts.
    Claims,
    /// Take the hub's answers for records of this outbox.
    Outbox(u32),
    /// Take what the hub sends for this durable subscription.
    Downlink(u32),
    /// The answer of an auth callout about this connection.
    Callout(ConnId),
}

/// What is told of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topic {
    Connections,
    Leafs,
    Subscriptions,
    Streams,
    Detail,
    Stats,
    /// As the event says it.
    Count,
}

/// The pages that can be asked for of one server or of all, by their names in a subject.
const PAGES: [(&str, Endpoint); 11] = [
    ("VARZ", Endpoint::Varz),
    ("CONNZ", Endpoint::Connz),
    ("ROUTEZ", Endpoint::Routez),
    ("GATEWAYZ", Endpoint::Gatewayz),
    ("LEAFZ", Endpoint::Leafz),
    ("SUBSZ", Endpoint::Subsz),
    ("ACCOUNTZ", Endpoint::Accountz),
    ("JSZ", Endpoint::Jsz),
    ("HEALTHZ", Endpoint::Healthz),
    ("IPQUEUESZ", Endpoint::Ipqueuesz),
    ("RAFTZ", Endpoint::Raftz),
];

const TOPICS: [(&str, Topic); 7] = [
    ("CONNZ", Topic::Connections),
    ("LEAFZ", Topic::Leafs),
    ("SUBSZ", Topic::Subscriptions),
    ("JSZ", Topic::Streams),
    ("INFO", Topic::Detail),
    ("STATZ", Topic::Stats),
    ("CONNS", Topic::Count),
];

/// What every account but the system account offers its members about itself.
const OWN: [(&str, Service); 4] = [
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", Service::Own(Topic::Connections)),
    ("$SYS.REQ.SERVER.PING.CONNZ", Service::Own(Topic::Connections)),
    ("$SYS.REQ.ACCOUNT.PING.STATZ", Service::Own(Topic::Stats)),
    ("$SYS.REQ.USER.INFO", Service::User),
];

/// Something asked of the server.
pub(crate) struct Request {
    pub(crate) service: Service,
    /// Where it was asked, and where the answer goes.
    pub(crate) account: AccountId,
    pub(crate) from: Option<ConnId>,
    pub(crate) subject: Box<[u8]>,
    pub(crate) reply: Box<[u8]>,
    pub(crate) header: Box<[u8]>,
    pub(crate) body: Box<[u8]>,
}

impl Request {
    fn bytes(&self) -> usize {
        self.subject.len() + self.reply.len() + self.header.len() + self.body.len()
    }
}

/// What the node keeps of itself as a subscriber.
pub(crate) struct System {
    /// The system account; `None` with `no_system_account`.
    pub(super) account: Option<AccountId>,
    services: HashMap<SubId, Service, FixedState>,
    /// Which accounts have their services, by number.
    raised: Vec<bool>,
    /// Services in the system account: whatever more it has, somebody listens there.
    own: usize,
    inbox: VecDeque<Request>,
    inbox_bytes: usize,
    /// The shell was asked for what the host knows.
    measuring: bool,
    /// Who waits for the end of a reload.
    reloads: Vec<(AccountId, Box<[u8]>)>,
    /// Messages of the server so far.
    pub(super) sequence: u64,
    pub(super) beat: Beat,
    /// Requests that found the inbox full.
    pub(crate) lost: u64,
}

impl System {
    pub(super) fn new(hasher: FixedState) -> Self {
        Self {
            account: None,
            services: HashMap::with_hasher(hasher),
            raised: Vec::new(),
            own: 0,
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            measuring: false,
            reloads: Vec::new(),
            sequence: 0,
            beat: Beat::default(),
            lost: 0,
        }
    }

    /// Takes a message for the subscription `id`, which is the server's; says whether somebody will look at it.
    #[cold]
    pub(super) fn hear(&mut self, id: SubId, account: AccountId, from: Option<ConnId>, message: &Message<'_>) -> bool {
        let Some(&service) = self.services.get(&id) else { return false };
        let request = Request {
            service,
            account,
            from,
            subject: message.subject.into(),
            reply: message.reply.into(),
            header: message.headers().into(),
            body: message.payload().into(),
        };
        let bytes = self.inbox_bytes + request.bytes();
        if self.inbox.len() >= REQUESTS_MAX || bytes > REQUEST_BYTES_MAX {
            if self.lost == 0 {
                warn!("More than {REQUESTS_MAX} requests to the server wait; some get no answer");
            }
            self.lost += 1;
            return true;
        }
        self.inbox_bytes = bytes;
        self.inbox.push_back(request);
        true
    }

    /// The outbox whose answers come to a subscription of the server.
    pub(super) fn outbox_of(&self, id: SubId) -> Option<u32> {
        match self.services.get(&id) {
            Some(Service::Outbox(log)) => Some(*log),
            _ => None,
        }
    }

    /// Whether a subscription of the server is there only so that the hub sends what a durable subscription asks for.
    pub(super) fn is_downlink(&self, id: SubId) -> bool {
        matches!(self.services.get(&id), Some(Service::Downlink(_)))
    }

    fn next_request(&mut self) -> Option<Request> {
        let request = self.inbox.pop_front()?;
        self.inbox_bytes -= request.bytes();
        Some(request)
    }
}

impl Node {
    /// Finds the system account and offers its services. Again, after a reload, it finds them there.
    pub(super) fn raise_system(&mut self) {
        let name = self.config.system_account.as_deref();
        self.system.account = name.and_then(|name| self.accounts.find(name));
        if let Some(account) = self.system.account {
            self.raise_services(account);
        }
    }

    /// Makes sure that an account has the server's services.
    pub(super) fn raise_services(&mut self, account: AccountId) {
        let Some(system) = self.system.account else { return };
        let at = account.0 as usize;
        if self.system.raised.get(at) == Some(&true) {
            return;
        }
        if self.system.raised.len() <= at {
            self.system.raised.resize(at + 1, false);
        }
        self.system.raised[at] = true;
        if account != system {
            for (at, (subject, service)) in OWN.into_iter().enumerate() {
                self.offer(account, at + 1, subject, service);
            }
            return;
        }
        for (at, (subject, service)) in self.system_services().into_iter().enumerate() {
            self.offer(account, at + 1, &subject, service);
        }
    }

    fn system_services(&self) -> Vec<(String, Service)> {
        let id = &self.identity.server_id;
        let server = |verb: &str| format!("$SYS.REQ.SERVER.{id}.{verb}");
        let mut all = vec![
            ("$SYS.REQ.SERVER.PING".to_owned(), Service::Stats),
            ("$SYS.REQ.ACCOUNT.PING.STATZ".to_owned(), Service::Accounts),
            ("$SYS.REQ.ACCOUNT.NSUBS".to_owned(), Service::CountSubs),
            ("$SYS.REQ.USER.INFO".to_owned(), Service::User),
            ("$SYS.DEBUG.SUBSCRIBERS".to_owned(), Service::Subscribers),
            (server("RELOAD"), Service::Reload),
            (server("KICK"), Service::Kick),
            (server("LDM"), Service::Leave),
        ];
        let pages = PAGES.into_iter().map(|(name, page)| (name, Service::Page(page)));
        for (name, service) in pages.chain([("IDZ", Service::Identity), ("STATSZ", Service::Stats)]) {
            all.push((format!("$SYS.REQ.SERVER.PING.{name}"), service));
            all.push((server(name), service));
        }
        let topics = TOPICS.into_iter();
        all.extend(topics.map(|(name, topic)| (format!("$SYS.REQ.ACCOUNT.*.{name}"), Service::Account(topic))));
        all.extend(self.claims_subjects().into_iter().map(|subject| (subject.to_owned(), Service::Claims)));
        all
    }

    /// Has the hub's answers for an outbox's records come to it.
    pub(super) fn offer_outbox(&mut self, account: AccountId, log: u32, pattern: &str) {
        self.offer_once(account, log as usize, pattern, Service::Outbox(log));
    }

    /// Offers a service of which there is one for each log, unless it is there.
    pub(super) fn offer_once(&mut self, account: AccountId, at: usize, pattern: &str, service: Service) {
        if !self.system.services.values().any(|other| *other == service) {
            self.offer(account, OWN.len() + 1 + at, pattern, service);
        }
    }

    /// Puts a service into the interest of an account.
    pub(super) fn offer(&mut self, account: AccountId, sid: usize, subject: &str, service: Service) -> SubId {
        let id = self.subs.next_id();
        let place = self.accounts.get_mut(account).interest.insert(subject.as_bytes(), None, id);
        self.subs.insert(Sub {
            conn: SERVER,
            account,
            place,
            subject: subject.as_bytes().into(),
            queue: None,
            sid: Sid::new(sid.to_string().as_bytes()),
            delivered: 0,
            max: 0,
            filtered: false,
            link: None,
            weight: 0,
        });
        self.system.services.insert(id, service);
        self.interest_came(account, subject.as_bytes(), None, id);
        self.system.own += usize::from(self.system.account == Some(account));
        id
    }

    /// Takes a service back.
    pub(super) fn withdraw(&mut self, id: SubId) {
        let Some(sub) = self.subs.get(id) else { return };
        self.system.own -= usize::from(self.system.account == Some(sub.account));
        self.system.services.remove(&id);
        self.remove_sub(id);
    }

    /// Asks the shell for what the answers take, if anything waits.
    pub(super) fn wake_system(&mut self) {
        if !self.system.inbox.is_empty() && !self.system.measuring {
            self.system.measuring = true;
            self.commands.push_back(Command::Measure);
        }
    }

    /// The answer to [`Command::Measure`]: everything that waits for it is answered now.
    pub fn measured(&mut self, now: Nanos, host: &HostFacts) {
        self.now = now;
        self.system.measuring = false;
        // What the answers bring about is for the next turn.
        for _ in 0..self.system.inbox.len() {
            let Some(request) = self.system.next_request() else { break };
            self.serve(host, &request);
        }
        self.tell_stats(host);
        self.wake_system();
        self.settle();
    }

    /// The answer to [`Command::Reload`].
    pub fn reloaded(&mut self, now: Nanos, result: &Result<(), String>) {
        self.now = now;
        for (account, reply) in std::mem::take(&mut self.system.reloads) {
            self.answer_plainly(account, &reply, result.as_ref().err().map(String::as_str));
        }
        self.settle();
    }

    /// Whether anybody but the server listens in the system account.
    pub(super) fn has_audience(&self) -> bool {
        self.system.account.is_some_and(|id| self.accounts.get(id).interest.len() > self.system.own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
