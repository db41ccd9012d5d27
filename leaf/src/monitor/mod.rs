//! The answers of the HTTP monitoring port, with nats-server's paths, field names and refusals.
//!
//! Pure: [`respond`] looks at a [`Node`] and at what only the host knows, and returns bytes. Nothing
//! here changes the node. What a server without routes, gateways or streams has to say about them is
//! said as nats-server says it with those features off.

mod accountz;
mod accstatz;
mod connz;
mod endpoint;
pub(crate) mod events;
mod gatewayz;
mod healthz;
mod index;
mod ipqueuesz;
pub(crate) mod json;
mod jsz;
mod leafz;
mod metrics;
mod options;
mod outboxz;
mod query;
mod raftz;
mod routez;
mod statsz;
mod sub_detail;
mod sublist;
mod subsz;
mod time;
pub(crate) mod trace;
mod varz;
mod varz_leaf;
mod wear;

use serde::Serialize;
use std::net::SocketAddr;

use crate::account::{Account, AccountId};
use crate::node::{Kind, Nanos, Node};
pub(crate) use connz::kind;
pub use endpoint::{Endpoint, RequestCounts};
pub(crate) use options::Asked;

use query::Query;
pub(crate) use time::Rfc3339;

/// Rows of a page unless `limit` says otherwise.
const LIMIT_DEFAULT: usize = 1024;
/// The account of those who belong nowhere else; nats-server does not name it in /connz.
const GLOBAL_ACCOUNT: &str = "$G";

/// What only the host knows.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// The node's clock now; the node itself only knows the time of its last event.
    pub now: Nanos,
    /// The wall clock now, nanoseconds since 1970.
    pub wall: i128,
    /// Memory in use (resident set), bytes.
    pub rss_bytes: u64,
    /// Processor use of late, per cent of one core.
    pub cpu_percent: f64,
    /// Processor time since the start, seconds.
    pub cpu_seconds: f64,
    /// Processors that may be used.
    pub cores: usize,
    /// Where monitoring listens, if it does.
    pub monitor: Option<SocketAddr>,
    /// Requests so far, this one included.
    pub requests: RequestCounts,
}

/// An HTTP response, but for what every response has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    fn html(body: String) -> Self {
        Self { status: 200, content_type: "text/html; charset=utf-8", body: body.into_bytes() }
    }

    fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into().into_bytes() }
    }

    fn json(body: Vec<u8>) -> Self {
        Self { status: 200, content_type: "application/json", body }
    }

    /// For a path that leads nowhere.
    pub fn not_found() -> Self {
        Self::text(404, "404 page not found\n")
    }
}

/// A parameter that cannot be understood; the text is the body of a 400.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal(String);

/// Answers a request for `path` (without `http_base_path`) with the raw `query`, which may be empty.
pub fn respond(node: &Node, host: &HostFacts, path: &str, query: &str) -> Response {
    let Some(endpoint) = Endpoint::of(path) else { return Response::not_found() };
    let view = View::new(node, host, Layout::Pretty);
    match answer(endpoint, &view, &Query::parse(query)) {
        Ok(response) => response,
        Err(Refusal(text)) => Response::text(400, text),
    }
}

/// The same for a request in the system account, about one account if it is named: JSON on one line, or why not.
pub(crate) fn page(
    node: &Node,
    host: &HostFacts,
    endpoint: Endpoint,
    asked: &Asked,
    account: Option<&str>,
) -> Result<Vec<u8>, String> {
    let view = View::new(node, host, Layout::Compact);
    let query = asked.query(endpoint, account)?;
    let response = match endpoint {
        Endpoint::Healthz => healthz::with_status(&query),
        Endpoint::Raftz => return Ok(b"{}".to_vec()),
        _ => answer(endpoint, &view, &query),
    };
    response.map(|response| response.body).map_err(|Refusal(text)| text)
}

/// /accstatz, about one account if it is named; `None` without any.
pub(crate) fn accounts(
    node: &Node,
    host: &HostFacts,
    asked: &Asked,
    account: Option<&str>,
) -> Result<Option<Vec<u8>>, String> {
    let view = View::new(node, host, Layout::Compact);
    let query = match account {
        None => asked.query(Endpoint::Accstatz, None)?,
        Some(_) => asked.switches_only(account),
    };
    let (count, response) = accstatz::count_and_page(&view, &query).map_err(|Refusal(text)| text)?;
    let unused = query.switch("unused").unwrap_or(false);
    Ok((count > 0 || unused).then_some(response.body))
}

