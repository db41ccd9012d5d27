//! How the node's logs and links are, for whoever has to decide whether this server does its work.

use super::forward::Health;
use super::{MQTT_LOG, Node};
use crate::store::LogId;

/// A log that this server keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogHealth {
    /// For orders to its disk.
    pub id: LogId,
    /// As configured; `mqtt` for that of the MQTT sessions.
    pub name: String,
    /// Why it takes nothing in now.
    pub trouble: Option<String>,
}

/// A link that this server is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkHealth {
    /// `host:port` as configured first, and behind a slash the account if that is not the global one. No blanks.
    pub place: String,
    /// Why it is not up now.
    pub trouble: Option<String>,
}

impl Node {
    /// The logs: those of store-and-forward, then that of MQTT.
    pub fn logs_health(&self) -> Vec<LogHealth> {
        let forwards = self.forwards.slots().enumerate().map(|(at, (forward, health, failed))| LogHealth {
            id: LogId(at as u32),
            name: forward.name.clone(),
            trouble: match (failed, health) {
                (Some(text), _) => Some(text.to_owned()),
                (None, Health::Open) => None,
                (None, Health::Opening | Health::Broken(_)) => Some("not open".to_owned()),
            },
        });
        let journal = self.pool.mqtt.as_ref().and_then(|shared| shared.journal.as_ref());
        let mqtt = journal.map(|journal| LogHealth {
            id: MQTT_LOG,
            name: "mqtt".to_owned(),
            trouble: journal.log().failed().map(str::to_owned),
        });
        forwards.chain(mqtt).collect()
    }

    /// The links that are configured and not switched off.
    pub fn links_health(&self) -> Vec<LinkHealth> {
        let wanted = self.remotes.iter().filter(|remote| !remote.config.disabled);
        wanted
            .map(|remote| {
                let url = remote.config.urls.first().map(ToString::to_string).unwrap_or_default();
                let place = url.split_once("://").map_or(url.as_str(), |(_, place)| place);
                let account = &self.accounts.get(remote.account).name;
                let account = if account == crate::config::GLOBAL_ACCOUNT { "" } else { account };
                let slash = if account.is_empty() { "" } else { "/" };
                let trouble = match (remote.link(), &remote.trouble) {
                    (Some(_), _) => None,
                    (None, Some(text)) => Some(text.clone()),
                    (None, None) => Some(remote.state().to_owned()),
                };
                LinkHealth { place: format!("{place}{slash}{account}").replace(char::is_whitespace, "_"), trouble }
            })
            .collect()
    }
}
