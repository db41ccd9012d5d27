//! How a record travels: its message id, its reply subject, its header.
//!
//! ```text
//! LMSG telemetry.a _INBOX.<leaf>.<log>.<seq> …
//! NATS/1.0
//! Nats-Msg-Id: <leaf>.<log>.<seq>        one for each record, the same however often it is sent
//! Petiole-Msg-Id: <id>                   the publisher's own Nats-Msg-Id, if it gave one
//! …                                      the publisher's other fields, in their order
//! ```
//! `<leaf>` is drawn when a log is first made and kept in it: a leaf whose flash was wiped begins at sequence 1 again, and must
//! not be taken for its former self.

use crate::message::header as header_value;
use crate::store::Seq;

/// The first line of a header block (ADR-4).
const VERSION: &[u8] = b"NATS/1.0\r\n";
/// The publisher's name for its message, by which duplicates are found.
const MSG_ID: &[u8] = b"Nats-Msg-Id";
/// How long a message lives (ADR-43).
const TTL: &[u8] = b"Nats-TTL";
/// Conditions on the state of a stream, which nobody knows until the message is there.
const EXPECTED: &[u8] = b"Nats-Expected-";
const OUR_MSG_ID: &[u8] = b"Petiole-Msg-Id: ";

/// The publisher's name for its message; empty for none.
pub(super) fn msg_id(headers: &[u8]) -> &[u8] {
    header_value(headers, MSG_ID).unwrap_or_default()
}

/// Whether the message depends on the state of a stream.
pub(super) fn has_expectation(headers: &[u8]) -> bool {
    headers.split(|&b| b == b'\n').skip(1).any(|line| line.starts_with(EXPECTED))
}

/// How long the message may live, nanoseconds: seconds, or a row of numbers with `h`, `m`, `s` (Go's durations). `None` if it
/// does not say, or not properly (the hub's stream will refuse it).
pub(crate) fn time_to_live(headers: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(header_value(headers, TTL)?).ok()?;
    if let Ok(seconds) = text.parse::<u32>() {
        return (seconds > 0).then(|| i64::from(seconds) * 1_000_000_000);
    }
    crate::config::duration(text).filter(|&nanos| nanos >= 1_000_000_000)
}

/// Writes the header block of a record as it is sent.
pub(super) fn header(leaf: &str, log: &str, seq: Seq, headers: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(VERSION);
    into.extend_from_slice(b"Nats-Msg-Id: ");
    id(leaf, log, seq, into);
    into.extend_from_slice(b"\r\n");
    for line in headers.split_inclusive(|&b| b == b'\n').skip(1) {
        if let Some(value) = line.strip_prefix(MSG_ID).and_then(|rest| rest.strip_prefix(b":")) {
            into.extend_from_slice(OUR_MSG_ID);
            into.extend_from_slice(value.trim_ascii());
            into.extend_from_slice(b"\r\n");
        } else if line != b"\r\n" {
            into.extend_from_slice(line);
        }
    }
    into.extend_from_slice(b"\r\n");
}

fn id(leaf: &str, log: &str, seq: Seq, into: &mut Vec<u8>) {
    use std::io::Write;
    // A vector takes everything.
    let _ = write!(into, "{leaf}.{log}.{seq}");
}

/// Writes the subject on which the hub answers for a record.
pub(super) fn reply(leaf: &str, log: &str, seq: Seq, into: &mut Vec<u8>) {
    into.extend_from_slice(b"_INBOX.");
    id(leaf, log, seq, into);
}

/// The pattern of all answers for a log.
pub fn replies(leaf: &str, log: &str) -> String {
    format!("_INBOX.{leaf}.{log}.*")
}

/// The log and the number that a reply is about.
pub fn of_reply<'a>(leaf: &str, subject: &'a [u8]) -> Option<(&'a [u8], Seq)> {
    let rest = subject.strip_prefix(b"_INBOX.")?.strip_prefix(leaf.as_bytes())?.strip_prefix(b".")?;
    let dot = rest.iter().position(|&b| b == b'.')?;
    let seq = std::str::from_utf8(&rest[dot + 1..]).ok()?.parse().ok()?;
    Some((&rest[..dot], seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(headers: &[u8]) -> String {
        let mut bytes = Vec::new();
        header("L1", "t", 7, headers, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn each_record_has_an_id_of_its_own() {
        assert_eq!(sent(b""), "NATS/1.0\r\nNats-Msg-Id: L1.t.7\r\n\r\n");
        let given = b"NATS/1.0\r\nA: 1\r\nNats-Msg-Id: mine\r\nB:2\r\n\r\n";
        assert_eq!(sent(given), "NATS/1.0\r\nNats-Msg-Id: L1.t.7\r\nA: 1\r\nPetiole-Msg-Id: mine\r\nB:2\r\n\r\n");
        assert_eq!((msg_id(given), msg_id(b"NATS/1.0\r\n\r\n"), msg_id(b"")), (&b"mine"[..], &b""[..], &b""[..]));
    }

    #[test]
    fn replies_name_their_record() {
        let mut subject = Vec::new();
        reply("L1", "t", 7, &mut subject);
        assert_eq!(subject, b"_INBOX.L1.t.7");
        assert!(crate::subject::matches(replies("L1", "t").as_bytes(), &subject));
        assert_eq!(of_reply("L1", &subject), Some((&b"t"[..], 7)));
        for other in ["_INBOX.L2.t.7", "_INBOX.L1.t.x", "_INBOX.L1.t", "_INBOX.L1"] {
            assert_eq!(of_reply("L1", other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn reads_what_concerns_a_log() {
        let ttl = |value: &str| time_to_live(format!("NATS/1.0\r\nNats-TTL: {value}\r\n\r\n").as_bytes());
        assert_eq!((ttl("60"), ttl("1m30s"), ttl("0"), ttl("never"), ttl("1ms")), {
            (Some(60_000_000_000), Some(90_000_000_000), None, None, None)
        });
        assert!(has_expectation(b"NATS/1.0\r\nNats-Expected-Last-Sequence: 3\r\n\r\n"));
        assert!(!has_expectation(b"NATS/1.0\r\nNats-Msg-Id: Nats-Expected-\r\n\r\n"));
    }
}
