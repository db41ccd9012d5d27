//! Traced messages, and what is told of them.

use serde_json::{Value, json};

use super::{Client, Server};

/// Somebody in an account.
pub(crate) struct Party {
    pub(crate) client: Client,
}

impl Party {
    pub(crate) fn enter(server: &Server, name: &str, user: &str, more: &str) -> Self {
        let client = Client::login(
            server,
            &format!(
                r#"{{"verbose":false,"headers":true,"no_responders":true,"protocol":1,"name":"{name}","user":"{user}","pass":"{user}"{more}}}"#
            ),
        );
        Self { client }
    }

    pub(crate) fn listen(&mut self, lines: &str) {
        let lines: String = lines.lines().map(|line| format!("{}\r\n", line.trim_start())).collect();
        let heard = self.client.converse(&format!("{lines}PING\r\n"));
        assert!(!heard.contains("-ERR"), "{heard}");
    }

    pub(crate) fn publish(&mut self, subject: &str, headers: &str) {
        let block = format!("NATS/1.0\r\n{headers}\r\n");
        let size = block.len();
        self.client.say(&format!("HPUB {subject} {size} {}\r\n{block}hi\r\n", size + 2));
    }

    /// The next message: subject, headers, payload. Errors come in between, and are no messages.
    pub(crate) fn next(&mut self) -> (String, String, String) {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.client.take(1));
            }
            let line = String::from_utf8(line).unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[0] {
                "PING" | "PONG" | "INFO" => continue,
                "-ERR" => return (line.trim().to_owned(), String::new(), String::new()),
                "MSG" | "HMSG" => {}
                _ => panic!("{line}"),
            }
            let size: usize = words.last().unwrap().parse().unwrap();
            let headers: usize = if words[0] == "HMSG" { words[words.len() - 2].parse().unwrap() } else { 0 };
            let body = String::from_utf8(self.client.take(size + 2)).unwrap();
            let (header, payload) = body[..size].split_at(headers);
            return (words[1].to_owned(), header.to_owned(), payload.to_owned());
        }
    }
}

/// A trace without what differs from run to run. Of its events only the first has a place; names stand for cids.
pub(crate) fn settled(text: &str) -> Value {
    let mut trace: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("no trace: {text}"));
    let server = trace["server"].as_object_mut().unwrap();
    for field in ["id", "host", "time", "seq", "ver"] {
        assert!(server.contains_key(field), "no {field} in {text}");
        server.remove(field);
    }
    // The other one has JetStream's.
    server.remove("feature_flags");
    for event in trace["events"].as_array_mut().unwrap() {
        let event = event.as_object_mut().unwrap();
        let ts = event.remove("ts").unwrap();
        assert!(ts.as_str().unwrap().len() >= 20, "{text}");
        if let Some(cid) = event.remove("cid") {
            assert!(cid.as_u64() > Some(0), "{text}");
        }
    }
    trace["events"].as_array_mut().unwrap()[1..].sort_by_key(Value::to_string);
    let header = trace["request"]["header"].as_object_mut().unwrap();
    let imported = header.contains_key("Nats-Request-Info");
    if let Some(info) = header.get_mut("Nats-Request-Info") {
        let who: Value = serde_json::from_str(info[0].as_str().unwrap()).unwrap();
        *info = json!([who["acc"]]);
    }
    if header.get("Nats-Trace-Dest").is_some_and(|dest| dest[0].as_str().unwrap().starts_with("_R_.")) {
        header["Nats-Trace-Dest"] = json!(["_R_"]);
    }
    if imported {
        // It tells a round-trip time.
        trace["request"]["msgsize"] = 0.into();
    }
    trace
}
