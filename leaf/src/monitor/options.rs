//! The arguments of a request in the system account: JSON, with names of its own for what a query string says.

use serde_json::{Map, Value};

use super::Endpoint;
use super::query::Query;
use crate::node::Node;

/// A request's body.
#[derive(Debug, Default)]
pub(crate) struct Asked(Map<String, Value>);

/// What an argument must be.
#[derive(Clone, Copy)]
enum Type {
    Switch,
    Number,
    Text,
    Texts,
    /// 0, 1, 2: open, closed, all connections.
    State,
}

/// The arguments of all pages: name in JSON, type, name in a query.
const ARGUMENTS: [(&str, Type, &str); 33] = [
    ("sort", Type::Text, "sort"),
    ("auth", Type::Switch, "auth"),
    ("offset", Type::Number, "offset"),
    ("limit", Type::Number, "limit"),
    ("cid", Type::Number, "cid"),
    ("mqtt_client", Type::Text, "mqtt_client"),
    ("state", Type::State, "state"),
    ("user", Type::Text, "user"),
    ("acc", Type::Text, "acc"),
    ("filter_subject", Type::Text, "filter_subject"),
    ("test", Type::Text, "test"),
    ("name", Type::Text, "gw_name"),
    ("account_name", Type::Text, "acc_name"),
    ("include_unused", Type::Switch, "unused"),
    ("streams", Type::Switch, "streams"),
    ("consumer", Type::Switch, "consumers"),
    ("direct_consumer", Type::Switch, "direct-consumers"),
    ("config", Type::Switch, "config"),
    ("leader_only", Type::Switch, "leader-only"),
    ("raft", Type::Switch, "raft"),
    ("stream_leader_only", Type::Switch, "stream-leader-only"),
    ("js-enabled-only", Type::Switch, "js-enabled-only"),
    ("js-server-only", Type::Switch, "js-server-only"),
    ("js-meta-only", Type::Switch, "js-meta-only"),
    ("stream", Type::Text, "stream"),
    ("details", Type::Switch, "details"),
    ("group", Type::Text, "group"),
    ("server_name", Type::Text, ""),
    ("cluster", Type::Text, ""),
    ("host", Type::Text, ""),
    ("domain", Type::Text, ""),
    ("exact_match", Type::Switch, ""),
    ("tags", Type::Texts, ""),
];

