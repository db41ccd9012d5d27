//! Logins that a service decides about: the question goes out as a message, and the connection is not read until the
//! answer is there. If none comes, the time to log in ends it.

use std::rc::Rc;

use super::conn::Timer;
use super::operator::{Vouched, Waiting};
use super::system::Service;
use super::{CloseReason, Command, ConnId, Node};
use crate::account::AccountId;
use crate::auth::callout::{
    Answer, CalloutError, ClientInfo, ClientTls, ConnectOptions, Expected, KEY_HEADER, Question, SUBJECT, Server,
    ServerKeys,
};
use crate::auth::directory::{Connection, Credential, Identity};
use crate::auth::jwt::hours::{self, Stay};
use crate::auth::nkey::{self, PublicKey};
use crate::auth::permissions::Compiled;
use crate::auth::trust;
use crate::config::Callout;
use crate::interest::SubId;
use crate::message::Message;
use crate::wire::Connect;

/// A login that the service was asked about.
pub(crate) struct Asked {
    /// Where the answer comes.
    inbox: SubId,
    /// Where the service is.
    service: AccountId,
    /// The key that the answer must be for.
    user: Box<str>,
    /// What it is called unless the service says otherwise.
    name: Box<str>,
    /// What its own JWT calls it.
    tag: Box<str>,
}

/// Who is asked about whom.
struct Ask<'a> {
    service: AccountId,
    /// The service's key, if it has one.
    key: Option<PublicKey>,
    /// Whom the question is for.
    subject: &'a str,
    /// Who it is so far.
    user: &'a str,
    name_tag: &'a str,
    tags: &'a [Box<str>],
}

impl Node {
    /// Gives the server its private keys: without them it cannot ask a service about logins.
    pub fn hold_keys(&mut self, keys: ServerKeys) {
        self.facts.info.xkey = Some(keys.curve());
        self.keys = Some(Box::new(keys));
    }

    /// Whether the service of the configuration decides about this CONNECT.
    pub(super) fn asks_about(&self, connect: &Connect) -> bool {
        let callout = self.config.auth.callout.as_ref();
        callout.is_some_and(|callout| !callout.users.iter().any(|user| user == connect.shown_name()))
    }

    /// Whether the service also decides about those who the configuration says are this one.
    pub(super) fn is_delegated(&self, identity: &Identity) -> bool {
        let Some(callout) = &self.config.auth.callout else { return false };
        let name = &self.config.accounts[identity.account].name;
        callout.allowed_accounts.is_empty() || identity.account == 0 || callout.allowed_accounts.contains(name)
    }

    /// CONNECT as it counts: whoever brings nothing is the `no_auth_user`.
    pub(super) fn complete(&self, connect: &mut Connect) {
        let auth = &self.config.auth;
        let Some(name) = auth.no_auth_user.as_ref().filter(|_| connect.shown_name().is_empty()) else { return };
        match auth.users.iter().find(|user| user.name == *name) {
            Some(user) => {
                connect.user = Some(name.clone());
                connect.pass = Some(user.password.expose().to_owned());
            }
            None => connect.nkey = Some(name.clone()),
        }
    }

    /// Asks the service of the configuration.
    pub(super) fn ask_configured(&mut self, slot: u32, connect: &Connect) {
        let id = self.conns[slot as usize].core.id;
        let Some(Callout { account, issuer, xkey, .. }) = self.config.auth.callout.clone() else { return };
        let Some(service) = self.accounts.find(&account) else { return self.refuse(id, CalloutError::NoService) };
        let key = xkey.and_then(|key| PublicKey::parse(&key).ok());
        let (user, tags) = (connect.shown_name(), &[][..]);
        self.ask(slot, connect, &Ask { service, key, subject: &issuer, user, name_tag: "", tags });
    }

    /// Asks the service that an account names for its users.
    pub(super) fn ask_of_account(&mut self, slot: u32, waiting: &Waiting, service: AccountId, xkey: &str) {
        let key = PublicKey::parse(xkey).ok();
        let subject = self.accounts.get(service).name.clone();
        let named = [&waiting.connect.nkey, &waiting.connect.user].iter().any(|name| name.is_some());
        let user = if named { waiting.connect.shown_name() } else { &waiting.user.subject };
        let tags = &waiting.user.body.tags;
        let ask = Ask { service, key, subject: &subject, user, name_tag: &waiting.user.name, tags };
        self.ask(slot, &waiting.connect, &ask);
    }

