//! The handshake: a request of HTTP becomes a WebSocket, or is told why not.
//!
//! The order and the words are nats-server's (`server/websocket.go`).

use data_encoding::BASE64;
use sha1::{Digest, Sha1};
use std::fmt;

use crate::config::Websocket;
use crate::wire::Connect;

/// The request, its headers included, at most; bytes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Headers of a request at most.
const HEADERS_MAX: usize = 64;
/// What the key of a handshake is hashed with `[RFC 6455, 1.3]`.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a client wants to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Any path but those below.
    Nats,
    /// A path that ends in `/mqtt`.
    Mqtt,
}

/// Credentials that a browser sends along; they stand for what CONNECT leaves out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Cookies {
    /// `user_cookie`
    pub user: Option<String>,
    /// `pass_cookie`
    pub password: Option<String>,
    /// `token_cookie`
    pub token: Option<String>,
    /// `jwt_cookie`
    pub jwt: Option<String>,
}

impl Cookies {
    /// Puts in what CONNECT leaves out.
    pub fn complete(self, connect: &mut Connect) {
        let fill = |to: &mut Option<String>, from: Option<String>| {
            if to.as_ref().is_none_or(String::is_empty) {
                *to = from;
            }
        };
        fill(&mut connect.user, self.user);
        fill(&mut connect.pass, self.password);
        fill(&mut connect.auth_token, self.token);
        fill(&mut connect.jwt, self.jwt);
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A request that is granted.
#[derive(Debug)]
pub struct Upgrade {
    /// What it is for.
    pub endpoint: Endpoint,
    /// The answer, which comes before the first frame.
    pub response: Vec<u8>,
    /// Credentials, if any came.
    pub cookies: Option<Box<Cookies>>,
    /// Bytes of the request; what follows is frames.
    pub used: usize,
}

/// What a request is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The `websocket` block.
    pub config: &'a Websocket,
    /// It came by TLS.
    pub secure: bool,
    /// There is MQTT.
    pub mqtt: bool,
}

/// Why a request is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not HTTP.
    Malformed,
    /// It does not end, or has too many headers.
    TooLong,
    /// Not GET.
    Method,
    /// A header that must be there, or says something else.
    Header(&'static str),
    /// Another version of the protocol.
    Version,
    /// A page of elsewhere asks.
    Origin(String),
    /// `/mqtt` without MQTT, or `/leafnode`.
    Endpoint(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("malformed request"),
            Self::TooLong => write!(f, "request with more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers"),
            Self::Method => f.write_str("request method must be GET"),
            Self::Header("Host") => f.write_str("'Host' missing in request"),
            Self::Header("Sec-WebSocket-Key") => f.write_str("key missing"),
            Self::Header(name) => write!(f, "invalid value for header '{name}'"),
            Self::Version => f.write_str("invalid version"),
            Self::Origin(why) => write!(f, "origin not allowed: {why}"),
            Self::Endpoint(name) => write!(f, "{name} websocket endpoint not enabled"),
        }
    }
}

impl Refusal {
    /// The answer, after which the connection ends.
    pub fn response(&self) -> Vec<u8> {
        let (status, extra) = match self {
            Self::Method => ("405 Method Not Allowed", "Allow: GET\r\n"),
            Self::Version => ("400 Bad Request", "Sec-Websocket-Version: 13\r\n"),
            Self::Malformed | Self::Header(_) => ("400 Bad Request", ""),
            Self::TooLong => ("431 Request Header Fields Too Large", ""),
            Self::Origin(_) => ("403 Forbidden", ""),
            Self::Endpoint(_) => ("404 Not Found", ""),
        };
        // What came from the client is not sent back.
        let body = match self {
            Self::Origin(_) => "origin not allowed".to_owned(),
            other => other.to_string(),
        };
        format!(
            "HTTP/1.1 {status}\r\n{extra}Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}\n",
            body.len() + 1
        )
        .into_bytes()
    }
}

/// Reads a request from the start of `input`; `None` if it is not whole yet.
///
/// # Errors
/// It cannot be granted.
pub fn read(input: &[u8], rules: &Rules<'_>) -> Result<Option<Upgrade>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let used = match request.parse(&input[..input.len().min(HEAD_BYTES_MAX)]) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) if input.len() >= HEAD_BYTES_MAX => return Err(Refusal::TooLong),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLong),
        Err(_) => return Err(Refusal::Malformed),
    };
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    let request = Request { path: request.path.unwrap_or_default(), headers: request.headers };
    Ok(Some(request.grant(rules, used)?))
}

