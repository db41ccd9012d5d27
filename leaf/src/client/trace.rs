//! The protocol in the log (`-V`), in nats-server's form. Nothing secret is shown.

use serde_json::{Map, Value};
use std::fmt::Display;
use tracing::trace;

use crate::message::Message;
use crate::wire::Op;
use crate::wire::encode::quoted;

/// Fields of CONNECT that prove who somebody is. nats-server shows a JWT; one of a bearer is as good as a password.
const SECRETS: [&str; 8] = ["pass", "password", "auth_token", "token", "sig", "nkey", "jwt", "proxy_sig"];

/// What came from a client. Of a payload, `bytes_max` are shown; 0 is all.
#[cold]
pub(super) fn incoming(who: impl Display, op: &Op<'_>, bytes_max: usize) {
    match op {
        Op::Connect(json) => trace!("{who} - <<- [CONNECT {}]", without_secrets(json)),
        Op::Publish { message, with_headers } => {
            let verb = if *with_headers { "HPUB" } else { "PUB" };
            let header = if *with_headers { message.header_len.to_string() } else { String::new() };
            let size = message.body.len().to_string();
            trace!(
                "{who} - <<- [{verb}{}]",
                words(&[message.subject, message.reply, header.as_bytes(), size.as_bytes()])
            );
            payload(who, "<<-", message.body, bytes_max);
        }
        Op::Subscribe { subject, queue, sid } => {
            trace!("{who} - <<- [SUB{}]", words(&[subject, queue.unwrap_or_default(), sid]));
        }
        Op::Unsubscribe { sid, max: 0 } => trace!("{who} - <<- [UNSUB{}]", words(&[sid])),
        Op::Unsubscribe { sid, max } => trace!("{who} - <<- [UNSUB{} {max}]", words(&[sid])),
        Op::Ping => trace!("{who} - <<- [PING]"),
        Op::Pong => trace!("{who} - <<- [PONG]"),
        Op::Info(_) => trace!("{who} - <<- [INFO]"),
        Op::Ok => trace!("{who} - <<- [+OK]"),
        Op::Err(text) => trace!("{who} - <<- [-ERR{}]", words(&[text])),
    }
}

/// A message on its way to a client.
#[cold]
pub(super) fn delivered(who: impl Display, message: &Message<'_>, sid: &[u8], bytes_max: usize) {
    let (verb, header) = match message.header_len {
        0 => ("MSG", String::new()),
        len => ("HMSG", len.to_string()),
    };
    let size = message.body.len().to_string();
    let words = words(&[message.subject, sid, message.reply, header.as_bytes(), size.as_bytes()]);
    trace!("{who} - ->> [{verb}{words}]");
    payload(who, "->>", message.body, bytes_max);
}

/// Anything else on its way to a client.
#[cold]
pub(super) fn sent(who: impl Display, what: impl Display) {
    trace!("{who} - ->> [{what}]");
}

fn payload(who: impl Display, way: &str, body: &[u8], bytes_max: usize) {
    if body.is_empty() {
        return;
    }
    if bytes_max == 0 || body.len() <= bytes_max {
        return trace!("{who} - {way} MSG_PAYLOAD: [{}]", quoted(body));
    }
    let shown = [&body[..bytes_max], b"..."].concat();
    trace!("{who} - {way} MSG_PAYLOAD: [{}]", quoted(&shown));
}

/// Each that is not empty behind a blank.
fn words(words: &[&[u8]]) -> String {
    words.iter().filter(|word| !word.is_empty()).map(|word| format!(" {}", word.escape_ascii())).collect()
}

fn without_secrets(json: &[u8]) -> String {
    let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(json) else { return "...".to_owned() };
    for (name, value) in &mut fields {
        if SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret)) {
            *value = "[REDACTED]".into();
        }
    }
    Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        let shown = without_secrets(br#"{"user":"u","PASS":"geheim","auth_token":"geheim","jwt":"geheim","sig":1}"#);
        assert!(!shown.contains("geheim") && shown.contains(r#""user":"u""#), "{shown}");
        // Broken, but the password is there to be read.
        assert_eq!(without_secrets(br#"{"pass":"geheim""#), "...");
    }
}
