//! Topics and NATS subjects, both ways, by nats-server's rules (`server/mqtt.go`) where it has any.
//!
//! | MQTT | NATS |
//! |---|---|
//! | `/` between levels | `.` |
//! | an empty level | the token `/` |
//! | `.` | `//` |
//! | `+`, `#` as a whole level of a filter | `*`, `>` |
//! | space, tab, LF, CR, FF | `/_`, `/t`, `/n`, `/r`, `/f` (ours: nats-server refuses such topics) |
//! | anything else | itself |
//!
//! `docs/mqtt.md` has the corner cases.

/// What a level of a filter turns into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Topic,
    Filter,
}

/// Appends the subject of `topic`, which is a topic name ([`crate::topic::is_name`]).
#[inline]
pub fn of_topic(topic: &str, out: &mut Vec<u8>) {
    map(topic.as_bytes(), Use::Topic, out);
}

/// Appends the subject pattern of `filter`, which is one ([`crate::topic::is_filter`]). Where that has a level which is a
/// wildcard to NATS alone ([`crate::topic::has_nats_wildcard`]), the pattern matches more than the filter.
pub fn of_filter(filter: &str, out: &mut Vec<u8>) {
    map(filter.as_bytes(), Use::Filter, out);
}

/// How many subscriptions a filter needs: `a/#` also matches `a`, as `a.>` does not. Returns the pattern of the second
/// given that of the first.
pub fn parent(pattern: &[u8]) -> Option<&[u8]> {
    pattern.strip_suffix(b".>").filter(|parent| !parent.is_empty())
}

fn map(topic: &[u8], mode: Use, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(topic.len() + 2);
    for (at, &byte) in topic.iter().enumerate() {
        match byte {
            b'/' => {
                let ends_empty_level = at == 0 || out.last() == Some(&b'.');
                out.extend_from_slice(if ends_empty_level { b"/." } else { b"." });
            }
            b'.' => out.extend_from_slice(b"//"),
            b'+' if mode == Use::Filter => out.push(b'*'),
            // A character to MQTT. The pattern may match more than the filter, so its owner compares again.
            b'>' if mode == Use::Filter && is_level(topic, at) => out.push(b'*'),
            b'#' if mode == Use::Filter => out.push(b'>'),
            b' ' => out.extend_from_slice(b"/_"),
            b'\t' => out.extend_from_slice(b"/t"),
            b'\n' => out.extend_from_slice(b"/n"),
            b'\r' => out.extend_from_slice(b"/r"),
            0x0c => out.extend_from_slice(b"/f"),
            byte => out.push(byte),
        }
    }
    if out.len() > start && out.last() == Some(&b'.') {
        out.push(b'/');
    }
}

/// Whether the byte at `at` is all there is of its level.
fn is_level(filter: &[u8], at: usize) -> bool {
    let ends = |byte: Option<&u8>| byte.is_none_or(|&byte| byte == b'/');
    ends(at.checked_sub(1).and_then(|before| filter.get(before))) && ends(filter.get(at + 1))
}

/// Why a subject has no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTopic;

