//! The directory resolver: which accounts are in the directory, and the requests in the system account that
//! read and change it (`$SYS.REQ.CLAIMS.*`, `$SYS.REQ.ACCOUNT.*.CLAIMS.*`; nats-server: `dirstore.go`).
//!
//! What is where is known here; the files themselves are the shell's, asked by [`Command::Store`].

use std::collections::BTreeMap;
use tracing::{debug, error, warn};

use sha2::{Digest, Sha256};

use super::{CloseReason, Command, Nanos, Node};
use crate::auth::jwt::claims::Generic;
use crate::auth::jwt::issues::{self, is_key};
use crate::auth::jwt::{Account, Token, decode};
use crate::auth::nkey::Kind;
use crate::config::{Delete, ResolverDir};
use crate::message::Message;

/// Files that are waited for at the same time; further requests get no answer, as if they were lost.
const PENDING_MAX: usize = 1024;

const SECOND: i128 = 1_000_000_000;
/// How long an expired account stays in the directory at most.
const SWEEP_WITHIN: i128 = 60 * SECOND;

/// Something to do with a file.
#[derive(Debug)]
pub enum StoreOp {
    /// Read the account's file.
    Load(Box<str>),
    /// Write the account's file.
    Save(Box<str>, String),
    /// Remove the account's file; keep it under another name if `keep`.
    Delete {
        /// The account.
        key: Box<str>,
        /// Rename it only.
        keep: bool,
    },
    /// Read all files of these accounts.
    LoadAll(Vec<Box<str>>),
}

/// What came of a [`StoreOp`].
#[derive(Debug)]
pub enum StoreAnswer {
    /// Of `Load`.
    Text(Result<String, String>),
    /// Of `Save` and `Delete`.
    Done(Result<(), String>),
    /// Of `LoadAll`: those that could be read.
    All(Vec<(Box<str>, String)>),
}

/// Why a file is read or written.
pub(super) enum Purpose {
    /// Somebody logs in.
    Login,
    /// Somebody asks for the account.
    Lookup { reply: Box<[u8]> },
    /// Somebody brings a new JWT.
    Update { reply: Box<[u8]>, text: String },
    /// Another server wants all.
    Pack { reply: Box<[u8]> },
    /// It was deleted, expired, or left out of a cache.
    Gone,
    /// It was in the configuration.
    Preload,
}

struct Pending {
    key: Box<str>,
    purpose: Purpose,
}

struct Entry {
    hash: [u8; 32],
    /// When it goes, nanoseconds since 1970.
    expires: Option<i128>,
    issued_at: i64,
    id: Box<str>,
    /// Counts up with each use.
    used: u64,
}

/// The accounts of a directory.
pub(super) struct Store {
    dir: ResolverDir,
    /// Holds what is in use, forgets the rest.
    pub(super) is_cache: bool,
    index: BTreeMap<Box<str>, Entry>,
    pending: BTreeMap<u64, Pending>,
    next_ticket: u64,
    uses: u64,
    next_sweep: Option<i128>,
}

impl Store {
    pub(super) fn new(dir: ResolverDir, is_cache: bool) -> Self {
        Self {
            dir,
            is_cache,
            index: BTreeMap::new(),
            pending: BTreeMap::new(),
            next_ticket: 0,
            uses: 0,
            next_sweep: None,
        }
    }

    pub(super) fn knows(&self, key: &str) -> bool {
        self.index.contains_key(key)
    }

    /// When the next account may have to go.
    pub(super) fn due(&self) -> Option<i128> {
        self.next_sweep
    }

    /// What all accounts together are: servers that differ in it differ in an account.
    fn hash(&self) -> [u8; 32] {
        let mut all = [0; 32];
        for entry in self.index.values() {
            all.iter_mut().zip(entry.hash).for_each(|(all, byte)| *all ^= byte);
        }
        all
    }

