//! The part of the [`Config`](super::Config) about leaf node links.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{Auth, Secret, Tls};

/// `leafnodes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Leafnodes {
    /// Where leaf nodes are let in; a leaf does not do that.
    pub listener: Option<LeafListener>,
    /// Who may link up; `None` is whoever may log in.
    pub auth: Option<Auth>,
    /// `compression` of the listener, and of remotes that do not say.
    pub compression: Compression,
    /// `reconnect`: the first pause before another attempt.
    pub reconnect: Duration,
    /// `reconnect_max` (ours): pauses double up to this.
    pub reconnect_max: Duration,
    /// `dial_timeout`: how long TCP may take to connect.
    pub dial_timeout: Duration,
    /// `ping_interval` (ours) of links; `None` is that of clients, and half a minute at most.
    pub ping_interval: Option<Duration>,
    /// `ping_max` (ours) of links; `None` is that of clients.
    pub ping_max: Option<u32>,
    /// The hubs to link to.
    pub remotes: Vec<Remote>,
}

impl Default for Leafnodes {
    fn default() -> Self {
        Self {
            listener: None,
            auth: None,
            compression: Compression::default(),
            reconnect: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(4),
            dial_timeout: Duration::from_secs(10),
            ping_interval: None,
            ping_max: None,
            remotes: Vec::new(),
        }
    }
}

/// Where leaf nodes are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeafListener {
    /// `None` follows the client listener's host.
    pub host: Option<String>,
    /// `None` is any free port.
    pub port: Option<u16>,
    /// `advertise`: what leaf nodes are told to connect to, `host:port` or `host`.
    pub advertise: Option<String>,
    /// `no_advertise`: other servers of the cluster are not told.
    pub no_advertise: bool,
    /// `tls` of the listener.
    pub tls: Option<Tls>,
    /// `isolate_leafnode_interest`: leaf nodes do not hear of each other's interest.
    pub isolate: bool,
    /// `min_version`: older leaf nodes are refused.
    pub min_version: Option<Version>,
}

/// One of `leafnodes.remotes`: a hub.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remote {
    /// Where it is; one is enough. Not empty.
    pub urls: Vec<RemoteUrl>,
    /// The account that the link belongs to.
    pub account: String,
    /// `credentials`: a file with a JWT and a seed, read at each connect.
    pub credentials: Option<PathBuf>,
    /// `nkey`: a seed.
    pub nkey: Option<Secret>,
    /// `tls`.
    pub tls: Option<ClientTls>,
    /// `hub`: this side is the hub, although it dials.
    pub hub: bool,
    /// Subjects that are not taken from the hub.
    pub deny_imports: Vec<String>,
    /// Subjects that are not given to the hub.
    pub deny_exports: Vec<String>,
    /// `no_randomize`: urls are tried in the order of the file.
    pub no_randomize: bool,
    /// `compression`.
    pub compression: Compression,
    /// `first_info_timeout`: how long the hub may take from the first byte to the link being up.
    pub first_info_timeout: Timeout,
    /// See [`Leafnodes::dial_timeout`].
    pub dial_timeout: Duration,
    /// See [`Leafnodes::reconnect`].
    pub reconnect: Duration,
    /// See [`Leafnodes::reconnect_max`].
    pub reconnect_max: Duration,
    /// See [`Leafnodes::ping_interval`].
    pub ping_interval: Option<Duration>,
    /// See [`Leafnodes::ping_max`].
    pub ping_max: Option<u32>,
    /// `disabled`: not now.
    pub disabled: bool,
    /// `ignore_discovered_servers`: only the configured urls count.
    pub ignore_discovered: bool,
    /// `isolate_leafnode_interest`: where this side is the hub, the other does not hear of other leaf nodes' interest.
    pub isolate: bool,
    /// `request_isolation`: asks the hub not to tell of other leaf nodes' interest.
    pub request_isolation: bool,
}

impl Remote {
    /// Whether `other` would be the same link twice.
    pub fn same_link(&self, other: &Self) -> bool {
        self.urls == other.urls && self.account == other.account && self.credentials == other.credentials
    }
}

/// How long the hub may take for its side of the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub Duration);

impl Default for Timeout {
    /// Long enough for a satellite; nats-server has one second.
    fn default() -> Self {
        Self(Duration::from_secs(15))
    }
}

