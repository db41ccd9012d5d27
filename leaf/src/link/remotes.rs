//! Which hub is dialled when. Pure: time and draws come in, what to dial goes out.
//!
//! After a failure the next address is tried; the pause before that doubles from `reconnect` up to `reconnect_max`, and
//! half of it is drawn, so that a fleet that lost its hub does not come back all at once. A hub that refuses is asked
//! less often.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tracing::{debug, error, info};

use crate::account::AccountId;
use crate::config::{ClientTls, Remote, RemoteUrl};
use crate::node::{CloseReason, ConnId, Nanos, SECOND, nanos};

/// Addresses a hub may tell of.
const DISCOVERED_MAX: usize = 64;
/// A hub that refuses is asked again at least after this.
const REFUSED_PAUSE: Nanos = 30 * SECOND;
/// After a loop, or where cluster names clash (nats-server: `leafNodeReconnectDelayAfterLoopDetected`).
const LOOP_PAUSE: Nanos = 30 * SECOND;
/// After a version that is too old.
const VERSION_PAUSE: Nanos = 5 * SECOND;
/// A link that held for so long was no failure.
const STEADY: Nanos = 5 * SECOND;

/// A connection to be made.
#[derive(Clone, Debug)]
pub struct Dial {
    /// For the answer.
    pub ticket: u64,
    /// A name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How long TCP may take.
    pub timeout: Duration,
    /// A file to be read for each connection.
    pub credentials: Option<PathBuf>,
}

/// Where a remote stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be dialled then.
    Waiting { until: Nanos },
    /// Being dialled.
    Dialling { ticket: u64 },
    /// Connected, the handshake is going on.
    Greeting { conn: ConnId },
    /// The link is up.
    Up { conn: ConnId, since: Nanos },
    /// Not wanted now.
    Disabled,
}

/// A hub to be linked to.
#[derive(Debug)]
pub struct RemoteState {
    /// As configured.
    pub config: Remote,
    /// The account of the link.
    pub account: AccountId,
    /// Why it is not up, as last found out.
    pub trouble: Option<String>,
    /// What the log was told last, so that it is told once.
    told: Option<String>,
    /// What is wrong with the connection there is.
    fault: Option<String>,
    phase: Phase,
    /// What to try, the next one first: the configured ones, and those the hub told of.
    urls: Vec<RemoteUrl>,
    failures: u32,
}

impl RemoteState {
    /// The connection, once the link is up.
    pub fn link(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Up { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// What is being tried, or was last.
    pub fn url(&self) -> Option<&RemoteUrl> {
        self.urls.first()
    }

    /// `connected`, `connecting`, `waiting`, `disabled`.
    pub fn state(&self) -> &'static str {
        match self.phase {
            Phase::Waiting { .. } => "waiting",
            Phase::Dialling { .. } | Phase::Greeting { .. } => "connecting",
            Phase::Up { .. } => "connected",
            Phase::Disabled => "disabled",
        }
    }

    fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Greeting { conn } | Phase::Up { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// What went wrong: said once, and again only when it is something else.
    fn complain(&mut self, text: String) {
        let place = self.urls.first().map(ToString::to_string).unwrap_or_default();
        let line = format!("Leafnode remote {place}: {text}");
        if self.told.as_ref() == Some(&line) {
            debug!("{line}");
        } else {
            error!("{line}");
            self.told = Some(line);
        }
        self.trouble = Some(text);
    }

    fn retry(&mut self, now: Nanos, least: Nanos, draw: &mut dyn FnMut(u64) -> u64) {
        let (first, most) = (nanos(self.config.reconnect), nanos(self.config.reconnect_max));
        let doubled = first.saturating_mul(1 << self.failures.min(20));
        let pause = doubled.min(most.max(first)).max(least).max(2);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now + pause / 2 + draw(pause / 2) };
        if !self.urls.is_empty() {
            self.urls.rotate_left(1);
        }
    }
}

/// All hubs to be linked to.
#[derive(Debug, Default)]
pub struct Remotes {
    list: Vec<RemoteState>,
    tickets: u64,
}

impl Remotes {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RemoteState> {
        self.list.iter()
    }

