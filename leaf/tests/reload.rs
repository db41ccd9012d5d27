//! SIGHUP: what changes, for whom, and what they are told. Nobody is disconnected who need not be.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use support::{Client, Server, same, without_info};

const ROOT: &str = r#"{"verbose":false,"user":"root","pass":"p"}"#;
const ANNA: &str = r#"{"verbose":false,"user":"anna","pass":"p"}"#;
const PLAIN: &str = r#"{"verbose":false}"#;
/// A client that takes INFO at any time.
const CURIOUS: &str = r#"{"verbose":false,"protocol":1}"#;

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

/// Root, who may do all, and Anna, who may do what is said here.
fn users(anna: &str) -> String {
    format!("authorization {{ users: [ {{ user: root, password: p }}, {{ user: anna, password: p {anna} }} ] }}")
}

fn reloaded(server: &Server, config: &str) {
    let outcome = server.reload(config);
    assert!(outcome.contains("[INF] Reloaded server configuration"), "{outcome}");
}

/// Unlike nats-server, which ends her without a word, we tell Anna why.
#[test]
fn one_user_goes_and_the_others_notice_nothing() {
    for server in Server::both("reload-user", &users("")) {
        let mut root = Client::login(&server, ROOT);
        let mut anna = Client::login(&server, ANNA);
        root.converse("SUB x 1\r\nPING\r\n");
        reloaded(&server, "authorization { users: [ { user: root, password: p } ] }");
        assert_eq!(anna.end(), if server.ours { VIOLATION } else { "" });
        assert_eq!(root.converse("PUB x 1\r\ny\r\nPING\r\n"), "MSG x 1 1\r\ny\r\nPONG\r\n");
        let again = Client::connect(&server).say_and_end(&format!("CONNECT {ANNA}\r\n"));
        assert_eq!(without_info(&again), VIOLATION);
    }
}

#[test]
fn a_changed_password_ends_those_who_came_with_the_old_one() {
    same("reload-password", &users(""), |server| {
        let mut root = Client::login(server, ROOT);
        let mut anna = Client::login(server, ANNA);
        let changed = users("").replace("user: anna, password: p", "user: anna, password: q");
        reloaded(server, &changed);
        let end = anna.end();
        Client::login(server, &ANNA.replace("\"pass\":\"p\"", "\"pass\":\"q\""));
        format!("{end}{}", root.converse("PING\r\n"))
    });
}

