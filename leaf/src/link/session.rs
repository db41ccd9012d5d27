//! A leaf node link once its handshake is through: the same on both sides.

use std::rc::Rc;
use std::time::Duration;
use tracing::{error, trace};

use super::encode;
use super::parse::{Op, Parsed, parse};
use crate::auth::directory::{Connection, Identity};
use crate::auth::permissions::{self, Compiled, SubscribeDecision};
use crate::config::{Mode, Permissions};
use crate::message::Message;
use crate::node::{About, Action, CloseReason, Cx, Facts, Kind, Out, Peer, Step, Sub};
use crate::subject;
use crate::wire::ParseError;
use crate::wire::encode::{err, quoted};

/// Bytes of what the other side complains of that are kept.
const TROUBLE_BYTES_MAX: usize = 512;
/// What passes the permissions, so that links work at all.
const ALWAYS: [&[u8]; 3] = [b"$LDS.", b"$GR.", b"_GR_."];
/// Subjects of a JetStream: each server's own, unless they are one (nats-server: `denyAllClientJs`).
const JETSTREAM: [&str; 3] = ["$JS.API.>", "$KV.>", "$OBJ.>"];

/// How a link begins, which differs by side.
pub trait Handshake {
    /// This side's first words.
    fn greet(&mut self, session: &mut Session, cx: &mut Cx<'_>);

    /// An operation before the link is up, `used` bytes long.
    fn step<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, op: Op<'a>, used: usize) -> Step<'a>;

    /// TLS is in place; a mode asks for compression.
    fn secured(&mut self, session: &mut Session, cx: &mut Cx<'_>) -> Option<Mode>;

    /// What comes and goes is compressed now.
    fn compressed(&mut self, session: &mut Session, cx: &mut Cx<'_>);

    /// The login succeeded; sets [`Core::link`](crate::node::Core::link) and calls [`Session::start`].
    fn logged_in(&mut self, session: &mut Session, cx: &mut Cx<'_>, identity: Rc<Identity>);

    /// INFO on a link that is up.
    fn info<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, json: &[u8], used: usize) -> Step<'a>;

    /// What this server says about itself has changed.
    fn server_changed(&mut self, session: &mut Session, cx: &mut Cx<'_>);

    /// How often it is asked for a sign of life, and how many questions may stay without an answer, where that is not
    /// as on all links.
    fn keepalive(&self) -> (Option<Duration>, Option<u32>);
}

/// One side of a leaf node link.
#[derive(Debug)]
pub struct Link<H> {
    session: Session,
    handshake: H,
}

/// What the other side may send and get, and what is known of it.
#[derive(Debug, Default)]
pub struct Session {
    /// The handshake is through.
    up: bool,
    /// What the other side breaks is passed over in silence: it told us the rules itself.
    forgiving: bool,
    /// It takes headers.
    headers: bool,
    /// It takes messages of so many bytes.
    payload_max: usize,
    /// As its user has them: what it may publish, and get.
    permissions: Option<Box<permissions::Session>>,
    /// What it does not want, and what no link carries.
    denied: Option<Box<Compiled>>,
    identity: Option<Rc<Identity>>,
    name: Box<str>,
    version: Box<str>,
    /// What it complained of last.
    trouble: String,
    /// What it is told when the connection ends for a reason that has something to say.
    last_words: Option<String>,
    /// The handshake failed where nothing could be said to the node; it hears it next.
    failed: Option<CloseReason>,
}

/// What a link begins with once both sides know each other.
#[derive(Debug, Default)]
pub struct Start {
    /// The other side takes headers.
    pub headers: bool,
    /// It takes messages of so many bytes; 0 is any size.
    pub payload_max: usize,
    /// What it may publish to this side, and get from it.
    pub permissions: Option<Rc<Compiled>>,
    /// Subjects that are not sent to it.
    pub deny_to: Vec<String>,
    /// Subjects that are not taken from it.
    pub deny_from: Vec<String>,
}

impl Session {
    /// The link is up with these terms.
    pub fn start(&mut self, cx: &Cx<'_>, start: Start) {
        self.up = true;
        self.headers = start.headers && cx.facts.info.headers;
        self.payload_max = if start.payload_max == 0 { usize::MAX } else { start.payload_max };
        self.permissions = start.permissions.map(|rules| Box::new(permissions::Session::new(rules, &cx.facts.hasher)));
        let mut denied = Permissions::default();
        let jetstream = || JETSTREAM.map(str::to_owned);
        denied.publish.deny = start.deny_from.into_iter().chain(jetstream()).collect();
        denied.subscribe.deny = start.deny_to.into_iter().chain(jetstream()).collect();
        self.denied = Some(Box::new(Compiled::new(&denied)));
    }

    /// Who it says it is.
    pub fn introduce(&mut self, name: &str, version: &str) {
        (self.name, self.version) = (name.into(), version.into());
    }

    /// Who logged in.
    pub fn set_identity(&mut self, identity: Rc<Identity>) {
        self.identity = Some(identity);
    }

    /// Passes over in silence what the other side should not have sent.
    pub fn forgive(&mut self) {
        self.forgiving = true;
    }

    /// Ends the connection with these words.
    pub fn end<'a>(&mut self, cx: &Cx<'_>, reason: CloseReason, words: impl Into<String>) -> Step<'a> {
        let words = words.into();
        error!("{} - lid:{} - {words}", cx.this.remote, cx.this.id.cid());
        self.last_words = Some(words);
        Step::Close(reason)
    }

    /// Remembers what the other side complains of.
    pub fn hear_error(&mut self, text: &[u8]) -> Option<CloseReason> {
        let text = String::from_utf8_lossy(&text[..text.len().min(TROUBLE_BYTES_MAX)]).into_owned();
        self.trouble = text;
        // What nats-server reacts to (`processErr`); for the rest the other side closes.
        let reasons = [
            ("Loop detected", CloseReason::LoopDetected),
            ("same cluster name", CloseReason::ClusterNamesIdentical),
            ("minimum version required", CloseReason::MinimumVersion),
            ("Permissions Violation", CloseReason::PermissionsViolation),
        ];
        reasons.into_iter().find(|(text, _)| self.trouble.contains(text)).map(|(_, reason)| reason)
    }

    /// The other side does not take what this side said, for a reason of ours.
    pub fn set_trouble(&mut self, text: &str) {
        self.trouble = text.to_owned();
    }

    fn may_send(&self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        if ALWAYS.iter().any(|prefix| subject.starts_with(prefix)) {
            return true;
        }
        let allowed =
            self.permissions.as_ref().is_none_or(|own| own.may_subscribe(subject, queue) != SubscribeDecision::Refused);
        allowed && self.denied.as_ref().is_none_or(|denied| denied.may_deliver(subject, queue))
    }

    fn may_receive(&mut self, subject: &[u8], now: u64) -> bool {
        if ALWAYS.iter().any(|prefix| subject.starts_with(prefix)) {
            return true;
        }
        self.denied.as_ref().is_none_or(|denied| denied.publishes(subject))
            && self.permissions.as_mut().is_none_or(|own| own.may_publish(subject, now))
    }

    /// Whether the other side may publish to `dest` here.
    fn may_trace_to(&self, dest: &[u8]) -> bool {
        self.denied.as_ref().is_none_or(|denied| denied.publishes(dest))
            && self.permissions.as_ref().is_none_or(|own| own.rules().publishes(dest))
    }

    /// Whether it makes sense to tell of interest in `pattern`: something of it may come.
    fn may_ask_for(&self, pattern: &[u8]) -> bool {
        if ALWAYS.iter().any(|prefix| pattern.starts_with(prefix)) {
            return true;
        }
        let denied = self.denied.as_ref().is_some_and(|denied| !denied.publishes_some_of(pattern));
        !denied && self.permissions.as_ref().is_none_or(|own| own.rules().publishes_some_of(pattern))
    }

    fn interest<'a>(
        &mut self,
        cx: &Cx<'_>,
        subject: &'a [u8],
        queue: Option<&'a [u8]>,
        weight: u32,
        used: usize,
    ) -> Step<'a> {
        if weight > 0 && !subject::is_valid(subject) {
            return self.end(cx, CloseReason::MalformedOperation, "Invalid Subscription");
        }
        // One with wildcards is filtered when something is sent.
        let literal = !subject::has_wildcard(subject);
        if weight > 0 && literal && !self.may_send(subject, queue) {
            if self.forgiving {
                return Step::Done(used, Action::None);
            }
            let words = format!("Permissions Violation for Subscription to {}", quoted(subject));
            return self.end(cx, CloseReason::PermissionsViolation, words);
        }
        Step::Done(used, Action::Interest { subject, queue, weight })
    }

