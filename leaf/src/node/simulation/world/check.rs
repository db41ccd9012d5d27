//! Operations one by one: what the model says against what was heard.

use std::collections::BTreeMap;

use super::super::model::{Client, Heard, Said, Sub, matches};
use super::{CloseReason, World, subscription_violation};

impl World {
    /// One operation; `false` when the node can have gone no further.
    pub(super) fn check(&mut self, at: usize, said: &Said) -> Result<bool, String> {
        if self.conns[at].ended {
            return Ok(false);
        }
        let known = self.conns[at].dying.is_none_or(|reason| !reason.drops_output());
        match said {
            Said::Connect { user, verbose, echo, no_responders, .. } => {
                if *user == "some" && self.rules.some.is_none() {
                    self.conns[at].ended = true;
                    return self.expect(at, known, Heard::Err("Authorization Violation".to_owned())).map(|()| false);
                }
                let (user, subs) = (*user, BTreeMap::new());
                self.conns[at].client =
                    Some(Client { user, verbose: *verbose, echo: *echo, no_responders: *no_responders, subs });
                self.ok(at, known)?;
            }
            Said::Ping => self.expect(at, known, Heard::Pong)?,
            Said::Pong => {}
            Said::Nonsense => {
                self.conns[at].ended = true;
                self.expect(at, known, Heard::Err("Unknown Protocol Operation".to_owned()))?;
                return Ok(false);
            }
            Said::Subscribe { subject, queue, sid } => self.subscribe(at, known, subject, *queue, sid)?,
            Said::Unsubscribe { sid, max } => {
                self.ok(at, known)?;
                if let Some(client) = &mut self.conns[at].client
                    && let Some(sub) = client.subs.get_mut(sid)
                {
                    sub.max = *max;
                    if *max == 0 || sub.delivered >= *max {
                        client.subs.remove(sid);
                    }
                }
            }
            Said::Publish { subject, reply, number, .. } => {
                let Some(client) = &self.conns[at].client else { return Err("published before the login".to_owned()) };
                if !client.may_publish(&self.rules, subject) {
                    let text = format!("Permissions Violation for Publish to \"{subject}\"");
                    return self.expect(at, known, Heard::Err(text)).map(|()| true);
                }
                self.ok(at, known)?;
                return self.publish(at, known, subject, reply, *number);
            }
        }
        Ok(true)
    }

    /// The next thing that a connection must have heard.
    fn expect(&mut self, at: usize, known: bool, wanted: Heard) -> Result<(), String> {
        if !known {
            return Ok(());
        }
        let conn = &mut self.conns[at];
        match conn.heard.pop_front() {
            Some(heard) if heard == wanted => Ok(()),
            heard => Err(format!("connection {} heard {heard:?}, wanted {wanted:?}", conn.id.cid())),
        }
    }

    fn ok(&mut self, at: usize, known: bool) -> Result<(), String> {
        match &self.conns[at].client {
            Some(client) if client.verbose => self.expect(at, known, Heard::Ok),
            _ => Ok(()),
        }
    }

    fn subscribe(
        &mut self,
        at: usize,
        known: bool,
        subject: &str,
        queue: Option<&'static str>,
        sid: &str,
    ) -> Result<(), String> {
        let rules = self.rules;
        let Some(client) = &mut self.conns[at].client else { return Err("subscribed before the login".to_owned()) };
        if !client.may_subscribe(&rules, subject) {
            return self.expect(at, known, Heard::Err(subscription_violation(subject, queue)));
        }
        if client.subs.len() >= rules.subscriptions_max {
            return self.expect(at, known, Heard::Err("maximum subscriptions exceeded".to_owned()));
        }
        let sub = Sub { subject: subject.to_owned(), queue, max: 0, delivered: 0 };
        client.subs.entry(sid.to_owned()).or_insert(sub);
        self.ok(at, known)
    }

