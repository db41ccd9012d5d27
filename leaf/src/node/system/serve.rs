//! Answers to what is asked of the server.

use super::super::{CloseReason, Command, Node};
use super::{Request, Service, Topic};
use crate::account::AccountId;
use crate::message::Message;
use crate::monitor::events;
use crate::monitor::{self, Asked, Endpoint, HostFacts};
use crate::subject;

/// What an answer says.
enum Answer {
    /// JSON.
    Data(Vec<u8>),
    /// It is done, and there is nothing to say about it.
    Done,
    /// `code` as in HTTP.
    Error { code: u16, why: String },
    /// The same where data would have been.
    NoData { code: u16, why: String },
}

impl Node {
    pub(super) fn serve(&mut self, host: &HostFacts, request: &Request) {
        let (reply, body) = (&*request.reply, &*request.body);
        match request.service {
            Service::Claims => drop(self.account_request(&request.subject, reply, body)),
            Service::Callout(id) => self.called_back(id, body),
            Service::Stats => self.serve_stats(host, request),
            Service::Subscribers => self.serve_subscribers(request),
            Service::CountSubs => self.serve_count_subs(request),
            Service::Account(Topic::Count) => self.serve_count(request),
            _ if reply.is_empty() => {}
            Service::Identity => {
                let identity = events::identity(self);
                self.publish_as_server(request.account, &plain(reply, &identity));
            }
            Service::User => self.serve_user(request),
            _ => match Asked::read(body) {
                Err(why) => self.answer(request, Answer::Error { code: 400, why }),
                Ok(asked) if !asked.is_for(self) => {}
                Ok(asked) => self.serve_page(host, request, &asked),
            },
        }
    }

    fn serve_page(&mut self, host: &HostFacts, request: &Request, asked: &Asked) {
        let own = self.accounts.get(request.account).name.clone();
        let named = || String::from_utf8_lossy(subject::tokens(&request.subject).nth(3).unwrap_or_default());
        let answer = match request.service {
            Service::Page(page) => self.page(host, page, asked, None),
            Service::Accounts => self.accounts_page(host, asked, None),
            // Whom it is about is not for the asker to say.
            Service::Own(Topic::Stats) => self.accounts_page(host, asked, Some(&own)),
            Service::Own(_) => self.page(host, Endpoint::Connz, asked, Some(&own)),
            Service::Account(topic) => match self.account_page(host, topic, asked, &named()) {
                Some(answer) => answer,
                None => return,
            },
            Service::Reload => {
                self.commands.push_back(Command::Reload);
                return self.system.reloads.push((request.account, request.reply.clone()));
            }
            Service::Kick => self.kick(asked),
            Service::Leave => self.send_away(asked),
            _ => return,
        };
        // With nothing to tell of, an account is silent: others may have more.
        if let Answer::Data(body) = &answer
            && body.is_empty()
        {
            return;
        }
        self.answer(request, answer);
    }

    fn page(&self, host: &HostFacts, page: Endpoint, asked: &Asked, account: Option<&str>) -> Answer {
        match monitor::page(self, host, page, asked, account) {
            Ok(body) => Answer::Data(body),
            Err(why) => Answer::NoData { code: 500, why },
        }
    }

    /// STATZ; empty data if there is no account to tell of.
    fn accounts_page(&self, host: &HostFacts, asked: &Asked, account: Option<&str>) -> Answer {
        match monitor::accounts(self, host, asked, account) {
            Ok(body) => Answer::Data(body.unwrap_or_default()),
            Err(why) => Answer::NoData { code: 500, why },
        }
    }

    fn account_page(&self, host: &HostFacts, topic: Topic, asked: &Asked, name: &str) -> Option<Answer> {
        let page = match topic {
            Topic::Connections => Endpoint::Connz,
            Topic::Leafs => Endpoint::Leafz,
            Topic::Subscriptions => {
                return Some(match monitor::account_subscriptions(self, host, asked, name) {
                    Ok(body) => Answer::Data(body),
                    Err(why) => Answer::NoData { code: 500, why },
                });
            }
            Topic::Streams => {
                return Some(Answer::NoData { code: 500, why: "jetstream not enabled".to_owned() });
            }
            // The subject of all accounts matches, too, and has its own service.
            Topic::Stats if name == "PING" => return None,
            Topic::Stats => return Some(self.accounts_page(host, asked, Some(name))),
            Topic::Detail => {
                return Some(match self.accounts.find(name) {
                    Some(account) => Answer::Data(monitor::account_detail(self, host, account)),
                    None => Answer::NoData { code: 500, why: format!("Account {name} does not exist") },
                });
            }
            Topic::Count => return None,
        };
        Some(self.page(host, page, asked, Some(name)))
    }

    fn serve_stats(&mut self, host: &HostFacts, request: &Request) {
        match Asked::read(&request.body) {
            Err(why) => self.answer(request, Answer::Error { code: 400, why }),
            Ok(asked) if !asked.is_for(self) => {}
            Ok(_) if request.reply.is_empty() => {
                let subject = format!("$SYS.SERVER.{}.STATSZ", self.identity.server_id);
                self.publish_stats(host, subject.as_bytes());
            }
            Ok(_) => self.publish_stats(host, &request.reply),
        }
    }

    fn serve_user(&mut self, request: &Request) {
        let Some(conn) = request.from.and_then(|id| self.find(id)) else { return };
        let body = events::user(self, conn, request.account);
        self.answer(request, Answer::Data(body));
    }

