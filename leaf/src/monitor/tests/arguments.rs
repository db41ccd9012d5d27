//! What can be asked, and what is refused with which words (all as nats-server 2.15.1 says them).

use super::*;

#[test]
fn refusals() {
    let node = lively();
    let boolean = |key: &str, text: &str| {
        format!("Error decoding boolean for '{key}': strconv.ParseBool: parsing \"{text}\": invalid syntax")
    };
    let int = |key: &str, text: &str, why: &str| {
        format!("Error decoding int for '{key}': strconv.Atoi: parsing \"{text}\": {why}")
    };
    for (target, text) in [
        ("/connz?sort=bogus", "invalid sorting option: bogus".to_owned()),
        ("/connz?sort=CID", "invalid sorting option: CID".to_owned()),
        ("/connz?sort=stop", "sort by stop only valid on closed connections".to_owned()),
        ("/connz?sort=reason&state=any", "sort by reason only valid on closed connections".to_owned()),
        ("/connz?limit=x", int("limit", "x", "invalid syntax")),
        ("/connz?limit=999999999999999999999", int("limit", "999999999999999999999", "value out of range")),
        ("/connz?offset=x", int("offset", "x", "invalid syntax")),
        ("/connz?auth=yes", boolean("auth", "yes")),
        ("/connz?subs=foo", boolean("subs", "foo")),
        ("/connz?state=foo", "Error decoding state for foo".to_owned()),
        ("/connz?cid=-1", "Error decoding uint64 for 'cid': strconv.ParseUint: parsing \"-1\": invalid syntax".into()),
        ("/subsz?subs=detail", boolean("subs", "detail")),
        ("/subsz?test=foo.*", "invalid test subject, must be valid publish subject: foo.*".to_owned()),
        ("/subsz?subs=1&test=a..b", "invalid test subject, must be valid publish subject: a..b".to_owned()),
        ("/subsz?offset=x", int("offset", "x", "invalid syntax")),
        ("/accountz?acc=NOPE", "Account NOPE does not exist".to_owned()),
        ("/accstatz?unused=x", boolean("unused", "x")),
        ("/leafz?subs=y", boolean("subs", "y")),
        ("/routez?subs=y", boolean("subs", "y")),
        ("/gatewayz?accs=x", boolean("accs", "x")),
        ("/jsz?limit=x", int("limit", "x", "invalid syntax")),
        ("/jsz?accounts=q", boolean("accounts", "q")),
        ("/healthz?details=zz", boolean("details", "zz")),
    ] {
        let response = get(&node, target);
        let seen = (response.status, response.content_type, String::from_utf8(response.body).unwrap());
        assert_eq!(seen, (400, "text/plain; charset=utf-8", text), "{target}");
    }
}

#[test]
fn unknown_paths() {
    for path in ["/nope", "/varz/", "/connz/x", "", "varz", "/VARZ"] {
        assert_eq!(get(&empty(), path), Response::text(404, "404 page not found\n"));
    }
}

/// The ids and the total that /connz tells for these arguments.
fn connz(node: &Node, arguments: &str) -> (Vec<u64>, u64) {
    let connz = value(node, &format!("/connz?{arguments}"));
    let cids = connz["connections"].as_array().unwrap().iter().map(|one| one["cid"].as_u64().unwrap()).collect();
    assert_eq!(connz["num_connections"].as_u64().unwrap() as usize, Vec::len(&cids));
    (cids, connz["total"].as_u64().unwrap())
}

#[test]
fn which_connections() {
    let node = lively();
    for (arguments, cids, total) in [
        ("", &[1, 2][..], 2),
        ("limit=", &[1, 2], 2),
        ("limit=0&offset=-4", &[1, 2], 2),
        ("limit=1", &[1], 2),
        ("limit=1&limit=x", &[1], 2),
        ("limit=1&offset=1", &[2], 2),
        ("limit=18&offset=9", &[], 2),
        ("state=CLOSED", &[3], 1),
        ("state=closed&sort=stop", &[3], 1),
        ("state=closed&sort=reason", &[3], 1),
        ("state=any", &[1, 2, 3], 3),
        ("state=all&limit=2&offset=1", &[2, 3], 3),
        ("cid=2", &[2], 2),
        ("cid=3", &[], 2),
        ("cid=3&state=closed", &[3], 1),
        ("cid=0", &[1, 2], 2),
        ("cid=1;sort=bogus", &[1, 2], 2),
        ("user=nobody", &[], 2),
        ("mqtt_client=x", &[], 2),
        ("acc=$G", &[1, 2], 2),
        ("acc=%24SYS", &[], 0),
    ] {
        assert_eq!(connz(&node, arguments), (cids.to_vec(), total), "{arguments}");
    }
    let unknown = get(&node, "/connz?acc=NOPE&state=closed").body;
    let unknown: serde_json::Value = serde_json::from_slice(&unknown).unwrap();
    assert_eq!((&unknown["server_id"], &unknown["connections"]), (&"".into(), &serde_json::Value::Null));
    let one = value(&node, "/connz?cid=2&limit=7&offset=9");
    assert_eq!((&one["limit"], &one["offset"]), (&1.into(), &0.into()));
}

