//! `/subsz`: subscriptions.

use serde::Serialize;

use super::query::Query;
use super::sub_detail::SubDetail;
use super::sublist::SublistStats;
use super::time::Rfc3339;
use super::{Refusal, Response, View};
use crate::node::Sub;
use crate::subject;

#[derive(Serialize)]
struct Subsz<'a> {
    server_id: &'a str,
    now: Rfc3339,
    #[serde(flatten)]
    stats: SublistStats,
    total: usize,
    offset: usize,
    limit: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subscriptions_list: Vec<SubDetail<'a>>,
}

pub(super) fn page(view: &View<'_>, query: &Query) -> Result<Response, Refusal> {
    let listed = query.switch("subs")?;
    let (offset, limit) = (query.offset()?, query.limit()?);
    let (test, account) = (query.text("test"), query.text("acc"));
    if !test.is_empty() && !subject::is_valid_literal(test.as_bytes()) {
        return Err(Refusal(format!("invalid test subject, must be valid publish subject: {test}")));
    }
    let accounts = view.node.accounts.iter().filter(|one| account.is_empty() || one.name == account);
    let mut subsz = Subsz {
        server_id: view.server_id(),
        now: view.now(),
        stats: SublistStats::of(accounts),
        total: 0,
        offset,
        limit,
        subscriptions_list: Vec::new(),
    };
    if listed {
        let wanted = |sub: &&Sub| {
            let named = account.is_empty() || view.node.accounts.get(sub.account).name == account;
            named && (test.is_empty() || subject::matches(&sub.subject, test.as_bytes()))
        };
        let subs = || view.node.subs.iter().map(|(_, sub)| sub).filter(wanted);
        subsz.total = subs().count();
        let page = subs().skip(offset).take(limit);
        subsz.subscriptions_list = page.map(|sub| SubDetail::with_account(view, sub)).collect();
    }
    Ok(view.json(&subsz))
}
