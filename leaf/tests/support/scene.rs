//! Several clients of one server that speak in turn; what each of them hears, in an order that does not depend on time.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::creds::Creds;
use super::{Client, Server};

/// Clients by the names that a scene gives them.
pub(crate) struct Scene<'a> {
    server: &'a Server,
    clients: BTreeMap<String, Client>,
    /// The last reply subject of the server's own making that each of them heard.
    replies: BTreeMap<String, String>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(server: &'a Server) -> Self {
        Self { server, clients: BTreeMap::new(), replies: BTreeMap::new() }
    }

    /// A client by this name logs in with the options of `connect`, a JSON object, beside the usual ones.
    pub(crate) fn enter(&mut self, name: &str, connect: &str) {
        let usual = r#""verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1"#;
        let rest = connect.trim_start_matches('{').trim_end_matches('}');
        let comma = if rest.is_empty() { "" } else { "," };
        let client = Client::login(self.server, &format!("{{{usual}{comma}{rest}}}"));
        self.clients.insert(name.to_owned(), client);
    }

    /// A client by this name shows a JWT, and signs. What it hears, which may be why not.
    pub(crate) fn enter_with(&mut self, name: &str, creds: &Creds) -> String {
        let mut client = Client::connect(self.server);
        let info = client.until("\r\n");
        let info: Value = serde_json::from_str(info.trim().strip_prefix("INFO ").unwrap()).unwrap();
        let more = r#"{"headers":true,"no_responders":true,"pedantic":false,"#;
        let connect = creds.connect(info["nonce"].as_str().unwrap()).replacen('{', more, 1);
        client.say(&connect);
        self.clients.insert(name.to_owned(), client);
        self.turn(name, "")
    }

    /// One says something (`\r\n` is added to each line; `<R>` is the reply subject it heard last), then all are asked
    /// what they heard: the speaker first.
    pub(crate) fn turn(&mut self, name: &str, lines: &str) -> String {
        let reply = self.replies.get(name).map_or("_R_.none", String::as_str);
        let said: String = lines.lines().map(|line| format!("{}\r\n", line.trim_start())).collect();
        self.clients.get_mut(name).unwrap().try_say(said.replace("<R>", reply).as_bytes());
        let others = self.clients.keys().filter(|other| *other != name).cloned();
        let order: Vec<String> = std::iter::once(name.to_owned()).chain(others).collect();
        let mut heard = String::new();
        for who in order {
            let client = self.clients.get_mut(&who).unwrap();
            let text = if client.try_say(b"PING\r\n") { client.until_pong_or_end() } else { String::new() };
            let text = super::without_info(&text).replace("PONG\r\n", "").replace("PING\r\n", "");
            if let Some(at) = text.rfind(" _R_.") {
                let subject: String = text[at + 1..].chars().take_while(|c| !c.is_whitespace()).collect();
                self.replies.insert(who.clone(), subject);
            }
            // It tells a round-trip time, whose digits count.
            let timed = text.contains("Nats-Request-Info");
            for line in text.lines().filter(|line| !line.is_empty()) {
                let _ = writeln!(heard, "{who}: {}", settled(line, timed));
            }
        }
        heard
    }
}

/// A line without what differs from run to run: reply subjects, times, ids, and sizes that follow from them.
pub(crate) fn settled(line: &str, timed: bool) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if timed && words[0] == "HMSG" {
        let count = words.len();
        words[count - 2] = "#".to_owned();
        words[count - 1] = "#".to_owned();
    }
    let mut text = words.join(" ");
    if let Some(at) = text.find("_R_.") {
        let end = text[at..].find(|c: char| !c.is_alphanumeric() && !"_.".contains(c)).map_or(text.len(), |n| at + n);
        text.replace_range(at..end, "_R_");
    }
    for field in ["\"rtt\":", "\"id\":", "\"start\":\""] {
        if let Some(at) = text.find(field) {
            let from = at + field.len();
            let end = text[from..].find([',', '}', '"']).map_or(text.len(), |n| from + n);
            text.replace_range(from..end, "#");
        }
    }
    text
}
