//! A client of this server: the session behind a connection that speaks the NATS client protocol.
//!
//! Which rule comes before which is nats-server's order (`server/client.go`); the captures `client-*`
//! show it on the wire.

use std::rc::Rc;
use std::time::Duration;
use tracing::error;

mod trace;

use crate::auth::callout;
use crate::auth::directory::{Connection, Credential, Identity};
use crate::auth::nkey;
use crate::auth::permissions::{Session, SubscribeDecision};
use crate::message::{Message, trace as trace_headers};
use crate::node::{
    About, Action, CloseReason, Cx, Facts, Kind, Out, Peer, SUBSCRIPTION_BYTES_PER_CONNECTION_MAX, Step, Sub, Who,
};
use crate::subject;
use crate::websocket::Cookies;
use crate::wire::{Bounds, Connect, Info, Op, ParseError, Parsed, encode, parse};

/// Bytes of name, language and version that are kept of each.
const ABOUT_BYTES_MAX: usize = 1024;
/// Bytes of an unknown operation that the log shows.
const UNKNOWN_BYTES_SHOWN: usize = 16;

/// See the [module](self).
#[derive(Debug)]
pub struct Client {
    options: Options,
    phase: Phase,
    bounds: Option<Bounds>,
    identity: Option<Rc<Identity>>,
    permissions: Option<Box<Session>>,
    about: Option<Box<Told>>,
    /// The first PONG was sent: INFO may follow at any time.
    ponged: bool,
    way: Connection,
    /// What its browser sent along, until CONNECT.
    cookies: Option<Box<Cookies>>,
}

/// What CONNECT switched on and off.
#[derive(Clone, Copy, Debug)]
struct Options {
    verbose: bool,
    pedantic: bool,
    echo: bool,
    headers: bool,
    no_responders: bool,
    /// It takes INFO at any time.
    async_info: bool,
}

