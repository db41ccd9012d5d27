//! Clients and the shell around one node, and what may be seen of it after each step.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::path::Path;

use super::model::{Client, Heard, Permissions, Rules, Said, parse};
use crate::client::Client as Peer;
use crate::config::{self, Config};
use crate::node::draw::Draw;
use crate::node::system::SERVER;
use crate::node::{Arrival, CloseReason, Command, ConnId, Identity, Nanos, Node, SECOND};

mod check;

const CLIENTS_MAX: usize = 7;
const PENDING_BYTES_MAX: usize = 16 * 1024;
const SUBSCRIPTIONS_MAX: usize = 20;
const PAYLOAD_BYTES_MAX: usize = 4096;
const PING_INTERVAL: Nanos = 10 * SECOND;
/// Turns that everything still under way may take in the end.
const LAST_TURNS: usize = 5_000;

/// A line of the protocol, but for CONNECT and INFO.
const LINE_BYTES_MAX: usize = 100;
/// INFO.
const INFO_BYTES_MAX: usize = 500;

const SUBJECTS: [&str; 6] = ["p.1", "p.2", "q.1", "p.1.z", "d.1", "d.1.z"];
const PATTERNS: [&str; 12] = ["p.1", "p.2", "q.1", "p.1.z", "d.1", "p.*", "q.*", "d.*", "*.1", "p.>", "d.>", "*.*.z"];
const QUEUES: [&str; 2] = ["g", "h"];
const REPLIES: [&str; 3] = ["", "r.1", "p.2"];

const OPEN: Permissions = Permissions { publish: &["p.>", "q.*", "d.1"], subscribe_deny: &["x"] };
const NARROW: Permissions = Permissions { publish: &["p.*", "d.>"], subscribe_deny: &["d.*", "p.2"] };

/// One connection, its client and what the shell knows of it.
struct Conn {
    id: ConnId,
    /// Said, and not yet read by the node.
    inbox: Vec<u8>,
    /// What is in there, and where on the connection each ends.
    said: VecDeque<(usize, Said)>,
    said_bytes: usize,
    fed_bytes: usize,
    fed_at: Nanos,
    sids: u32,
    /// It says that it reads headers.
    headers: bool,
    /// It reads nothing.
    stuck: bool,
    /// Appended by the node and not yet written: must come out as it went in.
    unsent: Vec<u8>,
    partial: Vec<u8>,
    /// In this step.
    heard: VecDeque<Heard>,
    /// What it heard in this step is not known: it was thrown away.
    dying: Option<CloseReason>,
    client: Option<Client>,
    ended: bool,
}

pub(super) struct World {
    node: Node,
    now: Nanos,
    rules: Rules,
    conns: Vec<Conn>,
    /// Whom, what, into which pieces, when.
    workload: Draw,
    words: Draw,
    pieces: Draw,
    clock: Draw,
    published: u64,
    /// What the operations of this step add to the output of one subscription at most, bytes.
    step_bytes: usize,
    trace: DefaultHasher,
    shutdown: bool,
}

/// The files of a configuration that is only a text.
struct Text(String);

