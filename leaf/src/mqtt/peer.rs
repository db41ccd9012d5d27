//! A connection that speaks MQTT.

use mqtt_bridge::{Connection, Ending, Event, Reason, Session, Sink, Step as Bridge, Version};
use std::rc::Rc;
use tracing::{debug, error};

use crate::auth::directory::{Connection as Way, Identity};
use crate::auth::permissions::{self, SubscribeDecision};
use crate::message::Message;
use crate::node::{About, Action, CloseReason, Cx, Kind, Out, Peer, Step, Sub};
use crate::websocket::Cookies;
use crate::wire::encode::quoted;
use crate::wire::{Connect, Missing};

/// See the [module](super).
#[derive(Debug)]
pub struct Mqtt {
    pub(crate) connection: Connection,
    way: Way,
    identity: Option<Rc<Identity>>,
    permissions: Option<Box<permissions::Session>>,
    client_id: Box<str>,
    /// It said who it is.
    has_credentials: bool,
    /// What its browser sent along, until CONNECT.
    cookies: Option<Box<Cookies>>,
    /// What it spoke when it came in.
    pub(crate) spoken: Option<Version>,
}

impl Mqtt {
    /// A connection that has just come, by TCP or TLS.
    pub fn new() -> Self {
        Self {
            connection: Connection::default(),
            way: Way::Mqtt,
            identity: None,
            permissions: None,
            client_id: Box::default(),
            has_credentials: false,
            cookies: None,
            spoken: None,
        }
    }

    /// A connection by WebSocket, with what its browser sent along.
    pub fn by_websocket(cookies: Option<Box<Cookies>>) -> Self {
        Self { way: Way::MqttWs, cookies, ..Self::new() }
    }

    /// Whether it may publish to a subject.
    pub(crate) fn may_publish(&mut self, subject: &[u8], now: u64) -> bool {
        self.permissions.as_mut().is_none_or(|rules| rules.may_publish(subject, now))
    }

    /// What it may do with a subscription.
    pub(crate) fn may_subscribe(&self, subject: &[u8], queue: Option<&[u8]>) -> SubscribeDecision {
        self.permissions.as_ref().map_or(SubscribeDecision::Allowed, |rules| rules.may_subscribe(subject, queue))
    }

    /// The id it gave or was given.
    pub(crate) fn set_client_id(&mut self, client_id: &str) {
        self.client_id = client_id.into();
    }

    /// The end: its session, if it was in.
    pub(crate) fn take_session(&mut self) -> Option<Box<Session>> {
        self.connection.take_session()
    }

    /// What CONNECT says to the users' directory. The password may be a token or a JWT as well, as in nats-server.
    fn login(&mut self, connect: &mqtt_bridge::packet::Connect<'_>) -> Box<Connect> {
        let password = connect.password.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        self.has_credentials = connect.user.is_some() || connect.password.is_some();
        let mut login = Box::new(Connect {
            user: connect.user.map(str::to_owned),
            pass: password.clone(),
            auth_token: password.clone(),
            jwt: password,
            name: Some(connect.client_id.chars().take(256).collect()),
            ..Connect::default()
        });
        if let Some(cookies) = self.cookies.take() {
            cookies.complete(&mut login);
        }
        login
    }

    /// The last words to a client that may go on elsewhere, at `server`; others hear why it ends.
    pub(crate) fn sent_elsewhere(&self, reason: CloseReason, server: Option<&str>) -> Option<Vec<u8>> {
        let words = match server.filter(|_| reason == CloseReason::ServerShutdown) {
            Some(server) => self.connection.last_words(Reason::UseAnotherServer, Some(server)),
            None => return self.farewell(reason),
        };
        (!words.is_empty()).then_some(words)
    }

    /// What is said to a client that is let go, and why not more: after a part of a packet nothing makes sense.
    fn last_reason(&self, reason: CloseReason) -> Option<Reason> {
        Some(match reason {
            CloseReason::AuthenticationViolation | CloseReason::SignerChanged => match self.connection.version() {
                Some(Version::V5) if self.has_credentials && !self.connection.is_open() => {
                    Reason::BadUserNameOrPassword
                }
                _ => Reason::NotAuthorized,
            },
            CloseReason::UserExpired | CloseReason::AccountExpired | CloseReason::Revoked => Reason::NotAuthorized,
            CloseReason::MaxAccountConnections | CloseReason::MaxSubscriptions => Reason::QuotaExceeded,
            CloseReason::MaxConnections => Reason::ServerBusy,
            CloseReason::StaleConnection => Reason::KeepAliveTimeout,
            CloseReason::DuplicateClientId => Reason::SessionTakenOver,
            CloseReason::ServerShutdown => Reason::ServerShuttingDown,
            CloseReason::MaxPayload => Reason::PacketTooLarge,
            CloseReason::Kicked => Reason::AdministrativeAction,
            _ => return None,
        })
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self::new()
    }
}

