//! Operator mode in the configuration: what is refused, in nats-server 2.15.1's words.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use leaf::config::{Delete, Resolver, check};

mod config_common;
use config_common::Memory;

/// JWTs of a real signer: an operator, its system account, another account, a user, a bearer.
const CAPTURE: &str = include_str!("captures/client-jwt.txt");

struct Names {
    operator: &'static str,
    operator_key: String,
    system: &'static str,
    system_key: String,
    account: &'static str,
    account_key: String,
    user: &'static str,
    bearer: &'static str,
}

fn names() -> Names {
    use leaf::auth::jwt::{Account, Operator, User, decode};
    let mut all = CAPTURE.split(['"', ' ', '\n']).filter(|word| word.starts_with("eyJ0"));
    let mut next = || all.next().unwrap();
    let (operator, system, account, user) = (next(), next(), next(), next());
    let bearer = all.find(|text| decode::<User>(text).unwrap().body.rights.bearer_token).unwrap();
    Names {
        operator,
        operator_key: decode::<Operator>(operator).unwrap().subject.into(),
        system,
        system_key: decode::<Account>(system).unwrap().subject.into(),
        account,
        account_key: decode::<Account>(account).unwrap().subject.into(),
        user,
        bearer,
    }
}

/// `$OP`, `$SYS` … stand for JWTs, `$OPK` … for keys.
fn filled(text: &str) -> String {
    let names = names();
    let preload = format!(
        "resolver_preload: {{ {}: {}, {}: {} }}",
        names.system_key, names.system, names.account_key, names.account
    );
    text.replace("$PRELOAD", &preload)
        .replace("$OPK", &names.operator_key)
        .replace("$OP", names.operator)
        .replace("$SYSK", &names.system_key)
        .replace("$ACCK", &names.account_key)
        .replace("$ACC", names.account)
        .replace("$USER", names.user)
        .replace("$BEARER", names.bearer)
}

fn read(text: &str) -> Result<leaf::config::Config, String> {
    Memory::new(&filled(text)).file("op.jwt", names().operator).read().map_err(|errors| errors.to_string())
}

const OK: &str = "operator: $OP\nresolver: MEMORY\n$PRELOAD";

#[test]
fn an_operator_comes_inline_or_in_a_file_with_its_system_account() {
    for text in ["operator: $OP\nresolver: MEM\n$PRELOAD", "roots: [op.jwt]\nresolver: mem\n$PRELOAD", OK] {
        let config = read(text).unwrap();
        assert_eq!(config.system_account.as_deref(), Some(&*names().system_key), "{text}");
        let operator = config.operator.clone().unwrap();
        assert_eq!((operator.operators.len(), operator.preload.len()), (1, 2), "{text}");
        assert_eq!(check(&config), Ok(()), "{text}");
    }
}

#[test]
fn resolvers() {
    let of =
        |text: &str| read(&format!("operator: $OP\nresolver: {text}")).unwrap().operator.unwrap().resolver.unwrap();
    assert_eq!(of("URL(http://h:1/a)"), Resolver::Url("http://h:1/a/".to_owned()));
    assert_eq!(of("'url(\"http://h/a/\")'"), Resolver::Url("http://h/a/".to_owned()));
    let Resolver::Full(full) = of("{ type: full, dir: '/x', allow_delete: true, limit: 5, interval: '2m' }") else {
        panic!("not full")
    };
    assert_eq!((full.delete, full.limit, full.interval.as_secs()), (Delete::Renames, Some(5), 120));
    let Resolver::Cache(cache) = of("{ type: CACHE, dir: '/x', ttl: '1h', timeout: '3s' }") else { panic!("no cache") };
    assert_eq!((cache.limit, cache.ttl.unwrap().as_secs(), cache.timeout.as_secs()), (Some(1000), 3600, 3));
    assert_eq!(of("{ type: mem }"), Resolver::Memory);
}