    fn ask(&mut self, key: &str, purpose: Purpose, op: StoreOp) -> Option<Command> {
        if self.pending.len() >= PENDING_MAX {
            warn!("More than {PENDING_MAX} accounts are being read or written");
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.pending.insert(ticket, Pending { key: key.into(), purpose });
        Some(Command::Store { ticket, op })
    }

    pub(super) fn load(&mut self, key: &str, purpose: Purpose) -> Option<Command> {
        self.uses += 1;
        if let Some(entry) = self.index.get_mut(key) {
            entry.used = self.uses;
        }
        self.ask(key, purpose, StoreOp::Load(key.into()))
    }

    /// Takes note of an account's JWT as it is in its file.
    fn track(&mut self, key: &str, text: &str, now: i128) {
        self.uses += 1;
        let token = decode::<Account>(text).ok();
        let by_claims = token.as_ref().map(|token| token.expires).filter(|&second| second > 0);
        let expires = match self.dir.ttl {
            Some(ttl) => Some(now + ttl.as_nanos() as i128),
            None => by_claims.map(|second| i128::from(second) * SECOND),
        };
        let entry = Entry {
            hash: Sha256::digest(text).into(),
            expires,
            issued_at: token.as_ref().map_or(0, |token| token.issued_at),
            id: token.map(|token| token.id).unwrap_or_default(),
            used: self.uses,
        };
        self.index.insert(key.into(), entry);
        if let Some(expires) = expires {
            let sweep = expires.max(now + SECOND).min(now + SWEEP_WITHIN);
            self.next_sweep = Some(self.next_sweep.map_or(sweep, |next| next.min(sweep)));
        }
    }

    /// Makes room for one more account; the command, if any, removes the one that was not used for longest.
    fn make_room(&mut self, key: &str) -> Result<Option<Command>, &'static str> {
        let full = self.dir.limit.is_some_and(|limit| self.index.len() >= limit);
        if !full || self.knows(key) {
            return Ok(None);
        }
        if !self.is_cache {
            return Err("jwt store is full");
        }
        let oldest = self.index.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone());
        let Some(oldest) = oldest else { return Ok(None) };
        self.index.remove(&oldest);
        Ok(self.ask(&oldest, Purpose::Gone, StoreOp::Delete { key: oldest.clone(), keep: false }))
    }

    /// Commands that remove what has expired.
    fn sweep(&mut self, now: i128) -> Vec<Command> {
        if self.next_sweep.is_none_or(|next| next > now) {
            return Vec::new();
        }
        let gone = |entry: &Entry| entry.expires.is_some_and(|expires| expires <= now);
        let keys: Vec<Box<str>> =
            self.index.iter().filter(|(_, entry)| gone(entry)).map(|(key, _)| key.clone()).collect();
        let mut commands = Vec::new();
        for key in keys {
            self.index.remove(&key);
            commands.extend(self.ask(&key, Purpose::Gone, StoreOp::Delete { key: key.clone(), keep: false }));
        }
        let next = self.index.values().filter_map(|entry| entry.expires).min();
        self.next_sweep = next.map(|next| next.max(now + SECOND).min(now + SWEEP_WITHIN));
        commands
    }
}