impl Sink for Out<'_> {
    #[inline]
    fn append(&mut self, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.queue.append(self.pool, room, write);
    }

    #[inline]
    fn pending(&self) -> usize {
        self.queue.pending()
    }

    fn retract(&mut self, count: usize) {
        self.queue.retract(count);
    }
}

impl Peer for Mqtt {
    fn kind(&self) -> Kind {
        Kind::Client
    }

    fn connection(&self) -> Way {
        self.way
    }

    fn greet(&mut self, _: &mut Cx<'_>) {}

    fn next<'a>(&mut self, cx: &mut Cx<'_>, input: &'a [u8]) -> Step<'a> {
        // It is there but within this function and the one below.
        let Some(mut shared) = cx.out.pool.mqtt.take() else { return Step::Close(CloseReason::ServerShutdown) };
        let now = cx.out.now;
        let step = self.connection.next(now, &shared.limits, shared.synced, input, &mut cx.out);
        shared.gone.append(&mut self.connection.take_gone());
        cx.out.pool.mqtt = Some(shared);
        match step {
            Bridge::Short(missing) => Step::Incomplete(Missing::Bytes(missing)),
            Bridge::Done(used, Event::None) => Step::Done(used, Action::None),
            Bridge::Done(used, Event::Connect(connect)) => {
                self.set_client_id(connect.client_id);
                self.spoken = Some(connect.version);
                Step::Done(used, Action::Login(self.login(&connect)))
            }
            Bridge::Done(used, event) => Step::Done(used, Action::Mqtt(event)),
            Bridge::End(ending) => {
                if ending != Ending::Disconnect {
                    debug!("{} - mid:{} - {ending:?}", cx.this.remote, cx.this.id.cid());
                }
                Step::Close(match ending {
                    Ending::Disconnect => CloseReason::ClientClosed,
                    Ending::NotMqtt | Ending::UnknownLevel(_) => CloseReason::BadClientProtocol,
                    Ending::Refused(_) | Ending::Violation(_) => CloseReason::MalformedOperation,
                })
            }
        }
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        self.rules_changed(cx, identity);
    }

    fn may_deliver(&mut self, subject: &[u8], queue: Option<&[u8]>) -> bool {
        self.permissions.as_mut().is_none_or(|rules| rules.may_deliver(subject, queue))
    }

    #[inline]
    fn deliver(&mut self, out: &mut Out<'_>, message: &Message<'_>, _: Option<&Rc<[u8]>>, sub: &Sub) {
        let Some(mut shared) = out.pool.mqtt.take() else { return };
        shared.deliver(&mut self.connection, out, message, sub);
        out.pool.mqtt = Some(shared);
    }

    /// As MQTT has it, the topic that was said takes permission, too: a retained message stays under it.
    fn may_publish_mapped(&mut self, cx: &mut Cx<'_>, subject: &[u8]) -> bool {
        let may = self.may_publish(subject, cx.now());
        if !may {
            let (remote, mid) = (cx.this.remote, cx.this.id.cid());
            error!("{remote} - mid:{mid} - Publish Violation - Subject {}", quoted(subject));
        }
        may
    }

    fn may_trace_to(&mut self, _: &mut Cx<'_>, dest: &[u8]) -> bool {
        self.permissions.as_ref().is_none_or(|rules| rules.rules().publishes(dest))
    }

    fn echo(&self) -> bool {
        true
    }

    fn wants_no_responders(&self) -> bool {
        false
    }

    fn server_changed(&mut self, _: &mut Cx<'_>) {}

    fn identity(&self) -> Option<Rc<Identity>> {
        self.identity.clone()
    }

    fn rules_changed(&mut self, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        let rules = identity.permissions.as_ref();
        self.permissions = rules.map(|rules| Box::new(permissions::Session::new(rules.clone(), &cx.facts.hasher)));
        self.identity = Some(identity);
    }

    fn limits_changed(&mut self, _: &mut Cx<'_>) {}

    /// A subscription that is no longer allowed hears nothing any more; MQTT has no way to say so.
    fn may_keep(&mut self, _: &mut Cx<'_>, sub: &Sub) -> Option<bool> {
        match self.may_subscribe(&sub.subject, sub.queue.as_deref()) {
            SubscribeDecision::Refused => None,
            decision => Some(decision == SubscribeDecision::AllowedFiltered),
        }
    }

    /// MQTT leaves it to the client.
    fn ping(&mut self, _: &mut Cx<'_>) {}

    fn farewell(&self, reason: CloseReason) -> Option<Vec<u8>> {
        let words = self.connection.last_words(self.last_reason(reason)?, None);
        (!words.is_empty()).then_some(words)
    }

    fn about(&self) -> About<'_> {
        let user = self.identity.as_ref().map_or("", |identity| &*identity.name);
        About { user, mqtt_client: Some(&self.client_id), ..About::default() }
    }

    fn mqtt(&mut self) -> Option<&mut Mqtt> {
        Some(self)
    }

    fn speaks_mqtt(&self) -> bool {
        true
    }
}
