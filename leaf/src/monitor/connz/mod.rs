//! `/connz`: connections, those of now and those of before.
//!
//! However many there are, only references are collected and sorted, and only the page that is asked
//! for is written, one connection at a time.

mod connection;
mod options;
mod row;

use serde::{Serialize, Serializer};

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};
use crate::account::AccountId;
use connection::Connection;
pub(crate) use connection::kind;
use options::{Options, Order, State};
use row::Row;

#[derive(Serialize)]
struct Connz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    num_connections: usize,
    total: usize,
    offset: usize,
    limit: usize,
    connections: Option<Page<'a>>,
}

/// Connections that are turned into text one after the other.
struct Page<'a> {
    view: &'a View<'a>,
    options: &'a Options<'a>,
    rows: &'a [Row<'a>],
}

impl Serialize for Page<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.rows.iter().map(|row| Connection::new(self.view, self.options, row)))
    }
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    let options = Options::read(query)?;
    let account = match options.account {
        "" => None,
        name => match view.node.accounts.find(name) {
            Some(id) => Some(id),
            None => return Ok(nobody(view, &options)),
        },
    };
    let mut rows = rows(view, &options, account);
    let total = rows.len();
    rows.retain(|row| options.wants(row));
    sort(&mut rows, options.order, view);
    let end = options.offset.saturating_add(options.limit).min(rows.len());
    let shown = rows.get(options.offset..end).unwrap_or_default();
    Ok(view.json(&Connz {
        server_id: view.server_id(),
        now: view.now(),
        num_connections: shown.len(),
        total,
        offset: options.offset,
        limit: options.limit,
        connections: Some(Page { view, options: &options, rows: shown }),
    }))
}

/// What nats-server says of an account it does not know: not even who is speaking.
fn nobody(view: &View<'_>, options: &Options<'_>) -> Response {
    view.json(&Connz {
        server_id: "",
        now: view.now(),
        num_connections: 0,
        total: 0,
        offset: options.offset,
        limit: options.limit,
        connections: None,
    })
}

/// All connections of a state and, if one is named, of an account.
fn rows<'a>(view: &View<'a>, options: &Options<'_>, account: Option<AccountId>) -> Vec<Row<'a>> {
    let open = view.node.conns.iter().map(|(_, conn)| Row::Open(conn));
    let closed = view.node.closed.iter().map(Row::Closed);
    let wanted = |row: &Row<'_>| row.is_listed() && account.is_none_or(|account| row.is_in(account));
    match options.state {
        State::Open => open.filter(wanted).collect(),
        State::Closed => closed.filter(wanted).collect(),
        State::All => open.chain(closed).filter(wanted).collect(),
    }
}

/// Puts `rows` in order; among equals the older connection comes first.
fn sort(rows: &mut [Row<'_>], order: Order, view: &View<'_>) {
    match order {
        Order::Reason => rows.sort_unstable_by_key(|row| (row.reason().unwrap_or_default(), row.cid())),
        _ => rows.sort_unstable_by_key(|row| (order.key(row, view.host.now), row.cid())),
    }
}
