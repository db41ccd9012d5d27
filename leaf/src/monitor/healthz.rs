//! `/healthz`: whether all is well. Whoever can ask is answered by a server that runs, so it is.

use serde::Serialize;

use super::query::Query;
use super::{Refusal, Response, json};

#[derive(Serialize)]
struct Healthz {
    status: &'static str,
    /// Only where there is no status line to say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<[Fault; 1]>,
}

#[derive(Serialize)]
struct Fault {
    r#type: &'static str,
    error: &'static str,
}

/// Switches that narrow the question down to streams, of which there are none; still they must be legible.
const SWITCHES: [&str; 4] = ["js-enabled", "js-enabled-only", "js-server-only", "js-meta-only"];

pub(super) fn page(query: &Query) -> Result<Response, Refusal> {
    answer(query, false)
}

/// The same with the status in the body.
pub(super) fn with_status(query: &Query) -> Result<Response, Refusal> {
    answer(query, true)
}

fn answer(query: &Query, with_status: bool) -> Result<Response, Refusal> {
    for name in SWITCHES {
        query.switch(name)?;
    }
    let details = query.switch("details")?;
    let Some(fault) = fault(query) else {
        let status_code = with_status.then_some(200);
        return Ok(Response::json(json::compact(&Healthz { status: "ok", status_code, error: None, errors: None })));
    };
    let (error, errors) =
        if details { (None, Some([Fault { r#type: "BAD_REQUEST", error: fault }])) } else { (Some(fault), None) };
    let body = json::compact(&Healthz { status: "error", status_code: with_status.then_some(400), error, errors });
    Ok(Response { status: 400, ..Response::json(body) })
}

/// What makes no sense about the question.
fn fault(query: &Query) -> Option<&'static str> {
    let absent = |key: &str| query.text(key).is_empty();
    if !absent("stream") && absent("account") {
        return Some("\"account\" must not be empty when checking stream health");
    }
    let nameless = !absent("consumer") && absent("stream");
    nameless.then_some("\"stream\" must not be empty when checking consumer health")
}