/// Appends the topic of `subject`. A lone `/` in a token, which no topic gives, disappears as in nats-server.
///
/// # Errors
/// When the topic would be none: empty, longer than 65,535 bytes, not UTF-8, with U+0000, or with `+` or `#` in it.
/// (nats-server delivers most of these.) `out` is then as it was.
pub fn to_topic(subject: &[u8], out: &mut Vec<u8>) -> Result<(), NoTopic> {
    let start = out.len();
    out.reserve(subject.len());
    let mut bytes = subject.iter().copied();
    let mut next = bytes.next();
    while let Some(byte) = next {
        next = bytes.next();
        match byte {
            b'.' => out.push(b'/'),
            b'/' => {
                let decoded = match next {
                    Some(b'.') => b'/',
                    Some(b'/') => b'.',
                    Some(b'_') => b' ',
                    Some(b't') => b'\t',
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b'f') => 0x0c,
                    _ => continue,
                };
                out.push(decoded);
                next = bytes.next();
            }
            byte => out.push(byte),
        }
    }
    let topic = &out[start..];
    let is_topic = topic.len() <= usize::from(u16::MAX) && std::str::from_utf8(topic).is_ok_and(crate::topic::is_name);
    if !is_topic {
        out.truncate(start);
        return Err(NoTopic);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(topic: &str) -> String {
        let mut out = Vec::new();
        of_topic(topic, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn filter(filter: &str) -> String {
        let mut out = Vec::new();
        of_filter(filter, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    fn topic(subject: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        to_topic(subject, &mut out).ok().map(|()| String::from_utf8_lossy(&out).into_owned())
    }

    /// As observed of nats-server 2.15.1; each comes back as it was.
    const BOTH_WAYS: &[(&str, &str)] = &[
        ("foo", "foo"),
        ("foo/bar", "foo.bar"),
        ("/", "/./"),
        ("//", "/././"),
        ("///", "/./././"),
        ("/foo", "/.foo"),
        ("//foo", "/./.foo"),
        ("foo/", "foo./"),
        ("foo//", "foo././"),
        ("foo//bar", "foo./.bar"),
        ("foo///bar", "foo././.bar"),
        ("foo////bar", "foo./././.bar"),
        (".", "//"),
        ("..", "////"),
        ("a.b", "a//b"),
        ("a./b", "a//.b"),
        ("a/.b", "a.//b"),
        ("a/./b", "a.//.b"),
        ("./", "//./"),
        ("/.", "/.//"),
        ("a./", "a//./"),
        (".//.", "//././/"),
        ("a/b/", "a.b./"),
        ("//.foo.//", "/././/foo//././"),
        ("$x/y", "$x.y"),
        ("foo*", "foo*"),
        ("foo/*", "foo.*"),
        ("foo/>", "foo.>"),
        ("a\\b", "a\\b"),
        ("héllo/wörld", "héllo.wörld"),
        ("\u{feff}a\u{a0}", "\u{feff}a\u{a0}"),
    ];

    #[test]
    fn topics_map_as_in_nats_server() {
        for (mqtt, nats) in BOTH_WAYS {
            assert_eq!(subject(mqtt), *nats);
            assert_eq!(topic(nats.as_bytes()).as_deref(), Some(*mqtt), "{nats}");
        }
    }

    #[test]
    fn what_nats_server_refuses_goes_both_ways_too() {
        for (mqtt, nats) in [
            (" ", "/_"),
            ("a b/c", "a/_b.c"),
            ("a /b", "a/_.b"),
            ("a/ /b", "a./_.b"),
            ("/ ", "/./_"),
            (" /", "/_./"),
            (". ", "///_"),
            (" .", "/_//"),
            ("\t\n\r\u{c}", "/t/n/r/f"),
            ("a\u{7f}", "a\u{7f}"),
        ] {
            assert_eq!(subject(mqtt), nats);
            assert_eq!(topic(nats.as_bytes()).as_deref(), Some(mqtt), "{nats}");
        }
    }

    /// Every topic of up to five bytes from an alphabet of all special ones: a valid subject, and back.
    #[test]
    fn every_short_topic_comes_back() {
        let alphabet = ["/", ".", " ", "_", "t", "*", "$"];
        let mut topics = vec![String::new()];
        for _ in 0..5 {
            topics = topics
                .iter()
                .flat_map(|topic| alphabet.iter().map(move |next| format!("{topic}{next}")).chain([topic.clone()]))
                .collect();
        }
        topics.sort();
        topics.dedup();
        let mut seen = std::collections::HashMap::new();
        for mqtt in topics.iter().filter(|topic| !topic.is_empty()) {
            let nats = subject(mqtt);
            assert!(nats.split('.').all(|token| !token.is_empty()), "{mqtt:?} {nats:?}");
            assert!(!nats.contains([' ', '\t', '\n', '\r']), "{mqtt:?} {nats:?}");
            assert_eq!(topic(nats.as_bytes()).as_deref(), Some(mqtt.as_str()), "{nats:?}");
            assert_eq!(seen.insert(nats, mqtt), None, "{mqtt:?}");
        }
    }

    #[test]
    fn filters_map_as_in_nats_server() {
        for (mqtt, nats, second) in [
            ("#", ">", None),
            ("foo/#", "foo.>", Some("foo")),
            ("/#", "/.>", Some("/")),
            ("a//#", "a./.>", Some("a./")),
            ("+/#", "*.>", Some("*")),
            ("a/+/#", "a.*.>", Some("a.*")),
            ("+", "*", None),
            ("+/+", "*.*", None),
            ("/+", "/.*", None),
            ("foo/+", "foo.*", None),
            ("+/", "*./", None),
            ("$SYS/#", "$SYS.>", Some("$SYS")),
            ("foo/*", "foo.*", None),
            ("a/>/b", "a.*.b", None),
            ("foo/>", "foo.*", None),
            ("a>/>b", "a>.>b", None),
        ] {
            let pattern = filter(mqtt);
            assert_eq!(pattern, nats);
            assert_eq!(parent(pattern.as_bytes()), second.map(str::as_bytes), "{mqtt}");
        }
    }

    /// What NATS may publish and no topic gives, as nats-server delivers it, or not at all where that would be illegal.
    #[test]
    fn other_subjects_become_topics_or_nothing() {
        for (nats, mqtt) in [
            ("foo/bar", Some("foobar")),
            ("a/", Some("a")),
            ("/a", Some("a")),
            ("a///b", Some("a.b")),
            ("a/.b", Some("a/b")),
            ("a./x", Some("a/x")),
            ("_INBOX.x", Some("_INBOX/x")),
            ("/", None),
            ("a+b", None),
            ("a.#", None),
        ] {
            assert_eq!(topic(nats.as_bytes()).as_deref(), mqtt, "{nats}");
        }
        assert_eq!(topic(b"a\xff"), None);
        assert_eq!(topic(b"a\0"), None);
        assert_eq!(topic(&[b'a'; 65_536]), None);
    }
}
