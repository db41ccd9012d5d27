//! Operator mode on live connections: logins with JWTs, accounts from a resolver, and what happens when
//! an account changes, expires or goes.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tracing::{debug, error, warn};

use super::conn::Timer;
use super::resolver::Store;
use super::{CloseReason, Command, ConnId, Nanos, Node};
use crate::account::mapping::Mappings;
use crate::account::sharing::Web;
use crate::account::{Account, AccountId};
use crate::auth::directory::{Credential, Identity};
use crate::auth::jwt::{Token, User};
use crate::auth::nkey;
use crate::auth::trust::{self, Attempt, Refusal, Standing, Trust};
use crate::config::{AccountLimits, Config, Resolver};
use crate::wire::Connect;

/// Accounts that are being fetched from elsewhere at the same time. Logins to further ones are refused: anybody
/// can make up a key, and must not make us ask for a thousand of them.
const FETCHES_MAX: usize = 64;

/// From here on the clock on the wall was set and has not only been adjusted, nanoseconds.
const CLOCK_STEP: i128 = 1_000_000_000;

/// What a node in operator mode has besides.
pub(crate) struct Operators {
    pub(super) trust: Trust,
    pub(super) live: BTreeMap<Box<str>, Live>,
    /// Logins that wait for an account, by its key.
    pub(super) waiting: BTreeMap<Box<str>, Vec<ConnId>>,
    /// When accounts expire, seconds since 1970.
    expiries: BTreeSet<(i64, Box<str>)>,
    pub(super) store: Option<Store>,
    /// All imports, to see where they lead.
    pub(super) web: Web,
    /// When imports have to be looked at again as an activation expires, seconds since 1970.
    pub(super) activations: BTreeSet<(i64, Box<str>)>,
}

/// An account that somebody has logged in to, or that is the system account.
pub(super) struct Live {
    pub(super) id: AccountId,
    pub(super) standing: Standing,
}

/// A login that waits for its account.
pub(crate) struct Waiting {
    pub(super) user: Token<User>,
    pub(super) connect: Box<Connect>,
    /// A service has vouched for it: it need not sign.
    pub(super) vouched: Option<Vouched>,
}

/// Who somebody is by the word of a service.
pub(crate) struct Vouched {
    pub(super) name: Box<str>,
    /// What the JWT it came with calls it.
    pub(super) tag: Box<str>,
}

impl Operators {
    /// `None` outside operator mode.
    pub(super) fn new(config: &Config) -> Option<Box<Self>> {
        let operator = config.operator.as_ref()?;
        let store = match &operator.resolver {
            Some(Resolver::Full(dir)) => Some(Store::new(dir.clone(), false)),
            Some(Resolver::Cache(dir)) => Some(Store::new(dir.clone(), true)),
            _ => None,
        };
        Some(Box::new(Self {
            trust: Trust::new(operator, config.system_account.as_deref()),
            live: BTreeMap::new(),
            waiting: BTreeMap::new(),
            expiries: BTreeSet::new(),
            store,
            web: Web::default(),
            activations: BTreeSet::new(),
        }))
    }

    fn standing(&self, key: &str, now: i128) -> Option<&Live> {
        self.live.get(key).filter(|live| !live.standing.is_expired(now))
    }

    /// The next moment something expires, nanoseconds since 1970.
    pub(super) fn due(&self) -> Option<i128> {
        let account = self.expiries.first().map(|(second, _)| i128::from(*second) * 1_000_000_000);
        let store = self.store.as_ref().and_then(Store::due);
        let activation = self.activations.first().map(|(second, _)| i128::from(*second) * 1_000_000_000);
        account.into_iter().chain(store).chain(activation).min()
    }
}

/// Where an account's JWT is to be had.
pub(super) enum Source {
    /// Here.
    Text(String),
    /// Elsewhere; it will come.
    Later,
    /// Nowhere.
    None(Refusal),
}

impl Node {
    /// An account in use, by its key.
    pub(super) fn live(&self, key: &str) -> Option<&Live> {
        self.operators.as_ref()?.live.get(key)
    }

    /// Whether the server is in operator mode.
    pub fn is_in_operator_mode(&self) -> bool {
        self.operators.is_some()
    }

    /// What the wall clock shows now, nanoseconds since 1970. It may have been set since the start: a gateway often
    /// learns the time only from the network.
    pub fn set_wall_clock(&mut self, now: Nanos, unix: i128) {
        let wall = unix - i128::from(now);
        let stepped = (wall - self.wall).abs() > CLOCK_STEP;
        self.wall = wall;
        if stepped && self.operators.is_some() {
            self.reset_expiries(now);
        }
    }