    fn message<'a>(&mut self, cx: &mut Cx<'_>, message: Message<'a>, queues: &'a [u8], used: usize) -> Step<'a> {
        cx.this.stats.in_msgs += 1;
        cx.this.stats.in_bytes += message.body.len() as u64;
        if self.may_receive(message.subject, cx.now()) {
            return Step::Done(used, Action::Forward(message, queues));
        }
        if self.forgiving {
            return Step::Done(used, Action::None);
        }
        let words = format!("Permissions Violation for Publish to {}", quoted(message.subject));
        self.end(cx, CloseReason::PermissionsViolation, words)
    }
}

impl<H: Handshake> Link<H> {
    /// A link that has not begun.
    pub fn new(handshake: H) -> Self {
        Self { session: Session { payload_max: usize::MAX, ..Session::default() }, handshake }
    }
}

impl<H: Handshake> Peer for Link<H> {
    fn kind(&self) -> Kind {
        Kind::Leaf
    }

    fn connection(&self) -> Connection {
        Connection::Leafnode
    }

    fn greet(&mut self, cx: &mut Cx<'_>) {
        self.handshake.greet(&mut self.session, cx);
    }

    fn next<'a>(&mut self, cx: &mut Cx<'_>, input: &'a [u8]) -> Step<'a> {
        if let Some(reason) = self.session.failed {
            return Step::Close(reason);
        }
        let (op, used) = match parse(input, cx.facts.bounds.payload_bytes) {
            Ok(Parsed::Op(op, used)) => (op, used),
            Ok(Parsed::Incomplete(missing)) => return Step::Incomplete(missing),
            Err(error) => return Step::Close(self.refused(error)),
        };
        if cx.facts.trace {
            trace_in(cx, &op);
        }
        match op {
            Op::Message { message, queues } if self.session.up => self.session.message(cx, message, queues, used),
            Op::Interest { subject, queue, weight } if self.session.up => {
                self.session.interest(cx, subject, queue, weight, used)
            }
            Op::Ping if self.session.up => {
                cx.out.extend_urgent(encode::PONG);
                Step::Done(used, Action::None)
            }
            Op::Pong => {
                let pulse = &mut cx.this.pulse;
                if std::mem::take(&mut pulse.unanswered) > 0 {
                    pulse.rtt = cx.out.now.saturating_sub(pulse.pinged_at).max(1);
                }
                pulse.pongs += 1;
                Step::Done(used, Action::Pong)
            }
            Op::Ok => Step::Done(used, Action::None),
            Op::Err(text) => match self.session.hear_error(text) {
                Some(reason) => Step::Close(reason),
                None => Step::Done(used, Action::None),
            },
            Op::Info(json) if self.session.up => self.handshake.info(&mut self.session, cx, json, used),
            Op::Connect(_) if self.session.up => Step::Close(CloseReason::MalformedOperation),
            op => self.handshake.step(&mut self.session, cx, op, used),
        }
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        self.handshake.logged_in(&mut self.session, cx, identity);
    }