/// A request in the system account that is about accounts.
enum Request<'a> {
    /// A new JWT, for the account of this key if one is named.
    Update(Option<&'a str>),
    Lookup(&'a str),
    List,
    Delete,
    Pack,
}

impl<'a> Request<'a> {
    fn read(subject: &'a [u8]) -> Option<Self> {
        let subject = std::str::from_utf8(subject).ok()?;
        if let Some(verb) = subject.strip_prefix("$SYS.REQ.CLAIMS.") {
            return match verb {
                "UPDATE" => Some(Self::Update(None)),
                "LIST" => Some(Self::List),
                "DELETE" => Some(Self::Delete),
                "PACK" => Some(Self::Pack),
                _ => None,
            };
        }
        let rest = subject.strip_prefix("$SYS.REQ.ACCOUNT.").or_else(|| subject.strip_prefix("$SYS.ACCOUNT."))?;
        let (key, verb) = rest.split_once('.')?;
        match verb {
            "CLAIMS.UPDATE" => Some(Self::Update(Some(key))),
            "CLAIMS.LOOKUP" if subject.starts_with("$SYS.REQ.") => Some(Self::Lookup(key)),
            _ => None,
        }
    }
}

/// What the answers to updates say, by the kind of directory.
struct Words {
    failed: &'static str,
    invalid: &'static str,
    done: &'static str,
    /// A JWT that cannot be read is told by the account of the request's subject.
    names_nobody: bool,
}

impl Words {
    fn of(store: &Store) -> Self {
        match store.is_cache {
            false => Self {
                failed: "jwt update resulted in error",
                invalid: "jwt validation failed",
                done: "jwt updated",
                names_nobody: false,
            },
            true => Self {
                failed: "jwt update cache resulted in error",
                invalid: "jwt update cache validation failed",
                done: "jwt updated cache",
                names_nobody: true,
            },
        }
    }
}

/// How far an update got.
enum Step {
    /// The answer comes when it is written.
    Writing,
    /// A cache does not hold that account.
    Skipped,
}

/// What came of a request to change accounts.
struct Outcome<'a> {
    account: &'a str,
    message: &'a str,
    error: Option<String>,
}

impl Node {
    /// Takes a message that was published in the system account, if it is a request about accounts.
    pub(super) fn account_request(&mut self, subject: &[u8], reply: &[u8], body: &[u8]) -> bool {
        let Some(request) = Request::read(subject) else { return false };
        let Some(operators) = &mut self.operators else { return false };
        let (stored, cached) = operators.store.as_ref().map_or((false, false), |store| (true, store.is_cache));
        match request {
            Request::Update(key) if stored => self.update_store(key, reply, body),
            Request::Update(Some(key)) => self.update_live(key, reply, body),
            Request::Lookup(key) if stored && !cached => self.look_up(key, reply),
            Request::List if stored => self.list(reply),
            Request::Delete if stored => self.delete(reply, body),
            Request::Pack if stored && !cached => self.pack(reply, body),
            _ => return false,
        }
        true
    }

    /// The files of the directory, as the shell found them at the start or at a reload.
    pub fn store_opened(&mut self, now: Nanos, files: Vec<(Box<str>, String)>) {
        self.now = now;
        let wall = self.wall_now();
        let Some(operators) = &mut self.operators else { return };
        let Some(store) = &mut operators.store else { return };
        let before = std::mem::take(&mut store.index);
        store.next_sweep = None;
        let mut changed = Vec::new();
        for (key, text) in files {
            store.track(&key, &text, wall);
            let differs =
                before.get(&key).is_none_or(|old| store.index.get(&key).is_none_or(|new| new.hash != old.hash));
            if differs && operators.live.contains_key(&key) {
                changed.push((key, text));
            }
        }
        for (key, text) in changed {
            self.announce_account(&key, &text);
        }
        let preload = self.config.operator.as_ref().map(|operator| operator.preload.clone()).unwrap_or_default();
        for (key, text) in preload {
            self.save_if_newer(&key, text);
        }
        self.settle();
    }

    /// The answer to [`Command::Store`].
    pub fn store_answered(&mut self, now: Nanos, ticket: u64, answer: StoreAnswer) {
        self.now = now;
        let store = self.operators.as_mut().and_then(|operators| operators.store.as_mut());
        let Some(Pending { key, purpose }) = store.and_then(|store| store.pending.remove(&ticket)) else { return };
        match (purpose, answer) {
            (Purpose::Login, StoreAnswer::Text(result)) => self.account_fetched(now, &key, result),
            (Purpose::Lookup { reply }, StoreAnswer::Text(result)) => {
                self.tell_resolver(&reply, result.unwrap_or_default().as_bytes());
            }
            (Purpose::Update { reply, text }, StoreAnswer::Done(result)) => self.updated(&key, &reply, &text, result),
            (Purpose::Pack { reply }, StoreAnswer::All(files)) => {
                for (key, text) in files {
                    self.tell_resolver(&reply, format!("{key}|{text}").as_bytes());
                }
                self.tell_resolver(&reply, b"");
            }
            (Purpose::Gone | Purpose::Preload, StoreAnswer::Done(Err(why))) => {
                error!("The file of account {key}: {why}");
            }
            _ => {}
        }
        self.settle();
    }