/// /subsz with all subscriptions of an account.
pub(crate) fn account_subscriptions(
    node: &Node,
    host: &HostFacts,
    asked: &Asked,
    account: &str,
) -> Result<Vec<u8>, String> {
    let view = View::new(node, host, Layout::Compact);
    let query = asked.query(Endpoint::Subsz, Some(account))?.with("subs", "1");
    subsz::page(&view, &query).map(|response| response.body).map_err(|Refusal(text)| text)
}

/// `account_detail` of /accountz.
pub(crate) fn account_detail(node: &Node, host: &HostFacts, account: AccountId) -> Vec<u8> {
    let view = View::new(node, host, Layout::Compact);
    json::compact(&accountz::detail(&view, node.accounts.get(account)))
}

/// STATSZ: the server in numbers.
pub(crate) fn stats(node: &Node, host: &HostFacts) -> Vec<u8> {
    statsz::page(&View::new(node, host, Layout::Compact))
}

fn answer(endpoint: Endpoint, view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    Ok(match endpoint {
        Endpoint::Index => index::page(view),
        Endpoint::Varz => varz::page(view),
        Endpoint::Connz => connz::page(view, query)?,
        Endpoint::Subsz => subsz::page(view, query)?,
        Endpoint::Accountz => accountz::page(view, query)?,
        Endpoint::Accstatz => accstatz::page(view, query)?,
        Endpoint::Healthz => healthz::page(query)?,
        Endpoint::Outboxz => outboxz::page(view),
        Endpoint::Metrics => metrics::page(view),
        Endpoint::Routez => routez::page(view, query)?,
        Endpoint::Gatewayz => gatewayz::page(view, query)?,
        Endpoint::Leafz => leafz::page(view, query)?,
        Endpoint::Jsz => jsz::page(view, query)?,
        Endpoint::Ipqueuesz => ipqueuesz::page(),
        Endpoint::Raftz => raftz::page(),
    })
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// For people: over HTTP.
    Pretty,
    /// On one line: in a message.
    Compact,
}

/// What every page looks at.
struct View<'a> {
    node: &'a Node,
    host: &'a HostFacts,
    /// The wall clock at the node's time 0.
    origin: i128,
    layout: Layout,
}

/// The wall clock was set, not merely steered, if it has moved by more than this against the node's.
const CLOCK_STEP: i128 = crate::node::SECOND as i128;

impl<'a> View<'a> {
    fn new(node: &'a Node, host: &'a HostFacts, layout: Layout) -> Self {
        // A gateway may boot in 1970 and learn the time later: then the past is told by the clock that
        // is right now. Otherwise `start` must not tremble from one answer to the next.
        let origin = host.wall - i128::from(host.now);
        let stepped = (origin - node.identity.epoch).abs() > CLOCK_STEP;
        Self { node, host, origin: if stepped { origin } else { node.identity.epoch }, layout }
    }

    fn json(&self, value: &impl Serialize) -> Response {
        match self.layout {
            Layout::Pretty => json::pretty(value),
            Layout::Compact => Response::json(json::compact(value)),
        }
    }

    fn server_id(&self) -> &'a str {
        &self.node.identity.server_id
    }

    fn server_name(&self) -> &'a str {
        &self.node.facts.info.server_name
    }

    fn now(&self) -> Rfc3339 {
        Rfc3339(self.host.wall)
    }

    /// What an account calls itself, beside its name.
    fn tag(&self, account: &'a Account) -> &'a str {
        self.node.tag_of(account)
    }

    /// When something happened.
    fn time(&self, at: Nanos) -> Rfc3339 {
        Rfc3339(self.origin + i128::from(at))
    }

    /// Connections of a kind.
    fn count(&self, kind: Kind) -> usize {
        self.node.conns.iter().filter(|(_, conn)| conn.peer.kind() == kind).count()
    }

    /// Connections of a kind in an account.
    fn count_in(&self, kind: Kind, account: &Account) -> usize {
        let accounts = &self.node.accounts;
        let inside = |id| std::ptr::eq(accounts.get(id), account);
        let conns = self.node.conns.iter().map(|(_, conn)| conn);
        conns.filter(|conn| conn.peer.kind() == kind && conn.core.account.is_some_and(inside)).count()
    }
}

#[cfg(test)]
pub(crate) mod tests;
