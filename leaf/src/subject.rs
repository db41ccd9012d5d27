//! Subjects: what is published to, and the patterns that are subscribed to.
//!
//! A subject is a row of tokens separated by `.`. In a pattern the token `*` stands for exactly one
//! token and a last token `>` for one or more; inside a longer token both are ordinary characters.
//! Any byte but space, tab, CR, LF and FF may stand in a token: subjects are bytes, not UTF-8.

/// Iterates over the tokens of `subject`. An empty subject is one empty token.
pub fn tokens(subject: &[u8]) -> impl Iterator<Item = &[u8]> {
    subject.split(|&b| b == b'.')
}

/// Whether `subject` is a pattern one may subscribe to: no empty token, `>` only as the last.
pub fn is_valid(subject: &[u8]) -> bool {
    let mut full = false;
    for token in tokens(subject) {
        if full || token.is_empty() {
            return false;
        }
        full = token == b">";
    }
    true
}

/// Whether `subject` is one that a strict publisher may use: valid and without wildcards.
pub fn is_valid_literal(subject: &[u8]) -> bool {
    tokens(subject).all(|token| !token.is_empty() && token != b"*" && token != b">")
}

/// Whether a token of `pattern` is a wildcard.
pub fn has_wildcard(pattern: &[u8]) -> bool {
    tokens(pattern).any(|token| token == b"*" || token == b">")
}

/// Whether `pattern` matches `subject`, whose own tokens are all taken literally.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut rest = tokens(subject);
    for want in tokens(pattern) {
        match (want, rest.next()) {
            (_, None) => return false,
            (b">", Some(_)) => return true,
            (b"*", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}

/// Whether everything that `inner` can match, `outer` matches too; both may hold wildcards.
pub fn covers(outer: &[u8], inner: &[u8]) -> bool {
    let mut rest = tokens(inner);
    for want in tokens(outer) {
        match (want, rest.next()) {
            (_, None) => return false,
            (b">", Some(_)) => return true,
            (_, Some(b">")) => return false,
            (b"*", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    rest.next().is_none()
}

/// Whether some literal subject is matched by both patterns.
pub fn overlaps(a: &[u8], b: &[u8]) -> bool {
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some(b">"), _) | (_, Some(b">")) => return true,
            (Some(x), Some(y)) if x == y || x == b"*" || y == b"*" => {}
            _ => return false,
        }
    }
}

/// The pattern of what both patterns match, if there is anything.
pub fn intersection(a: &[u8], b: &[u8]) -> Option<Vec<u8>> {
    let mut common = Vec::with_capacity(a.len().max(b.len()));
    let mut add = |token: &[u8]| {
        if !common.is_empty() {
            common.push(b'.');
        }
        common.extend_from_slice(token);
    };
    let (mut a, mut b) = (tokens(a), tokens(b));
    loop {
        match (a.next(), b.next()) {
            (None, None) => return Some(common),
            (None, _) | (_, None) => return None,
            (Some(b">"), Some(token)) => {
                add(token);
                b.for_each(add);
                return Some(common);
            }
            (Some(token), Some(b">")) => {
                add(token);
                a.for_each(add);
                return Some(common);
            }
            (Some(x), Some(y)) if x == y || y == b"*" => add(x),
            (Some(b"*"), Some(y)) => add(y),
            _ => return None,
        }
    }
}

/// How many tokens `subject` has.
pub fn token_count(subject: &[u8]) -> usize {
    subject.iter().filter(|&&b| b == b'.').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_by_the_book() {
        for ok in ["foo", "foo.bar", "*", ">", "foo.*", "foo.>", "foo.*bar", "foo.>x", "foo>"] {
            assert!(is_valid(ok.as_bytes()), "{ok}");
        }
        for bad in ["", ".", "foo.", ".foo", "foo..bar", "foo.>.bar", ">.x"] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
        assert!(is_valid_literal(b"foo.*bar"));
        for bad in ["foo.*", ">", "a..b", ""] {
            assert!(!is_valid_literal(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn wildcards_match_whole_tokens_only() {
        for (pattern, subject) in [
            ("foo", "foo"),
            ("*", "foo"),
            (">", "foo"),
            (">", "a.b"),
            ("a.*.c", "a.b.c"),
            ("a.>", "a.b.c"),
            ("foo.*bar", "foo.*bar"),
            ("foo.*", "foo.*"),
        ] {
            assert!(matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
        }
        for (pattern, subject) in
            [("foo", "fo"), ("*", "a.b"), ("a.>", "a"), ("a.*", "a"), ("foo.*bar", "foo.Zbar"), ("a", "a.b")]
        {
            assert!(!matches(pattern.as_bytes(), subject.as_bytes()), "{pattern} {subject}");
        }
    }

    #[test]
    fn covering_and_overlapping() {
        assert!(covers(b"a.>", b"a.*.c"));
        assert!(covers(b"a.*", b"a.*"));
        assert!(!covers(b"a.*", b"a.>"));
        assert!(!covers(b"a.*", b"a.b.c"));
        assert!(!covers(b"a.b", b"a.*"));
        assert!(covers(b">", b">"));
        assert!(overlaps(b"a.*", b"*.b"));
        assert!(overlaps(b"a.>", b"a.b.c"));
        assert!(!overlaps(b"a.>", b"a"));
        assert!(!overlaps(b"a.*", b"b.*"));
    }

    #[test]
    fn intersections() {
        for (a, b, both) in [
            ("a.*", "*.b", Some("a.b")),
            ("a.>", "a.*.c", Some("a.*.c")),
            ("a.*.c", ">", Some("a.*.c")),
            ("a.>", "*.>", Some("a.>")),
            ("a.*", "a.*", Some("a.*")),
            ("a.>", "a", None),
            ("a.b", "a.c", None),
        ] {
            let found = intersection(a.as_bytes(), b.as_bytes());
            assert_eq!(found.as_deref(), both.map(str::as_bytes), "{a} {b}");
            assert_eq!(found.is_some(), overlaps(a.as_bytes(), b.as_bytes()), "{a} {b}");
        }
    }
}
