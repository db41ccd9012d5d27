//! Client operations, one at a time, from the front of a buffer.
//!
//! Rules: nats-server's `server/parser.go` as it behaves on the wire (captures `client-basic`,
//! `client-errors`, `client-small-probes`).

use crate::message::Message;

/// What the parser refuses to go beyond.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of an operation's arguments.
    pub control_line_bytes: usize,
    /// Bytes of a message, headers included.
    pub payload_bytes: usize,
}

/// Digits of a size; more is malformed, so no size reaches a gigabyte.
const SIZE_DIGITS_MAX: usize = 9;
/// Bytes that must follow a payload.
const CRLF: &[u8] = b"\r\n";

/// One operation of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// `CONNECT`, with its JSON.
    Connect(&'a [u8]),
    /// `PUB`, or `HPUB` when `with_headers`.
    Publish {
        /// What is published.
        message: Message<'a>,
        /// It came as `HPUB`.
        with_headers: bool,
    },
    /// `SUB`.
    Subscribe {
        /// A subject, maybe with wildcards, not yet checked.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The subscriber's own name for it.
        sid: &'a [u8],
    },
    /// `UNSUB`; `max` 0 means at once.
    Unsubscribe {
        /// Which subscription.
        sid: &'a [u8],
        /// After how many messages since it was made.
        max: u64,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// `INFO`, with its JSON.
    Info(&'a [u8]),
    /// `+OK`.
    Ok,
    /// `-ERR`: the other side gives up.
    Err(&'a [u8]),
}

/// What is needed before there is a whole operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The rest of a line.
    Line,
    /// This many bytes.
    Bytes(usize),
}

/// The front of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// An operation and the bytes it took.
    Op(Op<'a>, usize),
    /// Not all there yet; that is no error.
    Incomplete(Missing),
}

/// Bytes that are no operation. The connection ends with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// No such verb, or no end of line where a payload ends: `Unknown Protocol Operation`.
    UnknownOperation,
    /// A known verb with arguments that make no sense; closed without a word.
    Malformed,
    /// `maximum control line exceeded`.
    ControlLine,
    /// `Maximum Payload Violation`.
    Payload,
}

/// Which arguments follow a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Connect,
    Pub,
    Hpub,
    Sub,
    Unsub,
    Ping,
    Pong,
    Info,
    Ok,
    Err,
}

const VERBS: [(&[u8], Verb); 10] = [
    (b"PUB", Verb::Pub),
    (b"HPUB", Verb::Hpub),
    (b"PING", Verb::Ping),
    (b"PONG", Verb::Pong),
    (b"SUB", Verb::Sub),
    (b"UNSUB", Verb::Unsub),
    (b"CONNECT", Verb::Connect),
    (b"INFO", Verb::Info),
    (b"+OK", Verb::Ok),
    (b"-ERR", Verb::Err),
];

/// Takes the operation at the front of `input`.
///
/// # Errors
/// As soon as the bytes at hand cannot become an operation within `bounds`, whether or not it is all there.
pub fn parse<'a>(input: &'a [u8], bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    // Nearly all operations are publishes, nearly all in upper case.
    if let [b'P', b'U', b'B', b' ', rest @ ..] = input {
        let at = input.len() - rest.len();
        return match plain_publish(input, at, bounds) {
            Some(op) => Ok(op),
            None => publish(input, at, bounds),
        };
    }
    let Some((verb, at)) = verb(input)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    match verb {
        Verb::Pub => publish(input, at, bounds),
        Verb::Hpub => publish_with_headers(input, at, bounds),
        Verb::Ping => bare(input, at, Op::Ping, bounds),
        Verb::Pong => bare(input, at, Op::Pong, bounds),
        Verb::Ok => bare(input, at, Op::Ok, bounds),
        Verb::Sub => subscribe(input, at, bounds),
        Verb::Unsub => unsubscribe(input, at, bounds),
        Verb::Connect => with_line(input, at, bounds, Op::Connect),
        Verb::Info => with_line(input, at, bounds, Op::Info),
        Verb::Err => with_line(input, at, bounds, Op::Err),
    }
}