    /// Removes what has expired.
    pub(super) fn sweep_store(&mut self) {
        let wall = self.wall_now();
        let Some(store) = self.operators.as_mut().and_then(|operators| operators.store.as_mut()) else { return };
        self.commands.extend(store.sweep(wall));
    }

    fn save_if_newer(&mut self, key: &str, text: String) {
        let wall = self.wall_now();
        let Ok(token) = decode::<Account>(&text) else { return };
        if !is_account_key(key) {
            return error!("The preloaded account {key:?} is not stored: invalid public key");
        }
        let Some(store) = self.operators.as_mut().and_then(|operators| operators.store.as_mut()) else { return };
        if store.index.get(key).is_some_and(|old| old.id == token.id || old.issued_at > token.issued_at) {
            return;
        }
        match store.make_room(key) {
            Ok(command) => self.commands.extend(command),
            Err(why) => return error!("The preloaded account {key} is not stored: {why}"),
        }
        store.track(key, &text, wall);
        let command = store.ask(key, Purpose::Preload, StoreOp::Save(key.into(), text.clone()));
        self.commands.extend(command);
        self.announce_account(key, &text);
    }

    /// An account that is in use has a new JWT.
    fn announce_account(&mut self, key: &str, text: &str) {
        let live = self.operators.as_ref().is_some_and(|operators| operators.live.contains_key(key));
        if live && let Err(why) = self.take_account(key, text) {
            error!("The new JWT of account {key} is not taken: {why}");
        }
    }

    /// A new JWT for the directory.
    fn update_store(&mut self, named: Option<&str>, reply: &[u8], body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let Some(words) = self.operators.as_ref().and_then(|operators| operators.store.as_ref()).map(Words::of) else {
            return;
        };
        let token = match decode::<Account>(&text) {
            Ok(token) => token,
            Err(error) => {
                let account = named.filter(|_| words.names_nobody).unwrap_or("n/a");
                let error = Some(error.to_string());
                return self.respond(reply, &Outcome { account, message: words.failed, error });
            }
        };
        let account = &*token.subject;
        let (message, error) = match self.try_update(&token, named, reply, &text, &words) {
            Ok(Step::Writing) => return,
            Ok(Step::Skipped) => ("jwt update cache skipped", None),
            Err((message, why)) => (message, Some(why)),
        };
        let account = if message == words.failed { named.unwrap_or(account) } else { account };
        self.respond(reply, &Outcome { account, message, error });
    }

    /// Begins to write an account's JWT; else says which sort of fault it has, and which.
    fn try_update(
        &mut self,
        token: &Token<Account>,
        named: Option<&str>,
        reply: &[u8],
        text: &str,
        words: &Words,
    ) -> Result<Step, (&'static str, String)> {
        let wall = self.wall_now();
        let strict = self.config.operator.as_ref().and_then(|operator| operator.operators.first());
        let strict = strict.filter(|first| first.body.strict_signing_key_usage).map(|first| &*first.subject);
        if let Some(why) = check(token, named, strict) {
            return Err((words.failed, why.to_owned()));
        }
        let Some(operators) = &mut self.operators else { return Ok(Step::Skipped) };
        let Some(store) = &mut operators.store else { return Ok(Step::Skipped) };
        if store.is_cache && !operators.live.contains_key(&token.subject) {
            return Ok(Step::Skipped);
        }
        let issues = issues::of_account(token);
        if !issues.is_empty() {
            return Err((words.invalid, format!("validation errors: [{}]", issues.join(" "))));
        }
        let room = store.make_room(&token.subject).map_err(|why| (words.failed, why.to_owned()))?;
        store.track(&token.subject, text, wall);
        let purpose = Purpose::Update { reply: reply.into(), text: text.to_owned() };
        let save = store.ask(&token.subject, purpose, StoreOp::Save(token.subject.clone(), text.to_owned()));
        self.commands.extend(room.into_iter().chain(save));
        Ok(Step::Writing)
    }

