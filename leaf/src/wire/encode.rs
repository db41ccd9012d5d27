//! What a server sends to a client, appended to a buffer.

use crate::message::Message;

/// Bytes that [`msg`] adds to subject, sid, reply and body at most.
pub const MSG_OVERHEAD_BYTES: usize = 64;

/// `PING`.
pub const PING: &[u8] = b"PING\r\n";
/// `PONG`.
pub const PONG: &[u8] = b"PONG\r\n";
/// `+OK`.
pub const OK: &[u8] = b"+OK\r\n";

/// `MSG` or `HMSG` with its body. Without headers in `message` (see [`Message::without_headers`]) it is `MSG`.
#[inline]
pub fn msg(out: &mut Vec<u8>, message: &Message<'_>, sid: &[u8]) {
    msg_args(out, message, sid);
    if message.framed.is_empty() {
        sizes(out, message);
        out.extend_from_slice(message.body);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(message.framed);
    }
}

/// The line of `MSG` or `HMSG`; the body and CRLF follow.
pub fn msg_line(out: &mut Vec<u8>, message: &Message<'_>, sid: &[u8]) {
    msg_args(out, message, sid);
    sizes(out, message);
}

#[inline]
fn msg_args(out: &mut Vec<u8>, message: &Message<'_>, sid: &[u8]) {
    out.extend_from_slice(if message.header_len > 0 { b"HMSG " } else { b"MSG " });
    out.extend_from_slice(message.subject);
    out.push(b' ');
    out.extend_from_slice(sid);
    out.push(b' ');
    if !message.reply.is_empty() {
        out.extend_from_slice(message.reply);
        out.push(b' ');
    }
}

fn sizes(out: &mut Vec<u8>, message: &Message<'_>) {
    if message.header_len > 0 {
        number(out, message.header_len);
        out.push(b' ');
    }
    number(out, message.body.len());
    out.extend_from_slice(b"\r\n");
}

/// What a client is told that may not publish to `subject`.
pub fn publish_violation(subject: &[u8]) -> String {
    format!("Permissions Violation for Publish to {}", quoted(subject))
}

/// `-ERR '<text>'`.
pub fn err(text: &str) -> Vec<u8> {
    format!("-ERR '{text}'\r\n").into_bytes()
}

/// Decimal digits.
pub fn number(out: &mut Vec<u8>, n: usize) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = n;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// A subject as it stands in an error text: in double quotes, as Go's `%q` writes it.
pub fn quoted(subject: &[u8]) -> String {
    let mut text = String::from("\"");
    for chunk in subject.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\u{7}' => text.push_str("\\a"),
                '\u{8}' => text.push_str("\\b"),
                '\u{b}' => text.push_str("\\v"),
                '\t' => text.push_str("\\t"),
                '\n' => text.push_str("\\n"),
                '\u{c}' => text.push_str("\\f"),
                '\r' => text.push_str("\\r"),
                c if (c as u32) < 0x20 || c as u32 == 0x7f => text.push_str(&format!("\\x{:02x}", c as u32)),
                c => text.push(c),
            }
        }
        for b in chunk.invalid() {
            text.push_str(&format!("\\x{b:02x}"));
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_both_forms() {
        let plain = Message { subject: b"a", reply: b"", header_len: 0, body: b"hello", framed: b"" };
        let framed = Message { framed: b"5\r\nhello\r\n", ..plain };
        let headed = Message { subject: b"a", reply: b"r", header_len: 12, body: b"NATS/1.0\r\n\r\nhi", framed: b"" };
        let written = |message: &Message<'_>| {
            let mut out = Vec::new();
            msg(&mut out, message, b"7");
            String::from_utf8(out).expect("text in, text out")
        };
        assert_eq!(written(&plain), "MSG a 7 5\r\nhello\r\n");
        assert_eq!(written(&framed), written(&plain));
        assert_eq!(written(&headed), "HMSG a 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
        assert_eq!(written(&headed.without_headers()), "MSG a 7 r 2\r\nhi\r\n");
        let mut out = Vec::new();
        msg_line(&mut out, &framed, b"7");
        assert_eq!(out, b"MSG a 7 5\r\n");
    }

    #[test]
    fn quotes_as_go_does() {
        assert_eq!(quoted(b"a\"\xe9\x01"), r#""a\"\xe9\x01""#);
    }
}