    fn may_deliver(&mut self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.session.may_send(subject, queue)
    }

    /// For subscriptions of the other side that reach another account here; the others go by [`Peer::forward`].
    fn deliver(&mut self, out: &mut Out<'_>, message: &Message<'_>, shared: Option<&Rc<[u8]>>, sub: &Sub) {
        let queue: Option<Rc<[u8]>> = sub.queue.as_deref().map(Into::into);
        self.forward(out, message, shared, queue.as_slice());
    }

    #[inline]
    fn forward(
        &mut self,
        out: &mut Out<'_>,
        message: &Message<'_>,
        shared: Option<&Rc<[u8]>>,
        queues: &[Rc<[u8]>],
    ) -> bool {
        // The other side would end the link.
        if !self.session.up || message.body.len() > self.session.payload_max {
            return false;
        }
        let (message, skipped) = match self.session.headers {
            true => (*message, 0),
            false => (message.without_headers(), message.header_len),
        };
        let bytes = encode::message_bytes(&message, queues);
        if let Some(shared) = shared {
            let line = bytes - message.body.len();
            out.queue.append(out.pool, line, |buffer| encode::message_line(buffer, &message, queues));
            out.queue.share(shared.clone(), skipped);
        } else {
            out.queue.append(out.pool, bytes, |buffer| encode::message(buffer, &message, queues));
        }
        if let Some(permissions) = &mut self.session.permissions
            && !message.reply.is_empty()
        {
            permissions.note_reply(message.reply, out.now);
        }
        true
    }

