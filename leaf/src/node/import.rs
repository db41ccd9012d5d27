//! Messages between accounts.
//!
//! A subscription to an imported stream has a shadow in the exporter's account, under the exporter's subject:
//! to whoever publishes there it is a subscription like any other. An imported service is a subscription of
//! the node itself, in the importer's account; what it hears is published again in the exporter's, with a
//! reply subject under which the answer finds its way back (see [`super::responses`]).

use std::rc::Rc;

use super::latency::Failure;
use super::publish::Trail;
use super::system::SERVER;
use super::{Kind, Node, Sid, Sub};
use crate::account::AccountId;
use crate::account::sharing::{Imports, ServiceImport, StreamImport};
use crate::config::ResponseKind;
use crate::interest::SubId;
use crate::message::Message;
use crate::message::header;

/// Imports that a request may go through one after the other.
pub(super) const IMPORT_HOPS_MAX: u8 = 32;

/// The header in which a service finds who asks.
const REQUEST_INFO: &[u8] = b"Nats-Request-Info";

/// What a subscription has to do with other accounts.
#[derive(Debug)]
pub(crate) enum Link {
    /// It has shadows in the accounts that its own imports from.
    Shadows(Vec<SubId>),
    /// It is the shadow of another one.
    Shadow {
        /// Whose.
        of: SubId,
        /// By which import.
        import: Rc<StreamImport>,
    },
    /// It is an imported service.
    Service(Rc<ServiceImport>),
    /// It hears the answers to requests from other accounts.
    Answers,
}

impl Node {
    /// Puts a subscription's shadows into the accounts that its own imports from.
    pub(super) fn cast_shadows(&mut self, id: SubId) {
        let Some(sub) = self.subs.get(id) else { return };
        let streams = &self.accounts.get(sub.account).imports.streams;
        if streams.is_empty() {
            return;
        }
        let (conn, mut shadows) = (sub.conn, Vec::new());
        for import in streams.clone() {
            let Some(sub) = self.subs.get(id) else { return };
            let Some(local) = crate::subject::intersection(&sub.subject, &import.local) else { continue };
            let mut remote = Vec::new();
            import.to_remote.write(&local, &mut remote);
            let (queue, account) = (sub.queue.clone(), import.exporter);
            shadows.push(self.plant(conn, account, &remote, queue, Link::Shadow { of: id, import }));
        }
        if let Some(sub) = self.subs.get_mut(id).filter(|_| !shadows.is_empty()) {
            sub.link = Some(Box::new(Link::Shadows(shadows)));
        }
    }

    /// Adds a subscription that no connection counts among its own.
    fn plant(&mut self, conn: u32, account: AccountId, subject: &[u8], queue: Option<Box<[u8]>>, link: Link) -> SubId {
        let place = self.accounts.get_mut(account).interest.insert(subject, queue.as_deref(), self.subs.next_id());
        let id = self.subs.insert(Sub {
            conn,
            account,
            place,
            subject: subject.into(),
            queue: queue.clone(),
            sid: Sid::new(b""),
            delivered: 0,
            max: 0,
            filtered: false,
            link: Some(Box::new(link)),
            weight: 0,
        });
        self.interest_came(account, subject, queue.as_deref(), id);
        id
    }

    /// Removes what a subscription left in other accounts.
    pub(super) fn lift_shadows(&mut self, link: Option<Box<Link>>) {
        let Some(Link::Shadows(shadows)) = link.as_deref() else { return };
        for id in shadows {
            self.uproot(*id);
        }
    }

    fn uproot(&mut self, id: SubId) {
        if let Some(sub) = self.subs.remove(id) {
            self.forget_interest(&sub);
        }
    }

    /// The imports of accounts have changed: those of `before`, account by account, gave the subscriptions there are.
    pub(super) fn link_accounts(&mut self, before: &[Imports]) {
        let none = Imports::default();
        let mut changed = vec![false; self.accounts.iter().count()];
        for (at, changed) in changed.iter_mut().enumerate() {
            let (id, before) = (AccountId(at as u32), before.get(at).unwrap_or(&none));
            if self.accounts.get(id).imports == *before {
                // The same, but these are the ones in use.
                self.accounts.get_mut(id).imports = before.clone();
            } else {
                *changed = true;
                self.link_services(id);
            }
        }
        if changed.contains(&true) {
            self.link_streams(|id| changed[id.0 as usize]);
        }
    }