impl Default for Options {
    /// What holds before CONNECT, or without.
    fn default() -> Self {
        Self { verbose: true, pedantic: true, echo: true, headers: false, no_responders: false, async_info: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// INFO is not sent yet, or nothing has come back.
    New,
    /// A login is being decided; `connected` when it came with CONNECT.
    Deciding { connected: bool },
    /// Anything goes.
    In,
}

#[derive(Debug, Default)]
struct Told {
    name: Box<str>,
    lang: Box<str>,
    version: Box<str>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// A client that has just connected.
    pub fn new() -> Self {
        Self {
            options: Options::default(),
            phase: Phase::New,
            bounds: None,
            identity: None,
            permissions: None,
            about: None,
            ponged: false,
            way: Connection::Standard,
            cookies: None,
        }
    }

    /// One who has come by WebSocket, with what its browser sent along.
    pub fn by_websocket(cookies: Option<Box<Cookies>>) -> Self {
        Self { way: Connection::Websocket, cookies, ..Self::new() }
    }

    /// Whether it must say who it is.
    fn must_log_in(&self, cx: &Cx<'_>) -> bool {
        match self.way {
            Connection::Websocket => cx.facts.websocket.auth_required,
            _ => cx.facts.info.auth_required,
        }
    }

    fn info(&self, cx: &Cx<'_>) -> Info {
        let mut info = cx.facts.info.clone();
        info.client_id = Some(cx.this.id.cid());
        info.client_ip = Some(cx.this.remote.ip().to_canonical().to_string());
        if self.way == Connection::Websocket {
            cx.facts.websocket.tell(&mut info);
        }
        info
    }

    /// INFO as it follows the first PONG: now the account is known.
    fn connect_info(&self, cx: &mut Cx<'_>) {
        let mut info = self.info(cx);
        info.connect_info = true;
        if let Some(id) = cx.this.account {
            let account = cx.accounts.get(id);
            info.remote_account = Some(account.name.clone());
            info.acc_is_sys = account.is_system;
        }
        if let Some(bounds) = &self.bounds {
            info.max_payload = bounds.payload_bytes as i64;
        }
        // Said of the server, not of this client: also when one may come in without.
        info.auth_required |= match self.way {
            Connection::Websocket => cx.facts.websocket.login_configured,
            _ => cx.facts.login_configured,
        };
        cx.out.extend(&info.line());
    }

    fn connect(&mut self, cx: &mut Cx<'_>, json: &[u8]) -> Result<Action<'static>, CloseReason> {
        let Ok(mut connect) = Connect::read(json) else { return Err(CloseReason::MalformedOperation) };
        if !(0..=1).contains(&connect.protocol) {
            return Err(CloseReason::BadClientProtocol);
        }
        let headers = connect.headers && cx.facts.info.headers;
        if connect.no_responders && !headers {
            return Err(CloseReason::NoRespondersRequiresHeaders);
        }
        if let Some(cookies) = self.cookies.take() {
            cookies.complete(&mut connect);
        }
        self.options = Options {
            verbose: connect.verbose.0,
            pedantic: connect.pedantic.0,
            echo: connect.echo.0,
            headers,
            no_responders: connect.no_responders,
            async_info: connect.protocol >= 1,
        };
        self.about = Some(Box::new(Told {
            name: kept(connect.name.as_deref()),
            lang: kept(connect.lang.as_deref()),
            version: kept(connect.version.as_deref()),
        }));
        if cx.this.pulse.rtt == 0 {
            cx.this.pulse.rtt = cx.now().saturating_sub(cx.this.start).max(1);
        }
        self.phase = Phase::Deciding { connected: true };
        Ok(Action::Login(Box::new(connect)))
    }

    #[inline(always)]
    fn publish<'a>(&mut self, cx: &mut Cx<'_>, message: Message<'a>) -> Action<'a> {
        cx.this.stats.in_msgs += 1;
        cx.this.stats.in_bytes += message.body.len() as u64;
        if message.header_len > 0 && trace_headers::may_ask(message.headers()) {
            return Action::Traced(message);
        }
        match self.violation(cx, &message) {
            None => Action::Publish(message),
            Some(_) => Action::None,
        }
    }

    /// Why a message goes no further, as the client was told. Inlined: out of line it costs a tenth of the whole path.
    #[inline(always)]
    fn violation(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) -> Option<String> {
        let mapped = cx.is_mapped(message.subject);
        if is_reserved_subject(cx, message.subject) || !mapped && !self.may_publish(cx, message.subject) {
            return Some(self.publish_violation(cx, "Publish to", "Subject", message.subject));
        }
        if is_reserved_reply(message.reply) {
            return Some(self.publish_violation(cx, "Publish with Reply of", "Reply", message.reply));
        }
        if self.options.pedantic && !subject::is_valid_literal(message.subject) {
            self.err(cx, "Invalid Publish Subject");
        }
        self.ok(cx);
        None
    }

    fn may_publish(&mut self, cx: &Cx<'_>, subject: &[u8]) -> bool {
        self.permissions.as_mut().is_none_or(|p| p.may_publish(subject, cx.now()))
    }

    fn subscribe<'a>(
        &mut self,
        cx: &mut Cx<'_>,
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        sid: &'a [u8],
    ) -> Action<'a> {
        let decision = match (&self.permissions, queue) {
            (_, Some(b"_sys_")) => SubscribeDecision::Refused,
            (None, _) => SubscribeDecision::Allowed,
            (Some(permissions), queue) => permissions.may_subscribe(subject, queue),
        };
        if decision == SubscribeDecision::Refused {
            self.err(cx, &subscription_violation(subject, queue));
            let named = queue.map(|queue| format!(", Queue: {}", encode::quoted(queue))).unwrap_or_default();
            let (who, subject, sid) = (self.who(cx), encode::quoted(subject), sid.escape_ascii());
            error!("{who} - Subscription Violation - Subject {subject}{named}, SID {sid}");
            return Action::None;
        }
        let tokens_max = cx.facts.limits.max_subscription_tokens;
        if tokens_max > 0 && subject::token_count(subject) > tokens_max.into() {
            let text =
                format!("Permissions Violation for Subscription to {}, too many tokens", encode::quoted(subject));
            self.err(cx, &text);
            return Action::None;
        }
        let account_max = cx.this.account.map_or(0, |id| cx.accounts.get(id).subscriptions_max());
        let own_max = self.credential().and_then(|own| own.max_subscriptions).map_or(usize::MAX, |max| max as usize);
        let full = cx.this.subs >= cx.facts.subs_max.min(account_max).min(own_max);
        if full || cx.this.subs_bytes >= SUBSCRIPTION_BYTES_PER_CONNECTION_MAX {
            error!("{} - maximum subscriptions exceeded", self.who(cx));
            self.err(cx, "maximum subscriptions exceeded");
            return Action::None;
        }
        if !subject::is_valid(subject) {
            self.err(cx, "Invalid Subject");
            return Action::None;
        }
        self.ok(cx);
        Action::Subscribe { subject, queue, sid, filtered: decision == SubscribeDecision::AllowedFiltered }
    }

    fn pinged(&mut self, cx: &mut Cx<'_>) {
        cx.out.extend(encode::PONG);
        self.trace_sent(cx, "PONG");
        if !self.ponged {
            self.ponged = true;
            if self.options.async_info {
                self.connect_info(cx);
            }
        }
    }

    fn ok(&self, cx: &mut Cx<'_>) {
        if self.options.verbose {
            cx.out.extend(encode::OK);
            self.trace_sent(cx, "OK");
        }
    }

    fn err(&self, cx: &mut Cx<'_>, text: &str) {
        cx.out.extend(&encode::err(text));
        self.trace_sent(cx, format_args!("-ERR {text}"));
    }

    #[inline]
    fn trace_sent(&self, cx: &Cx<'_>, what: impl std::fmt::Display) {
        if cx.facts.trace {
            trace::sent(self.who(cx), what);
        }
    }

    fn who<'a>(&'a self, cx: &'a Cx<'_>) -> Who<'a> {
        Who::new(cx.this, Kind::Client, self.about(), self.identity.clone(), cx.accounts)
    }

    #[cold]
    fn publish_violation(&self, cx: &mut Cx<'_>, what: &str, part: &str, subject: &[u8]) -> String {
        let subject = encode::quoted(subject);
        let text = format!("Permissions Violation for {what} {subject}");
        self.err(cx, &text);
        error!("{} - Publish Violation - {part} {subject}", self.who(cx));
        text
    }

    /// What an operation before the login means: CONNECT is one; without a need to log in (or with
    /// `no_auth_user`) anything else logs in without credentials first.
    fn before_login<'a>(&mut self, cx: &mut Cx<'_>, op: &Op<'a>, used: usize) -> Step<'a> {
        if let Op::Connect(json) = op {
            return match self.connect(cx, json) {
                Ok(action) => Step::Done(used, action),
                Err(reason) => Step::Close(reason),
            };
        }
        if self.must_log_in(cx) {
            return Step::Close(CloseReason::AuthenticationViolation);
        }
        // Nothing is taken from the input: the operation comes again once the login is through.
        self.phase = Phase::Deciding { connected: false };
        Step::Done(0, Action::Login(Box::default()))
    }

    fn carry_out<'a>(&mut self, cx: &mut Cx<'_>, op: Op<'a>, used: usize) -> Step<'a> {
        let action = match op {
            Op::Publish { with_headers: true, .. } if !self.options.headers => {
                return Step::Close(CloseReason::HeadersViolation);
            }
            Op::Publish { message, .. } => self.publish(cx, message),
            Op::Subscribe { subject, queue, sid } => self.subscribe(cx, subject, queue, sid),
            Op::Unsubscribe { sid, max } => {
                self.ok(cx);
                Action::Unsubscribe { sid, max }
            }
            Op::Ping => {
                self.pinged(cx);
                Action::None
            }
            Op::Pong => {
                let pulse = &mut cx.this.pulse;
                if std::mem::take(&mut pulse.unanswered) > 0 {
                    pulse.rtt = cx.out.now.saturating_sub(pulse.pinged_at).max(1);
                }
                Action::None
            }
            Op::Connect(json) => match self.connect(cx, json) {
                Ok(action) => action,
                Err(reason) => return Step::Close(reason),
            },
            Op::Info(json) => match serde_json::from_slice::<serde::de::IgnoredAny>(json) {
                Ok(_) => Action::None,
                Err(_) => return Step::Close(CloseReason::MalformedOperation),
            },
            Op::Ok => Action::None,
            Op::Err(text) => {
                error!("{} - Client Error {}", self.who(cx), text.escape_ascii());
                return Step::Close(CloseReason::ErrorFromPeer);
            }
        };
        Step::Done(used, action)
    }
}

