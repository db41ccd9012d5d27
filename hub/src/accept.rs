//! Leaf nodes are let in: the side of a link that is dialled.

use std::rc::Rc;
use std::time::Duration;
use tracing::info;

use leaf::auth::directory::Identity;
use leaf::auth::nkey;
use leaf::config::{Config, Mode, Version};
use leaf::link::{Connect, Handshake, Info, Link, Op, PROTOCOL, Rules, Session, Start, place};
use leaf::node::{Action, CloseReason, Cx, LinkFacts, Role, Step};
use leaf::shell::listener::{Endpoint, Listener};
use leaf::{PROTOCOL_VERSION, wire};

/// The listener for leaf nodes.
pub const LISTENER: Listener = Listener {
    what: "leafnode",
    socket: "leafnode",
    port: "leafnode port",
    at: endpoint,
    greets: true,
    websocket: false,
    peer: || Box::new(Link::new(Acceptor::default())),
};

fn endpoint(config: &Config) -> Option<Endpoint<'_>> {
    let listener = config.leafnodes.listener.as_ref()?;
    let (host, tls) = (listener.host.as_deref(), listener.tls.as_ref());
    Some(Endpoint { host, port: listener.port, tls, tls_optional: false })
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Acceptor {
    /// What the leaf node said of itself, while its login is being decided.
    offered: Option<Box<Offer>>,
    /// How the link is compressed, once that is settled.
    mode: Option<Mode>,
}

/// What is kept of CONNECT.
#[derive(Debug)]
struct Offer {
    name: String,
    version: String,
    cluster: String,
    account: String,
    is_hub: bool,
    headers: bool,
    isolate: bool,
    deny_pub: Vec<String>,
    protocol: i64,
    mode: Mode,
}

impl Acceptor {
    fn info(cx: &Cx<'_>) -> Info {
        let facts = &cx.facts.links;
        let (host, port) = facts.address.clone().unwrap_or_default();
        Info {
            server_id: facts.server_id.clone(),
            server_name: facts.name.clone(),
            version: PROTOCOL_VERSION.to_owned(),
            proto: PROTOCOL,
            go: cx.facts.info.go.to_owned(),
            ip: place(&host, port),
            host,
            port,
            headers: cx.facts.info.headers,
            auth_required: true,
            tls_required: facts.tls,
            tls_verify: facts.tls_verify,
            max_payload: cx.facts.info.max_payload,
            client_id: cx.this.id.cid(),
            cluster: facts.info_cluster.clone(),
            info_on_connect: true,
            leafnode_urls: Some(facts.urls.clone()),
            ..Info::default()
        }
    }

    /// The compression that the leaf node asks for in its INFO; an error if that is none.
    #[allow(clippy::option_option, reason = "it may be no INFO, or one without a word about compression")]
    fn wish(json: &[u8]) -> Option<Option<Mode>> {
        let info: Info = serde_json::from_slice(json).ok()?;
        Some(info.compression.as_deref().map(|name| Mode::parse(name).unwrap_or(Mode::Off)))
    }

    /// Checks what CONNECT says; who it is is found out by the node.
    fn connect<'a>(&mut self, session: &mut Session, cx: &Cx<'_>, json: &[u8], used: usize) -> Step<'a> {
        let Ok(connect) = serde_json::from_slice::<Connect>(json) else {
            return Step::Close(CloseReason::MalformedOperation);
        };
        let facts = &cx.facts.links;
        session.introduce(&connect.name, &connect.version);
        if !connect.lang.is_empty() {
            return session.end(cx, CloseReason::WrongPort, "attempted to connect to leaf node port");
        }
        if !connect.gateway.is_empty() {
            let words = format!("Rejecting connection from gateway \"{}\" on the leafnode port", connect.gateway);
            return session.end(cx, CloseReason::WrongGateway, words);
        }
        if connect.cluster.contains(' ') {
            return session.end(cx, CloseReason::ClusterNameHasBlank, "cluster name cannot contain spaces");
        }
        if !facts.info_cluster.is_empty() && connect.cluster == facts.info_cluster {
            return session.end(cx, CloseReason::ClusterNamesIdentical, "remote leafnode has same cluster name");
        }
        if let Some(least) = facts.min_version
            && Version::parse(&connect.version).is_none_or(|version| version < least)
        {
            let words = format!("connection rejected since minimum version required is \"{least}\"");
            return session.end(cx, CloseReason::MinimumVersion, words);
        }
        let said = Mode::parse(&connect.compress_mode).unwrap_or(Mode::NotSupported);
        self.offered = Some(Box::new(Offer {
            mode: self.mode.unwrap_or(said),
            name: connect.name,
            version: connect.version,
            cluster: connect.cluster,
            account: connect.remote_account,
            is_hub: connect.is_hub,
            headers: connect.headers,
            isolate: connect.isolate,
            deny_pub: connect.deny_pub,
            protocol: connect.protocol,
        }));
        let login = wire::Connect {
            user: connect.user,
            pass: connect.pass,
            auth_token: connect.auth_token,
            nkey: connect.nkey,
            sig: connect.sig,
            jwt: connect.jwt,
            ..wire::Connect::default()
        };
        Step::Done(used, Action::Login(Box::new(login)))
    }
}