    /// Everybody who must have got it has, and nobody else.
    fn publish(&mut self, from: usize, known: bool, subject: &str, reply: &str, number: u64) -> Result<bool, String> {
        let account = self.account(from);
        let mut anybody = false;
        // Whether somebody whose output is gone may have got it.
        let mut perhaps = false;
        let mut groups: BTreeMap<&'static str, (usize, bool)> = BTreeMap::new();
        let heard: Vec<Vec<String>> = (0..self.conns.len()).map(|at| self.take(at, number)).collect();
        if !known && heard.iter().all(Vec::is_empty) {
            // Its own end came first, or nobody wanted it.
            return Ok(true);
        }
        for (at, got) in heard.iter().enumerate() {
            let (rules, same) = (self.rules, self.account(at) == account);
            let conn = &mut self.conns[at];
            let lost = conn.dying.is_some_and(CloseReason::drops_output);
            let cid = conn.id.cid();
            let Some(client) = &mut conn.client else {
                if got.is_empty() { continue } else { return Err(format!("connection {cid} has not logged in")) }
            };
            let sids: Vec<String> = client.subs.keys().cloned().collect();
            for sid in &sids {
                let times = got.iter().filter(|have| *have == sid).count();
                let wants = same && client.wants(&rules, sid, subject, at == from);
                let Some(queue) = client.subs[sid].queue else {
                    if !lost && times != usize::from(wants) {
                        return Err(format!("connection {cid}, sid {sid}: {times} times, wanted {wants}"));
                    }
                    anybody |= times > 0;
                    perhaps |= lost && wants;
                    continue;
                };
                if times > 0 && !wants {
                    return Err(format!("connection {cid}, sid {sid} of {queue} did not want it"));
                }
                if wants {
                    let (count, excused) = groups.entry(queue).or_default();
                    *count += times;
                    *excused |= lost;
                    perhaps |= lost;
                }
            }
            if let Some(sid) = got.iter().find(|sid| !sids.contains(sid)) {
                return Err(format!("connection {cid} has no sid {sid}"));
            }
            for sid in got {
                client.count(sid);
            }
        }
        for (queue, (count, excused)) in groups {
            if count != 1 && !(count == 0 && excused) {
                return Err(format!("{count} members of {queue} got it"));
            }
            anybody |= count > 0;
        }
        if !anybody && known {
            self.nobody(from, reply, perhaps)?;
        }
        Ok(true)
    }

    /// What a connection heard of a publish: sids.
    fn take(&mut self, at: usize, number: u64) -> Vec<String> {
        let mut got = Vec::new();
        while let Some(Heard::Message(sid, told)) = self.conns[at].heard.front()
            && *told == Some(number)
        {
            got.push(sid.clone());
            self.conns[at].heard.pop_front();
        }
        got
    }

    /// Nobody got a request: its sender is told, if it wants to know and listens.
    fn nobody(&mut self, from: usize, reply: &str, perhaps: bool) -> Result<(), String> {
        let rules = self.rules;
        let conn = &mut self.conns[from];
        let Some(client) = &mut conn.client else { return Ok(()) };
        let listening: Vec<String> = client
            .subs
            .iter()
            .filter(|(_, sub)| sub.queue.is_none() && matches(&sub.subject, reply))
            .map(|(sid, _)| sid.clone())
            .collect();
        let asked = client.no_responders && !reply.is_empty() && !listening.is_empty();
        match conn.heard.front() {
            Some(Heard::Message(sid, None)) if asked && listening.contains(sid) => {
                let sid = sid.clone();
                client.count(&sid);
                conn.heard.pop_front();
                Ok(())
            }
            // A denied reply is not delivered, and somebody may have heard it who is no more.
            _ if !asked || perhaps || !client.may_subscribe(&rules, reply) => Ok(()),
            heard => Err(format!("the requester heard {heard:?} instead of that nobody is there")),
        }
    }
}
