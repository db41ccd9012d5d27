//! Accounts: subject spaces that do not see each other.

pub mod mapping;
pub mod rename;
pub mod sharing;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::BuildHasher;

use crate::config;
use crate::interest::{Interest, SubId};
use crate::node::Kind;
use mapping::Mappings;
use sharing::{Imports, Party, Web};

/// Names an account of this server; lasts as long as the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub(crate) u32);

impl AccountId {
    /// `$G`: the account of those who belong nowhere else.
    pub const GLOBAL: Self = Self(0);
}

/// Accounts at most. An account that is gone keeps its place, so that this bounds what made-up or outdated JWTs cost.
const ACCOUNTS_MAX: usize = 1 << 20;

/// An account while the server runs.
#[derive(Debug)]
pub struct Account {
    /// Its name.
    pub name: String,
    /// It is the system account.
    pub is_system: bool,
    /// A service in it decides about logins: its users must not ask it.
    pub is_callout: bool,
    /// Who wants what in it.
    pub interest: Interest,
    /// Where published subjects go instead.
    pub mappings: Mappings,
    /// What it takes from others.
    pub imports: Imports,
    /// The node's own subscriptions to imported services.
    pub(crate) service_subs: Vec<SubId>,
    /// The node has a subscription for answers to requests from other accounts.
    pub(crate) hears_answers: bool,
    /// Where traces go of messages that only `traceparent` wants traced.
    pub trace: Option<Box<config::TraceTo>>,
    /// What it may use.
    pub limits: config::AccountLimits,
    /// Connections logged in now.
    pub connections: u32,
    /// How many of them are links of leaf nodes.
    pub leafs: u32,
    /// The slots of the connections to leaf nodes and hubs, once they are up.
    pub(crate) links: Vec<u32>,
    /// Which subjects go into which log of store-and-forward.
    pub(crate) captures: crate::node::Captures,
    /// Which subjects come from which durable subscription.
    pub(crate) durables: crate::node::Durables,
    /// What is announced on each link besides subscriptions: the subject that finds loops.
    pub(crate) loop_subject: Box<[u8]>,
    /// Connections ever.
    pub total_connections: u64,
    /// Messages and bytes its connections published.
    pub received: Volume,
    /// Messages and bytes delivered to its connections.
    pub sent: Volume,
    /// Connections closed because they could not follow.
    pub slow_consumers: u64,
}

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many.
    pub msgs: u64,
    /// Headers and payloads.
    pub bytes: u64,
}

impl Volume {
    /// Counts one message.
    #[inline]
    pub fn count(&mut self, bytes: usize) {
        self.msgs += 1;
        self.bytes += bytes as u64;
    }
}

impl Account {
    /// Subscriptions that each of its connections may have. (As in nats-server, it is no bound on their sum.)
    pub fn subscriptions_max(&self) -> usize {
        self.limits.max_subscriptions.map_or(usize::MAX, |max| max as usize)
    }

    /// A connection of this kind has logged in.
    pub(crate) fn gain(&mut self, kind: Kind) {
        self.connections += 1;
        self.total_connections += 1;
        self.leafs += u32::from(kind == Kind::Leaf);
    }

    /// A connection of this kind has gone.
    pub(crate) fn lose(&mut self, kind: Kind) {
        self.connections -= 1;
        self.leafs -= u32::from(kind == Kind::Leaf);
    }

    /// Whether one more connection may log in.
    pub fn has_room(&self, kind: Kind) -> bool {
        match kind {
            Kind::Leaf => self.limits.max_leafnodes.is_none_or(|max| self.leafs < max),
            _ => self.limits.max_connections.is_none_or(|max| self.connections - self.leafs < max),
        }
    }
}

/// `$LDS.` and 22 characters that no other server has.
fn loop_subject(seed: u64, id: AccountId) -> Box<[u8]> {
    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let hasher = FixedState::with_seed(seed);
    let mut subject = b"$LDS.".to_vec();
    subject.extend((0..22u8).map(|at| ALPHABET[hasher.hash_one((id.0, at)) as usize % ALPHABET.len()]));
    subject.into()
}

/// All accounts of a server. They are found by name when the configuration is read, and by id ever after.
#[derive(Debug)]
pub struct Accounts {
    list: Vec<Account>,
    /// Places in the list, by name.
    names: HashTable<u32>,
    hasher: FixedState,
    /// The account of each entry of the configuration.
    configured: Vec<AccountId>,
    seed: u64,
    caching: bool,
}

impl Accounts {
    /// The accounts of `config`.
    ///
    /// # Errors
    /// When there are too many, or a mapping makes no sense; the text names it.
    pub fn new(config: &config::Config, seed: u64) -> Result<Self, String> {
        let mut accounts = Self {
            list: Vec::new(),
            names: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            configured: Vec::new(),
            seed,
            caching: !config.limits.no_interest_cache,
        };
        accounts.configure(config)?;
        Ok(accounts)
    }