struct Request<'a> {
    path: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Request<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        // A value that is not UTF-8 is none of those that count here.
        named.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        self.all(name).find(|value| !value.is_empty())
    }

    /// Whether a list of words in a header has this one.
    fn lists(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    }

    fn grant(&self, rules: &Rules<'_>, used: usize) -> Result<Upgrade, Refusal> {
        let host = self.one("Host").ok_or(Refusal::Header("Host"))?;
        if !self.lists("Upgrade", "websocket") {
            return Err(Refusal::Header("Upgrade"));
        }
        if !self.lists("Connection", "upgrade") {
            return Err(Refusal::Header("Connection"));
        }
        let key = self.one("Sec-WebSocket-Key").ok_or(Refusal::Header("Sec-WebSocket-Key"))?;
        if !self.lists("Sec-WebSocket-Version", "13") {
            return Err(Refusal::Version);
        }
        self.check_origin(rules, host)?;
        let endpoint = self.endpoint(rules)?;
        let cookies = self.cookies(rules.config);
        Ok(Upgrade { endpoint, response: self.response(rules.config, endpoint, key), cookies, used })
    }

    fn endpoint(&self, rules: &Rules<'_>) -> Result<Endpoint, Refusal> {
        let path = self.path.split(['?', '#']).next().unwrap_or_default();
        match path {
            path if path.ends_with("/mqtt") && rules.mqtt => Ok(Endpoint::Mqtt),
            path if path.ends_with("/mqtt") => Err(Refusal::Endpoint("mqtt")),
            path if path.ends_with("/leafnode") => Err(Refusal::Endpoint("leafnode")),
            _ => Ok(Endpoint::Nats),
        }
    }

    /// Who sends no origin is no browser, which is the only one to send a true one `[RFC 6455, 10.2]`.
    fn check_origin(&self, rules: &Rules<'_>, host: &str) -> Result<(), Refusal> {
        let Websocket { same_origin, allowed_origins, .. } = rules.config;
        let Some(text) = self.one("Origin").or_else(|| self.one("Sec-WebSocket-Origin")) else { return Ok(()) };
        if !same_origin && allowed_origins.is_empty() {
            return Ok(());
        }
        let wrong = |why: &str| Err(Refusal::Origin(format!("{why}: {text:?}")));
        let Some(origin) = Origin::parse(text) else { return wrong("not an origin") };
        let own = Origin::of(rules.secure, host);
        if *same_origin && own.is_none_or(|own| (&own.host, own.port) != (&origin.host, origin.port)) {
            return wrong("not same origin");
        }
        if !allowed_origins.is_empty() && !allowed_origins.contains(&origin) {
            return wrong("not in the allowed list");
        }
        Ok(())
    }

    fn cookies(&self, config: &Websocket) -> Option<Box<Cookies>> {
        let find = |name: &Option<String>| {
            let name = name.as_deref()?;
            let mut pairs = self.all("Cookie").flat_map(|value| value.split(';')).filter_map(|one| one.split_once('='));
            let (_, value) = pairs.find(|(key, _)| key.trim() == name)?;
            Some(value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty())
        };
        let cookies = Cookies {
            user: find(&config.user_cookie),
            password: find(&config.pass_cookie),
            token: find(&config.token_cookie),
            jwt: find(&config.jwt_cookie),
        };
        (cookies != Cookies::default()).then(|| Box::new(cookies))
    }

    fn response(&self, config: &Websocket, endpoint: Endpoint, key: &str) -> Vec<u8> {
        let accept = BASE64.encode(&Sha1::new().chain_update(key).chain_update(GUID).finalize());
        let mut out = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n"
        );
        // nats-server says `mqtt` also to those who did not, and a browser then gives up.
        let protocols = ["mqtt", "mqttv3.1"].into_iter().filter(|_| endpoint == Endpoint::Mqtt);
        if let Some(protocol) = protocols.into_iter().find(|name| self.lists("Sec-WebSocket-Protocol", name)) {
            out += &format!("Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        for (name, value) in &config.headers {
            out += &format!("{name}: {value}\r\n");
        }
        out += "\r\n";
        out.into_bytes()
    }
}

