//! `/jsz`: streams; what nats-server says with JetStream off.

use serde::Serialize;

use super::query::Query;
use super::time::Rfc3339;
use super::{Refusal, Response, View};

#[derive(Serialize)]
struct Jsz<'a> {
    memory: u64,
    storage: u64,
    reserved_memory: u64,
    reserved_storage: u64,
    accounts: u64,
    ha_assets: u64,
    api: Api,
    server_id: &'a str,
    now: Rfc3339,
    disabled: bool,
    config: Limits,
    streams: u64,
    consumers: u64,
    messages: u64,
    bytes: u64,
    total: u64,
}

#[derive(Default, Serialize)]
struct Api {
    level: u64,
    total: u64,
    errors: u64,
}

#[derive(Default, Serialize)]
struct Limits {
    max_memory: u64,
    max_storage: u64,
}

const SWITCHES: [&str; 8] =
    ["accounts", "streams", "consumers", "direct-consumers", "config", "leader-only", "raft", "stream-leader-only"];

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    for name in SWITCHES {
        query.switch(name)?;
    }
    query.offset()?;
    query.limit()?;
    Ok(view.json(&Jsz {
        memory: 0,
        storage: 0,
        reserved_memory: 0,
        reserved_storage: 0,
        accounts: 0,
        ha_assets: 0,
        api: Api::default(),
        server_id: view.server_id(),
        now: view.now(),
        disabled: true,
        config: Limits::default(),
        streams: 0,
        consumers: 0,
        messages: 0,
        bytes: 0,
        total: 0,
    }))
}