/// The verb and where its arguments start; `None` while it could still become one.
fn verb(input: &[u8]) -> Result<Option<(Verb, usize)>, ParseError> {
    for (name, verb) in VERBS {
        let have = input.len().min(name.len());
        if !input[..have].eq_ignore_ascii_case(&name[..have]) {
            continue;
        }
        let Some(&next) = input.get(name.len()) else { return Ok(None) };
        return match (verb, next) {
            // Whatever follows these up to the end of the line is ignored.
            (Verb::Ping | Verb::Pong | Verb::Ok, _) => Ok(Some((verb, name.len()))),
            (_, b' ' | b'\t') => Ok(Some((verb, name.len() + 1))),
            _ => Err(ParseError::UnknownOperation),
        };
    }
    Err(ParseError::UnknownOperation)
}

/// The arguments from `at` to the end of the line, and where the next line starts.
pub(crate) fn line<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Result<Option<(&'a [u8], usize)>, ParseError> {
    let rest = &input[at..];
    let window = &rest[..rest.len().min(bounds.control_line_bytes + 2)];
    let Some(end) = window.iter().position(|&b| b == b'\n') else {
        return if rest.len() > bounds.control_line_bytes { Err(ParseError::ControlLine) } else { Ok(None) };
    };
    let args = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    if args.len() > bounds.control_line_bytes {
        return Err(ParseError::ControlLine);
    }
    Ok(Some((args, at + end + 1)))
}

/// The arguments of a line; more than `N` are not kept, only counted.
pub(crate) struct Args<'a, const N: usize> {
    pub(crate) args: [&'a [u8]; N],
    pub(crate) count: usize,
}

pub(crate) fn split<const N: usize>(line: &[u8]) -> Args<'_, N> {
    let mut found = Args { args: [&[][..]; N], count: 0 };
    let mut start = None;
    for (at, &b) in line.iter().enumerate() {
        match (is_space(b), start) {
            (false, None) => start = Some(at),
            (true, Some(from)) => {
                found.push(&line[from..at]);
                start = None;
            }
            _ => {}
        }
    }
    if let Some(from) = start {
        found.push(&line[from..]);
    }
    found
}

impl<'a, const N: usize> Args<'a, N> {
    fn push(&mut self, arg: &'a [u8]) {
        if let Some(place) = self.args.get_mut(self.count) {
            *place = arg;
        }
        self.count += 1;
    }
}

fn publish<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    let Some((args, body)) = line(input, at, bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let Args { args: [subject, second, third], count } = split::<3>(args);
    let (reply, size) = match count {
        2 => (&[][..], second),
        3 => (second, third),
        _ => return Err(ParseError::Malformed),
    };
    let size = number(size).ok_or(ParseError::Malformed)?;
    message(input, body, subject, reply, 0, size, false, bounds)
}

/// A whole `PUB subject [reply] size` with single spaces, in one pass; `None` for any other shape,
/// which [`publish`] judges.
#[inline]
fn plain_publish<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Option<Parsed<'a>> {
    let line = &input[at..input.len().min(at + bounds.control_line_bytes)];
    let first = word(line);
    let subject = line.get(..first).filter(|subject| !subject.is_empty())?;
    if line.get(first) != Some(&b' ') {
        return None;
    }
    let mut from = first + 1;
    let mut reply = &line[..0];
    let mut size = digits(&line[from..]);
    if size.is_none() {
        let second = from + word(&line[from..]);
        reply = line.get(from..second).filter(|reply| !reply.is_empty())?;
        if line.get(second) != Some(&b' ') {
            return None;
        }
        from = second + 1;
        size = digits(&line[from..]);
    }
    let (size, len) = size?;
    let body = at + from + len + CRLF.len();
    let end = body + size;
    if size > bounds.payload_bytes || input.get(end..end + CRLF.len())? != CRLF {
        return None;
    }
    let frame = end + CRLF.len();
    // A size with leading zeros goes out as it should have come in.
    let framed = if line[from] == b'0' { &[] } else { &input[at + from..frame] };
    let message = Message { subject, reply, header_len: 0, body: &input[body..end], framed };
    Some(Parsed::Op(Op::Publish { message, with_headers: false }, frame))
}

