//! Links between servers, as the node sees them: whose interest is told to whom.
//!
//! Nothing is remembered of what was told. When interest in a pattern changes, each link is asked what it may see of
//! it now and what it could see before; that follows from the subscriptions there are.

use std::rc::Rc;
use std::time::Duration;
use tracing::error;

use super::{CloseReason, Conn, ConnId, Identity, Node, Out, Role, SECOND, Source, Sub, Timer, nanos};
use crate::account::AccountId;
use crate::config::{Compression, Config, Mode, Version};
use crate::interest::SubId;
use crate::link::{self, LinkEvent, s2};
use crate::message::{Message, trace};
use crate::node::pacer::Pacer;
use crate::node::{LinkFacts, Nanos, SUBSCRIPTION_BYTES_PER_CONNECTION_MAX};

/// The longest interval between two questions for a sign of life, unless configured.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Plain bytes taken at once from a compressed link before it is up.
const STRANGER_BYTES_MAX: usize = 256 * 1024;
/// Events of links that nobody has taken yet.
const EVENTS_MAX: usize = 1024;

/// What is said of this server on leaf node links.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// This server's public key.
    pub server_id: String,
    /// Its name.
    pub name: String,
    /// Its cluster; a server without one stands for itself.
    pub cluster: String,
    /// What INFO says of the cluster: only a server that has one, or dials itself, says so.
    pub info_cluster: String,
    /// Where leaf nodes connect, `host` and port.
    pub address: Option<(String, u16)>,
    /// Where else leaf nodes may connect, `host:port`; this server's own address first.
    pub urls: Vec<String>,
    /// TLS of the leaf node port.
    pub tls: bool,
    /// A certificate is asked for.
    pub tls_verify: bool,
    /// Leaf nodes do not hear of each other's interest.
    pub isolate: bool,
    /// Older leaf nodes are refused.
    pub min_version: Option<Version>,
    /// How links are compressed.
    pub compression: Compression,
    /// Time for CONNECT to come.
    pub login_within: Nanos,
    /// How often a link is asked for a sign of life.
    pub ping_interval: Duration,
    /// How many questions may stay without an answer.
    pub ping_max: u32,
}

impl LinkSettings {
    pub(super) fn new(config: &Config, identity: &Identity) -> Self {
        let leafnodes = &config.leafnodes;
        let name = if config.server_name.is_empty() { &identity.server_id } else { &config.server_name };
        let listener = leafnodes.listener.as_ref();
        let tls = listener.and_then(|listener| listener.tls.as_ref());
        let login = leafnodes.auth.as_ref().and_then(|auth| auth.timeout);
        let login =
            login.unwrap_or_else(|| tls.map_or(Duration::from_secs(2), |tls| tls.timeout + Duration::from_secs(1)));
        let address = identity.leafnodes.clone();
        Self {
            server_id: identity.server_id.clone(),
            name: name.clone(),
            cluster: name.clone(),
            info_cluster: if leafnodes.remotes.is_empty() { String::new() } else { name.clone() },
            urls: address.iter().map(|(host, port)| link::place(host, *port)).collect(),
            address,
            tls: tls.is_some(),
            tls_verify: tls.is_some_and(|tls| tls.verify),
            isolate: listener.is_some_and(|listener| listener.isolate),
            min_version: listener.and_then(|listener| listener.min_version),
            compression: leafnodes.compression,
            login_within: nanos(login),
            ping_interval: leafnodes.ping_interval.unwrap_or(config.limits.ping_interval.min(PING_INTERVAL_MAX)),
            ping_max: leafnodes.ping_max.unwrap_or(config.limits.ping_max),
        }
    }
}

/// Whether the holder of a subscription, a link itself or not, is something that the link `to` hears of.
fn is_heard(holder: Option<&LinkFacts>, to: &LinkFacts, pattern: &[u8]) -> bool {
    let Some(holder) = holder else { return true };
    if !holder.cluster.is_empty() && holder.cluster == to.cluster {
        return false;
    }
    match (holder.role, to.role) {
        // Our own leaf nodes. Loops must be found even where they are kept apart.
        (Role::Hub, Role::Hub) => !to.isolated || pattern.starts_with(link::LOOP_PREFIX),
        (Role::Hub, Role::Spoke) => true,
        // A hub of ours.
        (Role::Spoke, Role::Hub) => true,
        (Role::Spoke, Role::Spoke) => false,
    }
}