impl Peer for Client {
    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn connection(&self) -> Connection {
        self.way
    }

    fn greet(&mut self, cx: &mut Cx<'_>) {
        let mut info = self.info(cx);
        if cx.facts.nonces {
            info.nonce = Some(nkey::nonce_text(cx.this.nonce));
        }
        cx.out.extend(&info.line());
    }

    fn next<'a>(&mut self, cx: &mut Cx<'_>, input: &'a [u8]) -> Step<'a> {
        let bounds = self.bounds.as_ref().unwrap_or(&cx.facts.bounds);
        let (op, used) = match parse(input, bounds) {
            Ok(Parsed::Op(op, used)) => (op, used),
            Ok(Parsed::Incomplete(missing)) => return Step::Incomplete(missing),
            Err(error) => return Step::Close(self.refused(cx, error, input)),
        };
        if cx.facts.trace {
            trace::incoming(self.who(cx), &op, cx.facts.trace_bytes_max);
        }
        if self.phase != Phase::In {
            return self.before_login(cx, &op, used);
        }
        self.carry_out(cx, op, used)
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        let connected = self.phase != Phase::Deciding { connected: false };
        self.phase = Phase::In;
        self.rules_changed(cx, identity);
        if connected {
            self.ok(cx);
        }
    }

    fn may_deliver(&mut self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.permissions.as_mut().is_none_or(|p| p.may_deliver(subject, queue))
    }