    /// When [`Self::next`] must be asked again.
    pub fn due(&self) -> Option<Nanos> {
        let waiting = self.list.iter().filter_map(|remote| match remote.phase {
            Phase::Waiting { until } => Some(until),
            _ => None,
        });
        waiting.min()
    }

    /// Takes over what is configured now, each with its account. Gives the connections that must end.
    pub fn configure(
        &mut self,
        now: Nanos,
        wanted: Vec<(Remote, AccountId)>,
        draw: &mut dyn FnMut(u64) -> u64,
    ) -> Vec<ConnId> {
        let mut old = std::mem::take(&mut self.list);
        for (config, account) in wanted {
            if let Some(at) = old.iter().position(|state| state.config == config && state.account == account) {
                self.list.push(old.swap_remove(at));
                continue;
            }
            let mut urls = config.urls.clone();
            if !config.no_randomize {
                for at in (1..urls.len()).rev() {
                    urls.swap(at, draw(at as u64 + 1) as usize);
                }
            }
            let phase =
                if config.disabled { Phase::Disabled } else { Phase::Waiting { until: now + draw(SECOND / 10) } };
            self.list.push(RemoteState {
                config,
                account,
                trouble: None,
                told: None,
                fault: None,
                phase,
                urls,
                failures: 0,
            });
        }
        old.iter().filter_map(RemoteState::conn).collect()
    }

    /// The next connection to be made.
    pub fn next(&mut self, now: Nanos) -> Option<Dial> {
        let due = |remote: &&mut RemoteState| matches!(remote.phase, Phase::Waiting { until } if until <= now);
        let remote = self.list.iter_mut().find(due)?;
        self.tickets += 1;
        remote.phase = Phase::Dialling { ticket: self.tickets };
        let url = remote.urls.first()?;
        Some(Dial {
            ticket: self.tickets,
            host: url.host.clone(),
            port: url.port,
            timeout: remote.config.dial_timeout,
            credentials: remote.config.credentials.clone(),
        })
    }

    /// Whose dialling this is; nobody's, if it is not wanted any more.
    pub fn of_ticket(&self, ticket: u64) -> Option<&RemoteState> {
        self.list.iter().find(|remote| remote.phase == Phase::Dialling { ticket })
    }

    /// It is connected.
    pub fn connected(&mut self, ticket: u64, conn: ConnId) {
        if let Some(remote) = self.list.iter_mut().find(|remote| remote.phase == Phase::Dialling { ticket }) {
            (remote.phase, remote.fault) = (Phase::Greeting { conn }, None);
        }
    }

    /// It could not be connected.
    pub fn failed(&mut self, now: Nanos, ticket: u64, why: String, draw: &mut dyn FnMut(u64) -> u64) {
        if let Some(remote) = self.list.iter_mut().find(|remote| remote.phase == Phase::Dialling { ticket }) {
            remote.complain(why);
            remote.retry(now, 0, draw);
        }
    }

    fn of(&mut self, conn: ConnId) -> Option<&mut RemoteState> {
        self.list.iter_mut().find(|remote| remote.conn() == Some(conn))
    }

    /// The remote behind a connection.
    pub fn find(&self, conn: ConnId) -> Option<&RemoteState> {
        self.list.iter().find(|remote| remote.conn() == Some(conn))
    }

    /// The handshake is through.
    pub fn up(&mut self, now: Nanos, conn: ConnId) {
        let Some(remote) = self.of(conn) else { return };
        remote.phase = Phase::Up { conn, since: now };
        (remote.told, remote.trouble) = (None, None);
        if let Some(url) = remote.urls.first() {
            info!("Leafnode remote {url}: connected");
        }
    }