impl Asked {
    /// Reads a body; an empty one asks for nothing in particular. As in Go, names are in any case.
    ///
    /// # Errors
    /// When it is no JSON object, or an argument is of another type; the text says which.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let map: Option<Map<String, Value>> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let lower = map.unwrap_or_default().into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
        let asked = Self(lower.collect());
        for (name, kind, _) in ARGUMENTS {
            asked.check(name, kind)?;
        }
        Ok(asked)
    }

    fn check(&self, name: &str, kind: Type) -> Result<(), String> {
        let Some(value) = self.0.get(name) else { return Ok(()) };
        let right = match kind {
            Type::Switch => value.is_boolean(),
            Type::Number => value.is_i64() || value.is_u64(),
            Type::State => value.as_u64().is_some_and(|state| state <= 2),
            Type::Text => value.is_string(),
            Type::Texts => value.as_array().is_some_and(|list| list.iter().all(Value::is_string)),
        };
        if right || value.is_null() { Ok(()) } else { Err(format!("json: cannot unmarshal {value} into {name}")) }
    }

    /// A text; empty if absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number, if it is one.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    fn switch(&self, name: &str) -> bool {
        self.0.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether this server is among those that are asked.
    pub(crate) fn is_for(&self, node: &Node) -> bool {
        let (info, exact) = (&node.facts.info, self.switch("exact_match"));
        let meant = |name: &str, own: &str| {
            let wanted = self.text(name);
            wanted.is_empty() || if exact { own == wanted } else { own.contains(wanted) }
        };
        let tagged = self.texts("tags").all(|tag| node.config.tags.iter().any(|own| own.eq_ignore_ascii_case(tag)));
        meant("server_name", &info.server_name)
            && meant("host", &info.host)
            && meant("cluster", "")
            && self.text("domain").is_empty()
            && tagged
    }

    /// What a query string would say; `account` is the one that the subject names.
    pub(super) fn query(&self, endpoint: Endpoint, account: Option<&str>) -> Result<Query, String> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        let mut say = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        if let Some(account) = account {
            say("acc", account);
        }
        for (name, kind, key) in ARGUMENTS.into_iter().filter(|(.., key)| !key.is_empty()) {
            match (kind, self.0.get(name)) {
                (Type::State, Some(Value::Number(state))) => {
                    say(key, ["open", "closed", "all"][state.as_u64().unwrap_or(0).min(2) as usize]);
                }
                (_, Some(Value::Bool(on))) => say(key, if *on { "1" } else { "0" }),
                (_, Some(Value::Number(number))) => say(key, &number.to_string()),
                (_, Some(Value::String(text))) => say(key, text),
                _ => {}
            }
        }
        self.ambiguous(endpoint, &mut say)?;
        Ok(Query::of(pairs))
    }

    /// The switches of /accstatz, about the one account named.
    pub(super) fn switches_only(&self, account: Option<&str>) -> Query {
        let unused = if self.switch("include_unused") { "1" } else { "0" };
        Query::of(vec![("unused".into(), unused.into()), ("acc".into(), account.unwrap_or_default().into())])
    }

    /// Names that mean different things on different pages.
    fn ambiguous(&self, endpoint: Endpoint, say: &mut dyn FnMut(&str, &str)) -> Result<(), String> {
        if self.switch("subscriptions_detail") {
            say("subs", "detail");
        } else if self.switch("subscriptions") {
            say("subs", "1");
        }
        match endpoint {
            Endpoint::Healthz => {
                self.check("account", Type::Text)?;
                self.check("consumer", Type::Text)?;
                say("account", self.text("account"));
                say("consumer", self.text("consumer"));
            }
            Endpoint::Accstatz => {
                self.check("accounts", Type::Texts)?;
                self.texts("accounts").for_each(|account| say("acc", account));
            }
            Endpoint::Gatewayz if self.switch("accounts") => say("accs", "1"),
            Endpoint::Jsz if self.switch("accounts") => say("accounts", "1"),
            _ => {}
        }
        if endpoint != Endpoint::Healthz && !self.text("account").is_empty() {
            say("acc", self.text("account"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn query(body: &str, endpoint: Endpoint) -> Query {
        Asked::read(body.as_bytes()).unwrap().query(endpoint, None).unwrap()
    }

    #[test]
    fn says_what_a_query_string_says() {
        let body =
            r#"{"Sort":"idle","auth":true,"subscriptions":true,"subscriptions_detail":true,"limit":-3,"state":2}"#;
        let asked = query(body, Endpoint::Connz);
        let read = ["sort", "auth", "subs", "limit", "state"].map(|name| asked.text(name).to_owned());
        assert_eq!(read, ["idle", "1", "detail", "-3", "all"]);
        assert_eq!(query(r#"{"account":"A"}"#, Endpoint::Subsz).text("acc"), "A");
        assert_eq!(query(r#"{"account":"A"}"#, Endpoint::Healthz).text("account"), "A");
        let all: Vec<String> =
            query(r#"{"accounts":["A","B"]}"#, Endpoint::Accstatz).all("acc").map(str::to_owned).collect();
        assert_eq!(all, ["A", "B"]);
    }

    #[test]
    fn refuses_what_is_not_meant() {
        for body in ["{bad", "7", "[]", r#"{"limit":"1"}"#, r#"{"auth":1}"#, r#"{"tags":[1]}"#, r#"{"state":3}"#] {
            assert!(Asked::read(body.as_bytes()).is_err(), "{body}");
        }
        for body in ["", "null", "{}", r#"{"limit":null,"unknown":[{}]}"#] {
            assert!(Asked::read(body.as_bytes()).is_ok(), "{body}");
        }
    }
}
