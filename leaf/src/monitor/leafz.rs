//! `/leafz`: leaf node links; this server has none yet.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};

#[derive(Serialize)]
struct Leafz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    leafnodes: usize,
    leafs: [(); 0],
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    query.switch("subs")?;
    Ok(view.json(&Leafz { server_id: view.server_id(), now: view.now(), leafnodes: 0, leafs: [] }))
}