    /// The new JWT is in its file.
    fn updated(&mut self, key: &str, reply: &[u8], text: &str, result: Result<(), String>) {
        let Some(words) = self.operators.as_ref().and_then(|operators| operators.store.as_ref()).map(Words::of) else {
            return;
        };
        if let Err(why) = result {
            return self.respond(reply, &Outcome { account: key, message: words.failed, error: Some(why) });
        }
        self.announce_account(key, text);
        self.respond(reply, &Outcome { account: key, message: words.done, error: None });
    }

    /// A new JWT where nothing is stored: for an account that is in use.
    fn update_live(&mut self, key: &str, reply: &[u8], body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let mut outcome = Outcome { account: key, message: "jwt update resulted in error", error: None };
        let live = self.operators.as_ref().is_some_and(|operators| operators.live.contains_key(key));
        match decode::<Account>(&text) {
            _ if body.is_empty() => {
                outcome.message = "jwt update error";
                outcome.error = Some("request body is empty".to_owned());
            }
            Err(error) => outcome.error = Some(error.to_string()),
            Ok(token) if &*token.subject != key => {
                outcome.error = Some("subject does not match jwt content".to_owned());
            }
            Ok(_) if !live => outcome.message = "jwt update skipped",
            Ok(_) => match self.take_account(key, &text) {
                Ok(_) => outcome.message = "jwt updated",
                Err(_) => outcome.error = Some("account validation failed".to_owned()),
            },
        }
        self.respond(reply, &outcome);
    }

    fn look_up(&mut self, key: &str, reply: &[u8]) {
        if reply.is_empty() {
            return;
        }
        let Some(store) = self.operators.as_mut().and_then(|operators| operators.store.as_mut()) else { return };
        if !store.knows(key) {
            return self.tell_resolver(reply, b"");
        }
        let command = store.load(key, Purpose::Lookup { reply: reply.into() });
        self.commands.extend(command);
    }

    fn list(&mut self, reply: &[u8]) {
        let Some(store) = self.operators.as_ref().and_then(|operators| operators.store.as_ref()) else { return };
        let keys: Vec<&str> = store.index.keys().map(|key| &**key).collect();
        let data = serde_json::json!(keys).to_string();
        self.respond_with(reply, "data", &data);
    }

    fn pack(&mut self, reply: &[u8], theirs: &[u8]) {
        if reply.is_empty() {
            return;
        }
        let Some(store) = self.operators.as_mut().and_then(|operators| operators.store.as_mut()) else { return };
        if store.hash() == theirs {
            return self.tell_resolver(reply, b"");
        }
        let keys: Vec<Box<str>> = store.index.keys().cloned().collect();
        let command = store.ask("", Purpose::Pack { reply: reply.into() }, StoreOp::LoadAll(keys));
        self.commands.extend(command);
    }

    fn delete(&mut self, reply: &[u8], body: &[u8]) {
        let text = String::from_utf8_lossy(body);
        let (subject, accounts) = match self.deletion(&text) {
            Ok(accounts) => (String::new(), Ok(accounts)),
            Err((subject, why)) => (subject, Err(why)),
        };
        let accounts = match accounts {
            Ok(accounts) => accounts,
            Err(why) => {
                let message = format!("delete accounts request by {subject} failed");
                return self.respond(reply, &Outcome { account: "", message: &message, error: Some(why) });
            }
        };
        for key in &accounts {
            let Some(store) = self.operators.as_mut().and_then(|operators| operators.store.as_mut()) else { return };
            if store.index.remove(key).is_some() {
                let keep = store.dir.delete == Delete::Renames;
                let command = store.ask(key, Purpose::Gone, StoreOp::Delete { key: key.clone(), keep });
                self.commands.extend(command);
                self.drop_account(key, CloseReason::AccountExpired);
            }
        }
        let message = format!("deleted {} accounts", accounts.len());
        self.respond(reply, &Outcome { account: "", message: &message, error: None });
    }