impl config::Source for Text {
    fn read(&mut self, _: &Path) -> std::io::Result<String> {
        Ok(self.0.clone())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

fn configuration(rules: &Rules) -> Config {
    let some = rules.some.map_or(String::new(), |may| {
        let (publish, deny) = (may.publish, may.subscribe_deny);
        format!(
            "{{ user: some, password: p, permissions: {{ publish: {publish:?}, subscribe: {{ deny: {deny:?} }} }} }}"
        )
    });
    let text = format!(
        "max_pending: {PENDING_BYTES_MAX}\nmax_payload: {PAYLOAD_BYTES_MAX}\nmax_subscriptions: {}\nping_interval: 10\n\
         write_deadline: \"2s\"\naccounts {{ A {{ users: [ {{ user: all, password: p }}, {some} ] }}\n\
         B {{ users: [ {{ user: other, password: p }} ] }} }}\n",
        rules.subscriptions_max
    );
    config::read(Path::new("sim.conf"), &mut Text(text)).expect("it is written right above")
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut split = Draw::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        split.next();
        let mut stream = || Draw::new(split.next());
        let rules = Rules { some: Some(OPEN), subscriptions_max: SUBSCRIPTIONS_MAX };
        let identity = Identity {
            server_id: "N".to_owned(),
            epoch: 0,
            host: "127.0.0.1".to_owned(),
            port: 4222,
            program: "petiole-leaf",
            leafnodes: None,
            websocket: None,
        };
        let node = Node::new(configuration(&rules), identity, seed).expect("a configuration that holds together");
        Self {
            node,
            now: 0,
            rules,
            conns: Vec::new(),
            workload: stream(),
            words: stream(),
            pieces: stream(),
            clock: stream(),
            published: 0,
            step_bytes: 0,
            trace: DefaultHasher::new(),
            shutdown: false,
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.trace.finish()
    }

    /// One thing happens, and is looked at.
    pub(super) fn step(&mut self) -> Result<(), String> {
        self.now += self.clock.below(2_000_000) as Nanos;
        self.step_bytes = 0;
        match self.workload.below(100) {
            0..8 => self.arrive(),
            8..40 => self.say(),
            40..75 => self.feed(),
            75..87 => self.read(),
            87..90 => self.stick(),
            90..92 => self.leave(),
            92..94 => self.reload(),
            _ => self.wait(),
        }
    }

    fn pick(&mut self) -> Option<usize> {
        if self.conns.is_empty() { None } else { Some(self.workload.below(self.conns.len())) }
    }

    fn arrive(&mut self) -> Result<(), String> {
        if self.conns.len() >= CLIENTS_MAX {
            return Ok(());
        }
        let headers = self.words.below(2) == 0;
        let arrival = Arrival { remote: ([127, 0, 0, 1], 1).into(), nonce: [0; 11] };
        let id = self.node.accept(self.now, &arrival, Box::new(Peer::new()));
        self.conns.push(Conn {
            id,
            inbox: Vec::new(),
            said: VecDeque::new(),
            said_bytes: 0,
            fed_bytes: 0,
            fed_at: self.now,
            sids: 0,
            headers,
            stuck: false,
            unsent: Vec::new(),
            partial: Vec::new(),
            heard: VecDeque::new(),
            dying: None,
            client: None,
            ended: false,
        });
        self.node.greet(self.now, id);
        let user = ["all", "some", "other"][self.words.below(3)];
        let said = Said::Connect {
            user,
            verbose: self.words.below(3) == 0,
            echo: self.words.below(3) > 0,
            headers,
            no_responders: headers && self.words.below(2) == 0,
        };
        self.utter(self.conns.len() - 1, said);
        self.look(None, &[])
    }

    /// Puts something on a connection.
    fn utter(&mut self, at: usize, said: Said) {
        let filler = "x".repeat(match self.words.below(10) {
            0 => self.words.below(PAYLOAD_BYTES_MAX - 200),
            _ => self.words.below(60),
        });
        let text = match &said {
            Said::Connect { user, verbose, echo, headers, no_responders } => format!(
                "CONNECT {{\"user\":\"{user}\",\"pass\":\"p\",\"verbose\":{verbose},\"pedantic\":false,\"echo\":{echo},\
                 \"headers\":{headers},\"no_responders\":{no_responders},\"protocol\":1}}\r\n"
            ),
            Said::Subscribe { subject, queue, sid } => format!("SUB {subject} {} {sid}\r\n", queue.unwrap_or_default()),
            Said::Unsubscribe { sid, max: 0 } => format!("UNSUB {sid}\r\n"),
            Said::Unsubscribe { sid, max } => format!("UNSUB {sid} {max}\r\n"),
            Said::Publish { subject, reply, number, with_headers: false } => {
                let body = format!("{number} {filler}");
                format!("PUB {subject} {reply} {}\r\n{body}\r\n", body.len())
            }
            Said::Publish { subject, reply, number, with_headers: true } => {
                let (header, body) = ("NATS/1.0\r\nA: b\r\n\r\n", format!("{number} {filler}"));
                format!("HPUB {subject} {reply} {} {}\r\n{header}{body}\r\n", header.len(), header.len() + body.len())
            }
            Said::Ping => "PING\r\n".to_owned(),
            Said::Pong => "PONG\r\n".to_owned(),
            Said::Nonsense => "NONSENSE\r\n".to_owned(),
        };
        let conn = &mut self.conns[at];
        conn.inbox.extend_from_slice(text.as_bytes());
        conn.said_bytes += text.len();
        conn.said.push_back((conn.said_bytes, said));
    }

    fn say(&mut self) -> Result<(), String> {
        let Some(at) = self.pick() else { return Ok(()) };
        for _ in 0..=self.words.below(6) {
            let said = self.think(at);
            self.utter(at, said);
        }
        Ok(())
    }

    fn think(&mut self, at: usize) -> Said {
        let words = &mut self.words;
        match words.below(20) {
            0..5 => {
                self.conns[at].sids += 1;
                // Sometimes a name that is taken.
                let sid = if words.below(8) == 0 { 1 } else { self.conns[at].sids };
                let queue = (words.below(2) == 0).then(|| QUEUES[words.below(QUEUES.len())]);
                Said::Subscribe {
                    subject: PATTERNS[words.below(PATTERNS.len())].to_owned(),
                    queue,
                    sid: sid.to_string(),
                }
            }
            5..7 => {
                let sid = 1 + words.below(self.conns[at].sids as usize + 1);
                Said::Unsubscribe { sid: sid.to_string(), max: words.below(4) as u64 }
            }
            7 => Said::Ping,
            8 if words.below(12) == 0 => Said::Nonsense,
            _ => {
                self.published += 1;
                let with_headers = self.conns[at].headers && self.words.below(3) == 0;
                Said::Publish {
                    subject: SUBJECTS[self.words.below(SUBJECTS.len())].to_owned(),
                    reply: REPLIES[self.words.below(REPLIES.len())],
                    number: self.published,
                    with_headers,
                }
            }
        }
    }

    /// The node reads a piece of what a client has said.
    fn feed(&mut self) -> Result<(), String> {
        let Some(at) = self.pick() else { return Ok(()) };
        self.feed_one(at)
    }

    fn feed_one(&mut self, at: usize) -> Result<(), String> {
        let conn = &mut self.conns[at];
        if conn.inbox.is_empty() || !self.node.is_reading(conn.id) {
            return Ok(());
        }
        let most = match self.pieces.below(4) {
            0 => 1 + self.pieces.below(8),
            1 => 1 + self.pieces.below(200),
            _ => conn.inbox.len(),
        };
        let piece: Vec<u8> = conn.inbox.drain(..most.min(conn.inbox.len())).collect();
        conn.fed_bytes += piece.len();
        conn.fed_at = self.now;
        let mut done = Vec::new();
        while conn.said.front().is_some_and(|(end, _)| *end <= conn.fed_bytes) {
            done.extend(conn.said.pop_front().map(|(_, said)| said));
        }
        self.step_bytes = piece.len() + PAYLOAD_BYTES_MAX + done.len() * LINE_BYTES_MAX;
        // Nonsense is known for what it is by its first letter.
        if let Some((end, Said::Nonsense)) = conn.said.front()
            && conn.fed_bytes + "NONSENSE\r\n".len() > *end
        {
            done.push(Said::Nonsense);
        }
        let id = conn.id;
        self.node.receive(self.now, id, &piece);
        self.look(Some(at), &done)
    }

    /// A client takes some of what waits for it.
    fn read(&mut self) -> Result<(), String> {
        let Some(at) = self.pick() else { return Ok(()) };
        let most = if self.pieces.below(3) == 0 { self.pieces.below(3000) } else { usize::MAX };
        self.read_one(at, most)
    }

    fn read_one(&mut self, at: usize, most: usize) -> Result<(), String> {
        let conn = &mut self.conns[at];
        let Some(out) = self.node.output(conn.id).filter(|out| !out.is_empty()) else { return Ok(()) };
        if conn.stuck {
            self.node.blocked(self.now, conn.id);
            return self.look(None, &[]);
        }
        let count = out.pending().min(most);
        if out.pieces().collect::<Vec<_>>().concat() != conn.unsent {
            return Err(format!("connection {} gets other bytes than were appended", conn.id.cid()));
        }
        conn.unsent.drain(..count);
        let (id, more) = (conn.id, out.pending() > count);
        self.node.sent(self.now, id, count);
        if more {
            self.node.blocked(self.now, id);
        }
        self.look(None, &[])
    }

    fn stick(&mut self) -> Result<(), String> {
        if let Some(at) = self.pick() {
            let conn = &mut self.conns[at];
            conn.stuck = !conn.stuck;
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), String> {
        let Some(at) = self.pick() else { return Ok(()) };
        let id = self.conns[at].id;
        self.node.closed(self.now, id, CloseReason::ClientClosed);
        self.look(None, &[])
    }

    fn wait(&mut self) -> Result<(), String> {
        self.now = match self.clock.below(3) {
            0 => self.now + self.clock.below(SECOND as usize) as Nanos,
            _ => self.now.max(self.node.deadline().unwrap_or(self.now)),
        };
        self.node.tick(self.now);
        self.look(None, &[])
    }

    /// Another configuration: who must go goes, which subscription must go goes, all else stays.
    fn reload(&mut self) -> Result<(), String> {
        let some = [Some(OPEN), Some(NARROW), None][self.words.below(3)];
        let rules = Rules { some, subscriptions_max: [3, SUBSCRIPTIONS_MAX][self.words.below(2)] };
        self.step_bytes = LINE_BYTES_MAX;
        self.node.reload(self.now, configuration(&rules))?;
        self.rules = rules;
        self.gather()?;
        for conn in &mut self.conns {
            let Some(client) = &mut conn.client else { continue };
            // A changed password cannot be told from a changed user: `some` always has the same.
            let gone = client.user == "some" && rules.some.is_none();
            if conn.dying == Some(CloseReason::SlowConsumerPending) {
                continue;
            }
            if gone != conn.dying.is_some() {
                return Err(format!("connection {}: gone {:?}, wanted {gone}", conn.id.cid(), conn.dying));
            }
            if gone {
                continue;
            }
            let lost: Vec<String> = client
                .subs
                .iter()
                .filter(|(_, sub)| !client.may_subscribe(&rules, &sub.subject))
                .map(|(sid, _)| sid.clone())
                .collect();
            let mut errors: Vec<String> = Vec::new();
            while let Some(Heard::Err(text)) = conn.heard.front() {
                errors.push(text.clone());
                conn.heard.pop_front();
            }
            let mut wanted: Vec<String> = Vec::new();
            for sid in lost {
                let sub = client.subs.remove(&sid);
                wanted.extend(
                    sub.map(|sub| format!("{} (sid \"{sid}\")", subscription_violation(&sub.subject, sub.queue))),
                );
            }
            errors.sort();
            wanted.sort();
            if errors != wanted {
                return Err(format!("connection {} heard {errors:?}, wanted {wanted:?}", conn.id.cid()));
            }
        }
        self.conclude()
    }

    /// Compares what the node did with what it had to do. `done` are the operations that it has now read whole.
    fn look(&mut self, at: Option<usize>, done: &[Said]) -> Result<(), String> {
        self.gather()?;
        for said in done {
            let Some(at) = at else { break };
            if !self.check(at, said).map_err(|why| format!("after {said:?} of {}: {why}", self.conns[at].id.cid()))? {
                break;
            }
        }
        self.conclude()
    }

    /// Collects what each connection was given in this step.
    fn gather(&mut self) -> Result<(), String> {
        let mut farewells = BTreeMap::new();
        while let Some(command) = self.node.poll_command() {
            match command {
                Command::Close { conn, farewell, .. } => {
                    farewells.insert(conn.cid(), farewell.pieces().collect::<Vec<_>>().concat());
                }
                Command::Shutdown => self.shutdown = true,
                _ => {}
            }
        }
        let mut dirty = Vec::new();
        self.node.take_dirty(&mut dirty);
        for conn in &mut self.conns {
            let all: Vec<u8> = match (farewells.remove(&conn.id.cid()), self.node.output(conn.id)) {
                (Some(rest), None) => {
                    let reason =
                        self.node.closed.iter().rev().find(|closed| closed.id == conn.id).map(|closed| closed.reason);
                    conn.dying = Some(reason.ok_or("a connection was closed and not remembered")?);
                    if rest.len() < conn.unsent.len() {
                        continue;
                    }
                    rest
                }
                (None, Some(out)) if out.pending() == conn.unsent.len() => continue,
                (None, Some(out)) => out.pieces().collect::<Vec<_>>().concat(),
                _ => return Err(format!("connection {} is neither there nor closed", conn.id.cid())),
            };
            let new = &all[conn.unsent.len()..];
            if !new.is_empty() && conn.dying.is_none() && !dirty.contains(&conn.id) {
                return Err(format!("nobody is told to write to connection {}", conn.id.cid()));
            }
            self.trace.write_u64(conn.id.cid());
            self.trace.write(new);
            conn.unsent.extend_from_slice(new);
            conn.partial.extend_from_slice(new);
            conn.heard.extend(parse(&mut conn.partial)?);
        }
        self.answer_pings();
        Ok(())
    }

    fn answer_pings(&mut self) {
        for at in 0..self.conns.len() {
            let before = self.conns[at].heard.len();
            self.conns[at].heard.retain(|heard| !matches!(heard, Heard::Ping));
            let pings = before - self.conns[at].heard.len();
            self.conns[at].heard.retain(|heard| !matches!(heard, Heard::Info));
            for _ in 0..pings {
                self.utter(at, Said::Pong);
            }
        }
    }

    /// The server is one of its own subscribers.
    fn own_subs(&self) -> usize {
        self.node.subs.iter().filter(|(_, sub)| sub.conn == SERVER).count()
    }

    fn account(&self, at: usize) -> Option<bool> {
        self.conns[at].client.as_ref().map(|client| client.user == "other")
    }

    /// Nothing was heard that was not accounted for; bounds hold; who is closed had to be.
    fn conclude(&mut self) -> Result<(), String> {
        let now = self.now;
        for conn in &mut self.conns {
            let cid = conn.id.cid();
            if let Some(reason) = conn.dying {
                let silent = now.saturating_sub(conn.fed_at) >= PING_INTERVAL;
                let because = match reason {
                    CloseReason::ClientClosed => true,
                    CloseReason::AuthenticationTimeout => conn.client.is_none(),
                    CloseReason::AuthenticationViolation => {
                        conn.ended || conn.client.is_none() || self.rules.some.is_none()
                    }
                    CloseReason::UnknownOperation => conn.ended,
                    CloseReason::StaleConnection => silent,
                    CloseReason::SlowConsumerPending => {
                        let most = self.step_bytes * (SUBSCRIPTIONS_MAX + 1) + INFO_BYTES_MAX;
                        self.step_bytes > 0 && conn.unsent.len() + most > PENDING_BYTES_MAX
                    }
                    CloseReason::SlowConsumerDeadline => !conn.unsent.is_empty(),
                    _ => false,
                };
                if !because {
                    return Err(format!("connection {cid} was closed: {reason:?}"));
                }
                continue;
            }
            if conn.ended {
                return Err(format!("connection {cid} should have been closed"));
            }
            if let Some(heard) = conn.heard.pop_front() {
                return Err(format!("connection {cid} heard {heard:?} for no reason"));
            }
            if conn.unsent.len() > PENDING_BYTES_MAX {
                return Err(format!("{} bytes wait for connection {cid}", conn.unsent.len()));
            }
            let (held, wanted) = (self.node.find(conn.id).map_or(0, |held| held.core.subs), conn.client.as_ref());
            if held != wanted.map_or(0, |client| client.subs.len()) {
                return Err(format!("connection {cid} has {held} subscriptions, wanted {wanted:?}"));
            }
            let carried = self.node.find(conn.id).map_or(0, |held| held.carry.len());
            if carried > PAYLOAD_BYTES_MAX + 4096 {
                return Err(format!("{carried} bytes of connection {cid} are carried over"));
            }
        }
        self.conns.retain(|conn| conn.dying.is_none());
        let (held, wanted) = (self.node.subs.len(), self.conns.iter().filter_map(|conn| conn.client.as_ref()));
        let wanted: usize = self.own_subs() + wanted.map(|client| client.subs.len()).sum::<usize>();
        if held != wanted || self.node.conns.len() != self.conns.len() {
            return Err(format!("{held} subscriptions for {wanted}, {} connections", self.node.conns.len()));
        }
        Ok(())
    }

    /// Whoever was stuck reads again and everything said is heard; then all leave, or a lame duck sends them away, and
    /// nothing stays.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        for conn in &mut self.conns {
            conn.stuck = false;
        }
        let mut turns = 0;
        while self.conns.iter().any(|conn| !conn.inbox.is_empty() || !conn.unsent.is_empty()) {
            turns += 1;
            if turns > LAST_TURNS {
                let stuck = self.conns.iter().find(|conn| !conn.inbox.is_empty()).map(|conn| conn.id.cid());
                return Err(format!("it never ends: connection {stuck:?}"));
            }
            for at in (0..self.conns.len()).rev() {
                if at < self.conns.len() {
                    self.feed_one(at)?;
                }
                if at < self.conns.len() {
                    self.read_one(at, usize::MAX)?;
                }
            }
            self.now += 1_000_000;
            self.node.tick(self.now);
            self.look(None, &[])?;
        }
        if self.words.below(2) == 0 {
            self.node.start_lame_duck(self.now);
            while !self.shutdown {
                turns += 1;
                self.now = self.node.deadline().ok_or("a lame duck that waits for nothing")?.max(self.now);
                self.node.tick(self.now);
                self.gather()?;
                self.conns.retain(|conn| conn.dying.is_none());
                if turns > 2 * LAST_TURNS {
                    return Err("a lame duck that never ends".to_owned());
                }
            }
        }
        self.node.close_all(self.now);
        self.gather()?;
        self.conns.retain(|conn| conn.dying.is_none());
        let node = &self.node;
        let interest: usize = node.accounts.iter().map(|account| account.interest.len()).sum();
        let logins: u32 = node.accounts.iter().map(|account| account.connections).sum();
        let left = (node.conns.len(), node.subs.len() - self.own_subs(), interest - self.own_subs(), logins);
        if left != (0, 0, 0, 0) || !self.conns.is_empty() {
            return Err(format!("left behind: connections, subscriptions, interest, logins: {left:?}"));
        }
        Ok(())
    }
}

fn subscription_violation(subject: &str, queue: Option<&str>) -> String {
    let using = queue.map(|queue| format!(" using queue \"{queue}\"")).unwrap_or_default();
    format!("Permissions Violation for Subscription to \"{subject}\"{using}")
}