    fn ask(&mut self, slot: u32, connect: &Connect, ask: &Ask<'_>) {
        let id = self.conns[slot as usize].core.id;
        let Some(mut keys) = self.keys.take() else { return self.refuse(id, CalloutError::NoKeys) };
        let user = keys.user();
        let question = self.question(slot, connect, ask, &user);
        let body = keys.ask(&question, ask.key.as_ref());
        let reply = format!("$SYS._INBOX.{}", keys.token());
        self.keys = Some(keys);
        let inbox = self.offer(ask.service, 0, &reply, Service::Callout(id));
        let conn = &mut self.conns[slot as usize];
        conn.deciding = true;
        conn.paused = true;
        conn.asked = Some(Box::new(Asked {
            inbox,
            service: ask.service,
            user: user.into(),
            name: ask.user.into(),
            tag: ask.name_tag.into(),
        }));
        conn.timers.set(Timer::Login, self.now.saturating_add(self.facts.login_within));
        self.arm(slot);
        self.commands.push_back(Command::Pause(id));
        let header = match (&ask.key, &self.facts.info.xkey) {
            (Some(_), Some(own)) => format!("NATS/1.0\r\n{KEY_HEADER}: {own}\r\n\r\n").into_bytes(),
            _ => Vec::new(),
        };
        let (header_len, body) = (header.len(), [header, body].concat());
        let message = Message { subject: SUBJECT, reply: reply.as_bytes(), header_len, body: &body, framed: b"" };
        self.publish_as_server(ask.service, &message);
    }

    /// The question about a connection.
    fn question<'a>(&'a self, slot: u32, connect: &'a Connect, ask: &Ask<'a>, user: &'a str) -> Question<'a> {
        let conn = &self.conns[slot as usize];
        let (info, now) = (&self.facts.info, trust::seconds(self.wall_now()));
        let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
        let (kind, protocol) = crate::monitor::kind(conn.peer.kind());
        let signed = !text(&connect.sig).is_empty();
        Question {
            server_id: Server {
                name: &info.server_name,
                host: &info.host,
                id: &self.identity.server_id,
                version: crate::PROTOCOL_VERSION,
                tags: &self.config.tags,
                xkey: info.xkey.as_deref().filter(|_| ask.key.is_some()),
            },
            user_nkey: user,
            client_info: ClientInfo {
                host: conn.core.remote.ip().to_canonical().to_string(),
                id: conn.core.id.cid(),
                user: ask.user,
                name: text(&connect.name),
                tags: ask.tags,
                name_tag: ask.name_tag,
                kind,
                r#type: protocol,
                nonce: signed.then(|| nkey::nonce_text(conn.core.nonce)),
            },
            connect_opts: ConnectOptions {
                jwt: text(&connect.jwt),
                nkey: text(&connect.nkey),
                sig: text(&connect.sig),
                auth_token: text(&connect.auth_token),
                user: text(&connect.user),
                pass: text(&connect.pass),
                name: text(&connect.name),
                lang: text(&connect.lang),
                version: text(&connect.version),
                protocol: connect.protocol,
            },
            client_tls: conn.tls.as_deref().map(|tls| ClientTls {
                version: tls.version,
                cipher: tls.cipher_suite,
                certs: Vec::new(),
                verified_chains: Vec::new(),
            }),
            r#type: "authorization_request",
            version: 2,
            subject: ask.subject,
            now,
            expires: now + i64::try_from(self.facts.login_within / super::SECOND).unwrap_or(i64::MAX - now),
        }
    }