    fn announce(&mut self, cx: &mut Cx<'_>, subject: &[u8], queue: Option<&[u8]>, weight: u32) {
        if self.session.up && self.session.may_ask_for(subject) {
            cx.out.extend(&encode::interest(subject, queue, weight));
        }
    }

    fn secured(&mut self, cx: &mut Cx<'_>) -> Option<Mode> {
        self.handshake.secured(&mut self.session, cx)
    }

    fn compressed(&mut self, cx: &mut Cx<'_>) {
        self.handshake.compressed(&mut self.session, cx);
    }

    fn found_loop(&mut self, account: &str) {
        self.session.last_words = Some(loop_words(account));
    }

    fn may_trace_to(&mut self, cx: &mut Cx<'_>, dest: &[u8]) -> bool {
        let may = self.session.may_trace_to(dest);
        if !may {
            let (remote, lid) = (cx.this.remote, cx.this.id.cid());
            error!("{remote} - lid:{lid} - Publish Violation - Subject {}", quoted(dest));
        }
        may
    }

    fn echo(&self) -> bool {
        false
    }

    fn wants_no_responders(&self) -> bool {
        false
    }

    fn server_changed(&mut self, cx: &mut Cx<'_>) {
        self.handshake.server_changed(&mut self.session, cx);
    }

    fn identity(&self) -> Option<Rc<Identity>> {
        self.session.identity.clone()
    }

    /// What it may see is told at the beginning only: the node ends it, and it comes again.
    fn rules_changed(&mut self, _: &mut Cx<'_>, identity: Rc<Identity>) {
        let lists = |identity: &Identity| identity.permissions.as_ref().map(|permissions| permissions.lists());
        if self.session.identity.as_ref().is_some_and(|old| lists(old) != lists(&identity)) {
            self.session.failed = Some(CloseReason::RulesChanged);
        }
        self.session.identity = Some(identity);
    }