/// From no login to one, to a token.
#[test]
fn the_way_to_log_in_changes() {
    same("reload-login", "", |server| {
        let mut open = Client::login(server, PLAIN);
        reloaded(server, "authorization { token: t }");
        let mut told = open.end();
        let mut holder = Client::login(server, r#"{"verbose":false,"auth_token":"t"}"#);
        reloaded(server, &users(""));
        told += &holder.end();
        Client::login(server, ROOT);
        told
    });
}

/// nats-server cannot change this one while it runs.
#[test]
fn guests_are_let_in_and_sent_away() {
    let server = Server::start("reload-guest", &users(""));
    let mut root = Client::login(&server, ROOT);
    reloaded(&server, &format!("{}\nno_auth_user: anna", users("")));
    let mut guest = Client::login(&server, PLAIN);
    reloaded(&server, &users(""));
    assert_eq!(guest.end(), VIOLATION);
    assert_eq!(root.converse("PING\r\n"), "PONG\r\n");
}

/// Every subscription is looked at again: what is now forbidden goes and is told, the rest stays.
#[test]
fn tighter_permissions_take_subscriptions_away() {
    let told = same("reload-tighter", &users(""), |server| {
        let mut anna = Client::login(server, ANNA);
        anna.converse("SUB keep 1\r\nSUB go 2\r\nSUB go workers 3\r\nSUB go.* 4\r\nSUB wide.> 5\r\nPING\r\n");
        let rules = ", permissions: { publish: { deny: shut }, \
                     subscribe: { allow: [keep, \"wide.>\"], deny: \"wide.secret\" } }";
        reloaded(server, &users(rules));
        // They may be told in any order.
        let mut told: Vec<String> = anna.converse("PING\r\n").lines().map(str::to_owned).collect();
        told.sort_unstable();
        let mut root = Client::login(server, ROOT);
        for subject in ["keep", "go", "go.x", "wide.open", "wide.secret"] {
            root.say(&format!("PUB {subject} 1\r\nx\r\n"));
        }
        root.converse("PING\r\n");
        told.push(anna.converse("PUB shut 1\r\nx\r\nSUB go 6\r\nPUB keep 1\r\ny\r\nPING\r\n"));
        told.join("\n")
    });
    for line in [
        "-ERR 'Permissions Violation for Subscription to \"go\" (sid \"2\")'",
        "-ERR 'Permissions Violation for Subscription to \"go\" using queue \"workers\" (sid \"3\")'",
        "-ERR 'Permissions Violation for Subscription to \"go.*\" (sid \"4\")'",
        "MSG keep 1 1\r\nx\r\nMSG wide.open 5 1\r\nx\r\n",
        "-ERR 'Permissions Violation for Publish to \"shut\"'",
        "MSG keep 1 1\r\ny\r\n",
    ] {
        assert!(told.contains(line), "{line} is missing in:\n{told}");
    }
}

#[test]
fn wider_permissions_open_what_was_shut() {
    let narrow = users(", permissions: { publish: a, subscribe: { allow: \">\", deny: b } }");
    same("reload-wider", &narrow, |server| {
        let mut anna = Client::login(server, ANNA);
        let before = anna.converse("SUB > 1\r\nSUB b 2\r\nPUB b 1\r\nx\r\nPING\r\n");
        reloaded(server, &users(", permissions: { publish: \">\", subscribe: \">\" }"));
        let first = anna.converse("PUB b 1\r\nx\r\nPING\r\n");
        reloaded(server, &users(""));
        let second = anna.converse("UNSUB 1\r\nSUB b 2\r\nPUB b 1\r\nx\r\nPING\r\n");
        format!("{before}{first}{second}")
    });
}

#[test]
fn default_permissions_reach_those_who_are_here() {
    same("reload-default", &users(""), |server| {
        let mut anna = Client::login(server, ANNA);
        let with = users("").replace("users:", "default_permissions: { publish: a, subscribe: a }, users:");
        reloaded(server, &with);
        anna.converse("SUB a 1\r\nSUB b 2\r\nPUB a 1\r\nx\r\nPUB b 1\r\nx\r\nPING\r\n")
    });
}

#[test]
fn moving_to_another_account_means_coming_again() {
    let in_account = |name: &str| {
        format!(
            "accounts {{ A {{ users: [ {{ user: root, password: p }} ] }}, {name} {{ users: [ {{ user: anna, password: p }} ] }} }}"
        )
    };
    same("reload-account", &in_account("B"), |server| {
        let mut root = Client::login(server, ROOT);
        let mut anna = Client::login(server, ANNA);
        root.converse("SUB x 1\r\nPING\r\n");
        reloaded(server, &in_account("C"));
        let told = anna.end();
        format!("{told}{}", root.converse("PUB x 1\r\ny\r\nPING\r\n"))
    });
}

#[test]
fn mappings_change_for_those_who_are_here() {
    same("reload-mappings", "mappings { a: b }", |server| {
        let mut client = Client::login(server, PLAIN);
        let before = client.converse("SUB * 1\r\nPUB a 1\r\nx\r\nPING\r\n");
        reloaded(server, "mappings { a: c }");
        let after = client.converse("PUB a 1\r\nx\r\nPING\r\n");
        reloaded(server, "");
        if server.ours {
            // nats-server keeps the last one.
            assert_eq!(client.converse("PUB a 1\r\nx\r\nPING\r\n"), "MSG a 1 1\r\nx\r\nPONG\r\n");
        }
        format!("{before}{after}")
    });
}

#[test]
fn a_smaller_payload_is_announced_and_enforced() {
    same("reload-payload", "", |server| {
        let mut client = Client::login(server, CURIOUS);
        let mut quiet = Client::login(server, PLAIN);
        reloaded(server, "max_payload: 10");
        // nats-server tells only those who come later.
        let info = if server.ours { client.until("\r\n") } else { Client::connect(server).until("\r\n") };
        assert!(info.contains("\"max_payload\":10,"), "{info}");
        let told = client.converse("PUB a 10\r\n0123456789\r\nPING\r\n");
        client.say("PUB a 11\r\n01234567890\r\n");
        let end = client.end();
        quiet.say("PUB a 11\r\n01234567890\r\n");
        format!("{told}{end}{}", quiet.end())
    });
}

#[test]
fn a_larger_payload_is_announced_and_taken() {
    same("reload-larger", "max_payload: 10", |server| {
        let mut client = Client::login(server, CURIOUS);
        reloaded(server, "max_payload: 20");
        // nats-server tells only those who come later.
        let info = if server.ours { client.until("\r\n") } else { Client::connect(server).until("\r\n") };
        assert!(info.contains("\"max_payload\":20,"), "{info}");
        client.converse("SUB a 1\r\nPUB a 11\r\n01234567890\r\nPING\r\n")
    });
}

/// The account's own limit, too.
#[test]
fn an_accounts_payload_limit_changes() {
    let account = |limits: &str| format!("accounts {{ A {{ users: [ {{ user: root, password: p }} ], {limits} }} }}");
    same("reload-account-payload", &account("limits { max_payload: 10 }"), |server| {
        let mut client = Client::login(server, ROOT);
        reloaded(server, &account("limits { max_payload: 20 }"));
        let told = client.converse("PUB a 11\r\n01234567890\r\nPING\r\n");
        reloaded(server, &account("limits { max_payload: 5 }"));
        client.say("PUB a 6\r\n012345\r\n");
        format!("{told}{}", client.end())
    });
}

/// nats-server cannot change this one while it runs.
#[test]
fn fewer_subscriptions_are_for_new_ones() {
    let server = Server::start("reload-subs", "");
    let mut client = Client::login(&server, PLAIN);
    client.converse("SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nPING\r\n");
    reloaded(&server, "max_subscriptions: 2");
    let told = client.converse("PUB c 1\r\nx\r\nSUB a 4\r\nPING\r\n");
    assert_eq!(told, "MSG c 3 1\r\nx\r\n-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
}

#[test]
fn a_shorter_control_line_holds_for_those_who_are_here() {
    same("reload-line", "", |server| {
        let mut client = Client::login(server, PLAIN);
        reloaded(server, "max_control_line: 64");
        client.say(&format!("SUB {} 1\r\nPING\r\n", "a".repeat(100)));
        client.end()
    });
}

/// The youngest leave.
#[test]
fn fewer_connections_send_some_away() {
    same("reload-connections", "", |server| {
        let mut clients: Vec<Client> = (0..4).map(|_| Client::login(server, PLAIN)).collect();
        reloaded(server, "max_connections: 2");
        let mut told = String::new();
        // Which two is the server's choice: ours takes the youngest, nats-server any.
        let mut stayed = 0;
        for client in &mut clients {
            let alive = client.try_say(b"PING\r\n");
            let answer = client.lines_or_end(1);
            if alive && answer == "PONG\r\n" {
                stayed += 1;
            } else {
                told += &answer;
            }
        }
        assert_eq!(stayed, 2);
        told
    });
}

#[test]
fn debug_and_the_place_of_the_log_change() {
    for server in Server::both("reload-log", "") {
        Client::login(&server, PLAIN);
        reloaded(&server, "debug: true");
        Client::login(&server, PLAIN);
        server.logs("[DBG] ");
        reloaded(&server, "debug: true\nlog_file: \"<DIR>/t.log\"");
        let other = || std::fs::read_to_string(server.path("t.log")).unwrap();
        assert!(other().contains("[INF] Reloaded server configuration"), "{}", other());
        reloaded(&server, "trace: true\nlog_file: \"<DIR>/t.log\"");
        let mut client = Client::login(&server, PLAIN);
        client.converse("SUB traced.subject 1\r\nPING\r\n");
        support::eventually("SUB is traced", || other().contains("[TRC] ") && other().contains("traced.subject"));
        let old = server.log();
        reloaded(&server, "log_file: \"<DIR>/t.log\"\nlogtime: false");
        let other = other();
        let line = other.lines().last().unwrap();
        assert!(line.contains("] [INF] Reloaded"), "{line}");
        assert_eq!(server.log(), old, "the old file is left alone");
    }
}

/// A file that cannot be: nothing changes, and the log says where it is wrong.
#[test]
fn a_broken_file_changes_nothing() {
    for server in Server::both("reload-broken", &users("")) {
        let mut root = Client::login(&server, ROOT);
        let mut anna = Client::login(&server, ANNA);
        for (broken, says) in [
            ("authorization { users: [", "[ERR] Failed to reload server configuration: "),
            ("max_payload: nonsense", "s.conf:3:"),
            ("max_payload: 10\nno_such_option: 1", "no_such_option"),
            ("max_payload: 10\nmax_pending: 5", "max_payload"),
            ("authorization { user: a, password: b, token: c }", "[ERR] Failed to reload server configuration: "),
            ("no_auth_user: nobody", "nobody"),
        ] {
            let outcome = server.reload(broken);
            assert!(outcome.contains("Failed to reload") && outcome.contains(says), "{broken}: {outcome}");
        }
        assert_eq!(root.converse("PUB x 20\r\n01234567890123456789\r\nPING\r\n"), "PONG\r\n");
        assert_eq!(anna.converse("PING\r\n"), "PONG\r\n");
        Client::login(&server, ANNA);
        std::fs::remove_file(server.path("s.conf")).unwrap();
        server.signal("HUP");
        server.logs("s.conf: no such file");
        Client::login(&server, ANNA);
        reloaded(&server, &users(""));
    }
}

/// Taking over half a configuration would be worse than none of it.
#[test]
fn a_log_that_cannot_be_written_changes_nothing() {
    let server = Server::start("reload-log-broken", &users(""));
    let mut anna = Client::login(&server, ANNA);
    let outcome =
        server.reload("log_file: \"<DIR>/none/s.log\"\nauthorization { users: [ { user: root, password: p } ] }");
    assert!(outcome.contains("Failed to reload") && outcome.contains("none/s.log"), "{outcome}");
    assert_eq!(anna.converse("PING\r\n"), "PONG\r\n");
    assert!(!server.log().contains("Reloaded server configuration"), "{}", server.log());
}

const MONITOR: &str = "http: \"127.0.0.1:-1\"";

/// The name in the refusal is nats-server's.
#[test]
fn what_cannot_change_is_refused_by_name() {
    let told = same("reload-refused", MONITOR, |server| {
        let mut client = Client::login(server, PLAIN);
        let mut told = String::new();
        for option in [
            "server_name: other",
            "no_header_support: true",
            "disable_sublist_cache: true",
            "max_closed_clients: 7",
            "lame_duck_duration: \"40s\"",
            "lame_duck_grace_period: \"7s\"",
            "allow_non_tls: true",
            "http_base_path: x",
            "system_account: S\naccounts { S { users: [ { user: s, password: s } ] } }",
            "max_traced_msg_len: 7",
            "client_advertise: \"example.org:4222\"",
            "no_fast_producer_stall: true",
            "ping_interval: \"30s\"\nping_max: 3\nwrite_deadline: \"3s\"",
            "server_tags: [a, b]",
        ] {
            let outcome = server.reload(&format!("{MONITOR}\n{option}"));
            let outcome = outcome.split_once("[").unwrap().1.split_once("[").unwrap().1;
            told += &format!("{option}: {}\n", outcome.split_once(": old=").map_or(outcome, |(before, _)| before));
        }
        told = told
            .split_inclusive('\n')
            .map(|line| line.split(" (sha256:").next().unwrap().trim_end().to_owned() + "\n")
            .collect();
        let gone = server.reload("");
        assert!(gone.contains("config reload not supported for HTTPPort"), "{gone}");
        told + &client.converse("PING\r\n")
    });
    assert!(told.contains("config reload not supported for ServerName"), "{told}");
}
