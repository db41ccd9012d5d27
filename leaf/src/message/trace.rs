//! What the headers of a message say about tracing it (nats-server: `server/msgtrace.go`).

use super::header::fields;

/// Where the events of a trace go.
pub const DEST: &[u8] = b"Nats-Trace-Dest";
/// In place of a destination: nobody on the way is to trace the message. It is no subject.
pub const DISABLED: &[u8] = b"trace disabled";
/// Which of the ways that the message took this is: `2.1` is the first link from the server behind the second link.
pub const HOP: &[u8] = b"Nats-Trace-Hop";
/// The message is to be traced and not delivered.
const ONLY: &[u8] = b"Nats-Trace-Only";
/// Of servers before 2.11.1; a message with it is not traced.
const ORIGIN_ACCOUNT: &[u8] = b"Nats-Trace-Origin-Account";
/// Of W3C's Trace Context; its case does not count.
const PARENT: &[u8] = b"traceparent";

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Where the events are to go; `None` where only `traceparent` says that the message is sampled, and the account
    /// knows.
    pub dest: Option<&'a [u8]>,
    /// Deliver it to nobody.
    pub only: bool,
    /// See [`HOP`].
    pub hop: &'a [u8],
    /// The origin's account as older servers say it.
    pub origin_account: Option<&'a [u8]>,
}

/// Whether the headers may ask for a trace: a quick look that most messages end with.
#[inline]
pub fn may_ask(headers: &[u8]) -> bool {
    headers.split(|&byte| byte == b'\n').any(|line| match line.first() {
        Some(b'N') => line.starts_with(DEST),
        Some(b't' | b'T') => line.get(..PARENT.len()).is_some_and(|name| name.eq_ignore_ascii_case(PARENT)),
        _ => false,
    })
}

/// What the headers ask for; `None` if it is no trace.
pub fn asked(headers: &[u8]) -> Option<Asked<'_>> {
    let first = |name: &[u8]| fields(headers).find(|(have, value)| *have == name && !value.is_empty()).map(|(_, v)| v);
    let dest = first(DEST);
    if dest == Some(DISABLED) {
        return None;
    }
    let mut parents = fields(headers).filter(|(name, _)| name.eq_ignore_ascii_case(PARENT));
    if dest.is_none() && !parents.any(|(_, value)| is_sampled(value)) {
        return None;
    }
    let on = |value: &[u8]| [&b"1"[..], b"true", b"on"].iter().any(|word| value.eq_ignore_ascii_case(word));
    Some(Asked {
        dest,
        only: dest.is_some() && first(ONLY).is_some_and(on),
        hop: first(HOP).unwrap_or_default(),
        origin_account: first(ORIGIN_ACCOUNT),
    })
}

/// Whether `traceparent`, `version-trace-parent-flags`, has the flag for it.
fn is_sampled(value: &[u8]) -> bool {
    let mut parts = value.split(|&byte| byte == b'-').skip(3);
    let (Some(flags), None) = (parts.next(), parts.next()) else { return false };
    let text = std::str::from_utf8(flags).ok().filter(|text| text.len() == 2);
    // 80 and more are negative there, and no flags.
    text.and_then(|text| i8::from_str_radix(text, 16).ok()).is_some_and(|flags| flags & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(lines: &str) -> Vec<u8> {
        format!("NATS/1.0\r\n{lines}\r\n").into_bytes()
    }

    #[test]
    fn what_is_asked_for() {
        for (lines, dest, only) in [
            ("Nats-Trace-Dest: d\r\n", Some("d"), false),
            ("Nats-Trace-Dest: d\r\nNats-Trace-Only: TRUE\r\n", Some("d"), true),
            ("Nats-Trace-Only: 1\r\nNats-Trace-Dest:d\r\n", Some("d"), true),
            ("Nats-Trace-Dest: d\r\nNats-Trace-Only: yes\r\n", Some("d"), false),
            ("TraceParent: 00-a-b-01\r\n", None, false),
            ("traceparent: 00-a-b-00\r\ntraceparent: 00-a-b-03\r\nNats-Trace-Only: 1\r\n", None, false),
        ] {
            let block = block(lines);
            let asked = asked(&block).unwrap_or_else(|| panic!("{lines}"));
            assert_eq!((asked.dest, asked.only), (dest.map(str::as_bytes), only), "{lines}");
            assert!(may_ask(&block), "{lines}");
        }
    }

    #[test]
    fn what_is_not_asked_for() {
        for lines in [
            "",
            "Nats-Trace-Only: 1\r\n",
            "nats-trace-dest: d\r\n",
            "Nats-Trace-Dest: trace disabled\r\ntraceparent: 00-a-b-01\r\n",
            "Nats-Trace-Dest:\r\n",
            "traceparent: 00-a-b-02\r\n",
            "traceparent: 00-a-b-81\r\n",
            "traceparent: 00-a-01\r\n",
            "traceparent: 00-a-b-01-c\r\n",
            "X: Nats-Trace-Dest: d\r\n",
        ] {
            assert_eq!(asked(&block(lines)), None, "{lines}");
        }
        assert!(!may_ask(&block("Nats-Msg-Id: 1\r\ntrace: 1\r\nNats-Trace: d\r\n")) && !may_ask(b""));
    }
}
