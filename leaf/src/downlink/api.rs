//! What is said to a JetStream and heard from it (ADR-13, `io.nats.jetstream.api.v1.consumer_*`).

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::config::{Deliver, DurableSubscription};
use crate::store::{Seq, Time};

/// A message of a consumer, as the subject says on which it is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery<'a> {
    pub(super) stream: &'a [u8],
    pub(super) consumer: &'a [u8],
    /// Its number in the stream.
    pub(super) seq: Seq,
    /// When it was stored there.
    pub(super) time: Time,
}

impl<'a> Delivery<'a> {
    /// Reads `$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<time>.<pending>`, or the second form, which has a
    /// domain and an account before the stream.
    pub(super) fn read(reply: &'a [u8]) -> Option<Self> {
        let rest = reply.strip_prefix(b"$JS.ACK.")?;
        let tokens = rest.split(|&b| b == b'.').count();
        let mut parts = rest.split(|&b| b == b'.').skip(if tokens >= 9 { 2 } else { 0 });
        let (stream, consumer) = (parts.next()?, parts.next()?);
        let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<i64>().ok();
        let (_, seq, _, time) = (number()?, number()?, number()?, number()?);
        Some(Self { stream, consumer, seq: Seq::try_from(seq).ok()?, time })
    }
}

/// Writes the subject on which a message is acknowledged whose own one is not known any more: its number decides.
pub(super) fn acknowledgement(stream: &str, consumer: &str, seq: Seq) -> Vec<u8> {
    format!("$JS.ACK.{stream}.{consumer}.1.{seq}.1.0.0").into_bytes()
}

/// The subject of a request.
pub(super) fn subject(domain: &str, verb: &str, stream: &str, consumer: &str) -> Vec<u8> {
    format!("$JS.{domain}.API.CONSUMER.{verb}.{stream}.{consumer}").into_bytes()
}

#[derive(Serialize)]
struct Create<'a> {
    stream_name: &'a str,
    config: ConfigOut<'a>,
}

#[derive(Serialize)]
struct ConfigOut<'a> {
    durable_name: &'a str,
    ack_policy: &'static str,
    deliver_policy: &'static str,
    replay_policy: &'static str,
    ack_wait: u64,
    max_ack_pending: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_subjects: Option<&'a [String]>,
}

/// The body of the request that makes the consumer, or changes what it may. One subject goes as older servers know it.
pub(super) fn create(settings: &DurableSubscription, consumer: &str) -> Vec<u8> {
    let one = match &settings.subjects[..] {
        [one] => Some(one.as_str()),
        _ => None,
    };
    let body = Create {
        stream_name: &settings.stream,
        config: ConfigOut {
            durable_name: consumer,
            ack_policy: "explicit",
            deliver_policy: match settings.deliver {
                Deliver::All => "all",
                Deliver::New => "new",
            },
            replay_policy: "instant",
            ack_wait: u64::try_from(settings.ack_wait.as_nanos()).unwrap_or(u64::MAX),
            max_ack_pending: 2 * settings.batch as u64,
            filter_subject: one,
            filter_subjects: one.is_none().then_some(&settings.subjects[..]),
        },
    };
    // Only what cannot be encoded fails: nothing in these types.
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The body of a request for messages.
pub(super) fn next(batch: usize, expires: Duration) -> Vec<u8> {
    format!("{{\"batch\":{batch},\"expires\":{}}}", expires.as_nanos()).into_bytes()
}

/// What the hub says of the consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is there.
    Consumer(Standing),
    /// It is not, the stream is.
    NoConsumer,
    /// It cannot be had: why.
    Trouble(String),
}

/// How a consumer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Up to here all is acknowledged.
    pub(super) floor: Seq,
    /// Sent and not acknowledged.
    pub(super) pending: u64,
    /// It is for other subjects than ours.
    pub(super) other_subjects: bool,
    /// After so long without an acknowledgement a message is sent again.
    pub(super) ack_wait: Duration,
}

