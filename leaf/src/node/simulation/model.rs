//! What a node must do, as simply as it can be said: lists, walked from one end to the other.

use std::collections::BTreeMap;

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Info,
    Ping,
    Pong,
    Ok,
    Err(String),
    /// The sid, and which publish it was; no number for the answer that nobody is there.
    Message(String, Option<u64>),
}

/// What a client says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Connect { user: &'static str, verbose: bool, echo: bool, headers: bool, no_responders: bool },
    Subscribe { subject: String, queue: Option<&'static str>, sid: String },
    Unsubscribe { sid: String, max: u64 },
    Publish { subject: String, reply: &'static str, number: u64, with_headers: bool },
    Ping,
    Pong,
    Nonsense,
}

/// Who may do what. The user `all` may do everything and is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Of the user `some`; `None`: there is no such user.
    pub(super) some: Option<Permissions>,
    pub(super) subscriptions_max: usize,
}

/// Patterns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permissions {
    pub(super) publish: &'static [&'static str],
    /// Each is as wide as anything below it that is subscribed to, or does not overlap it, or is narrower.
    pub(super) subscribe_deny: &'static [&'static str],
}

#[derive(Clone, Debug)]
pub(super) struct Sub {
    pub(super) subject: String,
    pub(super) queue: Option<&'static str>,
    pub(super) max: u64,
    pub(super) delivered: u64,
}

/// A client that is logged in.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) user: &'static str,
    pub(super) verbose: bool,
    pub(super) echo: bool,
    pub(super) no_responders: bool,
    pub(super) subs: BTreeMap<String, Sub>,
}

/// Whether `pattern` matches `subject`, by the book.
pub(super) fn matches(pattern: &str, subject: &str) -> bool {
    let (pattern, subject): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), subject.split('.').collect());
    let fits = |(at, token): (usize, &&str)| match *token {
        ">" => at < subject.len(),
        "*" => at < subject.len(),
        token => subject.get(at) == Some(&token),
    };
    let open = pattern.last() == Some(&">");
    (open && subject.len() >= pattern.len() || subject.len() == pattern.len()) && pattern.iter().enumerate().all(fits)
}

impl Client {
    pub(super) fn permissions(&self, rules: &Rules) -> Option<Permissions> {
        if self.user == "some" { rules.some } else { None }
    }

    pub(super) fn may_publish(&self, rules: &Rules, subject: &str) -> bool {
        self.permissions(rules).is_none_or(|may| may.publish.iter().any(|pattern| matches(pattern, subject)))
    }

    /// A wildcard token of the subscription counts as any other here: `d.*` denies `d.>`.
    pub(super) fn may_subscribe(&self, rules: &Rules, subject: &str) -> bool {
        self.permissions(rules).is_none_or(|may| !may.subscribe_deny.iter().any(|pattern| matches(pattern, subject)))
    }

    /// Whether `sid` must get what was published to `subject` by itself (`own`) or another one.
    pub(super) fn wants(&self, rules: &Rules, sid: &str, subject: &str, own: bool) -> bool {
        let Some(sub) = self.subs.get(sid) else { return false };
        (self.echo || !own) && matches(&sub.subject, subject) && self.may_subscribe(rules, subject)
    }

    /// One more for `sid`.
    pub(super) fn count(&mut self, sid: &str) {
        let Some(sub) = self.subs.get_mut(sid) else { return };
        sub.delivered += 1;
        if sub.delivered == sub.max {
            self.subs.remove(sid);
        }
    }
}

/// All that is whole at the front of `bytes`; the rest stays.
pub(super) fn parse(bytes: &mut Vec<u8>) -> Result<Vec<Heard>, String> {
    let mut heard = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Ok(heard) };
        let line = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let mut used = end + 2;
        let one = match words[0] {
            "INFO" => Heard::Info,
            "PING" => Heard::Ping,
            "PONG" => Heard::Pong,
            "+OK" => Heard::Ok,
            "-ERR" => Heard::Err(line[5..].trim_matches('\'').to_owned()),
            "MSG" | "HMSG" => {
                let number =
                    |back: usize| words[words.len() - back].parse::<usize>().map_err(|_| format!("no size: {line}"));
                let (size, header) = (number(1)?, if words[0] == "HMSG" { number(2)? } else { 0 });
                let Some(body) = bytes.get(used..used + size + 2) else { return Ok(heard) };
                used += size + 2;
                let text = String::from_utf8_lossy(&body[header..size]).into_owned();
                if !body.ends_with(b"\r\n") {
                    return Err(format!("a message without an end: {line}"));
                }
                let told = text.split(' ').next().and_then(|first| first.parse().ok());
                if told.is_none() && !body.starts_with(b"NATS/1.0 503\r\n") {
                    return Err(format!("nobody published {text:?}"));
                }
                Heard::Message(words[2].to_owned(), told)
            }
            _ => return Err(format!("not a line of a server: {line:?}")),
        };
        heard.push(one);
        bytes.drain(..used);
    }
}
