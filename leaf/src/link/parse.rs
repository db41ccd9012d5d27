//! The operations of a leaf node link, one at a time, from the front of a buffer.
//!
//! Rules: nats-server's `server/parser.go` and `server/leafnode.go` as they behave on the wire (captures `leaf-*`).

use crate::message::Message;
use crate::wire::{Args, Bounds, Missing, ParseError, line, number, split};

/// Bytes of a line at most: CONNECT may carry a JWT, INFO the addresses of a whole cluster.
pub(super) const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes that must follow a payload.
const CRLF: &[u8] = b"\r\n";

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `CONNECT`, with its JSON.
    Connect(&'a [u8]),
    /// `INFO`, with its JSON.
    Info(&'a [u8]),
    /// `LS+`, or `LS-` with weight 0.
    Interest {
        /// A subject, maybe with wildcards, not yet checked.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// Members of the queue group; 1 without one.
        weight: u32,
    },
    /// `LMSG` or `HMSG`.
    Message {
        /// What is published.
        message: Message<'a>,
        /// The queue groups it is for, separated by blanks.
        queues: &'a [u8],
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `+OK`.
    Ok,
    /// `-ERR` and its text, without quotes.
    Err(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Verb {
    Lmsg,
    Hmsg,
    Add,
    Remove,
    Ping,
    Pong,
    Connect,
    Info,
    Ok,
    Err,
}

const VERBS: [(&[u8], Verb); 10] = [
    (b"LMSG ", Verb::Lmsg),
    (b"HMSG ", Verb::Hmsg),
    (b"LS+ ", Verb::Add),
    (b"LS- ", Verb::Remove),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"CONNECT ", Verb::Connect),
    (b"INFO ", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR ", Verb::Err),
];

/// The front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// An operation and the bytes it took.
    Op(Op<'a>, usize),
    /// Not all there yet.
    Incomplete(Missing),
}

/// Takes the operation at the front of `input`. Messages may have `payload_max` bytes.
///
/// # Errors
/// As soon as the bytes at hand cannot become an operation.
pub(super) fn parse(input: &[u8], payload_max: usize) -> Result<Parsed<'_>, ParseError> {
    let Some((verb, at)) = verb(input)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let bounds = Bounds { control_line_bytes: LINE_BYTES_MAX, payload_bytes: payload_max };
    let Some((args, next)) = line(input, at, &bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let op = match verb {
        Verb::Lmsg => return message(input, args, next, false, payload_max),
        Verb::Hmsg => return message(input, args, next, true, payload_max),
        Verb::Add => add(args)?,
        Verb::Remove => remove(args)?,
        Verb::Ping => Op::Ping,
        Verb::Pong => Op::Pong,
        Verb::Ok => Op::Ok,
        Verb::Connect => Op::Connect(args.trim_ascii()),
        Verb::Info => Op::Info(args.trim_ascii()),
        Verb::Err => Op::Err(unquoted(args.trim_ascii())),
    };
    Ok(Parsed::Op(op, next))
}

/// The verb and where its arguments start; `None` while it could still become one.
fn verb(input: &[u8]) -> Result<Option<(Verb, usize)>, ParseError> {
    for (name, verb) in VERBS {
        let have = input.len().min(name.len());
        if input[..have].eq_ignore_ascii_case(&name[..have]) {
            return Ok((have == name.len()).then_some((verb, have)));
        }
    }
    Err(ParseError::UnknownOperation)
}

fn add(args: &[u8]) -> Result<Op<'_>, ParseError> {
    let Args { args: [subject, queue, weight], count } = split::<3>(args);
    match count {
        1 => Ok(Op::Interest { subject, queue: None, weight: 1 }),
        3 => {
            let weight = number(weight).and_then(|weight| u32::try_from(weight).ok()).filter(|&weight| weight > 0);
            Ok(Op::Interest { subject, queue: Some(queue), weight: weight.ok_or(ParseError::Malformed)? })
        }
        _ => Err(ParseError::Malformed),
    }
}

fn remove(args: &[u8]) -> Result<Op<'_>, ParseError> {
    let Args { args: [subject, queue], count } = split::<2>(args);
    match count {
        1 => Ok(Op::Interest { subject, queue: None, weight: 0 }),
        2 => Ok(Op::Interest { subject, queue: Some(queue), weight: 0 }),
        _ => Err(ParseError::Malformed),
    }
}

/// Cuts the last word off.
fn last(args: &[u8]) -> Option<(&[u8], &[u8])> {
    let args = args.trim_ascii_end();
    let at = args.iter().rposition(|&b| b == b' ')?;
    Some((&args[..at], &args[at + 1..]))
}

/// Cuts the first word off.
fn first(args: &[u8]) -> Option<(&[u8], &[u8])> {
    let args = args.trim_ascii_start();
    let at = args.iter().position(|&b| b == b' ').unwrap_or(args.len());
    (at > 0).then(|| (&args[..at], args[at..].trim_ascii_start()))
}

/// `subject [reply] [header size] size`, or `subject | queues… …`, or `subject + reply queues… …`.
fn message<'a>(
    input: &'a [u8],
    args: &'a [u8],
    body: usize,
    headed: bool,
    payload_max: usize,
) -> Result<Parsed<'a>, ParseError> {
    const WRONG: ParseError = ParseError::Malformed;
    let (rest, size) = last(args).ok_or(WRONG)?;
    let size = number(size).ok_or(WRONG)?;
    let (rest, header_len) = if headed {
        let (rest, header) = last(rest).ok_or(WRONG)?;
        (rest, number(header).filter(|&header| header <= size).ok_or(WRONG)?)
    } else {
        (rest, 0)
    };
    let (subject, rest) = first(rest).ok_or(WRONG)?;
    let (reply, queues) = match first(rest) {
        None => (&rest[..0], &rest[..0]),
        Some((b"|", queues)) => (&rest[..0], queues),
        Some((b"+", rest)) => first(rest).ok_or(WRONG)?,
        Some((reply, rest)) if rest.is_empty() => (reply, rest),
        Some(_) => return Err(WRONG),
    };
    if size > payload_max {
        return Err(ParseError::Payload);
    }
    let end = body + size;
    let Some(tail) = input.get(end..end + CRLF.len()) else {
        return match input.get(end) {
            Some(&b) if b != CRLF[0] => Err(ParseError::UnknownOperation),
            _ => Ok(Parsed::Incomplete(Missing::Bytes(end + CRLF.len() - input.len()))),
        };
    };
    if tail != CRLF {
        return Err(ParseError::UnknownOperation);
    }
    let framed = framed(input, body, end, headed);
    let message = Message { subject, reply, header_len, body: &input[body..end], framed };
    Ok(Parsed::Op(Op::Message { message, queues }, end + CRLF.len()))
}