#[test]
fn what_the_reader_refuses() {
    let forms = "should be MEM or  URL(\"url\") or a map containing dir and type state=[FULL|CACHE])";
    let no_form = format!("t.conf:2:1: error parsing account resolver, {forms}");
    for (text, complaint) in [
        ("operator: nope.jwt", "t.conf:1:0: error parsing operator JWT: open nope.jwt: no such file or directory"),
        ("operator: $USER", "t.conf:1:0: error parsing operator JWT: not operator claim"),
        ("operator: 5", "t.conf:1:0: error parsing operators: unsupported type int64"),
        ("trusted_keys: [ABC]", "t.conf:1:15: trust key \"ABC\" required to be a valid public operator nkey"),
        ("trusted_keys: {}", "t.conf:1:0: error parsing trusted: unsupported type map[string]interface {}"),
        ("operator: $OP\nresolver: FOO", &no_form),
        ("operator: $OP\nresolver: {}", &no_form),
        ("operator: $OP\nresolver: 5", "t.conf:2:1: error parsing operator resolver, wrong type int64"),
        ("operator: $OP\nresolver: { type: full }", "t.conf:2:1: dir has no value and needs to point to a directory"),
        ("operator: $OP\nresolver: { type: full, dir: '/x', ttl: 1h }", "t.conf:2:1: FULL does not accept ttl"),
        (
            "operator: $OP\nresolver: { type: full, dir: '/x', hard_delete: true }",
            "t.conf:2:1: hard_delete has no effect without delete",
        ),
        (
            "operator: $OP\nresolver: { type: cache, dir: '/x', interval: '1h', allow_delete: true, hard_delete: false }",
            "t.conf:2:1: CACHE does not accept sync\nt.conf:2:1: CACHE does not accept allow_delete\n\
             t.conf:2:1: CACHE does not accept hard_delete",
        ),
        (
            "operator: $OP\nresolver: { type: full, dir: '/x', interval: 'x' }",
            "t.conf:2:1: time: invalid duration \"x\"",
        ),
        (
            "operator: $OP\nresolver: { type: full, dir: '/x', timeout: '0s' }",
            "t.conf:2:1: Fetch timeout 0s is too smal",
        ),
        (
            "operator: $OP\nresolver: { type: 5, dir: '/x' }",
            "t.conf:2:13: interface conversion: interface {} is int64, not string",
        ),
        ("resolver_preload: []", "t.conf:1:0: preload should be a map of account_public_key:account_jwt"),
        ("resolver_preload: { a: 5 }", "t.conf:1:20: preload map value should be a string JWT"),
        ("resolver_preload: { $ACCK: $USER }", "t.conf:1:20: invalid account JWT"),
        (
            "resolver_pinned_accounts: [5]",
            "t.conf:1:27: error parsing resolver_pinned_accounts: unsupported type in array int64",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), complaint, "{text}");
    }
}

#[test]
fn what_the_start_refuses() {
    for (text, complaint) in [
        ("accounts { X {} }", "operators do not allow Accounts to be configured directly"),
        ("authorization { users: [ {user: a} ] }", "operators do not allow users to be configured directly"),
        ("trusted_keys: $OPK", "conflicting options for 'TrustedKeys' and 'TrustedOperators'"),
        ("system_account: $ACCK", "system_account in config and operator JWT must be identical"),
        ("no_auth_user: x", "no_auth_user not compatible with Trusted Operator"),
        ("resolver_pinned_accounts: [x]", "pinned account key \"x\" is not a valid public account nkey"),
        ("default_sentinel: x", "default sentinel JWT not valid"),
        ("default_sentinel: $USER", "default sentinel must be a bearer token"),
        (
            "resolver: URL(http://127.0.0.1:1/)",
            "resolver preloads only available for writeable resolver types MEM/DIR/CACHE_DIR",
        ),
    ] {
        let config = read(&format!("{OK}\n{text}")).unwrap();
        assert_eq!(check(&config), Err(complaint.to_owned()), "{text}");
    }
    for (text, result) in [
        ("default_sentinel: x", Err("default sentinel requires operators and accounts".to_owned())),
        ("trusted_keys: $OPK\nresolver: MEM\n$PRELOAD", Ok(())),
        ("operator: $OP", Err("operators require an account resolver to be configured".to_owned())),
        ("operator: $OP\nresolver: MEM\n$PRELOAD\ndefault_sentinel: $BEARER", Ok(())),
        ("resolver: MEM\n$PRELOAD", Ok(())),
    ] {
        assert_eq!(check(&read(text).unwrap()), result, "{text}");
    }
}