impl Node {
    /// How many subscribers there are that `link` hears of, among `members`, all of one pattern and queue group.
    /// Those of connection `without` do not count. With `enough` the count may stop there.
    fn heard_on(&self, link: u32, pattern: &[u8], members: &[SubId], without: Option<SubId>, enough: u32) -> u32 {
        let Some(conn) = self.conns.get(link as usize) else { return 0 };
        let Some(to) = conn.core.link.as_ref() else { return 0 };
        if to.role == Role::Spoke && conn.core.account.is_some_and(|account| self.is_all_from_streams(account, pattern))
        {
            return 0;
        }
        // A leaf node need not hear of the others' tokens, a thousand of them, but of one that it brought itself and that
        // came from somewhere else, too: there is a loop through it.
        let strange =
            to.role == Role::Hub && pattern.starts_with(link::LOOP_PREFIX) && self.sub_of(link, pattern).is_none();
        let mut sum = 0;
        for id in members {
            let Some(sub) = self.subs.get(*id).filter(|sub| sub.conn != link && without != Some(*id)) else { continue };
            let holder = self.conns.get(sub.conn as usize).and_then(|conn| conn.core.link.as_deref());
            if strange && holder.is_some_and(|holder| holder.role == Role::Hub) {
                continue;
            }
            if is_heard(holder, to, pattern) {
                sum += sub.weight.max(1);
                if sum >= enough {
                    break;
                }
            }
        }
        sum
    }

    /// Whether somebody of this server, whom all links hear of, subscribes to the same without `besides`: then no link
    /// hears anything new. A few are looked at, so that a thousand leaf nodes that ask for the same cost little.
    fn is_known_to_all(&self, members: &[SubId], besides: Option<SubId>) -> bool {
        const LOOKED_AT: usize = 8;
        members.iter().take(LOOKED_AT).filter(|id| besides != Some(**id)).any(|id| {
            let conn = self.subs.get(*id).and_then(|sub| self.conns.get(sub.conn as usize));
            conn.is_none_or(|conn| conn.core.link.is_none())
        })
    }

    /// A subscription came: links that hear of it are told, unless they know.
    pub(super) fn interest_came(&mut self, account: AccountId, pattern: &[u8], queue: Option<&[u8]>, new: SubId) {
        self.audience_came(account, pattern);
        if self.accounts.get(account).links.is_empty() {
            return;
        }
        self.tell(account, pattern, queue, new, 1);
    }

    /// A subscription went, and is no longer among the others.
    pub(super) fn interest_went(&mut self, gone: &Sub) {
        if self.accounts.get(gone.account).links.is_empty() {
            return;
        }
        if gone.queue.is_none() {
            let left = self.accounts.get(gone.account).interest.members(&gone.subject, None);
            if self.is_known_to_all(left, None) {
                return;
            }
        }
        let links = std::mem::take(&mut self.accounts.get_mut(gone.account).links);
        let holder = self.conns.get(gone.conn as usize).and_then(|conn| conn.core.link.clone());
        for &link in links.iter().filter(|&&link| link != gone.conn) {
            let Some(to) = self.conns.get(link as usize).and_then(|conn| conn.core.link.as_ref()) else { continue };
            let is_token = gone.subject.starts_with(link::LOOP_PREFIX);
            if !is_heard(holder.as_deref(), to, &gone.subject)
                || is_token && to.role == Role::Hub && self.sub_of(link, &gone.subject).is_none()
            {
                continue;
            }
            let enough = if gone.queue.is_some() { u32::MAX } else { 1 };
            let members = self.accounts.get(gone.account).interest.members(&gone.subject, gone.queue.as_deref());
            let left = self.heard_on(link, &gone.subject, members, None, enough);
            if left == 0 || gone.queue.is_some() {
                self.announce_on(link, &gone.subject, gone.queue.as_deref(), left);
            }
        }
        self.accounts.get_mut(gone.account).links = links;
    }