    fn trace_delivery(&self, who: &Who<'_>, message: &Message<'_>, sub: &Sub, bytes_max: usize) {
        let message = if self.options.headers { *message } else { message.without_headers() };
        trace::delivered(who, &message, sub.sid.as_bytes(), bytes_max);
    }

    #[inline]
    fn deliver(&mut self, out: &mut Out<'_>, message: &Message<'_>, shared: Option<&Rc<[u8]>>, sub: &Sub) {
        let (message, skipped) = match self.options.headers {
            true => (*message, 0),
            false => (message.without_headers(), message.header_len),
        };
        let sid = sub.sid.as_bytes();
        let line = encode::MSG_OVERHEAD_BYTES + message.subject.len() + message.reply.len() + sid.len();
        if let Some(shared) = shared {
            out.queue.append(out.pool, line, |buffer| encode::msg_line(buffer, &message, sid));
            out.queue.share(shared.clone(), skipped);
        } else {
            out.queue.append(out.pool, line + message.body.len(), |buffer| encode::msg(buffer, &message, sid));
        }
        if let Some(permissions) = &mut self.permissions
            && !message.reply.is_empty()
        {
            permissions.note_reply(message.reply, out.now);
        }
    }

    fn may_publish_mapped(&mut self, cx: &mut Cx<'_>, subject: &[u8]) -> bool {
        let may = self.may_publish(cx, subject);
        if !may {
            self.publish_violation(cx, "Publish to", "Subject", subject);
        }
        may
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, message: &Message<'_>) -> Option<String> {
        self.violation(cx, message)
    }

    fn may_trace_to(&mut self, cx: &mut Cx<'_>, dest: &[u8]) -> bool {
        // What it may answer to, it need not be able to trace to.
        let allowed = self.permissions.as_ref().is_none_or(|own| own.rules().publishes(dest));
        let may = allowed && !is_reserved_subject(cx, dest);
        if !may {
            self.publish_violation(cx, "Publish to", "Subject", dest);
        }
        may
    }

    fn echo(&self) -> bool {
        self.options.echo
    }

    fn wants_no_responders(&self) -> bool {
        self.options.no_responders
    }

    fn server_changed(&mut self, cx: &mut Cx<'_>) {
        if self.options.async_info && self.ponged {
            let line = self.info(cx).line();
            cx.out.extend(&line);
        }
    }

    fn told_to_leave(&mut self, cx: &mut Cx<'_>) {
        if self.options.async_info && self.ponged {
            let info = Info { lame_duck: true, ..self.info(cx) };
            cx.out.extend(&info.line());
        }
    }

    fn identity(&self) -> Option<Rc<Identity>> {
        self.identity.clone()
    }

    fn rules_changed(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        self.permissions = identity.permissions.as_ref().map(|p| Box::new(Session::new(p.clone(), &cx.facts.hasher)));
        self.identity = Some(identity);
        self.limits_changed(cx);
    }

    fn limits_changed(&mut self, cx: &mut Cx<'_>) {
        let account = cx.this.account.and_then(|id| cx.accounts.get(id).limits.max_payload);
        let own = self.credential().and_then(|own| own.max_payload);
        let most = account.into_iter().chain(own).min();
        self.bounds =
            most.map(|max| Bounds { payload_bytes: max.min(cx.facts.bounds.payload_bytes), ..cx.facts.bounds });
    }

    fn may_keep(&mut self, cx: &mut Cx<'_>, sub: &Sub) -> Option<bool> {
        let decision = self
            .permissions
            .as_ref()
            .map_or(SubscribeDecision::Allowed, |p| p.may_subscribe(&sub.subject, sub.queue.as_deref()));
        if decision == SubscribeDecision::Refused {
            let sid = encode::quoted(sub.sid.as_bytes());
            let text = format!("{} (sid {sid})", subscription_violation(&sub.subject, sub.queue.as_deref()));
            self.err(cx, &text);
            return None;
        }
        Some(decision == SubscribeDecision::AllowedFiltered)
    }

