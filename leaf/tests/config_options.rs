//! Options, one by one: what they make of the configuration, and what is said about those that are wrong.

#![allow(clippy::unwrap_used)]

mod config_common;

use std::path::PathBuf;
use std::time::Duration;

use config_common::Memory;
use leaf::config::{Config, HandshakeFirst, Responses, TraceTo, check, remarks};

fn good(text: &str) -> Config {
    Memory::new(text).read().unwrap_or_else(|errors| panic!("{text}: {errors}"))
}

fn bad(text: &str) -> String {
    match Memory::new(text).read() {
        Ok(config) => panic!("{text}: {config:?}"),
        Err(errors) => errors.to_string(),
    }
}

fn nkey() -> String {
    format!("U{}", "A".repeat(55))
}

#[test]
fn an_empty_file_is_the_default_with_a_warning() {
    let config = good("");
    assert_eq!(config.warnings, ["t.conf: config has no values or is empty"]);
    let digest = config.digest.clone();
    assert_eq!(
        config,
        Config { file: Some("t.conf".into()), digest, warnings: config.warnings.clone(), ..Config::default() }
    );
}

#[test]
fn digests_are_those_of_nats_server() {
    // Each was printed by `nats-server -t`, 2.15.1.
    for (text, digest) in [
        ("no_auth_user: zz", "22e7309de2db766968fc5548fe174bfc3d0b75ba6fd2baf3625ac5df52dbebcb"),
        ("# c\n system_account=\"$SYS\" // d", "ea91901b9ea0f9685702bd73c8ffa6599ab46a94bcabc7471ec27df62f888b81"),
        (
            "accounts {A {users: [{user: a, password: b}]}}\nno_auth_user: zz",
            "576e8e18ee04e34b2af5c3a5c63bfdec02fc2bce8206109494844463d20904c9",
        ),
        (
            "max_traced_msg_len: 5\nserver_name: \"a\\n<é\"\nping_interval: \"1m\"\nmax_payload:1000",
            "15c69fb1f1552b318a40fb73301585a016759689d344076c442d8a0d6f40c9db",
        ),
    ] {
        assert_eq!(good(text).digest, format!("sha256:{digest}"), "{text}");
    }
}

#[test]
fn listeners() {
    let config = good("listen: \"[::1]:-1\"\nhttp: 127.0.0.1:8222\nhttp_base_path: \"a//b/\"\nserver_tags: [x, y]");
    assert_eq!((config.host.as_deref(), config.port), (Some("::1"), None));
    let monitor = config.monitor.unwrap();
    assert_eq!((monitor.host.as_deref(), monitor.port), (Some("127.0.0.1"), Some(8222)));
    assert_eq!(monitor.base_path, "/a/b");
    assert_eq!(config.tags, ["x", "y"]);
    assert_eq!(good("port: 0").port, Some(4222));
    assert!(good("http_port: 0").monitor.is_none());
    assert_eq!(good("server_metadata { a: b }").metadata["a"], "b");
    assert_eq!(bad("port: 70000"), "t.conf:1:0: invalid port 70000");
    assert_eq!(bad("listen: \"a:b\""), "t.conf:1:0: could not parse port \"b\"");
    assert_eq!(bad("server_name: \"a b\""), "t.conf:1:0: server name cannot contain spaces");
}