    /// Tells links of subscription `of`, which is new or has another weight.
    fn tell(&mut self, account: AccountId, pattern: &[u8], queue: Option<&[u8]>, of: SubId, enough: u32) {
        if queue.is_none() && self.is_known_to_all(self.accounts.get(account).interest.members(pattern, None), Some(of))
        {
            return;
        }
        let links = std::mem::take(&mut self.accounts.get_mut(account).links);
        for &link in &links {
            if self.heard_on(link, pattern, &[of], None, 1) == 0 {
                continue;
            }
            let members = self.accounts.get(account).interest.members(pattern, queue);
            match queue {
                None if self.heard_on(link, pattern, members, Some(of), enough) > 0 => {}
                None => self.announce_on(link, pattern, None, 1),
                Some(_) => {
                    let weight = self.heard_on(link, pattern, members, None, u32::MAX);
                    self.announce_on(link, pattern, queue, weight);
                }
            }
        }
        self.accounts.get_mut(account).links = links;
    }

    fn announce_on(&mut self, link: u32, pattern: &[u8], queue: Option<&[u8]>, weight: u32) {
        self.with_peer(link, |peer, cx| peer.announce(cx, pattern, queue, weight));
    }

    /// The server behind a link told of its interest.
    pub(super) fn remote_interest(&mut self, slot: u32, pattern: &[u8], queue: Option<&[u8]>, weight: u32) {
        let conn = &self.conns[slot as usize];
        let (id, Some(account)) = (conn.core.id, conn.core.account) else { return };
        if *pattern == *self.accounts.get(account).loop_subject {
            let name = self.accounts.get(account).name.clone();
            error!("{} - lid:{} - {}", self.conns[slot as usize].core.remote, id.cid(), link::loop_words(&name));
            self.conns[slot as usize].peer.found_loop(&name);
            return self.close(id, CloseReason::LoopDetected);
        }
        let full =
            conn.core.subs >= self.facts.subs_max || conn.core.subs_bytes >= SUBSCRIPTION_BYTES_PER_CONNECTION_MAX;
        let mut name = pattern.to_vec();
        if let Some(queue) = queue {
            name.push(b' ');
            name.extend_from_slice(queue);
        }
        match self.sub_of(slot, &name) {
            Some(old) if weight == 0 => self.remove_sub(old),
            Some(old) => {
                let Some(sub) = self.subs.get_mut(old) else { return };
                let changed = std::mem::replace(&mut sub.weight, weight) != weight;
                if changed && !self.accounts.get(account).links.is_empty() {
                    self.tell(account, pattern, queue, old, 1);
                }
            }
            None if weight == 0 => {}
            None if full => self.close(id, CloseReason::MaxSubscriptions),
            None => {
                self.subscribe_for(slot, pattern, queue, &name, weight);
                self.hub_interest_changed(account);
                self.downlinks_may_send(account);
            }
        }
    }

    /// Routes a message that came from a server.
    pub(super) fn publish_from_server(&mut self, slot: u32, message: &Message<'_>, queues: &[u8]) {
        if message.header_len > 0 && trace::may_ask(message.headers()) {
            self.publish_asking(slot, message, Source::Server { queues });
            return;
        }
        self.publish(slot, message, Source::Server { queues });
    }

    /// The handshake of a link is through: from now on it gets interest and messages.
    pub(super) fn link_up(&mut self, slot: u32) {
        let id = self.conns[slot as usize].core.id;
        let Some(account) = self.conns[slot as usize].core.account else { return };
        self.replace_duplicate(slot, account);
        let jitter = self.draw.below(SECOND as usize / 4) as Nanos;
        let conn = &mut self.conns[slot as usize];
        conn.timers.stop(Timer::Login);
        conn.timers.set(Timer::Ping, self.now + SECOND + jitter);
        if conn.pacer.is_none() {
            conn.pacer = Some(Box::new(Pacer::default()));
        }
        let role = conn.core.link.as_ref().map(|link| link.role);
        self.adapt_compression(slot);
        self.arm(slot);
        if !self.accounts.get(account).links.contains(&slot) {
            self.accounts.get_mut(account).links.push(slot);
        }
        self.tell_all(slot, account);
        self.remotes.up(self.now, id);
        self.report(LinkEvent { conn: id, account, upstream: role == Some(Role::Spoke), up: true });
    }