    /// Takes the accounts of a changed configuration. One that is gone keeps its id and loses its users,
    /// its mappings and its limits. Nothing is changed on an error.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn configure(&mut self, config: &config::Config) -> Result<(), String> {
        let mut mappings = Vec::new();
        for account in &config.accounts {
            let compiled = Mappings::compile(&account.mappings, None).map_err(|(at, why)| {
                format!("mapping \"{}\" of account \"{}\": {why}", account.mappings[at].source, account.name)
            })?;
            mappings.push(compiled);
        }
        if let Some(fault) = sharing::faults(&config.accounts).into_iter().next() {
            return Err(fault);
        }
        let system = config.system_account.as_deref();
        let new = config.accounts.iter().filter(|a| self.find(&a.name).is_none()).count();
        if self.list.len() + new >= ACCOUNTS_MAX {
            return Err(format!("more than {ACCOUNTS_MAX} accounts"));
        }
        for account in self.list.iter_mut().filter(|_| config.operator.is_none()) {
            account.mappings = Mappings::default();
            account.imports = Imports::default();
            account.limits = config::AccountLimits::default();
            account.trace = None;
        }
        self.configured.clear();
        for (account, mappings) in config.accounts.iter().zip(mappings) {
            let id = self.find(&account.name).unwrap_or_else(|| self.add(&account.name));
            self.configured.push(id);
            let live = &mut self.list[id.0 as usize];
            live.mappings = mappings;
            live.limits = account.limits.clone();
            live.trace = account.trace.clone().map(Box::new);
        }
        if config.operator.is_none() {
            self.share(&config.accounts);
        }
        if let Some(name) = system
            && self.find(name).is_none()
        {
            self.add(name);
        }
        let callout = config.auth.callout.as_ref().map(|callout| callout.account.as_str());
        for account in &mut self.list {
            account.is_system = Some(account.name.as_str()) == system;
            if config.operator.is_none() {
                account.is_callout = Some(account.name.as_str()) == callout;
            }
        }
        Ok(())
    }

    /// Takes the exports and imports over, in which no fault was found.
    fn share(&mut self, accounts: &[config::Account]) {
        let mut web = Web::default();
        let exporters: HashMap<&str, usize> =
            accounts.iter().enumerate().map(|(at, one)| (one.name.as_str(), at)).collect();
        for (at, account) in accounts.iter().enumerate().filter(|(_, account)| !account.imports.is_empty()) {
            let id = self.configured[at];
            let importer = Party { id, name: &account.name, exports: &account.exports };
            let find = |name: &str| {
                let at = *exporters.get(name)?;
                Some(Party { id: self.configured[at], name: &accounts[at].name, exports: &accounts[at].exports })
            };
            self.list[id.0 as usize].imports = web.add(&importer, &account.imports, find, |_, _| false).0;
        }
    }

    /// The account of this name, made if there is none; `None` if there are too many.
    pub(crate) fn adopt(&mut self, name: &str) -> Option<AccountId> {
        self.find(name).or_else(|| (self.list.len() < ACCOUNTS_MAX).then(|| self.add(name)))
    }

    fn add(&mut self, name: &str) -> AccountId {
        let id = AccountId(self.list.len() as u32);
        self.list.push(Account {
            name: name.to_owned(),
            is_system: false,
            is_callout: false,
            interest: Interest::new(self.seed.wrapping_add(u64::from(id.0)), self.caching),
            mappings: Mappings::default(),
            imports: Imports::default(),
            service_subs: Vec::new(),
            hears_answers: false,
            trace: None,
            limits: config::AccountLimits::default(),
            connections: 0,
            leafs: 0,
            links: Vec::new(),
            captures: Vec::new(),
            durables: Vec::new(),
            loop_subject: loop_subject(self.seed, id),
            total_connections: 0,
            received: Volume::default(),
            sent: Volume::default(),
            slow_consumers: 0,
        });
        let (list, hasher) = (&self.list, &self.hasher);
        let hash = |at: &u32| hasher.hash_one(list[*at as usize].name.as_str());
        self.names.insert_unique(hash(&id.0), id.0, hash);
        id
    }

    /// The account of this name.
    pub fn find(&self, name: &str) -> Option<AccountId> {
        let hash = self.hasher.hash_one(name);
        self.names.find(hash, |at| self.list[*at as usize].name == name).map(|at| AccountId(*at))
    }

    /// The account at this place of the configuration.
    pub fn configured(&self, index: usize) -> AccountId {
        self.configured[index]
    }

    /// An account.
    #[inline]
    pub fn get(&self, id: AccountId) -> &Account {
        &self.list[id.0 as usize]
    }

    /// An account.
    #[inline]
    pub fn get_mut(&mut self, id: AccountId) -> &mut Account {
        &mut self.list[id.0 as usize]
    }

    /// The ids of all of them.
    pub fn ids(&self) -> impl Iterator<Item = AccountId> + use<> {
        (0..self.list.len() as u32).map(AccountId)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.list.iter()
    }
}
