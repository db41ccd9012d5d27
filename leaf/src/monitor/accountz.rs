//! `/accountz`: the accounts, or one of them.

use serde::Serialize;
use std::collections::BTreeMap;

use super::query::Query;
use super::sublist::SublistStats;
use super::time::Rfc3339;
use super::{Refusal, Response, View};
use crate::account::Account;
use crate::config::{Destination, Mapping};
use crate::node::Kind;

#[derive(Serialize)]
struct Accountz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_detail: Option<Detail<'a>>,
}

/// An account in full.
#[derive(Serialize)]
pub(super) struct Detail<'a> {
    account_name: &'a str,
    update_time: Rfc3339,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_system: Option<bool>,
    expired: bool,
    complete: bool,
    jetstream_enabled: bool,
    leafnode_connections: usize,
    client_connections: usize,
    subscriptions: usize,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    mappings: BTreeMap<&'a str, Vec<MappedTo<'a>>>,
    name_tag: &'a str,
    sublist_stats: SublistStats,
}

/// A destination as configured; nats-server adds the weights up from one to the next.
#[derive(Serialize)]
struct MappedTo<'a> {
    subject: &'a str,
    weight: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    let name = query.text("acc");
    let accounts = &view.node.accounts;
    let mut accountz = Accountz {
        server_id: view.server_id(),
        now: view.now(),
        system_account: view.node.config.system_account.as_deref(),
        accounts: None,
        account_detail: None,
    };
    if name.is_empty() {
        accountz.accounts = Some(accounts.iter().map(|account| account.name.as_str()).collect());
    } else {
        let id = accounts.find(name).ok_or_else(|| Refusal(format!("Account {name} does not exist")))?;
        accountz.account_detail = Some(detail(view, accounts.get(id)));
    }
    Ok(view.json(&accountz))
}

pub(super) fn detail<'a>(view: &View<'a>, account: &'a Account) -> Detail<'a> {
    let configured = view.node.config.accounts.iter().find(|one| one.name == account.name);
    let mappings = configured.map_or(&[][..], |one| &one.mappings);
    Detail {
        account_name: &account.name,
        update_time: view.time(view.node.config_loaded),
        is_system: account.is_system.then_some(true),
        expired: false,
        complete: true,
        jetstream_enabled: false,
        leafnode_connections: view.count_in(Kind::Leaf, account),
        client_connections: view.count_in(Kind::Client, account),
        subscriptions: account.interest.len(),
        mappings: mappings.iter().map(mapping).collect(),
        name_tag: view.tag(account),
        sublist_stats: SublistStats::of(std::iter::once(account)),
    }
}

fn mapping(mapping: &Mapping) -> (&str, Vec<MappedTo<'_>>) {
    (&mapping.source, mapping.destinations.iter().map(MappedTo::of).collect())
}

impl<'a> MappedTo<'a> {
    fn of(to: &'a Destination) -> Self {
        Self { subject: &to.template, weight: to.weight, cluster: to.cluster.as_deref() }
    }
}