#[derive(Deserialize)]
struct Reply {
    error: Option<Fault>,
    config: Option<ConfigIn>,
    #[serde(default)]
    ack_floor: Place,
    #[serde(default)]
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

#[derive(Default, Deserialize)]
struct Place {
    #[serde(default)]
    stream_seq: Seq,
}

#[derive(Deserialize)]
struct ConfigIn {
    #[serde(default)]
    deliver_subject: String,
    #[serde(default)]
    ack_policy: String,
    #[serde(default)]
    ack_wait: u64,
    #[serde(default)]
    filter_subject: String,
    #[serde(default)]
    filter_subjects: Vec<String>,
}

impl Answer {
    /// Reads an answer from its header block and payload.
    pub(super) fn read(settings: &DurableSubscription, headers: &[u8], payload: &[u8]) -> Self {
        /// `consumer not found` (server/errors.json: JSConsumerNotFoundErr).
        const NO_CONSUMER: u32 = 10014;
        if headers.starts_with(b"NATS/1.0 503") {
            return Self::Trouble("there is no JetStream".to_owned());
        }
        let Ok(reply) = serde_json::from_slice::<Reply>(payload) else {
            return Self::Trouble("an answer that is none of a JetStream's".to_owned());
        };
        match (&reply.error, &reply.config) {
            (Some(fault), _) if fault.err_code == NO_CONSUMER => Self::NoConsumer,
            (Some(fault), _) => Self::Trouble(format!("{} ({})", fault.description, fault.err_code)),
            (None, Some(config)) => reply.standing(settings, config),
            (None, None) => Self::Trouble("an answer that says nothing of the consumer".to_owned()),
        }
    }
}

impl Reply {
    fn standing(&self, settings: &DurableSubscription, config: &ConfigIn) -> Answer {
        if !config.deliver_subject.is_empty() {
            return Answer::Trouble("its consumer is a push consumer".to_owned());
        }
        if config.ack_policy != "explicit" {
            let policy = &config.ack_policy;
            return Answer::Trouble(format!("its consumer has ack_policy {policy}, where explicit is needed"));
        }
        let one = Some(&config.filter_subject).filter(|one| !one.is_empty());
        let mut there: Vec<&String> = config.filter_subjects.iter().chain(one).collect();
        let mut ours: Vec<&String> = settings.subjects.iter().collect();
        there.sort_unstable();
        ours.sort_unstable();
        Answer::Consumer(Standing {
            floor: self.ack_floor.stream_seq,
            pending: self.num_ack_pending,
            other_subjects: there != ours,
            ack_wait: Duration::from_nanos(config.ack_wait),
        })
    }
}

/// The status line of a message without a payload: its number and its words.
pub(super) fn status(headers: &[u8]) -> Option<(u16, &str)> {
    let line = headers.strip_prefix(b"NATS/1.0 ")?.split(|&b| b == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let (code, words) = line.split_once(' ').unwrap_or((line, ""));
    Some((code.parse().ok()?, words.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(subjects: &[&str]) -> DurableSubscription {
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        DurableSubscription { name: "C".to_owned(), stream: "C".to_owned(), subjects, ..Default::default() }
    }

    /// `captures/jetstream-consumer-api-and-pull.txt` and `captures/jetstream-snapshot-restore-limits-ackv2.txt`.
    #[test]
    fn reads_both_forms_of_an_acknowledgement() {
        let first = Delivery::read(b"$JS.ACK.ORDERS.P.1.17.4.1795461460873766749.0");
        let want = Delivery { stream: b"ORDERS", consumer: b"P", seq: 17, time: 1_795_461_460_873_766_749 };
        assert_eq!(first, Some(want));
        assert_eq!(Delivery::read(b"$JS.ACK._.NUmM6cRx.ORDERS.P.1.17.4.1795461460873766749.0"), Some(want));
        assert_eq!(Delivery::read(&acknowledgement("S", "C", 9)).map(|d| (d.stream, d.seq)), Some((&b"S"[..], 9)));
        for other in [&b"$JS.ACK.ORDERS.P.1.17"[..], b"$JS.ACK.A.B.x.1.1.1.1", b"_INBOX.a"] {
            assert_eq!(Delivery::read(other), None);
        }
    }

    #[test]
    fn asks_for_one_subject_as_older_servers_know_it() {
        let text = |subjects: &[&str]| String::from_utf8(create(&settings(subjects), "D")).expect("text");
        assert!(text(&["a.>"]).contains(r#""filter_subject":"a.>""#));
        assert!(text(&["a.>", "b"]).contains(r#""filter_subjects":["a.>","b"]"#));
        assert_eq!(next(7, Duration::from_secs(1)), b"{\"batch\":7,\"expires\":1000000000}");
    }

    #[test]
    fn tells_what_stands_in_the_way() {
        let read = |payload: &str| Answer::read(&settings(&["a.>"]), b"", payload.as_bytes());
        let info = |config: &str| {
            format!(
                r#"{{"config":{{{config}}},"delivered":{{"consumer_seq":3,"stream_seq":9,"last_active":"2026-11-25T00:00:01Z"}},
                "ack_floor":{{"consumer_seq":2,"stream_seq":7}},"num_ack_pending":1,"ts":"2026-11-25T00:00:03.5Z"}}"#
            )
        };
        let standing = Standing { floor: 7, pending: 1, other_subjects: false, ack_wait: Duration::from_secs(2) };
        let ours = r#""ack_policy":"explicit","ack_wait":2000000000,"filter_subject":"a.>""#;
        assert_eq!(read(&info(ours)), Answer::Consumer(standing.clone()));
        let other = r#""ack_policy":"explicit","ack_wait":2000000000,"filter_subjects":["a.>","b"]"#;
        assert_eq!(read(&info(other)), Answer::Consumer(Standing { other_subjects: true, ..standing }));
        let trouble = |text: &str| Answer::Trouble(text.to_owned());
        assert_eq!(read(&info(r#""ack_policy":"none""#)), {
            trouble("its consumer has ack_policy none, where explicit is needed")
        });
        let missing = r#"{"error":{"code":404,"err_code":10014,"description":"consumer not found"}}"#;
        assert_eq!(read(missing), Answer::NoConsumer);
        let stream = r#"{"error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        assert_eq!(read(stream), trouble("stream not found (10059)"));
        assert_eq!(Answer::read(&settings(&["a"]), b"NATS/1.0 503\r\n\r\n", b""), trouble("there is no JetStream"));
        assert!(matches!(read("+OK"), Answer::Trouble(_)));
    }

    #[test]
    fn reads_status_lines() {
        assert_eq!(status(b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 1\r\n\r\n"), {
            Some((408, "Request Timeout"))
        });
        assert_eq!(status(b"NATS/1.0 503\r\n\r\n"), Some((503, "")));
        assert_eq!((status(b"NATS/1.0\r\nA: 1\r\n\r\n"), status(b"")), (None, None));
    }
}