#[test]
fn in_which_order() {
    // 1: 2 subs, 1 in, 2 out, the oldest. 2: 1 sub, nothing. 3 (here open): 1 in with fewer bytes, no sub.
    let mut node = lively();
    let fourth = join(&mut node, 5, "CONNECT {\"verbose\":false}\r\nPUB x 1\r\na\r\n");
    assert_eq!(fourth.cid(), 4);
    node.receive(8 * SECOND, ConnId { slot: 1, cid: 2 }, b"PING\r\n");
    for (sort, cids) in [
        ("cid", [1, 2, 4]),
        ("start", [1, 2, 4]),
        ("subs", [1, 2, 4]),
        ("msgs_to", [1, 2, 4]),
        ("msgs_from", [1, 4, 2]),
        ("bytes_to", [1, 2, 4]),
        ("bytes_from", [1, 4, 2]),
        ("last", [2, 4, 1]),
        ("idle", [1, 4, 2]),
        ("uptime", [4, 2, 1]),
        ("rtt", [1, 2, 4]),
    ] {
        assert_eq!(connz(&node, &format!("sort={sort}")).0, cids, "{sort}");
    }
    assert_eq!(connz(&node, "sort=pending").0.len(), 3);
}

#[test]
fn the_last_to_go_comes_first() {
    let mut node = empty();
    let ids = [join(&mut node, 1, ""), join(&mut node, 1, ""), join(&mut node, 1, "")];
    node.closed(2 * SECOND, ids[1], CloseReason::ReadError);
    node.closed(3 * SECOND, ids[2], CloseReason::ClientClosed);
    node.closed(4 * SECOND, ids[0], CloseReason::WriteError);
    assert_eq!(connz(&node, "state=closed&sort=stop").0, [1, 3, 2]);
    assert_eq!(connz(&node, "state=closed&sort=reason").0, [3, 2, 1]);
    assert_eq!(connz(&node, "state=closed&sort=cid").0, [1, 2, 3]);
}

#[test]
fn lists_of_subjects() {
    let node = lively();
    let subjects = |state: &str| {
        let connz = value(&node, &format!("/connz?subs=1&limit=1&state={state}"));
        connz["connections"][0].get("subscriptions_list").cloned()
    };
    assert_eq!(subjects("open"), Some(serde_json::json!(["foo.*", ">"])));
    // What a connection listened to is not kept when it goes.
    assert_eq!(subjects("closed"), None);
}

#[test]
fn which_subscriptions() {
    let node = plain();
    for (arguments, total, subjects) in [
        ("", 0, &[][..]),
        ("test=foo.a", 0, &[]),
        ("subs=1", 3, &["foo.*", ">", "work.>"]),
        ("subs=t&limit=1&offset=1", 3, &[">"]),
        ("subs=true&offset=1000", 3, &[]),
        ("subs=1&limit=-1&offset=-1", 3, &["foo.*", ">", "work.>"]),
        ("subs=1&test=work.a.b", 2, &[">", "work.>"]),
        ("subs=1&acc=$G", 3, &["foo.*", ">", "work.>"]),
        ("subs=1&acc=$SYS", 0, &[]),
        ("subs=1&acc=NOPE", 0, &[]),
    ] {
        let subsz = value(&node, &format!("/subsz?{arguments}"));
        let list = subsz.get("subscriptions_list").and_then(|list| list.as_array().cloned()).unwrap_or_default();
        let mut seen: Vec<_> = list.iter().map(|sub| sub["subject"].as_str().unwrap()).collect();
        let mut wanted = subjects.to_vec();
        seen.sort_unstable();
        wanted.sort_unstable();
        assert_eq!((subsz["total"].as_u64(), seen), (Some(total), wanted), "{arguments}");
    }
    assert_eq!(value(&node, "/subsz?acc=NOPE")["num_subscriptions"], 0);
}

#[test]
fn health_of_what() {
    let no_account = r#""\"account\" must not be empty when checking stream health""#;
    let no_stream = r#""\"stream\" must not be empty when checking consumer health""#;
    for (arguments, status, body) in [
        ("details=1", 200, r#"{"status":"ok"}"#.to_owned()),
        ("js-enabled-only=1&js-enabled=true&js-server-only=1", 200, r#"{"status":"ok"}"#.to_owned()),
        ("account=NO&stream=x&consumer=c", 200, r#"{"status":"ok"}"#.to_owned()),
        ("stream=x", 400, format!(r#"{{"status":"error","error":{no_account}}}"#)),
        ("account=A&consumer=c", 400, format!(r#"{{"status":"error","error":{no_stream}}}"#)),
        (
            "account=A&consumer=c&details=1",
            400,
            format!(r#"{{"status":"error","errors":[{{"type":"BAD_REQUEST","error":{no_stream}}}]}}"#),
        ),
    ] {
        let response = get(&empty(), &format!("/healthz?{arguments}"));
        let seen = (response.status, String::from_utf8(response.body).unwrap());
        assert_eq!(seen, (status, body), "{arguments}");
        assert_eq!(response.content_type, "application/json");
    }
}