#[test]
fn limits() {
    let limits = good("max_conn: 0\nmax_subs: 7\nmax_sub_tokens: 16\nmax_control_line: 2KB\nping_max: 3").limits;
    assert_eq!((limits.max_connections, limits.max_subscriptions, limits.max_subscription_tokens), (0, 7, 16));
    assert_eq!((limits.max_control_line, limits.ping_max), (2048, 3));
    assert_eq!(good("max_payload: 0").limits.max_payload, Some(1 << 20));
    assert_eq!(good("write_deadline: \"1500ms\"").limits.write_deadline, Duration::from_millis(1500));
    assert_eq!(bad("max_payload: 2GB"), "t.conf:1:0: max_payload value is too big");
    assert_eq!(bad("max_sub_tokens: 256"), "t.conf:1:0: max_sub_tokens value is too big");
    assert_eq!(bad("max_pending: -1"), "t.conf:1:0: max_pending value can not be negative");
    let config = good("write_deadline: 5");
    assert_eq!(config.limits.write_deadline, Duration::from_secs(5));
    let text = "t.conf:1:0: invalid use of field \"write_deadline\": write_deadline should be converted to a duration";
    assert_eq!(config.warnings, [text]);
    assert_eq!(remarks(&good("max_payload: 9MB")).len(), 1);
}

#[test]
fn logging() {
    let log =
        good("trace_verbose: true\ntrace: false\nlogtime: no\nlog_file: x\nlog_size_limit: 1MB\nlog_format: json").log;
    assert!(log.trace && log.trace_verbose && !log.time && log.json);
    assert_eq!((log.file, log.size_limit), (Some(PathBuf::from("x")), 1 << 20));
    assert!(bad("log_format: xml").contains("log_format must be"));
}