    /// A link is going: nobody is told of anything on it any more.
    pub(super) fn link_down(&mut self, id: ConnId) {
        let Some(conn) = self.find(id) else { return };
        let (Some(account), Some(link)) = (conn.core.account, &conn.core.link) else { return };
        let upstream = link.role == Role::Spoke;
        let links = &mut self.accounts.get_mut(account).links;
        let before = links.len();
        links.retain(|slot| *slot != id.slot);
        if links.len() < before {
            self.report(LinkEvent { conn: id, account, upstream, up: false });
        }
    }

    fn report(&mut self, event: LinkEvent) {
        if self.link_events.len() >= EVENTS_MAX {
            self.link_events.pop_front();
        }
        self.link_events.push_back(event);
    }

    /// The same server of the same cluster, with the same accounts, has come again: its old connection is dead, though
    /// nobody noticed.
    fn replace_duplicate(&mut self, slot: u32, account: AccountId) {
        let conn = &self.conns[slot as usize];
        let Some(new) = conn.core.link.as_ref().filter(|new| !new.solicited && !new.account.is_empty()) else { return };
        let same = |other: &&Conn| {
            other.core.id != conn.core.id
                && other.closing.is_none()
                && other.core.account == Some(account)
                && other.core.link.as_ref().is_some_and(|old| {
                    !old.solicited && old.name == new.name && old.cluster == new.cluster && old.account == new.account
                })
        };
        let links = self.accounts.get(account).links.iter();
        let old = links.filter_map(|&slot| self.conns.get(slot as usize)).map(|conn| &**conn).find(same);
        if let Some(old) = old.map(|old| old.core.id) {
            self.close(old, CloseReason::DuplicateRemote);
        }
    }

    /// Tells a link of all interest it hears of.
    fn tell_all(&mut self, slot: u32, account: AccountId) {
        let mut list: Vec<(Vec<u8>, Option<Vec<u8>>, u32)> = Vec::new();
        let interest = &self.accounts.get(account).interest;
        interest.each(&mut |pattern, queue, members| {
            let enough = if queue.is_some() { u32::MAX } else { 1 };
            let weight = self.heard_on(slot, pattern, members, None, enough);
            if weight > 0 {
                list.push((pattern.to_vec(), queue.map(<[u8]>::to_vec), weight));
            }
        });
        let live = self.accounts.get(account);
        let fixed = std::iter::once(live.loop_subject.to_vec()).chain(live.mappings.sources().map(<[u8]>::to_vec));
        for pattern in fixed {
            if !list.iter().any(|(have, queue, _)| *have == pattern && queue.is_none()) {
                list.push((pattern, None, 1));
            }
        }
        self.with_peer(slot, |peer, cx| {
            for (pattern, queue, weight) in &list {
                peer.announce(cx, pattern, queue.as_deref(), *weight);
            }
        });
    }
}

impl Node {
    /// What comes and goes on a link is compressed from now on.
    pub(super) fn start_compression(&mut self, slot: u32, mode: Mode) {
        let conn = &mut self.conns[slot as usize];
        conn.inflater = Some(Box::default());
        conn.pacer.get_or_insert_default().compress(mode);
        self.with_peer(slot, |peer, cx| peer.compressed(cx));
    }

    /// Chooses how hard to compress by what is known of the link now.
    pub(super) fn adapt_compression(&mut self, slot: u32) {
        let conn = &mut *self.conns[slot as usize];
        let (Some(pacer), Some(link)) = (&mut conn.pacer, &mut conn.core.link) else { return };
        if let Some(mode) = pacer.adapt(&self.facts.links.compression, conn.core.pulse.rtt) {
            link.compression = mode;
        }
    }