    /// Something is wrong with a connection, which will end. Says whether it is one to a hub.
    pub fn complain(&mut self, conn: ConnId, text: &str) -> bool {
        let remote = self.of(conn);
        remote.map(|remote| remote.fault = Some(text.to_owned())).is_some()
    }

    /// The connection ended: `said` is what the hub complained of, if it did.
    pub fn lost(
        &mut self,
        now: Nanos,
        conn: ConnId,
        reason: CloseReason,
        said: &str,
        draw: &mut dyn FnMut(u64) -> u64,
    ) {
        let Some(remote) = self.of(conn) else { return };
        let was_up = matches!(remote.phase, Phase::Up { .. });
        if matches!(remote.phase, Phase::Up { since, .. } if now.saturating_sub(since) >= STEADY) {
            remote.failures = 0;
        }
        let refused = !was_up && !said.is_empty();
        let fault = remote.fault.take();
        let text = match reason {
            _ if fault.is_some() => fault.unwrap_or_default(),
            _ if !said.is_empty() => format!("the hub says: {said}"),
            CloseReason::WrongPort => "this is not a leafnode port".to_owned(),
            CloseReason::HandshakeTimeout => "the hub does not answer".to_owned(),
            CloseReason::StaleConnection => "the hub does not answer any more".to_owned(),
            CloseReason::ClientClosed if was_up => "the hub closed the connection".to_owned(),
            CloseReason::ClientClosed => "the hub closed the connection before the link was up".to_owned(),
            CloseReason::RulesChanged => "the hub changed what this leaf may do".to_owned(),
            other => other.text().to_owned(),
        };
        remote.complain(text);
        let least = match reason {
            CloseReason::LoopDetected | CloseReason::ClusterNamesIdentical | CloseReason::PermissionsViolation => {
                LOOP_PAUSE
            }
            CloseReason::MinimumVersion => VERSION_PAUSE,
            _ if refused => (nanos(remote.config.reconnect) << remote.failures.min(20)).min(REFUSED_PAUSE),
            _ => 0,
        };
        remote.retry(now, least, draw);
    }

    /// The hub told of its addresses: they are tried after the configured ones, with the same user and TLS.
    pub fn discovered(&mut self, conn: ConnId, places: Vec<String>) {
        let Some(remote) = self.of(conn) else { return };
        if remote.config.ignore_discovered {
            return;
        }
        let Some(model) = remote.config.urls.first().cloned() else { return };
        let current = remote.urls.first().cloned();
        let mut known: BTreeMap<(String, u16), ()> = BTreeMap::new();
        let mut urls = Vec::new();
        let told = places.iter().take(DISCOVERED_MAX).filter_map(|place| split(place));
        let told = told.map(|(host, port)| RemoteUrl { host, port, ..model.clone() });
        for url in current.into_iter().chain(remote.config.urls.iter().cloned()).chain(told) {
            if known.insert((url.host.clone(), url.port), ()).is_none() {
                urls.push(url);
            }
        }
        remote.urls = urls;
    }
}

fn split(place: &str) -> Option<(String, u16)> {
    let (host, port) = place.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

/// Which certificate and block are for TLS with the hub behind `url`: a name that was found out is covered by the
/// certificate of the one that was configured (nats-server: `leafNodeCfg.tlsName`).
pub fn tls_of(remote: &RemoteState) -> (String, Option<ClientTls>) {
    let current = remote.urls.first();
    let is_address = |host: &str| host.parse::<std::net::IpAddr>().is_ok();
    let named = remote.config.urls.iter().map(|url| &url.host).find(|host| !is_address(host));
    let host = match (current, named) {
        (Some(url), Some(name)) if is_address(&url.host) => name.clone(),
        (Some(url), _) => url.host.clone(),
        (None, _) => String::new(),
    };
    (host, remote.config.tls.clone())
}