    /// The time to log in is over. Whoever did its part is not told that it was slow.
    pub(super) fn login_is_late(&mut self, id: ConnId) {
        let Some(conn) = self.find(id) else { return };
        match conn.asked.as_ref().map(|asked| asked.service) {
            Some(service) => self.refuse_for(id, service, CalloutError::Late),
            None if conn.core.dialled => self.close(id, CloseReason::HandshakeTimeout),
            None => self.close(id, CloseReason::AuthenticationTimeout),
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn forget_question(&mut self, asked: &Asked) {
        self.withdraw(asked.inbox);
    }

    /// The service has answered.
    pub(super) fn called_back(&mut self, id: ConnId, payload: &[u8]) {
        let Some(asked) = self.find_mut(id).and_then(|conn| conn.asked.take()) else { return };
        self.withdraw(asked.inbox);
        let answer = self.read_answer(&asked, payload);
        let Some(conn) = self.find_mut(id) else { return };
        if conn.closing.is_some() || !std::mem::take(&mut conn.deciding) {
            return;
        }
        let placed = answer.and_then(|answer| match self.is_in_operator_mode() {
            true => self.place_by_token(id, &asked, answer),
            false => self.place(id, &asked, answer),
        });
        if let Err(why) = placed {
            self.refuse_for(id, asked.service, why);
        }
        if self.find(id).is_some_and(|conn| !conn.deciding) {
            self.resume(id);
            self.consume(id, &[]);
            self.hold_back(id);
        }
    }

    fn read_answer(&self, asked: &Asked, payload: &[u8]) -> Result<Answer, CalloutError> {
        let keys = self.keys.as_ref().ok_or(CalloutError::NoKeys)?;
        let name = &self.accounts.get(asked.service).name;
        let live = self.live(name);
        let xkey = match &live {
            Some(live) => Some(&*live.standing.authorization.xkey),
            None => self.config.auth.callout.as_ref().and_then(|callout| callout.xkey.as_deref()),
        };
        let service = xkey.and_then(|key| PublicKey::parse(key).ok());
        let signs = |key: &str| *key == **name || live.is_some_and(|live| live.standing.is_signer(key));
        let expected = Expected {
            user: &asked.user,
            server: &self.identity.server_id,
            service: service.as_ref(),
            signs: live.is_some().then_some(&signs as &dyn Fn(&str) -> bool),
            now: self.wall_now(),
        };
        keys.read(payload, &expected, &*self.zones)
    }

    /// Puts a user into the account that its JWT is for.
    fn place(&mut self, id: ConnId, asked: &Asked, answer: Answer) -> Result<(), CalloutError> {
        let user = answer.user;
        let issuer = self.config.auth.callout.as_ref().map(|callout| &*callout.issuer);
        if !user.body.issuer_account.is_empty() || issuer != Some(&*user.issuer) {
            return Err(CalloutError::Issuer);
        }
        let account = self.accounts.find(&user.audience).ok_or(CalloutError::NoAccount)?;
        let rights = &user.body.rights;
        let named = &rights.allowed_connection_types;
        let connections: Vec<Connection> = named.iter().filter_map(|name| Connection::parse(name)).collect();
        let here = self.find(id).map(|conn| conn.peer.connection());
        if !named.is_empty() && !here.is_some_and(|here| connections.contains(&here)) {
            return Err(CalloutError::Connection);
        }
        let now = self.wall_now();
        let zone = if rights.times.is_empty() { None } else { (self.zones)(&rights.times_location) };
        let stay = match hours::stay(&rights.times, zone.as_ref(), now) {
            Stay::No => return Err(CalloutError::Hours),
            Stay::Unlimited => None,
            Stay::For(nanos) => Some(nanos),
        };
        let stay = stay.into_iter().chain(trust::until(user.expires, now)).min();
        let permissions = trust::permissions(&rights.permissions).map(|own| Rc::new(Compiled::new(&own)));
        let credential = Credential {
            account,
            signer: Some(user.issuer.clone()),
            issued_at: user.issued_at,
            expires: user.expires,
            is_bearer: false,
            by_default: false,
            max_payload: None,
            max_subscriptions: None,
            name: Box::default(),
            tags: user.body.tags.clone(),
        };
        let name = if user.name.is_empty() { &asked.name } else { &user.name };
        self.admit(id.slot, Rc::new(Identity::by_token(name, permissions, connections, credential)));
        self.expire_after(id, stay);
        Ok(())
    }

    /// The same in operator mode: the account's JWT may have to be fetched first.
    fn place_by_token(&mut self, id: ConnId, asked: &Asked, answer: Answer) -> Result<(), CalloutError> {
        let user = answer.user;
        let key: Box<str> = trust::account_of(&user).into();
        let service = &self.accounts.get(asked.service).name;
        let allowed = self.live(service).is_some_and(|live| {
            let accounts = &live.standing.authorization.allowed_accounts;
            *key == **service || accounts.iter().any(|account| **account == *key || **account == *"*")
        });
        if !allowed {
            return Err(CalloutError::Issuer);
        }
        let name = if user.name.is_empty() { asked.name.clone() } else { user.name.clone() };
        let connect = Box::default();
        let vouched = Some(Vouched { name, tag: asked.tag.clone() });
        self.log_in_to(id.slot, key, Waiting { user, connect, vouched });
        Ok(())
    }
}
