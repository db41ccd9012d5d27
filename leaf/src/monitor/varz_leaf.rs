//! `/varz`: the part about leaf node links.

use serde::Serialize;

use crate::config::RemoteUrl;
use crate::node::Node;

/// nats-server's fields, and of each remote how it is, which is ours.
#[derive(Serialize)]
pub(super) struct Leaf<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_timeout: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_timeout: Option<f64>,
    #[serde(skip_serializing_if = "is_false")]
    tls_required: bool,
    #[serde(skip_serializing_if = "is_false")]
    tls_verify: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    remotes: Vec<Remote<'a>>,
}

#[derive(Serialize)]
struct Remote<'a> {
    local_account: &'a str,
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny: Option<Deny<'a>>,
    /// `connected`, `connecting`, `waiting`, `disabled`.
    state: &'static str,
    /// Why it is not connected, as last found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Deny<'a> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    exports: &'a [String],
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    imports: &'a [String],
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

pub(super) fn leaf(node: &Node) -> Leaf<'_> {
    let facts = &node.facts.links;
    let listener = node.config.leafnodes.listener.as_ref();
    let tls = listener.and_then(|listener| listener.tls.as_ref());
    let address = facts.address.as_ref().filter(|_| listener.is_some());
    Leaf {
        host: address.map(|(host, _)| host.as_str()),
        port: address.map(|(_, port)| *port),
        auth_timeout: listener.map(|_| facts.login_within as f64 / crate::node::SECOND as f64),
        tls_timeout: tls.map(|tls| tls.timeout.as_secs_f64()),
        tls_required: tls.is_some(),
        tls_verify: facts.tls_verify,
        remotes: node.remotes.iter().map(remote).collect(),
    }
}

fn remote(state: &crate::link::RemoteState) -> Remote<'_> {
    let config = &state.config;
    let denies = !config.deny_exports.is_empty() || !config.deny_imports.is_empty();
    Remote {
        local_account: &config.account,
        urls: config.urls.iter().map(RemoteUrl::to_string).collect(),
        deny: denies.then_some(Deny { exports: &config.deny_exports, imports: &config.deny_imports }),
        state: state.state(),
        error: state.trouble.as_deref(),
    }
}
