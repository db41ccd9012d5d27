//! `/routez`: links to the other servers of a cluster; this server is in none.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};

#[derive(Serialize)]
struct Routez<'a> {
    server_id: &'a str,
    server_name: &'a str,
    now: Rfc3339,
    num_routes: usize,
    routes: [(); 0],
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    query.sub_lists()?;
    let (server_id, server_name) = (view.server_id(), view.server_name());
    Ok(view.json(&Routez { server_id, server_name, now: view.now(), num_routes: 0, routes: [] }))
}
