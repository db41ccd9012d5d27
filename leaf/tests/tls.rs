//! TLS on the client port, from outside: who speaks first, who gets in, and what survives the records.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use support::tls::{TLS_1_2, TLS_1_3, Tls, block, certificate, read_certificate};
use support::{Client, Server};

const PLAIN: &str = "{\"verbose\":false}";

/// A login, and a message to itself.
fn use_it(mut client: Client) {
    client.log_in(PLAIN);
    assert_eq!(client.converse("SUB a 1\r\nPUB a 2\r\nhi\r\nPING\r\n"), "MSG a 1 2\r\nhi\r\nPONG\r\n");
}

#[test]
fn both_versions_come_after_info() {
    for server in Server::both("tls-after", &block("")) {
        assert!(Client::connect(&server).until("\r\n").contains("\"tls_required\":true"));
        use_it(TLS_1_3.after_info(&server));
        use_it(TLS_1_2.after_info(&server));
    }
}

#[test]
fn only_1_3_is_only_1_3() {
    for server in Server::both("tls-13", &block("min_version: \"1.3\"")) {
        assert!(TLS_1_3.gets_in(&server));
        assert!(!TLS_1_2.gets_in(&server));
    }
}

/// A word in clear before the handshake would break it.
#[test]
fn handshake_first_says_nothing_in_clear() {
    for server in Server::both("tls-first", &block("handshake_first: true")) {
        for tls in [TLS_1_2, TLS_1_3] {
            let mut client = tls.first(&server);
            assert!(client.until("\r\n").starts_with("INFO "));
            use_it(client);
        }
    }
}

/// Who does not wait for INFO is in all the same, and stays: its time to log in is not still running.
#[test]
fn words_behind_the_handshake_are_heard() {
    let config = format!("authorization {{ user: u, password: p, timeout: 0.3 }}\n{}", block("handshake_first: true"));
    for server in Server::both("tls-early", &config) {
        for tls in [TLS_1_2, TLS_1_3] {
            let words = "CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nPING\r\n";
            let mut client = tls.impatient(&server, words);
            client.until("PONG\r\n");
            // As long as one may stay who has not logged in.
            tls.first(&server).end();
            assert_eq!(client.converse("PING\r\n"), "PONG\r\n");
        }
    }
}

/// Those who wait get INFO in clear, those who do not wait get it inside.
#[test]
fn handshake_first_falls_back() {
    for wait in ["auto", "\"1ms\""] {
        for server in Server::both("tls-auto", &block(&format!("handshake_first: {wait}"))) {
            use_it(TLS_1_3.after_info(&server));
            use_it(TLS_1_2.after_info(&server));
        }
    }
    for server in Server::both("tls-wait", &block("handshake_first: \"10s\"")) {
        let mut client = TLS_1_3.first(&server);
        assert!(client.until("\r\n").starts_with("INFO "));
        use_it(client);
    }
}

#[test]
fn tls_may_be_left_to_the_client() {
    for server in Server::both("tls-mixed", &format!("allow_non_tls: true\n{}", block(""))) {
        let mut plain = Client::connect(&server);
        let info = plain.until("\r\n");
        assert!(info.contains("\"tls_available\":true") && !info.contains("tls_required"), "{info}");
        use_it(plain);
        use_it(TLS_1_3.after_info(&server));
        use_it(TLS_1_2.after_info(&server));
    }
}

#[test]
fn who_speaks_in_clear_is_ended() {
    for server in Server::both("tls-clear", &block("")) {
        for words in ["CONNECT {\"verbose\":false}\r\nPING\r\n", "\r\n\r\n\r\n\r\n", "\x16\x03\x01\u{7f}\u{7f}junk"] {
            let mut client = Client::connect(&server);
            client.until("\r\n");
            client.say(words);
            let end = client.end();
            assert!(!end.contains("PONG") && !end.contains("-ERR"), "{words:?}: {end:?}");
        }
        server.logs(" - TLS handshake error: ");
        use_it(TLS_1_3.after_info(&server));
    }
}

#[test]
fn a_handshake_must_come_in_time() {
    for server in Server::both("tls-late", &format!("debug: true\n{}", block("timeout: 0.2"))) {
        let mut silent = Client::connect(&server);
        silent.end();
        server.logs(" - TLS handshake ");
        use_it(TLS_1_3.after_info(&server));
    }
}