/// Where a hub is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// 7422 unless said.
    pub port: u16,
    /// `tls://`.
    pub tls: bool,
    /// From the url.
    pub user: Option<String>,
    /// From the url.
    pub password: Option<Secret>,
}

/// Without the password.
impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "tls" } else { "nats-leaf" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

/// A `tls` block of a remote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificate chain and private key files (PEM), for hubs that verify.
    pub cert: Option<(PathBuf, PathBuf)>,
    /// `ca_file`; without one the public authorities count.
    pub ca_file: Option<PathBuf>,
    /// `insecure`: any certificate will do.
    pub insecure: bool,
    /// `min_version: "1.3"`.
    pub only_1_3: bool,
    /// `handshake_first`: TLS before INFO.
    pub first: bool,
}

/// `compression`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// What is wanted.
    pub mode: Mode,
    /// Round-trip times from which `s2_auto` compresses fast, better and best.
    pub thresholds: [Duration; 3],
}

impl Default for Compression {
    fn default() -> Self {
        let thresholds = [10, 50, 100].map(Duration::from_millis);
        Self { mode: Mode::Auto, thresholds }
    }
}

impl Compression {
    /// How hard to compress on a link with this round-trip time, where `mode` was agreed on.
    pub fn effective(&self, mode: Mode, rtt: Duration) -> Mode {
        if mode != Mode::Auto {
            return mode;
        }
        match self.thresholds.iter().filter(|&&threshold| rtt >= threshold).count() {
            0 => Mode::Uncompressed,
            1 => Mode::Fast,
            2 => Mode::Better,
            _ => Mode::Best,
        }
    }

    pub(super) fn of_switch(on: bool) -> Mode {
        if on { Mode::Auto } else { Mode::Off }
    }

    pub(super) fn mode_of(name: &str) -> Option<Mode> {
        Mode::parse(&name.to_ascii_lowercase()).or(match name.to_ascii_lowercase().as_str() {
            "on" | "enabled" | "true" | "auto" => Some(Mode::Auto),
            "disabled" | "false" => Some(Mode::Off),
            "fast" => Some(Mode::Fast),
            "better" => Some(Mode::Better),
            "best" => Some(Mode::Best),
            _ => None,
        })
    }
}

/// A mode of compression, as configured and as agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// An older server, which knows nothing of it.
    NotSupported,
    /// `off`
    Off,
    /// `accept`: what the other side wants.
    Accept,
    /// `s2_auto`: by the round-trip time.
    #[default]
    Auto,
    /// `s2_uncompressed`: framed only.
    Uncompressed,
    /// `s2_fast`
    Fast,
    /// `s2_better`
    Better,
    /// `s2_best`
    Best,
}

impl Mode {
    const ALL: [Self; 8] = [
        Self::NotSupported,
        Self::Off,
        Self::Accept,
        Self::Auto,
        Self::Uncompressed,
        Self::Fast,
        Self::Better,
        Self::Best,
    ];

    /// What comes of this side's wish and the other's; `None` is a server that knows nothing of it. The same on both
    /// sides (nats-server: `selectCompressionMode`).
    pub fn agree(self, other: Option<Self>) -> Self {
        match (self, other) {
            (_, None | Some(Self::NotSupported)) => Self::NotSupported,
            (Self::Off | Self::NotSupported, _) | (_, Some(Self::Off)) => Self::Off,
            (Self::Accept, Some(Self::Accept)) => Self::Off,
            (Self::Accept, Some(Self::Auto)) => Self::Fast,
            (Self::Auto, Some(Self::Accept | Self::Auto)) => Self::Auto,
            (Self::Accept | Self::Auto, Some(wanted)) => wanted,
            (own, _) => own,
        }
    }

    /// Whether there is a stream of S2 at all.
    pub fn is_on(self) -> bool {
        !matches!(self, Self::NotSupported | Self::Off | Self::Accept)
    }

    /// Its name, in INFO, CONNECT and /leafz.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSupported => "not supported",
            Self::Off => "off",
            Self::Accept => "accept",
            Self::Auto => "s2_auto",
            Self::Uncompressed => "s2_uncompressed",
            Self::Fast => "s2_fast",
            Self::Better => "s2_better",
            Self::Best => "s2_best",
        }
    }

    /// Reads such a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// A version of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Reads `2.10.4`, also `v2.10.4-RC.1`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split(['-', '+']).next()?;
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let version = Self(parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}
