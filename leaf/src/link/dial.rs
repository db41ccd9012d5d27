//! The side that dials: INFO comes, maybe TLS, CONNECT goes, INFO comes again.

use std::rc::Rc;
use std::time::Duration;
use tracing::info;

use super::hello::{Connect, Credentials, Info, Rules};
use super::parse::Op;
use super::remotes::RemoteState;
use super::session::{Handshake, Session, Start};
use crate::auth::directory::Identity;
use crate::auth::jwt::decorated;
use crate::auth::nkey::Seed;
use crate::auth::permissions::Compiled;
use crate::config::{self, Mode, Permissions, Remote};
use crate::node::{Action, CloseReason, Cx, LinkFacts, Nanos, Role, Step};

/// Where the handshake stands.
#[derive(Debug)]
enum Stage {
    /// Nothing has come yet.
    Info,
    /// TLS is on its way; CONNECT follows.
    Securing(Box<Info>),
    /// This side compresses since then; the hub does so from its next INFO on.
    Compressing(Nanos),
    /// CONNECT was sent.
    Connect(Box<Info>),
    /// The link is up.
    Up {
        /// What the hub lets this leaf do: if it changes, the link begins anew.
        rules: (Option<Rules>, Option<Rules>),
    },
}

/// See the [module](self).
#[derive(Debug)]
pub struct Dialler {
    remote: Remote,
    url_has_tls: bool,
    credentials: Credentials,
    secure: bool,
    /// How the link is compressed.
    mode: Mode,
    stage: Stage,
}

impl Dialler {
    /// A connection to `remote` that was just made.
    pub fn new(remote: &RemoteState, credentials: Credentials) -> Self {
        Self {
            remote: remote.config.clone(),
            url_has_tls: remote.url().is_some_and(|url| url.tls),
            credentials,
            secure: false,
            mode: Mode::Off,
            stage: Stage::Info,
        }
    }

    /// The hub introduced itself.
    fn introduced<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, info: Info, used: usize) -> Step<'a> {
        if info.client_id == 0 || info.leafnode_urls.is_none() {
            // nats-server is silent, too.
            return Step::Close(CloseReason::WrongPort);
        }
        if !info.cluster.is_empty() && info.cluster == cx.facts.links.cluster {
            session.set_trouble("it has the same cluster name as this server");
            return session.end(cx, CloseReason::ClusterNamesIdentical, "remote leafnode has same cluster name");
        }
        session.introduce(&info.server_name, &info.version);
        let wants_tls = info.tls_required || self.url_has_tls || self.remote.tls.is_some();
        if wants_tls && !self.secure {
            self.stage = Stage::Securing(Box::new(info));
            return Step::Done(used, Action::Secure);
        }
        match self.compress_or_connect(session, cx, info) {
            Ok(Some(mode)) => Step::Done(used, Action::Compress(mode)),
            Ok(None) => Step::Done(used, self.after_connect(session, cx)),
            Err(reason) => Step::Close(reason),
        }
    }

    /// Asks for compression where both sides want it; else it is time for CONNECT.
    fn compress_or_connect(
        &mut self,
        session: &mut Session,
        cx: &mut Cx<'_>,
        info: Info,
    ) -> Result<Option<Mode>, CloseReason> {
        let offered = info.compression.as_deref().map(|name| Mode::parse(name).unwrap_or(Mode::Off));
        self.mode = self.remote.compression.mode.agree(offered);
        if !self.mode.is_on() {
            return self.connect(session, cx, info).map(|()| None);
        }
        let compression = Some(self.remote.compression.mode.name().to_owned());
        cx.out.extend(&Info { compression, ..Info::default() }.line());
        self.stage = Stage::Compressing(cx.now());
        Ok(Some(self.mode))
    }

    /// An old hub sends no second INFO.
    fn after_connect<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>) -> Action<'a> {
        match &mut self.stage {
            Stage::Connect(info) if !info.info_on_connect => {
                let info = std::mem::take(info);
                let urls = info.leafnode_urls.clone().unwrap_or_default();
                self.start(session, cx, *info);
                Action::LinkUp(urls)
            }
            _ => Action::None,
        }
    }

    fn connect(&mut self, session: &mut Session, cx: &mut Cx<'_>, info: Info) -> Result<(), CloseReason> {
        let facts = &cx.facts.links;
        let account = cx.this.account.map(|id| cx.accounts.get(id).name.clone()).unwrap_or_default();
        let rtt = Duration::from_nanos(cx.this.pulse.rtt);
        let mode = self.remote.compression.effective(self.mode, rtt);
        let mut connect = Connect {
            version: crate::PROTOCOL_VERSION.to_owned(),
            server_id: facts.server_id.clone(),
            name: facts.name.clone(),
            cluster: facts.cluster.clone(),
            headers: cx.facts.info.headers,
            is_hub: self.remote.hub,
            deny_pub: self.remote.deny_imports.clone(),
            isolate: self.remote.request_isolation,
            compress_mode: mode.name().to_owned(),
            remote_account: account,
            protocol: super::PROTOCOL,
            ..Connect::default()
        };
        if let Err(why) = self.credentials.show(&mut connect, &info.nonce) {
            session.set_trouble(&why);
            return Err(CloseReason::AuthenticationViolation);
        }
        cx.out.extend(&connect.line());
        self.stage = Stage::Connect(Box::new(info));
        Ok(())
    }

    /// The hub answered CONNECT: the link is up.
    fn start(&mut self, session: &mut Session, cx: &mut Cx<'_>, info: Info) {
        let rules = (info.import.clone(), info.export.clone());
        cx.this.link = Some(Box::new(LinkFacts {
            role: if self.remote.hub { Role::Hub } else { Role::Spoke },
            solicited: true,
            name: info.server_name.as_str().into(),
            version: info.version.as_str().into(),
            cluster: info.cluster.as_str().into(),
            account: info.remote_account.as_str().into(),
            domain: info.domain.as_str().into(),
            isolated: self.remote.hub && self.remote.isolate,
            compression: self.mode,
            traces: info.proto >= super::PROTOCOL,
        }));
        session.start(
            cx,
            Start {
                headers: info.headers,
                payload_max: usize::try_from(info.max_payload).unwrap_or(0),
                permissions: compiled(&rules),
                deny_to: self.remote.deny_exports.clone(),
                deny_from: self.remote.deny_imports.clone(),
            },
        );
        let (remote, lid) = (cx.this.remote, cx.this.id.cid());
        info!("{remote} - lid:{lid} - Leafnode connection created for account: {}", info.remote_account);
        self.stage = Stage::Up { rules };
    }
}