#[test]
fn users_and_their_permissions() {
    let nkey = nkey();
    let config = good(&format!(
        "authorization {{
            timeout: 1.5
            default_permissions {{ publish: \"a.>\" }}
            users: [
                {{ user: a, password: b }}
                {{ nkey: {nkey}, permissions {{ sub: {{ allow: \"x q*\", deny: [y, z] }}, allow_responses: true }} }}
                {{ user: c, password: d, permissions {{ allow_responses {{ max: -1, ttl: \"5s\" }} }}
                   connection_types: [standard] }}
            ]
        }}"
    ));
    assert_eq!(config.auth.timeout, Some(Duration::from_millis(1500)));
    let [a, c] = &config.auth.users[..] else { panic!() };
    assert_eq!(a.permissions.as_ref().unwrap().publish.allow.as_deref(), Some(&["a.>".to_owned()][..]));
    assert_eq!(a.password.expose(), "b");
    let responses = c.permissions.as_ref().unwrap().responses;
    assert_eq!(responses, Some(Responses { max: None, expires: Some(Duration::from_secs(5)) }));
    assert_eq!(c.connection_types, ["STANDARD"]);
    let permissions = config.auth.nkeys[0].permissions.as_ref().unwrap();
    assert_eq!(permissions.publish.allow, Some(Vec::new()));
    assert_eq!(permissions.subscribe.deny, ["y", "z"]);
    assert!(!format!("{config:?}").contains("\"b\""));
}

#[test]
fn ways_to_log_in_exclude_each_other() {
    for (text, complaint) in [
        ("authorization { token: a, user: b, password: c }", "1:0: Cannot have a user/pass and token"),
        ("authorization { token: a, users: [] }", "1:0: Can not have a token and a users array"),
        ("authorization { pass: a }", "1:0: A password needs a user"),
        (
            "accounts { A { users: [{user: x, password: y}] } }\nauthorization { user: a, pass: b }",
            "2:1: Can not have a single user/pass and a users array",
        ),
        (
            "accounts { A { users: [{user: x, password: y}] }\nB { users: [{user: x, password: y}] } }",
            "2:5: Duplicate user \"x\" detected",
        ),
        ("authorization { users: [ {password: a} ] }", "1:26: User entry requires a user"),
        ("authorization { users: [ {nkey: abc} ] }", "1:26: Not a valid public nkey for a user"),
        (
            "authorization { users: [ {user: a, password: b, allowed_connection_types: [STANDARD, foo, bar]} ] }",
            "1:48: invalid connection types [\"FOO\" \"BAR\"]",
        ),
        ("authorization { permissions { pub: a }, user: a, pass: b }", "1:0: Permissions in the authorization block"),
        ("authorization { users: [{user: a, permissions { pub: \"a..b\" }}] }", "not a valid subject"),
        ("authorization { users: [{user: a, permissions { pub: \"a q\" }}] }", "\"a q\" is not a valid subject"),
        ("authorization { auth_callout {} }", "1:16: Authorization callouts require an issuer to be specified"),
        ("authorization { auth_callout { issuer: UABC } }", "Expected callout user to be a valid public account nkey"),
    ] {
        assert!(bad(text).contains(complaint), "{text}: {}", bad(text));
    }
    let warning = "t.conf:1:16: invalid use of field \"timeout\": timeout of 90 (90.000000 seconds) is high, consider \
                   keeping it under 60 seconds. possibly caused by unquoted duration; use '1m' instead of 1m, for example";
    assert_eq!(good("authorization { timeout: 90 }").warnings, [warning]);
}

#[test]
fn accounts_and_mappings() {
    let config = good(
        "mappings { a.*: \"b.$1\" }
        accounts {
            A { users: [{user: x, password: y}], limits { max_conn: 3, max_pay: -1 }
                default_permissions { sub: q }
                maps { s: [ {dest: t, weight: \"40%\"}, {destination: u, weight: 60}, {dest: v, weight: 100, cluster: C} ] } }
            SYS { }
        }
        system_account: SYS",
    );
    let names: Vec<&str> = config.accounts.iter().map(|account| account.name.as_str()).collect();
    assert_eq!(names, ["$G", "A", "SYS"]);
    assert_eq!(config.accounts[0].mappings[0].destinations[0].weight, 100);
    assert_eq!(config.accounts[1].mappings[0].destinations[2].cluster.as_deref(), Some("C"));
    assert_eq!((config.accounts[1].limits.max_connections, config.accounts[1].limits.max_payload), (Some(3), None));
    assert_eq!(config.auth.users[0].account, 1);
    assert!(config.auth.users[0].permissions.is_some());
    assert_eq!(config.system_account.as_deref(), Some("SYS"));
    assert_eq!(good("no_system_account: true").system_account, None);
    good("accounts { A { nkey: ADFBEFDBGY6DWERYKZ4SDJXMV7EFN3RM4R24XXUW3X6MV6G4XNETAKQV } }");
    let trace = |text: &str| good(&format!("accounts {{ A {{ msg_trace: {text} }} }}")).accounts[1].trace.clone();
    assert_eq!(trace("x.y"), Some(TraceTo { dest: "x.y".to_owned(), sampling: 100 }));
    assert_eq!(trace("{dest: x, sampling: \"7%\"}"), Some(TraceTo { dest: "x".to_owned(), sampling: 7 }));
    let odd = good("accounts { A { msg_trace: {sampling: 7} } }");
    assert!(odd.accounts[1].trace.is_none() && odd.warnings[0].contains("sampling ignored"), "{:?}", odd.warnings);
    for (text, complaint) in [
        (
            "mappings { a: [{dest: b, weight: 60}, {dest: c, weight: 60}] }",
            "1:11: Error adding mapping for \"a\" : total weight needs to be <= 100",
        ),
        ("mappings { a: [{dest: b, weight: 6}, {dest: b, weight: 6}] }", "duplicate entry for \"b\""),
        ("mappings { a: {dest: b} }", "Missing weight for mapping destination \"b\""),
        ("mappings { a..b: c }", "Subject \"a..b\" is not a valid subject"),
        ("mappings { a: {dest: b, weight: 101} }", "Invalid weight 101"),
        ("accounts: [A, A]", "Duplicate Account Entry: A"),
        ("accounts { A { msg_trace: \"x.*\" } }", "1:15: Trace destination \"x.*\" is not valid"),
        (
            "accounts { A { msg_trace: 1 } }",
            "Expected account message trace \"msg_trace\" to be a string or a map/struct",
        ),
        ("accounts { A { trace_dest: {dest: x, sampling: 0} } }", "sampling value 0 is invalid, needs to be [1..100]"),
        (
            "accounts { A { trace_dest: {dest: x, sampling: \"a%\"} } }",
            "Invalid trace destination sampling value \"a%\"",
        ),
        ("accounts { A { trace_dest: {dest: x, by: 1} } }", "Unknown field \"by\" parsing account message trace"),
        ("accounts { A { nkey: UABC } }", "1:15: Not a valid public nkey for an account: \"UABC\""),
        ("accounts { A { zz: 1 } }", "1:15: unknown field \"zz\""),
        ("accounts { A { limits { zz: 1 } } }", "Unknown field \"zz\" parsing account limits"),
    ] {
        assert!(bad(text).contains(complaint), "{text}: {}", bad(text));
    }
}

#[test]
fn tls_blocks() {
    let tls = good(
        "tls { certs: [ {cert_file: a, key_file: b}, {cert_file: c, key_file: d} ], timeout: 0.5, verify: true
            min_version: \"1.3\", handshake_first: auto, connection_rate_limit: 9
            cipher_suites: [TLS13_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305]
            curve_preferences: [X25519] }",
    )
    .tls
    .unwrap();
    assert_eq!(tls.certs[1], ("c".into(), "d".into()));
    assert_eq!((tls.timeout, tls.verify, tls.only_1_3), (Duration::from_millis(500), true, true));
    assert_eq!(tls.handshake_first, HandshakeFirst::Auto(Duration::from_millis(50)));
    assert_eq!(tls.cipher_suites, ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"]);
    let files = "cert_file: a, key_file: b,";
    for (text, complaint) in [
        ("cert_file: a", "1:0: missing 'key_file'"),
        ("", "missing 'cert_file' and 'key_file'"),
        (&format!("{files} certs: [ {{cert_file: a, key_file: b}} ]"), "cannot combine 'cert_file'"),
        (&format!("{files} zz: 1"), "error parsing tls config, unknown field \"zz\""),
        (&format!("{files} pinned_certs: [abc]"), "key abc does not contain a hex encoded sha256"),
        (&format!("{files} min_version: \"1.1\""), "unsupported TLS version: TLS 1.1"),
        (
            &format!("{files} cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]"),
            "cipher suite \"TLS_RSA_WITH_RC4_128_SHA\" is not supported",
        ),
        (&format!("{files} curve_preferences: [CurveP521]"), "curve \"CurveP521\" is not supported"),
        (&format!("{files} handshake_first: soon"), "field \"handshake_first\"'s value \"soon\" is invalid"),
    ] {
        let text = format!("tls {{ {text} }}");
        assert!(bad(&text).contains(complaint), "{text}: {}", bad(&text));
    }
}

#[test]
fn what_is_missing_is_refused_by_name() {
    for key in ["jetstream", "cluster", "gateway", "resolver_tls", "proxies"] {
        assert_eq!(bad(&format!("{key} {{}}")), format!("t.conf:1:0: \"{key}\" is not supported yet"));
    }
    good("jetstream: false\nsyslog: off\nwrite_timeout: default\nhttps_port: 0\nconnect_error_reports: 3600");
    assert!(bad("write_timeout: close").contains("not supported yet"));
    assert_eq!(bad("zz: 1\njetstream: true\nyy: 2").lines().count(), 3);
}

#[test]
fn start_time_checks() {
    for (text, complaint) in [
        ("no_auth_user: zz", "no_auth_user: \"zz\" present, but users/nkeys are not defined"),
        ("system_account: ZZ", "error resolving system account: account missing"),
    ] {
        assert_eq!(check(&good(text)), Err(complaint.to_owned()));
    }
    for text in ["system_account: \"$G\"", "max_payload: -1", "no_auth_user: a\nauthorization { users: [{user: a}] }"] {
        assert_eq!(check(&good(text)), Ok(()), "{text}");
    }
}

#[test]
fn variables_and_includes() {
    let memory = Memory::new("authorization { P = $PW, users: [{user: a, password: $P}] }\ninclude a/b.conf");
    let memory = memory.file("a/b.conf", "include \"../c.conf\"").file("c.conf", "max_payload: 5");
    let config = memory.variable("PW", "\"12\"").read().unwrap();
    assert_eq!(config.auth.users[0].password.expose(), "12");
    assert_eq!(config.limits.max_payload, Some(5));
    for (memory, complaint) in [
        (Memory::new("include t.conf"), "error parsing include file 't.conf', t.conf includes itself"),
        (Memory::new("server_name: $A").variable("A", "$B").variable("B", "$A"), "variable reference cycle for 'A'"),
        (Memory::new("include a.conf").file("a.conf", "zz: 1"), "a.conf:1:0: unknown field \"zz\""),
        (Memory::new("include a.conf").file("a.conf", "a: [,"), "'a.conf', Parse error on line 1"),
    ] {
        let text = memory.read().unwrap_err().to_string();
        assert!(text.contains(complaint), "{text}");
    }
}

/// Faults of exports and imports, in nats-server's words.
#[test]
fn exports_and_imports() {
    let say = |exports: &str, imports: &str| {
        format!("accounts {{ A {{ exports: [{exports}] }}\n B {{ imports: [{imports}] }}\n C {{}} }}")
    };
    for (exports, imports) in [
        ("{stream: \"s.>\", accounts: [B]}", "{stream: {account: A, subject: \"s.>\"}, prefix: x}"),
        (
            "{service: s, response: singleton, response_threshold: 1s, latency: lat}",
            "{service: {account: A, subject: s}, to: t, share: true}",
        ),
        ("{service: s, latency: {sampling: \"50%\", subject: lat}}", "{service: {account: A, subject: s}}"),
        ("{service: s, latency: {sampling: headers, subject: lat}}", ""),
        ("{stream: \"s.*.*\"}", "{stream: {account: A, subject: \"s.*.*\"}, to: \"y.$2.$1\"}"),
        ("{service: \"s.*\", account_token_position: 2}", "{service: {account: A, subject: s.B}}"),
    ] {
        let config = good(&say(exports, imports));
        assert_eq!(config.accounts[1].exports.len(), 1, "{exports}");
    }
    for (exports, imports, complaint) in [
        ("{stream: \"s.>\", accounts: [Z]}", "", "t.conf:1:0: \"Z\" account not defined for stream export"),
        ("", "{service: {account: Z, subject: s}}", "t.conf:1:0: \"Z\" account not defined for service import"),
        ("", "{stream: {account: A, subject: s}}", "Error adding stream import \"s\": stream import not authorized"),
        ("{service: s, accounts: [C]}", "{service: {account: A, subject: s}}", "service import not authorized"),
        (
            "{stream: s}",
            "{stream: {account: A, subject: s}}, {stream: {account: A, subject: s}}",
            "stream import already exists",
        ),
        ("{stream: s, service: t}", "", "Detected service \"t\" but already saw a stream"),
        ("{stream: s, response: stream}", "", "Detected response directive on non-service"),
        ("{stream: s, latency: x}", "", "Detected latency directive on non-service"),
        ("{stream: s, allow_trace: true}", "", "Detected allow_trace directive on non-service"),
        ("{service: s, response: foo}", "", "Unknown response type: \"foo\""),
        (
            "{service: s, response_threshold: foo}",
            "",
            "Expected response threshold to be a parseable time duration, got \"foo\"",
        ),
        ("{service: s, latency: {sampling: 10}}", "", "Latency subject required, but missing"),
        ("{service: s, latency: {sampling: 0, subject: x}}", "", "bad sampling percentage, should be 1-100"),
        ("{service: s, latency: lat, response: stream}", "", "on subject \"lat\": bad service response type"),
        ("{service: s, latency: \"x.*\"}", "", "on subject \"x.*\": invalid publish subject"),
        ("{service: s, foo: 1}", "", "unknown field \"foo\""),
        ("x", "", "Export Items should be a map with type entry, got string"),
        (
            "{service: \"s.x\", account_token_position: 2}",
            "",
            "Error adding service export \"s.x\": sublist: invalid subject",
        ),
        ("{stream: s}", "{stream: {account: A}}", "Expect an account name and a subject"),
        (
            "{stream: s}",
            "{stream: {account: A, subject: s}, prefix: a, to: b}",
            "can not have a 'prefix' and a 'to' property",
        ),
        (
            "{service: \"s.>\"}",
            "{service: {account: A, subject: s.a}, to: x}, {service: {account: A, subject: s.b}, to: x}",
            "Duplicate service import subject \"x\", previously used in import for account \"A\", subject \"s.a\"",
        ),
        (
            "{service: s}",
            "{service: {account: A, subject: s}, allow_trace: true}",
            "Detected allow_trace directive on a non-stream",
        ),
    ] {
        let text = say(exports, imports);
        assert!(bad(&text).contains(complaint), "{text}: {}", bad(&text));
    }
    let ring = |a: &str, b: &str| {
        format!("{a}: {{ exports: [{{service: s}}], imports: [{{service: {{account: {b}, subject: s}}}}] }}")
    };
    let text = format!("accounts {{ {}\n {} }}", ring("A", "B"), ring("B", "A"));
    assert_eq!(bad(&text), "t.conf:1:0: Error adding service import \"s\": import forms a cycle");
}

#[test]
fn store_encryption() {
    const HEX: &str = "30e4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";
    const BASE64: &str = "MOTxorPE1eb3CBkqO0xdbn+AkaKzxNXm9wgZKjtMXW4=";
    let encryption =
        |memory: Memory| memory.read().unwrap_or_else(|errors| panic!("{errors}")).store_encryption.unwrap();
    let written = encryption(Memory::new(&format!("store_encryption {{ key: \"{HEX}\", cipher: chacha }}")));
    assert_eq!(written.previous, None);
    for value in [HEX, BASE64] {
        let by_variable = Memory::new("store_encryption: { key_env: STORE_KEY }").variable("STORE_KEY", value);
        assert_eq!(encryption(by_variable), written, "{value}");
        let quoted = format!("\"{value}\"");
        let by_variable = Memory::new("store_encryption: { key: $STORE_KEY }").variable("STORE_KEY", &quoted);
        assert_eq!(encryption(by_variable), written, "{value}");
        let file = Memory::new("store_encryption { key_file: k, prev_key_file: \"p\" }");
        let file = encryption(file.file("k", &format!("{value}\n")).file("p", &HEX.replace('3', "4")));
        assert!(file.key == written.key && file.previous.is_some_and(|previous| previous != written.key));
    }
    for (block, complaint) in [
        ("{ key: secret }", "key of store_encryption: a key is 32 random bytes"),
        ("{ key_file: none }", "t.conf:1:19: key file \"none\":"),
        ("{ key_file: t.conf }", "key file \"t.conf\": a key is 32 random bytes"),
        ("{ key_env: NO_KEY }", "environment variable \"NO_KEY\": not set"),
        ("{ cipher: chacha }", "store_encryption needs key_file, key_env or key"),
        ("{ cipher: aes, key_file: t.conf }", "\"aes\" is not supported yet"),
        ("{ cipher: rot13, key_file: t.conf }", "unknown cipher \"rot13\""),
        ("{ tpm: {}, key_file: t.conf }", "unknown field \"tpm\""),
        ("yes", "map"),
    ] {
        let said = bad(&format!("store_encryption {block}"));
        assert!(said.contains(complaint) && !said.contains("secret"), "{block}: {said}");
    }
    let both = bad(&format!("store_encryption {{ key_file: k, key: \"{HEX}\" }}"));
    assert!(both.contains("given twice") && !both.contains(HEX), "{both}");
}