    fn limits_changed(&mut self, _: &mut Cx<'_>) {}

    fn may_keep(&mut self, _: &mut Cx<'_>, _: &Sub) -> Option<bool> {
        Some(false)
    }

    fn keepalive(&self, facts: &Facts) -> (Duration, u32) {
        let (interval, max) = self.handshake.keepalive();
        (interval.unwrap_or(facts.links.ping_interval), max.unwrap_or(facts.links.ping_max))
    }

    fn ping(&mut self, cx: &mut Cx<'_>) {
        if self.session.up {
            cx.out.extend_urgent(encode::PING);
            cx.this.pulse.pings += 1;
        }
    }

    fn fence(&mut self, out: &mut Out<'_>) {
        out.extend(encode::PING);
    }

    fn farewell(&self, reason: CloseReason) -> Option<Vec<u8>> {
        let text = match reason {
            CloseReason::AuthenticationViolation => "Authorization Violation",
            CloseReason::AuthenticationTimeout => "Authentication Timeout",
            CloseReason::MaxPayload => "Maximum Payload Violation",
            CloseReason::StaleConnection => "Stale Connection",
            CloseReason::UnknownOperation => "Unknown Protocol Operation",
            CloseReason::DuplicateRemote => "Duplicate Remote LeafNode Connection",
            CloseReason::HandshakeTimeout => "Stale Leaf Node Connection - Closing",
            CloseReason::MaxAccountConnections => "maximum account active connections exceeded",
            CloseReason::MaxSubscriptions => "maximum subscriptions exceeded",
            CloseReason::UserExpired => "User Authentication Expired",
            CloseReason::AccountExpired => "Account Authentication Expired",
            CloseReason::Revoked => "User Authentication Revoked",
            _ => self.session.last_words.as_deref()?,
        };
        Some(err(text))
    }

    fn about(&self) -> About<'_> {
        let Session { name, version, trouble, identity, .. } = &self.session;
        let user = identity.as_ref().map_or("", |identity| &*identity.name);
        About { name, version, user, trouble, ..About::default() }
    }
}

impl<H> Link<H> {
    fn refused(&self, error: ParseError) -> CloseReason {
        match error {
            // One who still has to log in is told only that.
            _ if !self.session.up && !self.session.forgiving => CloseReason::AuthenticationViolation,
            ParseError::UnknownOperation => CloseReason::UnknownOperation,
            ParseError::Malformed => CloseReason::MalformedOperation,
            ParseError::ControlLine => CloseReason::MaxControlLine,
            ParseError::Payload => CloseReason::MaxPayload,
        }
    }
}

/// For the account whose loop was found, in nats-server's words.
pub fn loop_words(account: &str) -> String {
    format!("Loop detected for leafnode account=\"{account}\". Delaying attempt to reconnect for 30s")
}

impl Session {
    /// The handshake failed; the connection ends with the next thing that comes, or when its time is up.
    pub fn fail(&mut self, reason: CloseReason) {
        self.failed = Some(reason);
    }
}

#[cold]
fn trace_in(cx: &Cx<'_>, op: &Op<'_>) {
    let (remote, lid) = (cx.this.remote, cx.this.id.cid());
    match op {
        // It may hold a password.
        Op::Connect(_) => trace!("{remote} - lid:{lid} - <<- [CONNECT]"),
        Op::Message { message, queues } => {
            let verb = if message.header_len > 0 { "HMSG" } else { "LMSG" };
            let (subject, reply) = (message.subject.escape_ascii(), message.reply.escape_ascii());
            let queues = queues.escape_ascii();
            trace!("{remote} - lid:{lid} - <<- [{verb} {subject} {reply} {queues} {}]", message.body.len());
        }
        Op::Interest { subject, queue, weight } => {
            let verb = if *weight > 0 { "LS+" } else { "LS-" };
            let queue = queue.unwrap_or_default().escape_ascii();
            trace!("{remote} - lid:{lid} - <<- [{verb} {} {queue} {weight}]", subject.escape_ascii());
        }
        Op::Ping => trace!("{remote} - lid:{lid} - <<- [PING]"),
        Op::Pong => trace!("{remote} - lid:{lid} - <<- [PONG]"),
        Op::Info(_) => trace!("{remote} - lid:{lid} - <<- [INFO]"),
        Op::Ok => trace!("{remote} - lid:{lid} - <<- [+OK]"),
        Op::Err(text) => trace!("{remote} - lid:{lid} - <<- [-ERR {}]", text.escape_ascii()),
    }
}
