//! The kinds of listeners a program has.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tracing::error;

use super::server::{Server, TlsSetup};
use super::tls::ServerTls;
use crate::client::Client;
use crate::config::{self, Config, HandshakeFirst};
use crate::mqtt::Mqtt;
use crate::node::Peer;

/// How long a listener waits that could not accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A program: what it is called and what it accepts besides clients.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// `petiole-leaf`, `petiole-hub`.
    pub name: &'static str,
    /// Listeners that the others do not have.
    pub listeners: &'static [Listener],
}

impl Program {
    /// All listeners, that of the clients first.
    pub(super) fn listeners(&self) -> impl Iterator<Item = &'static Listener> {
        [&CLIENTS, &MQTT, &WEBSOCKET].into_iter().chain(self.listeners)
    }
}

/// A kind of listener.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// In the log: `client`.
    pub what: &'static str,
    /// What its socket is called when the service manager hands it over.
    pub socket: &'static str,
    /// What its port is called when it cannot be had.
    pub port: &'static str,
    /// Where it is, if the configuration has it.
    pub at: fn(&Config) -> Option<Endpoint<'_>>,
    /// Whoever connects is greeted with INFO.
    pub greets: bool,
    /// Its connections begin with the handshake of WebSocket, which says what they speak.
    pub websocket: bool,
    /// Our side of a new connection.
    pub peer: fn() -> Box<dyn Peer>,
}

/// Where a listener is.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint<'a> {
    /// `None` follows the client listener's host.
    pub host: Option<&'a str>,
    /// `None` is any free port.
    pub port: Option<u16>,
    /// TLS for its connections.
    pub tls: Option<&'a config::Tls>,
    /// They may also stay in clear.
    pub tls_optional: bool,
}

/// The listener every program has.
static CLIENTS: Listener = Listener {
    what: "client",
    socket: "client",
    port: "port",
    at: |config| {
        let (host, tls) = (config.host.as_deref(), config.tls.as_ref());
        Some(Endpoint { host, port: config.port, tls, tls_optional: config.allow_non_tls })
    },
    greets: true,
    websocket: false,
    peer: || Box::new(Client::new()),
};

/// The listener for MQTT, which both programs can have.
static MQTT: Listener = Listener {
    what: "MQTT client",
    socket: "mqtt",
    port: "MQTT port",
    at: |config| {
        let mqtt = config.mqtt.as_ref()?;
        let (host, tls) = (mqtt.host.as_deref(), mqtt.tls.as_ref());
        Some(Endpoint { host, port: mqtt.port, tls, tls_optional: false })
    },
    greets: false,
    websocket: false,
    peer: || Box::new(Mqtt::new()),
};

/// The listener for browsers and all others that speak WebSocket, which both programs can have.
static WEBSOCKET: Listener = Listener {
    what: "websocket client",
    socket: "websocket",
    port: "websocket port",
    at: |config| {
        let websocket = config.websocket.as_ref()?;
        let (host, tls) = (websocket.host.as_deref(), websocket.tls.as_ref());
        Some(Endpoint { host, port: websocket.port, tls, tls_optional: false })
    },
    greets: false,
    websocket: true,
    peer: || Box::new(Client::by_websocket(None)),
};

/// A listener that is open.
pub(super) struct Open {
    pub(super) listener: &'static Listener,
    /// The certificates in use; changed by a reload.
    tls: RefCell<Option<Rc<TlsSetup>>>,
    /// Where it is open.
    pub(super) address: SocketAddr,
    /// Whose coming is awaited, and who is told of it: one at a time.
    awaited: RefCell<Option<(SocketAddr, oneshot::Sender<()>)>>,
}

impl Open {
    pub(super) fn new(listener: &'static Listener, tls: Option<TlsSetup>, address: SocketAddr) -> Rc<Self> {
        Rc::new(Self { listener, tls: RefCell::new(tls.map(Rc::new)), address, awaited: RefCell::default() })
    }

    /// Whoever comes from there is not served: that he has come is all there is to know.
    pub(super) fn expect(&self, from: SocketAddr) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.awaited.replace(Some((from, tell)));
        told
    }

    fn is_awaited(&self, remote: SocketAddr) -> bool {
        let found = self.awaited.borrow_mut().take_if(|(from, _)| *from == remote);
        found.is_some_and(|(_, tell)| tell.send(()).is_ok())
    }

    /// Whether it greets in clear whoever connects, before a word of his.
    pub(super) fn greets(&self) -> bool {
        let first = self.tls.borrow().as_ref().map_or(HandshakeFirst::No, |tls| tls.first);
        self.listener.greets && first == HandshakeFirst::No
    }

    /// Reads its TLS from a changed configuration.
    pub(super) fn read_tls(&self, config: &Config) -> Result<Option<TlsSetup>, String> {
        (self.listener.at)(config).map_or(Ok(None), |at| load_tls(&at))
    }

    /// What its new connections get from now on.
    pub(super) fn set_tls(&self, tls: Option<TlsSetup>) {
        *self.tls.borrow_mut() = tls.map(Rc::new);
    }

    /// Takes connections in until told to stop.
    pub(super) async fn accept(self: Rc<Self>, server: Rc<Server>, listener: TcpListener) {
        let stop = server.stop_listening();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => return,
            };
            match accepted {
                // Both were ready, and this one was drawn: those who are here were told already.
                Ok(_) if server.node.borrow().is_lame_duck() => return,
                Ok((stream, remote)) => {
                    // An IPv4 client of a listener for both is one of IPv4.
                    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
                    if self.is_awaited(remote) {
                        continue;
                    }
                    let tls = self.tls.borrow().clone();
                    spawn_local(server.clone().serve(stream, remote, self.listener, tls));
                }
                Err(error) => {
                    // Out of files or memory: those who are here go on; newcomers wait.
                    error!("Error accepting a {}: {error}", self.listener.what);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Reads the files of a listener's TLS.
pub(super) fn load_tls(endpoint: &Endpoint<'_>) -> Result<Option<TlsSetup>, String> {
    let Some(tls) = endpoint.tls else { return Ok(None) };
    Ok(Some(TlsSetup {
        server: ServerTls::load(tls)?,
        first: tls.handshake_first,
        optional: endpoint.tls_optional,
        timeout: tls.timeout,
        rate_limit: tls.connection_rate_limit,
        rate: Cell::new((0, 0)),
        rejected: Cell::new(0),
    }))
}