    /// The accounts that a request to delete them names; else who asked and why not.
    fn deletion(&self, text: &str) -> Result<Vec<Box<str>>, (String, String)> {
        let token: Token<Generic> = decode(text).map_err(|error| (String::new(), error.to_string()))?;
        let refused = |why: &str| Err((token.subject.to_string(), why.to_owned()));
        let store = self.operators.as_ref().and_then(|operators| operators.store.as_ref());
        if store.is_none_or(|store| store.dir.delete == Delete::Refused) {
            return refused("delete must be enabled in server config");
        }
        if token.subject != token.issuer {
            return refused("not self signed");
        }
        let first = self.config.operator.as_ref().and_then(|operator| operator.operators.first());
        let trusted = first.is_some_and(|first| {
            (first.subject == token.issuer && !first.body.strict_signing_key_usage)
                || first.body.signing_keys.contains(&token.issuer)
        });
        if !trusted {
            return refused("not trusted");
        }
        let Some(accounts) = token.body.accounts.clone() else { return refused("malformed request") };
        if accounts.iter().any(|key| !is_account_key(key)) {
            return refused("malformed request");
        }
        if accounts.iter().any(|key| Some(&**key) == self.config.system_account.as_deref()) {
            return refused("not allowed to delete system account");
        }
        Ok(accounts)
    }

    fn respond(&mut self, reply: &[u8], outcome: &Outcome<'_>) {
        let Outcome { account, message, error } = outcome;
        let (part, code) = if error.is_some() { ("error", 500) } else { ("data", 200) };
        let mut status = serde_json::json!({ "code": code });
        if !account.is_empty() {
            status["account"] = (*account).into();
        }
        match error {
            None => {
                debug!("{message} {account}");
                status["message"] = (*message).into();
            }
            Some(why) => {
                error!("{message} - {account} - {why}");
                status["description"] = format!("{message} - {why}").into();
            }
        }
        self.respond_with(reply, part, &status.to_string());
    }

    fn respond_with(&mut self, reply: &[u8], part: &str, content: &str) {
        let server = crate::monitor::events::server(self, self.system.sequence + 1);
        self.system.sequence += 1;
        let server = String::from_utf8_lossy(&server);
        self.tell_resolver(reply, format!("{{\"server\":{server},\"{part}\":{content}}}").as_bytes());
    }

    /// Publishes in the system account, as the server itself.
    fn tell_resolver(&mut self, subject: &[u8], body: &[u8]) {
        let Some(id) = self.system.account else { return };
        self.publish_as_server(id, &Message { subject, reply: b"", header_len: 0, body, framed: b"" });
    }

    /// Subjects that [`Self::account_request`] answers, by what the resolver can do.
    pub(super) fn claims_subjects(&self) -> Vec<&'static str> {
        let Some(operators) = &self.operators else { return Vec::new() };
        let mut subjects = vec!["$SYS.REQ.ACCOUNT.*.CLAIMS.UPDATE", "$SYS.ACCOUNT.*.CLAIMS.UPDATE"];
        if let Some(store) = &operators.store {
            subjects.extend(["$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.CLAIMS.DELETE"]);
            if !store.is_cache {
                subjects.extend(["$SYS.REQ.CLAIMS.PACK", "$SYS.REQ.ACCOUNT.*.CLAIMS.LOOKUP"]);
            }
        }
        subjects
    }
}

fn is_account_key(text: &str) -> bool {
    is_key(text, Kind::Account)
}

/// Why a JWT is not taken for the account `named`.
fn check(token: &Token<Account>, named: Option<&str>, strict: Option<&str>) -> Option<&'static str> {
    if named.is_some_and(|named| *named != *token.subject) {
        return Some("subject does not match jwt content");
    }
    if strict == Some(&*token.issuer) {
        return Some("operator requires issuer to be a signing key");
    }
    // It becomes the name of a file.
    (!is_account_key(&token.subject)).then_some("invalid public key")
}