    /// The clock on the wall was set: users may expire sooner than it had seemed. One that would expire later has to
    /// come again.
    fn reset_expiries(&mut self, now: Nanos) {
        let wall = self.wall + i128::from(now);
        let slots: Vec<usize> = self.conns.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            let conn = &mut self.conns[slot];
            let identity = conn.peer.identity();
            let expires = identity.and_then(|identity| Some(identity.credential.as_ref()?.expires)).unwrap_or(0);
            if let Some(left) = trust::until(expires, wall) {
                conn.timers.advance(Timer::Expiry, now.saturating_add(left));
                self.arm(slot as u32);
            }
        }
    }

    /// The wall clock at the node's time 0, nanoseconds since 1970.
    pub(crate) fn wall(&self) -> i128 {
        self.wall
    }

    /// What an account calls itself, beside its name: in operator mode that is a key.
    pub(crate) fn tag_of<'a>(&'a self, account: &'a Account) -> &'a str {
        let live = self.operators.as_ref().and_then(|operators| operators.live.get(account.name.as_str()));
        live.map(|live| &*live.standing.name).filter(|name| !name.is_empty()).unwrap_or(&account.name)
    }

    /// The same by its id.
    pub(crate) fn account_tag(&self, account: AccountId) -> &str {
        self.tag_of(self.accounts.get(account))
    }

    /// Nanoseconds since 1970.
    pub(crate) fn wall_now(&self) -> i128 {
        self.wall_at(self.now)
    }

    /// Nanoseconds since 1970 at a time of the node's clock.
    pub(super) fn wall_at(&self, at: Nanos) -> i128 {
        self.wall + i128::from(at)
    }

    /// When something about accounts is due, on the node's clock.
    pub(super) fn operators_due(&self) -> Option<Nanos> {
        let due = self.operators.as_ref()?.due()?;
        Some(Nanos::try_from(due - self.wall).unwrap_or(0))
    }

    /// Makes sure there is a system account to log in to. With `resolver: MEMORY` its JWT must be there; elsewhere
    /// it may be brought later, by whoever its key lets in.
    pub(super) fn raise_system_account(&mut self) -> Result<(), String> {
        let failed = |why: &str| Err(format!("error resolving system account: {why}"));
        let (Some(operator), Some(key)) = (&self.config.operator, self.config.system_account.clone()) else {
            return Ok(());
        };
        if nkey::PublicKey::parse(&key).is_err() {
            return if key == "$SYS" { Ok(()) } else { failed("account missing") };
        }
        match operator.preload.get(&key).cloned() {
            Some(text) => match self.take_account(&key, &text) {
                Ok(_) => return Ok(()),
                Err(_) if operators_memory(&self.config) => return failed("account validation failed"),
                Err(why) => warn!("The preloaded JWT of the system account is not taken: {why}"),
            },
            None if operators_memory(&self.config) => return failed("account missing"),
            None => {}
        }
        let issuer = operators_issuer(&self.config).unwrap_or_default();
        self.raise(Standing::bootstrap(&key, &issuer)).map(|_| ()).map_err(|why| why.to_string())
    }

    /// A CONNECT in operator mode.
    pub(super) fn login_by_token(&mut self, slot: u32, connect: Box<Connect>) {
        let id = self.conns[slot as usize].core.id;
        let now = self.wall_now();
        let Some(operators) = &self.operators else { return };
        if connect.account.is_some() || connect.new_account {
            return self.refuse(id, Refusal::NamesAccount);
        }
        let offered = connect.jwt.as_deref().unwrap_or_default();
        let user = match operators.trust.read_user(offered, now, &*self.zones) {
            Ok(user) => user,
            Err(why) => return self.refuse(id, why),
        };
        let key: Box<str> = trust::account_of(&user).into();
        self.log_in_to(slot, key, Waiting { user, connect, vouched: None });
    }

    /// Logs somebody in to the account `key`, as soon as its JWT is there.
    pub(super) fn log_in_to(&mut self, slot: u32, key: Box<str>, waiting: Waiting) {
        let (id, now) = (self.conns[slot as usize].core.id, self.wall_now());
        let Some(operators) = &self.operators else { return };
        let standing = operators.standing(&key, now).map(|live| &live.standing);
        let bootstrap = standing.is_some_and(Standing::is_bootstrap);
        if standing.is_some() && !bootstrap {
            return self.finish_login(slot, &waiting);
        }
        match self.find_account(&key) {
            Source::Text(text) => match self.take_account(&key, &text) {
                Ok(_) => self.finish_login(slot, &waiting),
                Err(why) => self.refuse(id, why),
            },
            Source::Later => self.wait(slot, key, waiting),
            Source::None(_) if bootstrap => self.finish_login(slot, &waiting),
            Source::None(why) => self.refuse(id, why),
        }
    }

    /// Looks for an account's JWT; asks for it where that takes time.
    pub(super) fn find_account(&mut self, key: &str) -> Source {
        let (Some(operators), Some(operator)) = (&mut self.operators, &self.config.operator) else {
            return Source::None(Refusal::NoAccount);
        };
        if !nkey::PublicKey::parse(key).is_ok_and(|key| key.kind() == nkey::Kind::Account) {
            return Source::None(Refusal::NoAccount);
        }
        match &operator.resolver {
            None => Source::None(Refusal::NoAccount),
            Some(Resolver::Memory) => {
                operator.preload.get(key).map_or(Source::None(Refusal::NoAccount), |text| Source::Text(text.clone()))
            }
            Some(_) if operators.waiting.contains_key(key) => Source::Later,
            Some(_) if operators.waiting.len() >= FETCHES_MAX => Source::None(Refusal::Resolver),
            Some(Resolver::Url(url)) => {
                self.commands.push_back(Command::FetchAccount { key: key.into(), url: format!("{url}{key}") });
                Source::Later
            }
            Some(Resolver::Full(_) | Resolver::Cache(_)) => match &mut operators.store {
                Some(store) if store.knows(key) => {
                    let command = store.load(key, super::resolver::Purpose::Login);
                    match command {
                        Some(command) => {
                            self.commands.push_back(command);
                            Source::Later
                        }
                        None => Source::None(Refusal::Resolver),
                    }
                }
                _ => Source::None(Refusal::NoAccount),
            },
        }
    }

    /// Nothing more is read from a connection until its account is there.
    fn wait(&mut self, slot: u32, key: Box<str>, waiting: Waiting) {
        let Some(operators) = &mut self.operators else { return };
        let conn = &mut self.conns[slot as usize];
        let id = conn.core.id;
        conn.deciding = true;
        conn.paused = true;
        conn.waiting = Some(Box::new(waiting));
        operators.waiting.entry(key).or_default().push(id);
        self.commands.push_back(Command::Pause(id));
    }

    /// The answer to [`Command::FetchAccount`]: the account's JWT, or why there is none.
    pub fn account_fetched(&mut self, now: Nanos, key: &str, result: Result<String, String>) {
        self.now = now;
        let taken = match result {
            Ok(text) => self.take_account(key, text.trim()).map(|_| ()),
            Err(why) => {
                warn!("Account {key} could not be fetched: {why}");
                let live = self.operators.as_ref().and_then(|operators| operators.live.get(key));
                match live.is_some_and(|live| live.standing.is_bootstrap()) {
                    true => Ok(()),
                    false => Err(Refusal::NoAccount),
                }
            }
        };
        let ids = self.operators.as_mut().and_then(|operators| operators.waiting.remove(key)).unwrap_or_default();
        for id in ids {
            let Some(conn) = self.find_mut(id) else { continue };
            let (was, waiting) = (std::mem::take(&mut conn.deciding), conn.waiting.take());
            match (waiting, taken) {
                (Some(waiting), Ok(())) if was => self.finish_login(id.slot, &waiting),
                (_, Err(why)) => self.refuse(id, why),
                _ => continue,
            }
            if self.find(id).is_some_and(|conn| conn.deciding) {
                continue;
            }
            self.resume(id);
            self.consume(id, &[]);
            self.hold_back(id);
        }
        self.settle();
    }

    /// The account of a login is there: does it take the user?
    fn finish_login(&mut self, slot: u32, waiting: &Waiting) {
        let now = self.wall_now();
        let core = &self.conns[slot as usize].core;
        let (id, source) = (core.id, core.remote.ip());
        let nonce = nkey::nonce_text(core.nonce);
        let connection = self.conns[slot as usize].peer.connection();
        let Some(operators) = &self.operators else { return };
        let user = &waiting.user;
        let Some(live) = operators.standing(trust::account_of(user), now) else {
            return self.refuse(id, Refusal::AccountTime);
        };
        let signature = waiting.connect.sig.as_deref().unwrap_or_default();
        let vouched = waiting.vouched.is_some();
        let attempt = Attempt { signature, nonce: &nonce, connection, source, now, vouched };
        let granted = match operators.trust.admit(user, &live.standing, &attempt, &*self.zones) {
            Ok(granted) => granted,
            Err(why) => return self.refuse(id, why),
        };
        let outside = &live.standing.authorization;
        if !vouched && !outside.auth_users.is_empty() && !outside.auth_users.contains(&user.subject) {
            let (service, key) = (live.id, outside.xkey.clone());
            return self.ask_of_account(slot, waiting, service, &key);
        }
        let credential = Credential {
            account: live.id,
            signer: (user.issuer != live.standing.key).then(|| user.issuer.clone()),
            issued_at: user.issued_at,
            expires: user.expires,
            is_bearer: granted.is_bearer,
            by_default: granted.by_default,
            max_payload: granted.max_payload,
            max_subscriptions: granted.max_subscriptions,
            name: waiting.vouched.as_ref().map_or(&user.name, |vouched| &vouched.tag).clone(),
            tags: user.body.tags.clone(),
        };
        let name = waiting.vouched.as_ref().map_or(&user.subject, |vouched| &vouched.name);
        let identity = Identity::by_token(name, granted.permissions, granted.connections, credential);
        let stay = granted.stay;
        self.admit(slot, Rc::new(identity));
        self.expire_after(id, stay);
    }

    /// Takes an account's JWT over, for new logins and for those who are in.
    ///
    /// # Errors
    /// When it is not trusted, not valid now, or not this account's; everything then stays as it was.
    pub(super) fn take_account(&mut self, key: &str, text: &str) -> Result<AccountId, Refusal> {
        let now = self.wall_now();
        let operators = self.operators.as_ref().ok_or(Refusal::NoAccount)?;
        if let Some(live) = operators.live.get(key).filter(|live| live.standing.is_from(text)) {
            return if live.standing.is_expired(now) { Err(Refusal::AccountTime) } else { Ok(live.id) };
        }
        let token = operators.trust.read_account(key, text, now)?;
        let standing = operators.trust.standing(&token, text);
        if standing.is_expired(now) {
            return Err(Refusal::AccountTime);
        }
        self.raise(standing)
    }

    /// Makes an account as its standing says, or changes it.
    fn raise(&mut self, standing: Standing) -> Result<AccountId, Refusal> {
        let is_system = self.config.system_account.as_deref() == Some(&standing.key);
        let operators = self.operators.as_mut().ok_or(Refusal::NoAccount)?;
        let key = standing.key.clone();
        let id = match operators.live.get(&key) {
            Some(live) => live.id,
            None => self.accounts.adopt(&key).ok_or(Refusal::Accounts)?,
        };
        let account = self.accounts.get_mut(id);
        account.is_system = is_system;
        account.limits = standing.limits.clone();
        account.trace = standing.trace.clone().map(Box::new);
        account.is_callout = !standing.authorization.auth_users.is_empty();
        account.mappings = Mappings::compile(&standing.mappings, None).unwrap_or_else(|(at, why)| {
            error!("Mapping \"{}\" of account {key} is left out with the others: {why}", standing.mappings[at].source);
            Mappings::default()
        });
        if standing.expires > 0 {
            operators.expiries.insert((standing.expires, key.clone()));
        }
        debug!("Account {key} ({}) is as its JWT says", standing.name);
        let old = operators.live.insert(key.clone(), Live { id, standing });
        if let Some(old) = old {
            if old.standing.expires > 0 {
                let again = operators.live.get(&key).is_some_and(|live| live.standing.expires == old.standing.expires);
                if !again {
                    operators.expiries.remove(&(old.standing.expires, key.clone()));
                }
            }
            self.judge(&key, &old.standing);
        }
        self.share(&key);
        Ok(id)
    }

    /// All connections of an account, the oldest first.
    fn members(&self, id: AccountId) -> Vec<ConnId> {
        let all = self.conns.iter().map(|(_, conn)| &conn.core);
        let mut ids: Vec<ConnId> = all.filter(|core| core.account == Some(id)).map(|core| core.id).collect();
        ids.sort_unstable_by_key(|id| id.cid);
        ids
    }

    /// An account has changed: who may stay, and what may it do now?
    fn judge(&mut self, key: &str, old: &Standing) {
        let Some(id) = self.operators.as_ref().and_then(|operators| Some(operators.live.get(key)?.id)) else { return };
        let max = self.accounts.get(id).limits.max_connections.unwrap_or(u32::MAX) as usize;
        for (count, member) in self.members(id).into_iter().enumerate() {
            if count >= max {
                self.close(member, CloseReason::MaxAccountConnections);
                continue;
            }
            self.judge_one(key, old, member);
        }
        self.settle();
    }

    fn judge_one(&mut self, key: &str, old: &Standing, id: ConnId) {
        let Some(identity) = self.find(id).and_then(|conn| conn.peer.identity()) else { return };
        let Some(credential) = &identity.credential else { return };
        let Some(live) = self.operators.as_ref().and_then(|operators| operators.live.get(key)) else { return };
        let new = &live.standing;
        if credential.is_bearer && !new.allows_bearer() {
            return self.close(id, CloseReason::AuthenticationViolation);
        }
        if new.revokes(&identity.name, credential.issued_at) {
            return self.close(id, CloseReason::Revoked);
        }
        if credential.signer.as_deref().is_some_and(|signer| !new.same_signer(old, signer)) {
            return self.close(id, CloseReason::SignerChanged);
        }
        let identity = if credential.by_default && !new.same_default(old) {
            Rc::new(identity.with_permissions(new.default_permissions()))
        } else {
            identity
        };
        // Also for limits, which the peer derives from the account and its user.
        self.with_peer(id.slot, |peer, cx| {
            peer.rules_changed(cx, identity);
        });
        self.check_subs(id.slot);
        if self.is_over_subscribed(id) {
            self.close(id, CloseReason::MaxSubscriptions);
        }
    }

    /// Whether a connection has as many subscriptions as it may have: nats-server ends it then, when limits change
    /// and when it logs in.
    pub(super) fn is_over_subscribed(&self, id: ConnId) -> bool {
        let Some(conn) = self.find(id) else { return false };
        let Some(account) = conn.core.account else { return false };
        let own = conn.peer.identity().and_then(|identity| identity.credential.as_ref()?.max_subscriptions);
        let most = own.into_iter().chain(self.accounts.get(account).limits.max_subscriptions).min();
        most.is_some_and(|most| conn.core.subs >= most as usize)
    }

    /// Ends the connections of accounts that have expired.
    pub(super) fn expire_accounts(&mut self) {
        let now = trust::seconds(self.wall_now());
        loop {
            let Some(operators) = &mut self.operators else { return };
            match operators.expiries.first() {
                Some((second, _)) if *second <= now => {}
                _ => return,
            }
            let Some((second, key)) = operators.expiries.pop_first() else { return };
            let Some(live) = operators.live.get(&key).filter(|live| live.standing.expires == second) else { continue };
            let id = live.id;
            warn!("Account {key} has expired");
            for member in self.members(id) {
                self.close(member, CloseReason::AccountExpired);
            }
        }
    }

    /// An account is no more: nobody stays, for this `reason`, and nobody comes in.
    pub(super) fn drop_account(&mut self, key: &str, reason: CloseReason) {
        let Some(operators) = &mut self.operators else { return };
        let Some(live) = operators.live.remove(key) else { return };
        if live.standing.expires > 0 {
            operators.expiries.remove(&(live.standing.expires, key.into()));
        }
        let none = Some(0);
        self.accounts.get_mut(live.id).limits =
            AccountLimits { max_connections: none, max_subscriptions: none, max_payload: Some(0), max_leafnodes: none };
        for member in self.members(live.id) {
            self.close(member, reason);
        }
        self.settle();
        self.unshare(key, live.id);
    }

    /// After a reload: whom the operators trust, and with `resolver: MEMORY` the accounts, which may have other JWTs
    /// now, or none.
    pub(super) fn reread_accounts(&mut self) {
        let (Some(operators), Some(operator)) = (&mut self.operators, &self.config.operator) else { return };
        operators.trust = Trust::new(operator, self.config.system_account.as_deref());
        if !operators_memory(&self.config) {
            return;
        }
        let keys: Vec<Box<str>> = operators.live.keys().cloned().collect();
        for key in keys {
            let text = self.config.operator.as_ref().and_then(|operator| operator.preload.get(&*key)).cloned();
            let taken = text.map_or(Err(Refusal::NoAccount), |text| self.take_account(&key, &text));
            if let Err(why) = taken {
                warn!("Account {key} is gone: {why}");
                self.drop_account(&key, CloseReason::AuthenticationViolation);
            }
        }
    }
}

fn operators_memory(config: &Config) -> bool {
    let resolver = config.operator.as_ref().and_then(|operator| operator.resolver.as_ref());
    matches!(resolver, None | Some(Resolver::Memory))
}

/// The key that may sign for the first operator.
fn operators_issuer(config: &Config) -> Option<Box<str>> {
    let first = config.operator.as_ref()?.operators.first()?;
    let strict = first.body.strict_signing_key_usage;
    if strict { first.body.signing_keys.first().cloned() } else { Some(first.subject.clone()) }
}

#[cfg(test)]
mod tests;
