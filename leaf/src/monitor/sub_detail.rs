//! One subscription, as /connz and /subsz tell it.

use serde::Serialize;
use std::borrow::Cow;

use super::View;
use crate::node::Sub;

#[derive(Serialize)]
pub(super) struct SubDetail<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_tag: Option<&'a str>,
    subject: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qgroup: Option<Cow<'a, str>>,
    sid: Cow<'a, str>,
    msgs: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
    cid: u64,
}

impl<'a> SubDetail<'a> {
    /// `sub` of connection `cid`.
    pub(super) fn new(sub: &'a Sub, cid: u64) -> Self {
        Self {
            account: None,
            account_tag: None,
            subject: String::from_utf8_lossy(&sub.subject),
            qgroup: sub.queue.as_deref().map(String::from_utf8_lossy),
            sid: String::from_utf8_lossy(sub.sid.as_bytes()),
            msgs: sub.delivered,
            max: (sub.max > 0).then_some(sub.max),
            cid,
        }
    }

    /// `sub` with its account. Services of the server itself have the connection 0.
    pub(super) fn with_account(view: &View<'a>, sub: &'a Sub) -> Self {
        let cid = view.node.conns.get(sub.conn as usize).map_or(0, |conn| conn.core.id.cid());
        let account = view.node.accounts.get(sub.account);
        Self { account: Some(&account.name), account_tag: Some(view.tag(account)), ..Self::new(sub, cid) }
    }
}
