//! What a stream says about a message that was published to it, and what we say where we are asked.
//!
//! The JSON is that of JetStream's publish acknowledgement (ADR-2, `io.nats.jetstream.api.v1.pub_ack`).

use std::io::Write;

use serde::Deserialize;

use super::NotTaken;
use super::upstream::Confirm;
use crate::store::{Refused, Seq};

/// What came back for a record that was sent up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A stream of this name has it.
    Stored(String),
    /// Not now: no stream there, or it cannot take it at the moment.
    Later(String),
    /// Never: this message is not for that stream.
    Never(String),
}

#[derive(Debug, Deserialize)]
struct Reply {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    #[serde(default)]
    code: u32,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl Answer {
    /// Reads an answer from its header block and payload.
    pub fn read(headers: &[u8], payload: &[u8]) -> Self {
        if headers.starts_with(b"NATS/1.0 503") {
            return Self::Later("no stream takes it".to_owned());
        }
        match serde_json::from_slice::<Reply>(payload) {
            Ok(Reply { error: Some(fault), .. }) => fault.answer(),
            Ok(Reply { stream, seq, .. }) if !stream.is_empty() && seq > 0 => Self::Stored(stream),
            _ => Self::Later("an answer that is none of a stream's".to_owned()),
        }
    }
}

impl Fault {
    /// 400 is about the message itself, everything else about the state of the stream. Of the former, a full stream
    /// that refuses new messages is 400 or 503, depending on the version: the number of the error decides.
    fn answer(self) -> Answer {
        /// `maximum messages exceeded` and its kin (server/jetstream_errors_generated.go: JSStreamStoreFailedF, 10077).
        const STORE_FAILED: u32 = 10077;
        let text = format!("{} ({})", self.description, self.err_code);
        match self.code {
            400 if self.err_code != STORE_FAILED => Answer::Never(text),
            _ => Answer::Later(text),
        }
    }
}

/// Writes what a publisher who asked for a reply is told once its message is on disk. The name of a log needs no escapes.
pub(super) fn taken(log: &str, seq: Seq, duplicate: bool, into: &mut Vec<u8>) {
    let duplicate = if duplicate { ",\"duplicate\":true" } else { "" };
    // A vector takes everything.
    let _ = write!(into, "{{\"stream\":\"{log}\",\"seq\":{seq}{duplicate}}}");
}

/// Writes what a publisher is told whose message was not taken.
pub fn not_taken(log: &str, why: &NotTaken, into: &mut Vec<u8>) {
    // The numbers are those that a client knows from a stream in the same state.
    let (code, err_code) = match why {
        NotTaken::Expectation => (400, 10193),
        NotTaken::Log(Refused::TooLarge) => (400, 10054),
        NotTaken::Log(Refused::Full) => (503, 10077),
        NotTaken::Log(Refused::DiskFull | Refused::Busy | Refused::Failed(_)) | NotTaken::Busy => (503, 10023),
    };
    let description = why.to_string().replace(['"', '\\'], "'");
    let _ = write!(
        into,
        "{{\"error\":{{\"code\":{code},\"err_code\":{err_code},\"description\":\"{description}\"}},\"stream\":\"{log}\",\"seq\":0}}"
    );
}

impl Confirm {
    /// As in the configuration.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Routed => "routed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_now_from_later_from_never() {
        let stored = |name: &str| Answer::Stored(name.to_owned());
        assert_eq!(Answer::read(b"", br#"{"stream":"T","seq":7}"#), stored("T"));
        assert_eq!(Answer::read(b"", br#"{"stream":"T","seq":7,"duplicate":true,"domain":"hub"}"#), stored("T"));
        for (headers, payload) in [
            (&b"NATS/1.0 503\r\n\r\n"[..], &b""[..]),
            (b"", b"+OK"),
            (b"", br#"{"stream":"T","seq":0}"#),
            (b"", br#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}"#),
            (b"", br#"{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"}}"#),
            (b"", br#"{"error":{"code":503,"err_code":10008,"description":"unavailable"}}"#),
        ] {
            assert!(matches!(Answer::read(headers, payload), Answer::Later(_)), "{payload:?}");
        }
        let never = br#"{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"}}"#;
        assert_eq!(Answer::read(b"", never), Answer::Never("expected stream does not match (10060)".to_owned()));
    }

    #[test]
    fn speaks_as_a_stream() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            write(&mut bytes);
            String::from_utf8(bytes).expect("text")
        };
        assert_eq!(text(&|into| taken("t", 7, false, into)), r#"{"stream":"t","seq":7}"#);
        assert_eq!(text(&|into| taken("t", 7, true, into)), r#"{"stream":"t","seq":7,"duplicate":true}"#);
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"log is full"},"stream":"t","seq":0}"#;
        assert_eq!(text(&|into| not_taken("t", &NotTaken::Log(Refused::Full), into)), full);
        let failed = NotTaken::Log(Refused::Failed("\"a\\b\"".to_owned()));
        let told = text(&|into| not_taken("t", &failed, into));
        assert!(serde_json::from_str::<serde_json::Value>(&told).is_ok(), "{told}");
    }
}