/// Where a page comes from: scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `https://host:port`; the port may be left out.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = scheme.to_ascii_lowercase();
        let place = rest.split(['/', '?', '#']).next()?;
        let origin = Self::of(matches!(&*scheme, "https" | "wss"), place)?;
        (!scheme.is_empty()).then_some(Self { scheme, ..origin })
    }

    /// `host:port`; the port may be left out, an IPv6 host is in brackets.
    fn of(secure: bool, place: &str) -> Option<Self> {
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
            _ => (place, if secure { 443 } else { 80 }),
        };
        let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { scheme: String::new(), host, port })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
                           Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                           Sec-WebSocket-Version: 13\r\n";

    fn config() -> Websocket {
        Websocket { no_tls: true, ..Websocket::default() }
    }

    fn ask(request: &str, config: &Websocket) -> Result<Option<Upgrade>, Refusal> {
        read(request.as_bytes(), &Rules { config, secure: false, mqtt: true })
    }

    /// The standard's own example (1.3).
    #[test]
    fn the_key_is_answered() {
        let config = config();
        let request = format!("{REQUEST}\r\n!");
        let upgrade = ask(&request, &config).unwrap().unwrap();
        assert_eq!((upgrade.endpoint, upgrade.used), (Endpoint::Nats, request.len() - 1));
        let response = String::from_utf8(upgrade.response).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"), "{response}");
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{response}");
        // Whatever the pieces it comes in.
        for end in 0..request.len() - 1 {
            assert!(ask(&request[..end], &config).unwrap().is_none(), "{end}");
        }
    }

    #[test]
    fn paths_say_what_is_spoken() {
        let ask = |path: &str, more: &str, mqtt| {
            let request = format!("{}{more}\r\n", REQUEST.replace("/chat", path));
            read(request.as_bytes(), &Rules { config: &config(), secure: false, mqtt }).map(Option::unwrap)
        };
        for (path, endpoint) in [
            ("/", Endpoint::Nats),
            ("/mqtt", Endpoint::Mqtt),
            ("/x/mqtt?a=/b", Endpoint::Mqtt),
            ("/mqtt/", Endpoint::Nats),
            ("/MQTT", Endpoint::Nats),
        ] {
            assert_eq!(ask(path, "", true).unwrap().endpoint, endpoint, "{path}");
        }
        assert_eq!(ask("/mqtt", "", false).unwrap_err(), Refusal::Endpoint("mqtt"));
        assert_eq!(ask("/leafnode", "", true).unwrap_err(), Refusal::Endpoint("leafnode"));
        for (offered, chosen) in [("mqtt", Some("mqtt")), ("x, mqttv3.1", Some("mqttv3.1")), ("x", None)] {
            let upgrade = ask("/mqtt", &format!("Sec-WebSocket-Protocol: {offered}\r\n"), true).unwrap();
            let response = String::from_utf8(upgrade.response).unwrap();
            let line = chosen.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
            assert_eq!(response.contains("Sec-WebSocket-Protocol"), chosen.is_some(), "{response}");
            assert!(line.is_none_or(|line| response.contains(&line)), "{response}");
        }
    }

    #[test]
    fn what_is_no_handshake_is_refused() {
        let without = |name: &str| {
            let lines = REQUEST.split_inclusive("\r\n").filter(|line| !line.starts_with(name));
            format!("{}\r\n", lines.collect::<String>())
        };
        let long = format!("{REQUEST}X: {}\r\n\r\n", "x".repeat(HEAD_BYTES_MAX));
        let many = format!("{REQUEST}{}\r\n", "X: y\r\n".repeat(HEADERS_MAX));
        for (request, refusal) in [
            (format!("{}\r\n", REQUEST.replace("GET", "POST")), Refusal::Method),
            (without("Host"), Refusal::Header("Host")),
            (without("Upgrade"), Refusal::Header("Upgrade")),
            (without("Connection"), Refusal::Header("Connection")),
            (without("Sec-WebSocket-Key"), Refusal::Header("Sec-WebSocket-Key")),
            (without("Sec-WebSocket-Version"), Refusal::Version),
            (long, Refusal::TooLong),
            (many, Refusal::TooLong),
            ("\x10\x0c\0\x04MQTT\x04\x02\0\0".to_owned(), Refusal::Malformed),
            ("CONNECT {}\r\nPING\r\n\r\n".to_owned(), Refusal::Malformed),
        ] {
            assert_eq!(ask(&request, &config()).unwrap_err(), refusal, "{request}");
            let response = String::from_utf8(refusal.response()).unwrap();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 4") && head.contains(&format!("Content-Length: {}", body.len())));
        }
    }

    #[test]
    fn pages_of_elsewhere_are_refused() {
        let origins = |list: &[&str]| list.iter().map(|text| Origin::parse(text).unwrap()).collect();
        let allows =
            |config: &Websocket, origin: &str| ask(&format!("{REQUEST}Origin: {origin}\r\n\r\n"), config).is_ok();
        let same = Websocket { same_origin: true, ..config() };
        assert!(allows(&config(), "http://any.where"));
        assert!(allows(&same, "http://server.example.com") && allows(&same, "http://SERVER.example.com:80"));
        assert!(!allows(&same, "http://server.example.com:81") && !allows(&same, "http://example.com"));
        assert!(!allows(&same, "null"));
        assert!(ask(&format!("{REQUEST}\r\n"), &same).is_ok());
        let listed =
            Websocket { allowed_origins: origins(&["https://a.example", "http://b.example:8080"]), ..config() };
        assert!(allows(&listed, "https://a.example:443") && allows(&listed, "http://b.example:8080"));
        for wrong in ["http://a.example:443", "https://a.example:444", "https://c.example", "https://a.example.evil"] {
            assert!(!allows(&listed, wrong), "{wrong}");
        }
    }

    #[test]
    fn cookies_are_credentials() {
        let config = Websocket { jwt_cookie: Some("j".into()), user_cookie: Some("u".into()), ..config() };
        let request = format!("{REQUEST}Cookie: x=1; j=\"a.b.c\"\r\nCookie: u= me ;pp=2\r\n\r\n");
        let cookies = ask(&request, &config).unwrap().unwrap().cookies.unwrap();
        assert_eq!((cookies.jwt.as_deref(), cookies.user.as_deref()), (Some("a.b.c"), Some("me")));
        assert_eq!((cookies.password, cookies.token), (None, None));
        assert!(ask(&format!("{REQUEST}\r\n"), &config).unwrap().unwrap().cookies.is_none());
    }
}