    /// The imports of one account have changed.
    pub(super) fn link_account(&mut self, id: AccountId, imports: Imports) {
        let account = self.accounts.get_mut(id);
        if account.imports == imports {
            return;
        }
        let idle = account.connections == 0;
        account.imports = imports;
        self.link_services(id);
        if !idle {
            self.link_streams(|account| account == id);
        }
    }

    fn link_services(&mut self, id: AccountId) {
        for sub in std::mem::take(&mut self.accounts.get_mut(id).service_subs) {
            self.uproot(sub);
        }
        let services = self.accounts.get(id).imports.services.clone();
        // What is still waited for is answered only where the import is still there.
        self.responses.retain(|one| one.import.importer != id || services.contains(&one.import));
        for import in services {
            let local = import.local.clone();
            let sub = self.plant(SERVER, id, &local, None, Link::Service(import));
            self.accounts.get_mut(id).service_subs.push(sub);
        }
    }

    fn link_streams(&mut self, of: impl Fn(AccountId) -> bool) {
        let own = |sub: &Sub| sub.conn != SERVER && matches!(sub.link.as_deref(), None | Some(Link::Shadows(_)));
        let all = self.subs.iter().filter(|(_, sub)| of(sub.account) && own(sub));
        let ids: Vec<SubId> = all.map(|(id, _)| id).collect();
        for id in ids {
            let link = self.subs.get_mut(id).and_then(|sub| sub.link.take());
            self.lift_shadows(link);
            self.cast_shadows(id);
        }
    }

    /// A message reached a subscription of the node's own. Says whether anybody got it in the end.
    pub(super) fn pass_on(&mut self, trail: &Trail<'_>, id: SubId, message: &Message<'_>) -> bool {
        let Some(sub) = self.subs.get(id) else { return false };
        match sub.link.as_deref() {
            Some(Link::Service(import)) => {
                let import = import.clone();
                self.request(trail, &import, message)
            }
            Some(Link::Answers) => {
                let account = sub.account;
                self.answer_across(trail, account, message)
            }
            _ => false,
        }
    }

    /// A request goes to the account that has the service.
    fn request(&mut self, trail: &Trail<'_>, import: &Rc<ServiceImport>, message: &Message<'_>) -> bool {
        if trail.hops >= IMPORT_HOPS_MAX || trail.went_by(import) || self.is_from_cluster(trail) {
            return false;
        }
        let only = self.tracing.as_ref().is_some_and(|trace| trace.only);
        let mut sample = if only { None } else { self.begin_sample(trail, import, message) };
        let token = self.expect_answer(import, import.exporter, import.importer, message);
        if let Some(response) = token.and_then(|token| self.responses.get_mut(token)) {
            response.sample = sample.take();
        } else if let Some(sample) = sample.take() {
            self.fail_sample(import, &sample, Failure::NoReply);
        }
        let reply = token.map(|token| self.responses.subject(token)).unwrap_or_default();
        let mut subject = self.spare.pop().unwrap_or_default();
        let mut body = self.spare.pop().unwrap_or_default();
        import.to_remote.write(message.subject, &mut subject);
        let header_len = self.introduce(trail, import, message, &mut body);
        let request = match header_len {
            0 => Message { subject: &subject, reply: &reply, ..*message },
            header_len => Message { subject: &subject, reply: &reply, header_len, body: &body, framed: b"" },
        };
        let further = trail.by(import);
        let delivered = match self.tracing {
            None => self.publish_in(&further, import.exporter, &request),
            Some(_) => self.publish_imported(&further, import, message.subject, &request),
        };
        self.give_back(subject);
        self.give_back(body);
        if let Some(response) = token.filter(|_| !delivered || only).and_then(|token| self.responses.close(token)) {
            self.fail_response(response, Failure::Nobody);
        }
        delivered
    }

    /// Expects the answer to `message` in `heard_in`, if it asks for one.
    fn expect_answer(
        &mut self,
        import: &Rc<ServiceImport>,
        heard_in: AccountId,
        to: AccountId,
        message: &Message<'_>,
    ) -> Option<u64> {
        if message.reply.is_empty() {
            return None;
        }
        if !self.accounts.get(heard_in).hears_answers {
            self.accounts.get_mut(heard_in).hears_answers = true;
            let pattern = [&self.responses.prefix(heard_in)[..], b">"].concat();
            self.plant(SERVER, heard_in, &pattern, None, Link::Answers);
        }
        let (token, evicted) = self.responses.open(self.now, heard_in, to, message.reply, import.clone());
        if let Some(evicted) = evicted {
            self.responses.reuse(evicted.reply);
        }
        Some(token)
    }