/// Where the first white space stands.
#[inline]
fn word(line: &[u8]) -> usize {
    line.iter().position(|&b| b <= b' ' && is_space(b)).unwrap_or(line.len())
}

/// The number that ends a line, and its digits; `None` if something else stands there.
#[inline]
fn digits(line: &[u8]) -> Option<(usize, usize)> {
    let mut size = 0;
    for (at, &b) in line.iter().enumerate().take(SIZE_DIGITS_MAX + 1) {
        match b {
            b'0'..=b'9' if at < SIZE_DIGITS_MAX => size = size * 10 + usize::from(b - b'0'),
            b'\r' if at > 0 && line.get(at + 1) == Some(&b'\n') => return Some((size, at)),
            _ => return None,
        }
    }
    None
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0x0c)
}

fn publish_with_headers<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    let Some((args, body)) = line(input, at, bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let Args { args: [subject, second, third, fourth], count } = split::<4>(args);
    let (reply, header, size) = match count {
        3 => (&[][..], second, third),
        4 => (second, third, fourth),
        _ => return Err(ParseError::Malformed),
    };
    let header = number(header).ok_or(ParseError::Malformed)?;
    let size = number(size).ok_or(ParseError::Malformed)?;
    if header > size {
        return Err(ParseError::Malformed);
    }
    message(input, body, subject, reply, header, size, true, bounds)
}

#[allow(clippy::too_many_arguments, reason = "the parts of one frame, used once each way")]
fn message<'a>(
    input: &'a [u8],
    at: usize,
    subject: &'a [u8],
    reply: &'a [u8],
    header_len: usize,
    size: usize,
    with_headers: bool,
    bounds: &Bounds,
) -> Result<Parsed<'a>, ParseError> {
    if size > bounds.payload_bytes {
        return Err(ParseError::Payload);
    }
    let end = at + size;
    let Some(tail) = input.get(end..end + CRLF.len()) else {
        // A wrong first byte after the payload is already wrong.
        return match input.get(end) {
            Some(&b) if b != CRLF[0] => Err(ParseError::UnknownOperation),
            _ => Ok(Parsed::Incomplete(Missing::Bytes(end + CRLF.len() - input.len()))),
        };
    };
    if tail != CRLF {
        return Err(ParseError::UnknownOperation);
    }
    let message = Message { subject, reply, header_len, body: &input[at..end], framed: b"" };
    Ok(Parsed::Op(Op::Publish { message, with_headers }, end + CRLF.len()))
}

fn subscribe<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    let Some((args, next)) = line(input, at, bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let Args { args: [subject, second, third], count } = split::<3>(args);
    let op = match count {
        2 => Op::Subscribe { subject, queue: None, sid: second },
        3 => Op::Subscribe { subject, queue: Some(second), sid: third },
        _ => return Err(ParseError::Malformed),
    };
    Ok(Parsed::Op(op, next))
}

fn unsubscribe<'a>(input: &'a [u8], at: usize, bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    let Some((args, next)) = line(input, at, bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    let Args { args: [sid, max], count } = split::<2>(args);
    if !(1..=2).contains(&count) {
        return Err(ParseError::Malformed);
    }
    // A maximum that is no number is no maximum.
    let max = number(max).unwrap_or(0) as u64;
    Ok(Parsed::Op(Op::Unsubscribe { sid, max }, next))
}