#[test]
fn too_many_handshakes_a_second_are_put_off() {
    for server in Server::both("tls-rate", &block("connection_rate_limit: 1")) {
        let mut told = String::new();
        // The second may change once or twice meanwhile, which lets one more in.
        let mut waiting: Vec<Client> = (0..10).map(|_| Client::connect(&server)).collect();
        for client in &mut waiting {
            told += &client.lines_or_end(2);
        }
        let refused = told.matches("-ERR 'Connection throttling is active. Please try again later.'\r\n").count();
        assert!(refused >= 5, "{told}");
        server.logs("connections due to TLS rate limiting");
        support::eventually("there is room again", || {
            let mut client = Client::connect(&server);
            client.until("\r\n");
            client.try_say(b"\x16");
            !client.lines_or_end(1).contains("throttling")
        });
    }
}

/// Keys are agreed on, and then comes what is no record.
#[test]
fn junk_between_records_ends_only_its_sender() {
    for server in Server::both("tls-junk", &block("")) {
        let mut good = TLS_1_3.after_info(&server);
        good.log_in(PLAIN);
        for tls in [TLS_1_2, TLS_1_3] {
            let mut bad = tls.after_info(&server);
            bad.log_in(PLAIN);
            bad.socket().write_all(b"this is no record\r\n").unwrap();
            bad.ends();
        }
        assert_eq!(good.converse("PING\r\n"), "PONG\r\n");
    }
}

/// Those who begin and go no further have a time, and little memory.
#[test]
fn half_a_handshake_costs_little() {
    let server = Server::start("tls-half", &block("timeout: 3"));
    let mut good = TLS_1_3.after_info(&server);
    good.log_in(PLAIN);
    let before = server.resident();
    let mut half: Vec<Client> = (0..300).map(|_| Client::connect(&server)).collect();
    for client in &mut half {
        client.until("\r\n");
        TLS_1_3.only_hello(client.socket());
    }
    assert_eq!(good.converse("PING\r\n"), "PONG\r\n");
    let grown = server.resident().saturating_sub(before);
    eprintln!("300 half handshakes: {grown} KiB");
    assert!(grown < 32 * 1024, "{grown} KiB");
    for client in &mut half {
        client.ends();
    }
    assert_eq!(good.converse("PING\r\n"), "PONG\r\n");
}

#[test]
fn with_verify_only_a_known_certificate_gets_in() {
    for server in Server::both("tls-verify", &block("verify: true")) {
        assert!(Client::connect(&server).until("\r\n").contains("\"tls_verify\":true"));
        for tls in [TLS_1_2, TLS_1_3] {
            assert!(Tls { shows: Some("client"), ..tls }.gets_in(&server));
            assert!(!Tls { shows: Some("stray"), ..tls }.gets_in(&server), "signed by nobody known");
            assert!(!tls.gets_in(&server), "without a certificate");
        }
    }
}

/// The client breaks the handshake off; the server's log says that it did.
#[test]
fn a_client_that_trusts_somebody_else_stays_away() {
    for server in Server::both("tls-distrust", &block("")) {
        let tls = Tls { trusts: "stray.pem", ..TLS_1_3 };
        assert!(!tls.gets_in(&server));
        server.logs(" - TLS handshake error: ");
        use_it(TLS_1_3.after_info(&server));
    }
}

fn pattern(seed: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7 + at % 253 + seed) as u8).collect()
}