    fn keepalive(&self, facts: &Facts) -> (Duration, u32) {
        let own = facts.websocket.ping_interval.filter(|_| self.way == Connection::Websocket);
        (own.unwrap_or(facts.limits.ping_interval), facts.limits.ping_max)
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        cx.out.extend(encode::PING);
        self.trace_sent(cx, "PING");
    }

    fn farewell(&self, reason: CloseReason) -> Option<Vec<u8>> {
        let text = match reason {
            CloseReason::AuthenticationViolation => "Authorization Violation",
            CloseReason::AuthenticationTimeout => "Authentication Timeout",
            CloseReason::MaxConnections => "maximum connections exceeded",
            CloseReason::TlsRateLimit => "Connection throttling is active. Please try again later.",
            CloseReason::MaxAccountConnections => "maximum account active connections exceeded",
            CloseReason::MaxPayload => "Maximum Payload Violation",
            CloseReason::MaxControlLine => "maximum control line exceeded",
            CloseReason::StaleConnection => "Stale Connection",
            CloseReason::UnknownOperation => "Unknown Protocol Operation",
            CloseReason::BadClientProtocol => "invalid client protocol",
            CloseReason::NoRespondersRequiresHeaders => "no responders requires headers support",
            CloseReason::UserExpired => "User Authentication Expired",
            CloseReason::AccountExpired => "Account Authentication Expired",
            CloseReason::Revoked => "User Authentication Revoked",
            CloseReason::MaxSubscriptions => "maximum subscriptions exceeded",
            _ => return None,
        };
        Some(encode::err(text))
    }

    fn about(&self) -> About<'_> {
        let user = self.identity.as_ref().map_or("", |identity| &*identity.name);
        let websocket = self.way == Connection::Websocket;
        match &self.about {
            None => About { user, websocket, ..About::default() },
            Some(told) => About {
                name: &told.name,
                lang: &told.lang,
                version: &told.version,
                user,
                websocket,
                ..About::default()
            },
        }
    }
}

impl Client {
    /// What its JWT says of it.
    fn credential(&self) -> Option<&Credential> {
        self.identity.as_ref()?.credential.as_deref()
    }

    /// An operation that could not be read. One who still has to log in is told only that.
    fn refused(&self, cx: &Cx<'_>, error: ParseError, input: &[u8]) -> CloseReason {
        if self.phase == Phase::New && self.must_log_in(cx) {
            return CloseReason::AuthenticationViolation;
        }
        match error {
            ParseError::UnknownOperation => {
                let shown = encode::quoted(&input[..input.len().min(UNKNOWN_BYTES_SHOWN)]);
                error!("{} - Client parser ERROR: proto='{shown}'...", self.who(cx));
                CloseReason::UnknownOperation
            }
            ParseError::Malformed => CloseReason::MalformedOperation,
            ParseError::ControlLine => CloseReason::MaxControlLine,
            ParseError::Payload => CloseReason::MaxPayload,
        }
    }
}

/// Prefixes that only servers publish to.
#[inline]
fn is_reserved_subject(cx: &Cx<'_>, subject: &[u8]) -> bool {
    match subject.first() {
        Some(b'_') => subject.starts_with(b"_GR_."),
        Some(b'$') => {
            let account = cx.this.account.map(|id| cx.accounts.get(id));
            subject.starts_with(b"$NRG.") && !account.is_some_and(|account| account.is_system)
                || subject == callout::SUBJECT && account.is_some_and(|account| account.is_callout)
        }
        _ => false,
    }
}

/// Prefixes that only servers ask answers to.
#[inline]
fn is_reserved_reply(reply: &[u8]) -> bool {
    match reply.first() {
        Some(b'_') => reply.starts_with(b"_R_.") || reply.starts_with(b"_GR_."),
        Some(b'$') => reply.starts_with(b"$JS.ACK."),
        _ => false,
    }
}

fn subscription_violation(subject: &[u8], queue: Option<&[u8]>) -> String {
    let mut text = format!("Permissions Violation for Subscription to {}", encode::quoted(subject));
    if let Some(queue) = queue {
        text.push_str(" using queue ");
        text.push_str(&encode::quoted(queue));
    }
    text
}

fn kept(text: Option<&str>) -> Box<str> {
    let text = text.unwrap_or_default();
    text[..text.floor_char_boundary(ABOUT_BYTES_MAX)].into()
}
