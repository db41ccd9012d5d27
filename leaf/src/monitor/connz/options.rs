//! What is asked of /connz.

use super::super::Refusal;
use super::super::query::{Query, SubLists};
use super::row::Row;
use crate::node::Nanos;

/// The arguments of a request.
pub(super) struct Options<'a> {
    pub(super) order: Order,
    /// Tell who the clients are.
    pub(super) auth: bool,
    pub(super) subs: SubLists,
    pub(super) offset: usize,
    pub(super) limit: usize,
    pub(super) state: State,
    /// Only this account; empty for all.
    pub(super) account: &'a str,
    /// Only this connection; 0 for all.
    cid: u64,
    user: &'a str,
    mqtt_client: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Closed,
    All,
}

/// What to sort by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Cid,
    Start,
    Subs,
    Pending,
    MsgsTo,
    MsgsFrom,
    BytesTo,
    BytesFrom,
    Last,
    Idle,
    Uptime,
    Stop,
    Reason,
    Rtt,
}

impl<'a> Options<'a> {
    pub(super) fn read(query: &'a Query) -> Result<Self, Refusal> {
        let (auth, subs) = (query.switch("auth")?, query.sub_lists()?);
        let (offset, limit) = (query.offset()?, query.limit()?);
        let cid = query.cid()?;
        let state = State::read(query.text("state"))?;
        let order = Order::read(query.text("sort"))?;
        if matches!(order, Order::Stop | Order::Reason) && state != State::Closed {
            return Err(Refusal(format!("sort by {} only valid on closed connections", query.text("sort"))));
        }
        let (offset, limit) = if cid == 0 { (offset, limit) } else { (0, 1) };
        let (account, user, mqtt_client) = (query.text("acc"), query.text("user"), query.text("mqtt_client"));
        Ok(Self { order, auth, subs, offset, limit, state, account, cid, user, mqtt_client })
    }

    /// Whether a connection is one that was asked for by name.
    pub(super) fn wants(&self, row: &Row<'_>) -> bool {
        // None of them came over MQTT.
        self.mqtt_client.is_empty()
            && (self.cid == 0 || self.cid == row.cid())
            && (self.user.is_empty() || self.user == row.about().user)
    }
}

impl State {
    fn read(text: &str) -> Result<Self, Refusal> {
        match text.to_ascii_lowercase().as_str() {
            "" | "open" => Ok(Self::Open),
            "closed" => Ok(Self::Closed),
            "any" | "all" => Ok(Self::All),
            _ => Err(Refusal(format!("Error decoding state for {text}"))),
        }
    }
}

impl Order {
    fn read(text: &str) -> Result<Self, Refusal> {
        Ok(match text {
            "" | "cid" => Self::Cid,
            "start" => Self::Start,
            "subs" => Self::Subs,
            "pending" => Self::Pending,
            "msgs_to" => Self::MsgsTo,
            "msgs_from" => Self::MsgsFrom,
            "bytes_to" => Self::BytesTo,
            "bytes_from" => Self::BytesFrom,
            "last" => Self::Last,
            "idle" => Self::Idle,
            "uptime" => Self::Uptime,
            "stop" => Self::Stop,
            "reason" => Self::Reason,
            "rtt" => Self::Rtt,
            other => return Err(Refusal(format!("invalid sorting option: {other}"))),
        })
    }

    /// What rows are compared by: the smallest comes first, so what shall go down is turned around.
    /// Reasons are compared by their text, not here.
    pub(super) fn key(self, row: &Row<'_>, now: Nanos) -> u64 {
        let down = |value: u64| u64::MAX - value;
        let stats = row.stats();
        match self {
            Self::Cid | Self::Reason => row.cid(),
            Self::Start => row.start(),
            Self::Subs => down(row.subs() as u64),
            Self::Pending => down(row.pending() as u64),
            Self::MsgsTo => down(stats.out_msgs),
            Self::MsgsFrom => down(stats.in_msgs),
            Self::BytesTo => down(stats.out_bytes),
            Self::BytesFrom => down(stats.in_bytes),
            Self::Last => down(row.last_activity()),
            Self::Idle => down(row.idle(now)),
            Self::Uptime => row.uptime(now),
            Self::Stop => down(row.stop().unwrap_or_default()),
            Self::Rtt => down(row.rtt()),
        }
    }
}
