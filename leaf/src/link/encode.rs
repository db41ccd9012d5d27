//! What one server says to another on a leaf node link, appended to a buffer.

use std::rc::Rc;

use crate::message::Message;
use crate::wire::encode::number;

/// `PING`.
pub(super) const PING: &[u8] = b"PING\r\n";
/// `PONG`.
pub(super) const PONG: &[u8] = b"PONG\r\n";
/// Bytes of a message's line besides its names.
const OVERHEAD_BYTES: usize = 64;

/// What the line of a message and its body take at most, bytes.
pub(super) fn message_bytes(message: &Message<'_>, queues: &[Rc<[u8]>]) -> usize {
    let names: usize = queues.iter().map(|queue| queue.len() + 1).sum();
    OVERHEAD_BYTES + message.subject.len() + message.reply.len() + names + message.body.len()
}

/// `LMSG` or `HMSG` with its body: for plain subscriptions, and for these queue groups.
pub(super) fn message(out: &mut Vec<u8>, message: &Message<'_>, queues: &[Rc<[u8]>]) {
    line(out, message, queues);
    if message.framed.is_empty() {
        sizes(out, message);
        out.extend_from_slice(message.body);
        out.extend_from_slice(b"\r\n");
    } else {
        out.extend_from_slice(message.framed);
    }
}

/// The line of `LMSG` or `HMSG`; the body and CRLF follow.
pub(super) fn message_line(out: &mut Vec<u8>, message: &Message<'_>, queues: &[Rc<[u8]>]) {
    line(out, message, queues);
    sizes(out, message);
}

fn line(out: &mut Vec<u8>, message: &Message<'_>, queues: &[Rc<[u8]>]) {
    out.extend_from_slice(if message.header_len > 0 { b"HMSG " } else { b"LMSG " });
    out.extend_from_slice(message.subject);
    out.push(b' ');
    match (queues.is_empty(), message.reply.is_empty()) {
        (true, true) => return,
        (true, false) => {}
        (false, true) => out.extend_from_slice(b"| "),
        (false, false) => out.extend_from_slice(b"+ "),
    }
    if !message.reply.is_empty() {
        out.extend_from_slice(message.reply);
        out.push(b' ');
    }
    for queue in queues {
        out.extend_from_slice(queue);
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

/// `LS+`, or `LS-` if the weight is 0.
pub(super) fn interest(subject: &[u8], queue: Option<&[u8]>, weight: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(subject.len() + queue.map_or(0, <[u8]>::len) + 20);
    out.extend_from_slice(if weight > 0 { b"LS+ " } else { b"LS- " });
    out.extend_from_slice(subject);
    if let Some(queue) = queue {
        out.push(b' ');
        out.extend_from_slice(queue);
        if weight > 0 {
            out.push(b' ');
            number(&mut out, weight as usize);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_form_of_a_message() {
        let plain = Message { subject: b"a", reply: b"", header_len: 0, body: b"hi", framed: b"" };
        let asked = Message { reply: b"r", ..plain };
        let headed = Message { header_len: 12, body: b"NATS/1.0\r\n\r\nhi", ..asked };
        let (g, h): (Rc<[u8]>, Rc<[u8]>) = (b"G"[..].into(), b"H"[..].into());
        let both = [g.clone(), h];
        for (from, queues, wanted) in [
            (&plain, &[][..], "LMSG a 2\r\nhi\r\n"),
            (&asked, &[], "LMSG a r 2\r\nhi\r\n"),
            (&plain, &both, "LMSG a | G H 2\r\nhi\r\n"),
            (&asked, std::slice::from_ref(&g), "LMSG a + r G 2\r\nhi\r\n"),
            (&headed, &[], "HMSG a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
            (&headed, &both, "HMSG a + r G H 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        ] {
            let mut out = Vec::new();
            message(&mut out, from, queues);
            assert_eq!(String::from_utf8_lossy(&out), wanted);
            assert!(out.len() <= message_bytes(from, queues));
        }
    }

    #[test]
    fn writes_interest() {
        assert_eq!(interest(b"a.>", None, 1), b"LS+ a.>\r\n");
        assert_eq!(interest(b"a", Some(b"G"), 12), b"LS+ a G 12\r\n");
        assert_eq!(interest(b"a", Some(b"G"), 0), b"LS- a G\r\n");
        assert_eq!(interest(b"a", None, 0), b"LS- a\r\n");
    }
}