    /// Bytes of a stream arrived.
    pub(super) fn inflate(&mut self, id: ConnId, mut reader: Box<s2::Reader>, bytes: &[u8]) {
        let mut sum = 0;
        let mut take = |plain: &[u8]| {
            sum += plain.len();
            self.consume(id, plain);
            // A few bytes may stand for a lot; strangers get no work done by it.
            let known = self.find(id).is_some_and(|conn| conn.core.link.is_some());
            self.find(id).is_some_and(|conn| conn.closing.is_none()) && (known || sum <= STRANGER_BYTES_MAX)
        };
        let result = reader.feed(bytes, &mut take);
        match result {
            Ok(()) => {
                if let Some(conn) = self.find_mut(id) {
                    conn.inflater = Some(reader);
                }
            }
            Err(_) => self.close(id, CloseReason::MalformedOperation),
        }
    }
}

/// For store-and-forward: see [`crate::link`].
impl Node {
    /// Links that came up or went down since this was last asked.
    pub fn poll_link_event(&mut self) -> Option<LinkEvent> {
        self.link_events.pop_front()
    }

    /// How many links to hubs are up.
    pub fn uplinks(&self) -> usize {
        self.remotes.iter().filter(|remote| remote.link().is_some()).count()
    }

    /// The link to a hub that is up in this account.
    pub fn uplink(&self, account: AccountId) -> Option<ConnId> {
        let is_uplink = |slot: &&u32| {
            let conn = self.conns.get(**slot as usize);
            conn.is_some_and(|conn| {
                conn.closing.is_none() && conn.core.link.as_ref().is_some_and(|l| l.role == Role::Spoke)
            })
        };
        let slot = self.accounts.get(account).links.iter().find(is_uplink)?;
        Some(self.conns[*slot as usize].core.id)
    }

    /// Whether the interest that the server behind a link announced covers `subject`, which is literal, so that a
    /// message on it would not be thrown away there; queue groups count.
    pub fn is_wanted_on(&mut self, link: ConnId, subject: &[u8]) -> bool {
        let Some(account) = self.find(link).and_then(|conn| conn.core.account) else { return false };
        let matched = self.accounts.get_mut(account).interest.lookup(subject);
        let mut ids = matched.plain.iter().chain(matched.groups.iter().flat_map(|group| &group.members));
        ids.any(|id| self.subs.get(*id).is_some_and(|sub| sub.conn == link.slot))
    }

    /// Bytes that can be sent on a link now without waiting behind anything: 0 while something waits.
    pub fn room_on(&self, link: ConnId) -> usize {
        let Some(conn) = self.find(link) else { return 0 };
        conn.pacer.as_ref().map_or(0, |pacer| pacer.room_left(&conn.out))
    }

    /// Sends `message` on a link: to whoever wants it there, whatever the queue group, and not to subscribers here.
    /// Says whether it went. [`Self::room_on`] says when to do so; nothing bounds it otherwise.
    pub fn send_on(&mut self, link: ConnId, message: &Message<'_>) -> bool {
        let Some(account) = self.find(link).and_then(|conn| conn.core.account) else { return false };
        let (subs, accounts) = (&self.subs, &mut self.accounts);
        let matched = accounts.get_mut(account).interest.lookup(message.subject);
        let there = |id: &SubId| subs.get(*id).is_some_and(|sub| sub.conn == link.slot);
        let groups = matched.groups.iter().filter(|group| group.members.iter().any(there));
        let queues: Vec<Rc<[u8]>> = groups.map(|group| group.name.clone()).collect();
        if queues.is_empty() && !matched.plain.iter().any(there) {
            return false;
        }
        let Some(conn) = self.conns.get_mut(link.slot()) else { return false };
        if conn.closing.is_some() || !conn.peer.may_deliver(message.subject, None) {
            return false;
        }
        let Conn { peer, out, pacer, core, .. } = &mut **conn;
        let queue = match pacer {
            Some(pacer) => pacer.data(out),
            None => out,
        };
        let mut out = Out { queue, urgent: None, pool: &mut self.pool, now: self.now };
        if !peer.forward(&mut out, message, None, &queues) {
            return false;
        }
        if let Some(pacer) = pacer {
            pacer.message_written();
        }
        core.stats.out_msgs += 1;
        core.stats.out_bytes += message.body.len() as u64;
        self.tally.out.count(message.body.len());
        self.touch(link.slot);
        true
    }
}