/// What the hub lets this leaf do, from the hub's point of view turned into ours: it may publish what the leaf may get.
fn compiled((import, export): &(Option<Rules>, Option<Rules>)) -> Option<Rc<Compiled>> {
    if import.is_none() && export.is_none() {
        return None;
    }
    let list = |rules: &Option<Rules>| {
        let rules = rules.clone().unwrap_or_default();
        config::Rules { allow: rules.allow, deny: rules.deny.unwrap_or_default() }
    };
    let permissions = Permissions { publish: list(import), subscribe: list(export), responses: None };
    Some(Rc::new(Compiled::new(&permissions)))
}

impl Handshake for Dialler {
    fn greet(&mut self, _: &mut Session, _: &mut Cx<'_>) {}

    fn step<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, op: Op<'a>, used: usize) -> Step<'a> {
        session.forgive();
        let Op::Info(json) = op else {
            return match op {
                // Another server's port, or none at all.
                _ if matches!(self.stage, Stage::Info) => Step::Close(CloseReason::WrongPort),
                Op::Ping => {
                    cx.out.extend(super::encode::PONG);
                    Step::Done(used, Action::None)
                }
                // nats-server's hub sends nothing else before the second INFO.
                _ => Step::Close(CloseReason::UnknownOperation),
            };
        };
        let Ok(info) = serde_json::from_slice::<Info>(json) else {
            return Step::Close(CloseReason::MalformedOperation);
        };
        match &mut self.stage {
            Stage::Info => self.introduced(session, cx, info, used),
            // The same again, compressed.
            Stage::Compressing(since) => {
                cx.this.pulse.rtt = cx.now().saturating_sub(*since).max(1);
                match self.connect(session, cx, info) {
                    Ok(()) => Step::Done(used, self.after_connect(session, cx)),
                    Err(reason) => Step::Close(reason),
                }
            }
            Stage::Connect(_) if info.connect_info => {
                let urls = info.leafnode_urls.clone().unwrap_or_default();
                self.start(session, cx, info);
                Step::Done(used, Action::LinkUp(urls))
            }
            // It may change its addresses meanwhile.
            Stage::Connect(_) => Step::Done(used, Action::None),
            Stage::Securing(_) | Stage::Up { .. } => Step::Close(CloseReason::MalformedOperation),
        }
    }

    fn secured(&mut self, session: &mut Session, cx: &mut Cx<'_>) -> Option<Mode> {
        self.secure = true;
        let Stage::Securing(info) = std::mem::replace(&mut self.stage, Stage::Info) else { return None };
        self.compress_or_connect(session, cx, *info).unwrap_or_else(|reason| {
            session.fail(reason);
            None
        })
    }

    fn compressed(&mut self, _: &mut Session, _: &mut Cx<'_>) {}

    fn logged_in(&mut self, _: &mut Session, _: &mut Cx<'_>, _: Rc<Identity>) {}

    fn info<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, json: &[u8], used: usize) -> Step<'a> {
        let Ok(info) = serde_json::from_slice::<Info>(json) else {
            return Step::Close(CloseReason::MalformedOperation);
        };
        let Stage::Up { rules } = &self.stage else { return Step::Close(CloseReason::MalformedOperation) };
        if *rules != (info.import, info.export) {
            return session.end(cx, CloseReason::RulesChanged, "Permissions changed");
        }
        Step::Done(used, info.leafnode_urls.map_or(Action::None, Action::Discovered))
    }

    fn server_changed(&mut self, _: &mut Session, _: &mut Cx<'_>) {}

    fn keepalive(&self) -> (Option<Duration>, Option<u32>) {
        (self.remote.ping_interval, self.remote.ping_max)
    }
}

impl Credentials {
    /// Puts into CONNECT what shows who this is.
    fn show(&self, connect: &mut Connect, nonce: &str) -> Result<(), String> {
        if let Some(file) = &self.file {
            let text = file.expose();
            let seed =
                decorated::seed(text).map_err(|error| format!("the credentials file has no usable seed: {error}"))?;
            connect.sig = Some(seed.sign(nonce.as_bytes()));
            connect.jwt = Some(decorated::token(text).to_owned());
        } else if let Some(seed) = &self.seed {
            let seed = Seed::parse(seed.expose()).map_err(|error| format!("the nkey is no usable seed: {error}"))?;
            connect.sig = Some(seed.sign(nonce.as_bytes()));
            connect.nkey = Some(seed.public().encode());
        } else if let Some(user) = &self.user {
            connect.user = Some(user.clone());
            match &self.password {
                Some(password) => connect.pass = Some(password.expose().to_owned()),
                // It may be a token: only the hub knows.
                None => connect.auth_token = Some(user.clone()),
            }
        }
        Ok(())
    }
}