/// The sizes with the body, if they are written as we would.
fn framed(input: &[u8], body: usize, end: usize, headed: bool) -> &[u8] {
    let Some(before) = input[..body].strip_suffix(CRLF) else { return &[] };
    let from_blank = |text: &[u8]| text.iter().rposition(|&b| b == b' ').map_or(0, |at| at + 1);
    let size = from_blank(before);
    let start = if headed { from_blank(&before[..size.saturating_sub(1)]) } else { size };
    let canonical = |text: &[u8]| text == b"0" || text.first().is_some_and(|&b| b != b'0');
    let good = canonical(&before[size..])
        && (!headed || before.get(start..size).is_some_and(|header| canonical(header) && header.len() > 1));
    if good { &input[start..end + CRLF.len()] } else { &[] }
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(input: &[u8]) -> Op<'_> {
        match parse(input, 100) {
            Ok(Parsed::Op(op, used)) if used == input.len() => op,
            other => panic!("{other:?} of {}", input.escape_ascii()),
        }
    }

    fn message_of(input: &[u8]) -> (Message<'_>, &[u8]) {
        match op(input) {
            Op::Message { message, queues } => (message, queues),
            other => panic!("{other:?}"),
        }
    }

    /// All forms of the captures.
    #[test]
    fn reads_every_form_of_a_message() {
        for (input, reply, queues, header) in [
            (&b"LMSG a.b 5\r\nhello\r\n"[..], &b""[..], &b""[..], 0),
            (b"LMSG a.b _INBOX.1 5\r\nreply\r\n", b"_INBOX.1", b"", 0),
            (b"LMSG a.b | G 5\r\nhello\r\n", b"", b"G", 0),
            (b"LMSG a.b + _INBOX.2 G 5\r\nhello\r\n", b"_INBOX.2", b"G", 0),
            (b"LMSG a.b | G1 G2 5\r\nhello\r\n", b"", b"G1 G2", 0),
            (b"HMSG a.b 18 22\r\nNATS/1.0\r\nX: 1\r\n\r\nbody\r\n", b"", b"", 18),
            (b"HMSG a.b _INBOX.1 18 22\r\nNATS/1.0\r\nX: 1\r\n\r\nbody\r\n", b"_INBOX.1", b"", 18),
            (b"HMSG a.b + _INBOX.2 G H 18 22\r\nNATS/1.0\r\nX: 1\r\n\r\nbody\r\n", b"_INBOX.2", b"G H", 18),
            (b"HMSG a.b | G 18 22\r\nNATS/1.0\r\nX: 1\r\n\r\nbody\r\n", b"", b"G", 18),
        ] {
            let (message, got) = message_of(input);
            assert_eq!((message.subject, message.reply, got), (&b"a.b"[..], reply, queues));
            assert_eq!(message.header_len, header);
            assert!(input.ends_with(message.framed) && message.framed.ends_with(&[message.body, CRLF].concat()));
        }
        let (message, _) = message_of(b"LMSG a 05\r\nhello\r\n");
        assert!(message.framed.is_empty());
    }

    #[test]
    fn reads_interest_and_the_rest() {
        assert_eq!(op(b"LS+ a.>\r\n"), Op::Interest { subject: b"a.>", queue: None, weight: 1 });
        assert_eq!(op(b"LS+ q G 3\r\n"), Op::Interest { subject: b"q", queue: Some(b"G"), weight: 3 });
        assert_eq!(op(b"LS- q G\r\n"), Op::Interest { subject: b"q", queue: Some(b"G"), weight: 0 });
        assert_eq!(op(b"LS- q\r\n"), Op::Interest { subject: b"q", queue: None, weight: 0 });
        assert_eq!(op(b"-ERR 'Authorization Violation'\r\n"), Op::Err(b"Authorization Violation"));
        assert_eq!(op(b"INFO {} \r\n"), Op::Info(b"{}"));
        assert_eq!(op(b"PING\r\n"), Op::Ping);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        use ParseError::{Malformed, Payload, UnknownOperation};
        for (input, error) in [
            (&b"LS+ foo bar\r\n"[..], Malformed),
            (b"LS+ foo bar 0\r\n", Malformed),
            (b"LS+ foo bar x\r\n", Malformed),
            (b"LS+ \r\n", Malformed),
            (b"LS- a b c\r\n", Malformed),
            (b"LMSG a\r\n", Malformed),
            (b"LMSG a b c 1\r\n", Malformed),
            (b"LMSG a + 1\r\n", Malformed),
            (b"HMSG a 5 4\r\n", Malformed),
            (b"LMSG a 101\r\n", Payload),
            (b"LMSG a 1\r\nxy", UnknownOperation),
            (b"MSG foo 1\r\n", UnknownOperation),
            (b"SUB foo 1\r\n", UnknownOperation),
        ] {
            assert_eq!(parse(input, 100), Err(error), "{}", input.escape_ascii());
        }
    }

    /// Cut anywhere, an operation is incomplete; never an error, never something else.
    #[test]
    fn waits_at_every_byte() {
        for whole in [&b"LMSG a + r q 5\r\nhello\r\n"[..], b"HMSG a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", b"LS+ a q 1\r\n"]
        {
            for cut in 0..whole.len() {
                assert!(matches!(parse(&whole[..cut], 100), Ok(Parsed::Incomplete(_))), "{cut}");
            }
        }
    }
}