impl Handshake for Acceptor {
    fn greet(&mut self, _: &mut Session, cx: &mut Cx<'_>) {
        let nonce = nkey::nonce_text(cx.this.nonce);
        let compression = Some(cx.facts.links.compression.mode.name().to_owned());
        let info = Info { nonce, compression, ..Self::info(cx) };
        cx.out.extend(&info.line());
    }

    fn step<'a>(&mut self, session: &mut Session, cx: &mut Cx<'_>, op: Op<'a>, used: usize) -> Step<'a> {
        match op {
            Op::Connect(json) if self.offered.is_none() => self.connect(session, cx, json, used),
            Op::Info(json)
                if self.offered.is_none() && self.mode.is_none() && cx.facts.links.compression.mode != Mode::Off =>
            {
                Self::wish(json).map_or(Step::Close(CloseReason::MalformedOperation), |wish| {
                    let mode = cx.facts.links.compression.mode.agree(wish);
                    self.mode = Some(mode);
                    Step::Done(used, if mode.is_on() { Action::Compress(mode) } else { Action::None })
                })
            }
            _ => Step::Close(CloseReason::AuthenticationViolation),
        }
    }

    fn secured(&mut self, _: &mut Session, _: &mut Cx<'_>) -> Option<Mode> {
        None
    }

    fn compressed(&mut self, session: &mut Session, cx: &mut Cx<'_>) {
        cx.this.pulse.rtt = cx.now().saturating_sub(cx.this.start).max(1);
        self.greet(session, cx);
    }

    fn logged_in(&mut self, session: &mut Session, cx: &mut Cx<'_>, identity: Rc<Identity>) {
        let Some(offer) = self.offered.take() else { return };
        let account = cx.this.account.map(|id| cx.accounts.get(id).name.clone()).unwrap_or_default();
        let permissions = identity.permissions.clone();
        let lists = permissions.as_ref().map(|permissions| permissions.lists());
        let rules = |rules: leaf::config::Rules| Rules {
            allow: rules.allow,
            deny: Some(rules.deny).filter(|deny| !deny.is_empty()),
        };
        let (import, export) = match lists {
            Some(lists) => (Some(rules(lists.subscribe)), Some(rules(lists.publish))),
            None => (None, None),
        };
        let remote_account = account.clone();
        let info = Info { connect_info: true, remote_account, import, export, ..Self::info(cx) };
        cx.out.extend(&info.line());
        session.set_identity(identity);
        let start = Start {
            headers: offer.headers,
            payload_max: 0,
            permissions,
            deny_to: offer.deny_pub,
            deny_from: Vec::new(),
        };
        session.start(cx, start);
        cx.this.link = Some(Box::new(LinkFacts {
            role: if offer.is_hub { Role::Spoke } else { Role::Hub },
            solicited: false,
            name: offer.name.as_str().into(),
            version: offer.version.as_str().into(),
            cluster: offer.cluster.as_str().into(),
            account: offer.account.as_str().into(),
            domain: "".into(),
            isolated: offer.isolate || cx.facts.links.isolate,
            compression: offer.mode,
            traces: offer.protocol >= PROTOCOL,
        }));
        let (remote, lid) = (cx.this.remote, cx.this.id.cid());
        info!("{remote} - lid:{lid} - Leafnode connection created for account: {account}");
    }

    fn info<'a>(&mut self, _: &mut Session, _: &mut Cx<'_>, _: &[u8], used: usize) -> Step<'a> {
        // A leaf node has nothing to tell that counts here.
        Step::Done(used, Action::None)
    }

    fn server_changed(&mut self, _: &mut Session, _: &mut Cx<'_>) {}

    fn keepalive(&self) -> (Option<Duration>, Option<u32>) {
        (None, None)
    }
}