fn message(subject: &str, payload: &[u8]) -> Vec<u8> {
    [format!("MSG {subject} 1 {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat()
}

#[test]
fn eight_mebibytes_go_in_and_come_out() {
    const BYTES: usize = 8 << 20;
    let config = format!("max_payload: 8388608\n{}", block(""));
    for server in Server::both("tls-large", &config) {
        for tls in [TLS_1_2, TLS_1_3] {
            let mut subscriber = tls.after_info(&server);
            subscriber.log_in(PLAIN);
            subscriber.converse("SUB big 1\r\nPING\r\n");
            let mut publisher = tls.after_info(&server);
            publisher.log_in(PLAIN);
            for seed in 0..3 {
                let payload = pattern(seed, BYTES);
                publisher.say(&format!("PUB big {BYTES}\r\n"));
                publisher.send(&payload);
                publisher.say("\r\n");
                assert!(subscriber.message() == message("big", &payload), "not what was sent");
            }
            publisher.converse("PING\r\n");
        }
    }
}

/// Far more than sockets hold waits for it; then all of it comes, in order.
#[test]
fn a_reader_that_pauses_misses_nothing() {
    const BYTES: usize = 100_000;
    const COUNT: usize = 300;
    for server in Server::both("tls-pause", &format!("write_deadline: \"30s\"\n{}", block(""))) {
        for tls in [TLS_1_2, TLS_1_3] {
            let mut slow = tls.after_info(&server);
            slow.log_in(PLAIN);
            slow.converse("SUB s 1\r\nPING\r\n");
            let mut publisher = tls.after_info(&server);
            publisher.log_in(PLAIN);
            for at in 0..COUNT {
                publisher.say(&format!("PUB s {BYTES}\r\n"));
                publisher.send(&pattern(at, BYTES));
                publisher.say("\r\n");
            }
            assert!(publisher.converse("PING\r\n").contains("PONG"));
            for at in 0..COUNT {
                assert!(slow.message() == message("s", &pattern(at, BYTES)), "message {at}");
            }
            assert!(slow.converse("PING\r\n").ends_with("PONG\r\n"));
        }
    }
}

/// A socket that gives every byte a segment of its own.
struct Dribble(std::net::TcpStream);

impl Write for Dribble {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(&bytes[..1])
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl std::io::Read for Dribble {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let length = bytes.len().min(3);
        self.0.read(&mut bytes[..length])
    }
}

#[test]
fn records_may_come_byte_by_byte() {
    for server in Server::both("tls-bytes", &block("verify: true")) {
        for tls in [TLS_1_2, TLS_1_3] {
            let mut client = Client::connect(&server);
            client.until("\r\n");
            let socket = client.into_socket();
            let kept = socket.try_clone().unwrap();
            let tls = Tls { shows: Some("client"), ..tls };
            use_it(Client::over(tls.on(Dribble(socket)), kept));
        }
    }
}

/// A folder with the certificate that a server is to use next.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("petiole-certs-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str) {
        fs::copy(certificate(&format!("{name}.pem")), self.0.join("cert.pem")).unwrap();
        fs::copy(certificate(&format!("{name}-key.pem")), self.0.join("key.pem")).unwrap();
    }

    fn block(&self) -> String {
        format!("tls {{ cert_file: \"{0}/cert.pem\", key_file: \"{0}/key.pem\" }}", Path::display(&self.0))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What renewal does: same names, new content, SIGHUP.
#[test]
fn a_renewed_certificate_is_for_newcomers() {
    let folder = Folder::new("renew");
    folder.put("server");
    for server in Server::both("tls-renew", &folder.block()) {
        folder.put("server");
        assert!(server.reload(&folder.block()).contains("Reloaded"));
        let mut old = TLS_1_3.after_info(&server);
        old.log_in(PLAIN);
        assert_eq!(TLS_1_3.meets(&server), read_certificate("server.pem"));
        folder.put("other");
        assert!(server.reload(&folder.block()).contains("Reloaded"));
        let newcomer = Tls { expects: "other.example", ..TLS_1_3 };
        assert_eq!(newcomer.meets(&server), read_certificate("other.pem"));
        assert!(!TLS_1_3.gets_in(&server), "the old name is gone");
        assert_eq!(old.converse("SUB a 1\r\nPUB a 1\r\nx\r\nPING\r\n"), "MSG a 1 1\r\nx\r\nPONG\r\n");
    }
}

#[test]
fn an_unreadable_certificate_changes_nothing() {
    let folder = Folder::new("broken");
    folder.put("server");
    for server in Server::both("tls-broken", &folder.block()) {
        folder.put("server");
        let other = fs::read_to_string(certificate("other.pem")).unwrap();
        for (file, content) in
            [("cert.pem", None), ("cert.pem", Some("junk")), ("key.pem", Some("junk")), ("cert.pem", Some(&*other))]
        {
            folder.put("server");
            match content {
                None => fs::remove_file(folder.0.join(file)).unwrap(),
                Some(content) => fs::write(folder.0.join(file), content).unwrap(),
            }
            let outcome = server.reload(&folder.block());
            assert!(outcome.contains("[ERR] Failed to reload server configuration: "), "{outcome}");
            if server.ours {
                assert!(outcome.contains(folder.0.to_str().unwrap()), "it names the file: {outcome}");
            }
            assert_eq!(TLS_1_3.meets(&server), read_certificate("server.pem"));
        }
        folder.put("server");
    }
}

#[test]
fn tls_can_be_switched_by_a_reload() {
    for server in Server::both("tls-switch", "") {
        let mut old = Client::login(&server, PLAIN);
        assert!(server.reload(&block("")).contains("Reloaded"));
        use_it(TLS_1_3.after_info(&server));
        assert!(old.converse("PING\r\n").contains("PONG"));
        assert!(server.reload(&block("handshake_first: true")).contains("Reloaded"));
        TLS_1_3.first(&server).until("INFO ");
        assert!(server.reload("").contains("Reloaded"));
        use_it(Client::connect(&server));
        assert!(old.converse("PING\r\n").contains("PONG"));
    }
}