fn bare<'a>(input: &'a [u8], at: usize, op: Op<'a>, bounds: &Bounds) -> Result<Parsed<'a>, ParseError> {
    if input[at..].starts_with(CRLF) {
        return Ok(Parsed::Op(op, at + CRLF.len()));
    }
    with_line(input, at, bounds, |_| op)
}

fn with_line<'a>(
    input: &'a [u8],
    at: usize,
    bounds: &Bounds,
    op: impl FnOnce(&'a [u8]) -> Op<'a>,
) -> Result<Parsed<'a>, ParseError> {
    let Some((args, next)) = line(input, at, bounds)? else { return Ok(Parsed::Incomplete(Missing::Line)) };
    Ok(Parsed::Op(op(args.trim_ascii()), next))
}

/// Decimal digits and nothing else.
pub(crate) fn number(text: &[u8]) -> Option<usize> {
    if text.is_empty() || text.len() > SIZE_DIGITS_MAX {
        return None;
    }
    text.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { control_line_bytes: 64, payload_bytes: 100 };

    fn op(input: &[u8]) -> Op<'_> {
        match parse(input, &BOUNDS) {
            Ok(Parsed::Op(op, used)) if used == input.len() => op,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_every_operation() {
        let message = Message { subject: b"a.b", reply: b"", header_len: 0, body: b"hello", framed: b"5\r\nhello\r\n" };
        assert_eq!(op(b"PUB a.b 5\r\nhello\r\n"), Op::Publish { message, with_headers: false });
        let message =
            Message { subject: b"a.b", reply: b"r", header_len: 12, body: b"NATS/1.0\r\n\r\nhi", framed: b"" };
        assert_eq!(op(b"hpub a.b\tr 12  14\nNATS/1.0\r\n\r\nhi\r\n"), Op::Publish { message, with_headers: true });
        assert_eq!(op(b"SUB a.* 9\r\n"), Op::Subscribe { subject: b"a.*", queue: None, sid: b"9" });
        assert_eq!(op(b"sub  a.*\t\tq 9\n"), Op::Subscribe { subject: b"a.*", queue: Some(b"q"), sid: b"9" });
        assert_eq!(op(b"UNSUB 9\r\n"), Op::Unsubscribe { sid: b"9", max: 0 });
        assert_eq!(op(b"UNSUB 9 5\r\n"), Op::Unsubscribe { sid: b"9", max: 5 });
        assert_eq!(op(b"UNSUB 9 abc\r\n"), Op::Unsubscribe { sid: b"9", max: 0 });
        assert_eq!(op(b"PING\r\n"), Op::Ping);
        assert_eq!(op(b"PING  junk after\r\n"), Op::Ping);
        assert_eq!(op(b"pong\n"), Op::Pong);
        assert_eq!(op(b"+OK\r\n"), Op::Ok);
        assert_eq!(op(b"-ERR 'x'\r\n"), Op::Err(b"'x'"));
        assert_eq!(op(b"CONNECT {}\r\n"), Op::Connect(b"{}"));
        assert_eq!(op(b"INFO {}\r\n"), Op::Info(b"{}"));
    }

    /// The short way and the long way agree, for every mixture of right and odd pieces of a line.
    #[test]
    fn reads_a_plain_publish_as_any_other() {
        const GAPS: [&[u8]; 4] = [b" ", b"  ", b"\t", b"\x0c"];
        const WORDS: [&[u8]; 5] = [b"a.b", b"", b"5", b"\xff\x01", b"r "];
        const SIZES: [&[u8]; 7] = [b"5", b"05", b"0", b"x", b"", b"1234567890", b"101"];
        const ENDS: [&[u8]; 5] = [b"\r\n", b"\n", b"\r", b" \r\n", b"\r\r\n"];
        const BODIES: [&[u8]; 4] = [b"hello\r\n", b"\r\n", b"hello\n", b"hel"];
        let mut plain = 0;
        let product = GAPS.len().pow(2) * WORDS.len().pow(2) * SIZES.len() * ENDS.len() * BODIES.len();
        for case in 0..product {
            let mut rest = case;
            let mut pick = |pieces: &[&'static [u8]]| {
                let piece = pieces[rest % pieces.len()];
                rest /= pieces.len();
                piece
            };
            let input = [
                b"PUB ",
                pick(&WORDS),
                pick(&GAPS),
                pick(&WORDS),
                pick(&GAPS),
                pick(&SIZES),
                pick(&ENDS),
                pick(&BODIES),
            ]
            .concat();
            let shown = String::from_utf8_lossy(&input);
            let Some(Parsed::Op(Op::Publish { message, with_headers }, used)) = plain_publish(&input, 4, &BOUNDS)
            else {
                continue;
            };
            plain += 1;
            if !message.framed.is_empty() {
                let wanted = [format!("{}\r\n", message.body.len()).as_bytes(), message.body, b"\r\n"].concat();
                assert_eq!(message.framed, wanted, "{shown}");
            }
            let op = Op::Publish { message: Message { framed: b"", ..message }, with_headers };
            assert_eq!(publish(&input, 4, &BOUNDS), Ok(Parsed::Op(op, used)), "{shown}");
        }
        assert!(plain > 20, "{plain} plain publishes among {product}");
        let whole = b"PUB a.b r 5\r\nhello\r\n";
        assert!(plain_publish(whole, 4, &BOUNDS).is_some());
    }

    /// Cut anywhere, an operation is incomplete; never an error, never something else.
    #[test]
    fn waits_at_every_byte() {
        for whole in [
            &b"PUB a.b r 5\r\nhello\r\n"[..],
            b"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            b"SUB a q 1\r\n",
            b"CONNECT {}\r\n",
            b"+OK\r\n",
        ] {
            for cut in 0..whole.len() {
                assert!(matches!(parse(&whole[..cut], &BOUNDS), Ok(Parsed::Incomplete(_))), "{cut}");
            }
        }
        assert_eq!(parse(b"PUB a 5\r\nhe", &BOUNDS), Ok(Parsed::Incomplete(Missing::Bytes(5))));
    }

    #[test]
    fn refuses_what_the_reference_refuses() {
        use ParseError::{ControlLine, Malformed, Payload, UnknownOperation};
        let long = [b"SUB ".to_vec(), vec![b'a'; 65]].concat();
        for (input, error) in [
            (&b"FOO bar\r\n"[..], UnknownOperation),
            (b"F", UnknownOperation),
            (b"\r\n", UnknownOperation),
            (b"RS+ $G foo\r\n", UnknownOperation),
            (b"HMSG foo 1 2 3\r\n", UnknownOperation),
            (b"SUB\r\n", UnknownOperation),
            (b"PUB foo\r\n", Malformed),
            (b"PUB foo abc\r\n", Malformed),
            (b"PUB foo -1\r\n", Malformed),
            (b"PUB foo a b c 5\r\n", Malformed),
            (b"PUB foo 1234567890\r\n", Malformed),
            (b"HPUB foo 20 10\r\n", Malformed),
            (b"HPUB foo 10\r\n", Malformed),
            (b"SUB foo\r\n", Malformed),
            (b"SUB foo a b c\r\n", Malformed),
            (b"UNSUB \r\n", Malformed),
            (b"UNSUB 1 2 3\r\n", Malformed),
            (b"PUB foo 2\r\nhell", UnknownOperation),
            (b"PUB foo 101\r\n", Payload),
            (b"HPUB foo 12 101\r\n", Payload),
            (&long, ControlLine),
        ] {
            assert_eq!(parse(input, &BOUNDS), Err(error), "{}", String::from_utf8_lossy(input));
        }
    }
}
