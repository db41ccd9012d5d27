//! `/gatewayz`: links to other clusters; this server has none.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};

#[derive(Serialize)]
struct Gatewayz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    outbound_gateways: Nobody,
    inbound_gateways: Nobody,
}

/// A table of gateways without entries.
#[derive(Serialize)]
struct Nobody {}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    query.sub_lists()?;
    query.switch("accs")?;
    Ok(view.json(&Gatewayz {
        server_id: view.server_id(),
        now: view.now(),
        outbound_gateways: Nobody {},
        inbound_gateways: Nobody {},
    }))
}
