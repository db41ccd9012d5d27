//! Topic names and topic filters: what they may be, and which match `[MQTT-4.7]`.

/// The prefix of a shared subscription.
const SHARE: &str = "$share/";

/// Whether a message may be published to `topic`: not empty, no wildcard `[MQTT-3.3.2-2]`. That it is UTF-8 without
/// U+0000 was found out when it was read.
pub fn is_name(topic: &str) -> bool {
    !topic.is_empty() && !topic.bytes().any(|b| matches!(b, b'+' | b'#' | 0))
}

/// Whether `filter` is one to subscribe to: `+` fills its level, `#` fills the last `[MQTT-4.7.1]`.
pub fn is_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let whole = match level {
            "+" => true,
            "#" => levels.peek().is_none(),
            _ => !level.contains(['+', '#']),
        };
        if !whole {
            return false;
        }
    }
    true
}

/// A filter as it was asked for: shared or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked<'a> {
    /// The name of the share.
    pub group: Option<&'a str>,
    /// The filter behind it.
    pub filter: &'a str,
}

impl<'a> Asked<'a> {
    /// Takes `$share/{name}/{filter}` apart `[MQTT-4.8.2-1]`, `[MQTT-4.8.2-2]`; `None` if it is not a filter.
    pub fn parse(text: &'a str) -> Option<Self> {
        let asked = match text.strip_prefix(SHARE) {
            None => Self { group: None, filter: text },
            Some(rest) => {
                let (group, filter) = rest.split_once('/')?;
                if group.is_empty() || group.contains(['+', '#']) {
                    return None;
                }
                Self { group: Some(group), filter }
            }
        };
        is_filter(asked.filter).then_some(asked)
    }
}

/// Whether `filter`, which is one, matches `topic`. A filter that starts with a wildcard matches no topic that starts
/// with `$` `[MQTT-4.7.2-1]`. Everything is compared byte by byte `[MQTT-4.7.3-4]`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if is_hidden(filter, topic) {
        return false;
    }
    let mut levels = topic.split('/');
    for want in filter.split('/') {
        match (want, levels.next()) {
            ("#", _) => return true,
            (_, None) => return false,
            ("+", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether `topic` is kept from `filter` because it starts with `$` and that with a wildcard.
#[inline]
pub fn is_hidden(filter: &str, topic: &str) -> bool {
    topic.starts_with('$') && filter.starts_with(['+', '#'])
}

/// The levels of `filter` before its first wildcard, with the `/` after them: what every topic it matches starts with,
/// but for the parent that `a/#` matches too.
pub fn literal_prefix(filter: &str) -> &str {
    match filter.find(['+', '#']) {
        None => filter,
        Some(at) => &filter[..at],
    }
}

/// Whether `filter` has a level that NATS takes for a wildcard and MQTT does not.
pub fn has_nats_wildcard(filter: &str) -> bool {
    filter.split('/').any(|level| level == "*" || level == ">")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_by_the_book() {
        for ok in ["a", "/", "+", "#", "a/#", "+/+", "/+", "a/+/b", "+/a/#", " ", "a b", "*", ">", "$x/#", "a//b"] {
            assert!(is_filter(ok), "{ok}");
        }
        for bad in ["", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b", "##", "a/b#", "++", "a\0"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    /// The examples of the standard's section 4.7, and the corners around them.
    #[test]
    fn matches_are_by_the_book() {
        for (filter, topic) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b/c"),
            ("+", "a"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
            ("$SYS/monitor/+", "$SYS/monitor/Clients"),
            ("#", "/"),
            ("/#", "/"),
            ("a/*", "a/*"),
            ("é/+", "é/ü"),
        ] {
            assert!(matches(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/monitor/Clients", "$SYS/monitor/Clients"),
            ("A", "a"),
            ("a", "a/"),
            ("/a", "a"),
            ("a/*", "a/b"),
            ("/#", "a"),
        ] {
            assert!(!matches(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn shares_are_taken_apart() {
        assert_eq!(Asked::parse("$share/g/a/#"), Some(Asked { group: Some("g"), filter: "a/#" }));
        assert_eq!(Asked::parse("$share/g//"), Some(Asked { group: Some("g"), filter: "/" }));
        assert_eq!(Asked::parse("$shared/g/a"), Some(Asked { group: None, filter: "$shared/g/a" }));
        for bad in ["$share/g", "$share//a", "$share/g/", "$share/g+/a", "$share/#/a", "$share/", "$share/g/a#"] {
            assert_eq!(Asked::parse(bad), None, "{bad}");
        }
    }
}