    /// Expects the events of servers that see a traced request behind `import`, for `dest`.
    pub(super) fn expect_trace(&mut self, import: &Rc<ServiceImport>, dest: &[u8]) -> Option<u64> {
        let (exporter, importer) = (import.exporter, import.importer);
        let token =
            self.expect_answer(import, exporter, importer, &Message { reply: dest, ..Message::plain(dest, b"") });
        if let Some(response) = token.and_then(|token| self.responses.get_mut(token)) {
            response.is_trace = true;
        }
        token
    }

    pub(super) fn close_response(&mut self, token: u64) {
        if let Some(response) = self.responses.close(token) {
            self.responses.reuse(response.reply);
        }
    }

    /// An answer goes back to who asked.
    fn answer_across(&mut self, trail: &Trail<'_>, account: AccountId, message: &Message<'_>) -> bool {
        if trail.hops >= IMPORT_HOPS_MAX {
            return false;
        }
        let Some(token) = self.responses.find(account, message.subject) else { return false };
        let Some(response) = self.responses.get_mut(token) else { return false };
        let (to, import) = (response.to, response.import.clone());
        // Borrowed for the time being; who would answer once more meanwhile answers nobody.
        let subject = std::mem::take(&mut response.reply);
        if subject.is_empty() {
            return false;
        }
        let sample = response.sample.take();
        let is_trace = response.is_trace;
        response.tracked |= sample.is_some();
        let back = self.expect_answer(&import, to, account, message);
        let reply = back.map(|token| self.responses.subject(token)).unwrap_or_default();
        let answer = Message { subject: &subject, reply: &reply, ..*message };
        let delivered = match self.tracing {
            None => self.publish_in(&trail.back(), to, &answer),
            Some(_) => self.publish_answer(&trail.back(), to, message.subject, &answer),
        };
        let singleton = import.service.response == ResponseKind::Singleton || message.body.is_empty();
        let over = singleton && !is_trace;
        match self.responses.get_mut(token) {
            Some(response) => response.reply = subject,
            None => self.responses.reuse(subject),
        }
        if let Some(sample) = sample {
            self.end_sample(&import, &sample, trail.from);
        }
        if over || !delivered && !is_trace {
            self.close_response(token);
        } else {
            self.responses.renew(token, self.now);
        }
        if let Some(back) = back.filter(|_| !delivered) {
            self.close_response(back);
        }
        delivered
    }

    /// Whether a message came from a server that has seen to the imports itself.
    fn is_from_cluster(&self, trail: &Trail<'_>) -> bool {
        let conn = trail.from.and_then(|from| self.conns.get(from as usize));
        conn.is_some_and(|conn| matches!(conn.peer.kind(), Kind::Route | Kind::Gateway))
    }

    /// Writes the message's body with the header that says who asks into `body`. Returns the length of the headers; 0
    /// where there is nothing to say.
    fn introduce(
        &mut self,
        trail: &Trail<'_>,
        import: &ServiceImport,
        message: &Message<'_>,
        body: &mut Vec<u8>,
    ) -> usize {
        let Some(from) = trail.from else { return 0 };
        let Some(kind) = self.conns.get(from as usize).map(|conn| conn.peer.kind()) else { return 0 };
        if kind == Kind::Leaf && header::get(message.headers(), REQUEST_INFO).is_some() {
            // The other server knows better.
            return 0;
        }
        let mut info = self.spare.pop().unwrap_or_default();
        self.write_client_info(from, trail, import, &mut info);
        header::set(message.headers(), REQUEST_INFO, &info, body);
        self.give_back(info);
        let header_len = body.len();
        body.extend_from_slice(message.payload());
        header_len
    }

    /// A buffer that was borrowed.
    pub(super) fn give_back(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        if buffer.capacity() <= super::SPARE_BUFFER_BYTES {
            self.spare.push(buffer);
        }
    }

    /// Requests to other accounts that wait for an answer, and those that ever made room for others.
    pub(crate) fn open_responses(&self) -> (usize, u64) {
        (self.responses.len(), self.responses.evicted)
    }

    /// Closes requests that were not answered in time.
    pub(super) fn expire_responses(&mut self) {
        while let Some(response) = self.responses.expired(self.now) {
            self.fail_response(response, Failure::Late);
        }
    }
}
