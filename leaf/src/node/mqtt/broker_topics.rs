//! `$SYS/broker/…`: figures of the server as mosquitto publishes them, for the tools that read them there. An account
//! gets them while somebody in it subscribes to them.

use mqtt_bridge::subject;

use super::super::{Nanos, Node, SECOND};
use crate::account::AccountId;
use crate::message::Message;

/// What the filters of those who want them start with.
pub(super) const PREFIX: &str = "$SYS/";
/// Between two publications, mosquitto's `sys_interval`.
const INTERVAL: Nanos = 10 * SECOND;

impl Node {
    /// The topics and what they say now.
    pub(super) fn broker_topics(&self) -> Vec<(&'static str, String)> {
        let figures = self.mqtt_figures();
        let tally = figures.tally;
        let (connected, absent) = (tally.connected.iter().sum::<u64>(), figures.absent as u64);
        let dropped = tally.dropped_full + tally.dropped_large + tally.unmappable;
        vec![
            ("$SYS/broker/version", format!("petiole version {}", env!("CARGO_PKG_VERSION"))),
            ("$SYS/broker/uptime", format!("{} seconds", self.now / SECOND)),
            ("$SYS/broker/clients/connected", connected.to_string()),
            ("$SYS/broker/clients/active", connected.to_string()),
            ("$SYS/broker/clients/disconnected", absent.to_string()),
            ("$SYS/broker/clients/inactive", absent.to_string()),
            ("$SYS/broker/clients/total", (connected + absent).to_string()),
            ("$SYS/broker/publish/messages/received", tally.received.iter().sum::<u64>().to_string()),
            ("$SYS/broker/publish/messages/sent", tally.sent.iter().sum::<u64>().to_string()),
            ("$SYS/broker/publish/messages/dropped", dropped.to_string()),
            ("$SYS/broker/retained messages/count", figures.retained.to_string()),
            ("$SYS/broker/subscriptions/count", self.subs.len().to_string()),
        ]
    }

    /// Somebody in this account wants to hear of them.
    pub(super) fn watch_broker(&mut self, account: AccountId) {
        let now = self.now;
        let watch = &mut self.shared().broker_watch;
        if watch.accounts.is_empty() {
            watch.due = now + INTERVAL;
        }
        watch.accounts.insert(account);
    }

    /// Publishes them where they are wanted, if it is time.
    pub(super) fn publish_broker_topics(&mut self) {
        let now = self.now;
        let watch = &mut self.shared().broker_watch;
        if watch.accounts.is_empty() || watch.due > now {
            return;
        }
        watch.due = now + INTERVAL;
        let accounts = watch.accounts.clone();
        let topics = self.broker_topics();
        let mut subject = Vec::new();
        for account in accounts {
            let mut wanted = false;
            for (topic, value) in &topics {
                subject.clear();
                subject::of_topic(topic, &mut subject);
                wanted |= !self.accounts.get_mut(account).interest.lookup(&subject).is_empty();
                let body = value.as_bytes();
                let message = Message { subject: &subject, reply: b"", header_len: 0, body, framed: b"" };
                self.publish_as_server(account, &message);
            }
            if !wanted {
                self.shared().broker_watch.accounts.remove(&account);
            }
        }
        self.mqtt_queued(None);
    }
}