    /// CONNS of an account that has connections; an account without is silent.
    fn serve_count(&mut self, request: &Request) {
        let named = String::from_utf8_lossy(subject::tokens(&request.subject).nth(3).unwrap_or_default());
        let Ok(asked) = Asked::read(&request.body) else { return };
        let Some(account) = self.accounts.find(&named) else { return };
        let same = ["", &*named].contains(&asked.text("acc"));
        if same && self.accounts.get(account).connections > 0 {
            self.answer_count(account, &request.reply);
        }
    }

    /// The body is a subject and maybe a queue group: how many subscriptions of clients are there?
    fn serve_subscribers(&mut self, request: &Request) {
        let text = String::from_utf8_lossy(&request.body);
        let mut words = text.split_ascii_whitespace();
        let count = match words.next() {
            Some(subject) => self.count_subs(request.account, subject.as_bytes(), words.next().map(str::as_bytes)),
            None => 0,
        };
        let body = count.to_string();
        self.publish_as_server(request.account, &plain(&request.reply, body.as_bytes()));
    }

    fn serve_count_subs(&mut self, request: &Request) {
        let Ok(asked) = Asked::read(&request.body) else { return };
        let Some(account) = self.accounts.find(asked.text("acc")) else { return };
        if self.accounts.get(account).connections == 0 {
            return;
        }
        let queue = Some(asked.text("queue").as_bytes()).filter(|queue| !queue.is_empty());
        let body = self.count_subs(account, asked.text("subject").as_bytes(), queue).to_string();
        self.publish_as_server(request.account, &plain(&request.reply, body.as_bytes()));
    }

    /// Subscriptions that would get `subject`, or lie within it if it has wildcards.
    fn count_subs(&self, account: AccountId, subject: &[u8], queue: Option<&[u8]>) -> usize {
        let wild = subject::has_wildcard(subject);
        let within = |pattern: &[u8]| {
            if wild { subject::covers(subject, pattern) } else { subject::matches(pattern, subject) }
        };
        let mine =
            self.subs.iter().map(|(_, sub)| sub).filter(|sub| sub.account == account && sub.conn != super::SERVER);
        mine.filter(|sub| within(&sub.subject) && (queue.is_none() || sub.queue.as_deref() == queue)).count()
    }

    fn kick(&mut self, asked: &Asked) -> Answer {
        match self.by_cid(asked, "no such client or leafnode id") {
            Ok(id) => {
                self.close(id, CloseReason::Kicked);
                Answer::Done
            }
            Err(answer) => answer,
        }
    }

    fn send_away(&mut self, asked: &Asked) -> Answer {
        match self.by_cid(asked, "no such client id") {
            Ok(id) => {
                self.with_peer(id.slot, |peer, cx| peer.told_to_leave(cx));
                Answer::Done
            }
            Err(answer) => answer,
        }
    }

    fn by_cid(&self, asked: &Asked, unknown: &str) -> Result<super::ConnId, Answer> {
        let cid = asked.number("cid");
        let found = self.conns.iter().map(|(_, conn)| conn.core.id).find(|id| Some(id.cid) == cid);
        found.ok_or_else(|| Answer::Error { code: 500, why: unknown.to_owned() })
    }

    /// Tells that something was done, or why not.
    pub(super) fn answer_plainly(&mut self, account: AccountId, reply: &[u8], error: Option<&str>) {
        let answer = error.map_or(Answer::Done, |why| Answer::Error { code: 500, why: why.to_owned() });
        self.send_answer(account, reply, &[], answer);
    }

    fn answer(&mut self, request: &Request, answer: Answer) {
        self.send_answer(request.account, &request.reply, &request.header, answer);
    }

    /// Puts the answer into its envelope (nats-server: `ServerAPIResponse`) and sends it.
    fn send_answer(&mut self, account: AccountId, reply: &[u8], asked_with: &[u8], answer: Answer) {
        if reply.is_empty() {
            return;
        }
        // Nobody is promised that we compress.
        let encoded = crate::message::header(asked_with, b"Accept-Encoding").is_some_and(|value| !value.is_empty())
            && matches!(answer, Answer::Data(_) | Answer::Done);
        let mut body = if encoded { b"NATS/1.0\r\nContent-Encoding: identity\r\n\r\n".to_vec() } else { Vec::new() };
        let header_len = body.len();
        body.extend(b"{\"server\":");
        let sequence = self.next_sequence();
        body.extend(events::server(self, sequence));
        match &answer {
            Answer::Data(data) => {
                body.extend(b",\"data\":");
                body.extend(data);
            }
            Answer::Done => {}
            Answer::NoData { .. } => body.extend(b",\"data\":null"),
            Answer::Error { .. } => {}
        }
        if let Answer::Error { code, why } | Answer::NoData { code, why } = &answer {
            body.extend(b",\"error\":");
            body.extend(serde_json::json!({ "code": code, "description": why }).to_string().as_bytes());
        }
        body.push(b'}');
        let message = Message { subject: reply, reply: b"", header_len, body: &body, framed: b"" };
        self.publish_as_server(account, &message);
    }
}

fn plain<'a>(subject: &'a [u8], body: &'a [u8]) -> Message<'a> {
    Message { subject, reply: b"", header_len: 0, body, framed: b"" }
}
