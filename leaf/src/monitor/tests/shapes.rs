//! The fields of each answer and their order, next to what nats-server 2.15.1 sent
//! (`monitoring-http-samples.txt`).

use super::*;

/// The keys of the object that `opener` leads to (the first one, if it is a list), or of the whole.
/// Our JSON is indented, so that a key's depth is told by its blanks.
fn fields(body: &str, opener: Option<&str>) -> Vec<String> {
    let mut lines = body.lines();
    let depth = match opener {
        None => 2,
        Some(name) => {
            let line = lines.find(|line| line.trim_start().starts_with(&format!("\"{name}\": "))).unwrap();
            let depth = line.len() - line.trim_start().len() + 2;
            if line.ends_with('[') { depth + 2 } else { depth }
        }
    };
    let end = |line: &&str| line.len() - line.trim_start().len() + 2 == depth && line.trim_start().starts_with('}');
    let inside = lines.take_while(|line| !end(line)).filter(|line| line.len() - line.trim_start().len() == depth);
    inside.filter_map(|line| Some(line.trim_start().strip_prefix('"')?.split_once("\":")?.0.to_owned())).collect()
}

/// `ours` must be `theirs` in the same order, but for what is left out on purpose.
fn same(ours: &[String], theirs: &str, left_out: &[&str]) {
    let expected: Vec<&str> = theirs.split_whitespace().filter(|name| !left_out.contains(name)).collect();
    assert_eq!(ours, expected);
    for name in left_out {
        assert!(theirs.split_whitespace().any(|have| have == *name), "{name} is nowhere to be left out of");
    }
}

const VARZ: &str = "server_id server_name version proto go host port auth_required connect_urls max_connections \
    ping_interval ping_max http_host http_port http_base_path https_port auth_timeout max_control_line max_payload \
    max_pending cluster gateway leaf mqtt websocket jetstream tls_timeout write_deadline start now uptime mem cores \
    gomaxprocs cpu connections total_connections routes remotes leafnodes in_msgs in_bytes in_client_msgs \
    in_client_bytes out_msgs out_bytes out_client_msgs out_client_bytes slow_consumers stale_connections \
    stalled_clients subscriptions http_req_stats config_load_time config_digest tags feature_flags system_account \
    slow_consumer_stats stale_connection_stats disk_io_wait_stats";

#[test]
fn varz() {
    let varz = body(&lively(), "/varz");
    // Nobody need log in and there is no cluster to connect to.
    same(&fields(&varz, None), VARZ, &["auth_required", "connect_urls"]);
    same(&fields(&varz, Some("slow_consumer_stats")), "clients routes gateways leafs", &[]);
    same(&fields(&varz, Some("stale_connection_stats")), "clients routes gateways leafs", &[]);
    same(&fields(&varz, Some("disk_io_wait_stats")), "waiters waits wait_time max_wait_time", &[]);
    same(&fields(&varz, Some("http_req_stats")), "/varz", &[]);
    for line in [
        "  \"server_name\": \"\\u003cL\\u003e\",",
        "  \"ping_interval\": 120000000000,",
        "  \"http_base_path\": \"/mon\",",
        "  \"auth_timeout\": 2,",
        "  \"cluster\": {},",
        "  \"jetstream\": {},",
        "  \"start\": \"2026-11-23T19:00:38.261576599Z\",",
        "  \"uptime\": \"10s\",",
        "  \"cpu\": 2,",
        "  \"connections\": 2,",
        "  \"total_connections\": 3,",
        "  \"in_msgs\": 2,",
        "  \"in_client_bytes\": 5,",
        // Three, and the services of `$G` and of the system account.
        "  \"subscriptions\": 48,",
    ] {
        assert!(varz.lines().any(|have| have == line), "{line} is not in {varz}");
    }
    assert!(varz.ends_with("  }\n}"));
}

const CONNZ: &str = "server_id now num_connections total offset limit connections";
const CONNECTION: &str = "cid kind type ip port start last_activity rtt uptime idle pending_bytes in_msgs out_msgs \
    in_bytes out_bytes subscriptions name lang version authorized_user account subscriptions_list_detail name_tag";
const CLOSED: &str = "cid kind type ip port start last_activity stop reason rtt uptime idle pending_bytes in_msgs \
    out_msgs in_bytes out_bytes subscriptions name lang version";

#[test]
fn connz() {
    let node = lively();
    let connz = body(&node, "/connz?subs=detail&auth=1");
    same(&fields(&connz, None), CONNZ, &[]);
    // Nobody has a name here, and `$G` is not told.
    same(&fields(&connz, Some("connections")), CONNECTION, &["authorized_user", "account"]);
    same(&fields(&connz, Some("subscriptions_list_detail")), "subject sid msgs max cid", &[]);
    let first = &value(&node, "/connz?subs=detail&auth=1")["connections"][0];
    assert_eq!((&first["name"], &first["out_msgs"], &first["uptime"]), (&"APP".into(), &3.into(), &"9s".into()));
    assert_eq!((&first["name_tag"], &first["type"], &first["kind"]), (&"$G".into(), &"nats".into(), &"Client".into()));
    let subs = first["subscriptions_list_detail"].as_array().unwrap();
    assert_eq!(subs[0], serde_json::json!({"subject":"foo.*","sid":"1","msgs":1,"max":5,"cid":1}));
    assert_eq!(subs[1], serde_json::json!({"subject":">","sid":"2","msgs":2,"cid":1}));
    let second = &value(&node, "/connz?subs=DETAIL")["connections"][1];
    let group = serde_json::json!([{"subject":"work.>","qgroup":"Q","sid":"9","msgs":0,"cid":2}]);
    assert_eq!(second["subscriptions_list_detail"], group);
    assert!(second.get("name_tag").is_none());
}

#[test]
fn connz_of_the_past() {
    let node = lively();
    let connz = body(&node, "/connz?state=closed&sort=stop&limit=1");
    same(&fields(&connz, None), CONNZ, &[]);
    same(&fields(&connz, Some("connections")), CLOSED, &["name", "lang", "version"]);
    let closed = &value(&node, "/connz?state=closed")["connections"][0];
    assert_eq!((&closed["cid"], &closed["reason"]), (&3.into(), &"Client Closed".into()));
    assert_eq!((&closed["uptime"], &closed["idle"], &closed["subscriptions"]), (&"1s".into(), &"1s".into(), &1.into()));
}

const SUBLIST: &str = "num_subscriptions num_cache num_inserts num_removes num_matches cache_hit_rate max_fanout \
    avg_fanout";

#[test]
fn subsz() {
    let node = plain();
    let subsz = body(&node, "/subsz");
    same(&fields(&subsz, None), &format!("server_id now {SUBLIST} total offset limit"), &[]);
    let listed = body(&node, "/subscriptionsz?subs=1&test=foo.1&acc=$G");
    let all = format!("server_id now {SUBLIST} total offset limit subscriptions_list");
    same(&fields(&listed, None), &all, &[]);
    let entry = "account account_tag subject sid msgs max cid";
    same(&fields(&listed, Some("subscriptions_list")), entry, &[]);
    let numbers = value(&node, "/subsz");
    assert_eq!((&numbers["num_inserts"], &numbers["num_removes"]), (&4.into(), &1.into()));
    assert_eq!((&numbers["num_matches"], &numbers["cache_hit_rate"]), (&2.into(), &0.into()));
}

#[test]
fn accountz() {
    let node = lively();
    let all = body(&node, "/accountz");
    same(&fields(&all, None), "server_id now system_account accounts", &[]);
    assert_eq!(value(&node, "/accountz?acc=")["accounts"], serde_json::json!(["$G", "B\"\\", "$SYS"]));
    let one = body(&node, "/accountz?acc=B%22%5C");
    same(&fields(&one, None), "server_id now system_account account_detail", &[]);
    // There are neither exports nor imports.
    let detail = "account_name update_time expired complete jetstream_enabled leafnode_connections \
        client_connections subscriptions mappings exports imports name_tag sublist_stats";
    same(&fields(&one, Some("account_detail")), detail, &["exports", "imports"]);
    same(&fields(&one, Some("sublist_stats")), SUBLIST, &[]);
    let mappings = serde_json::json!({"old.*": [{"subject": "new.$1", "weight": 100}]});
    assert_eq!(value(&node, "/accountz?acc=B%22%5C")["account_detail"]["mappings"], mappings);
    assert_eq!(value(&node, "/accountz?acc=$SYS")["account_detail"]["is_system"], true);
    assert_eq!(value(&node, "/accountz?acc=$G")["account_detail"]["client_connections"], 2);
}

#[test]
fn accstatz() {
    let node = lively();
    let stats = body(&node, "/accstatz");
    same(&fields(&stats, None), "server_id now account_statz", &[]);
    let account = "acc name conns leafnodes total_conns num_subscriptions sent received slow_consumers";
    same(&fields(&stats, Some("account_statz")), account, &[]);
    same(&fields(&stats, Some("sent")), "msgs bytes gateways routes leafs", &[]);
    same(&fields(&stats, Some("routes")), "msgs bytes", &[]);
    let of = |target: &str| value(&node, target)["account_statz"].as_array().unwrap().len();
    assert_eq!((of("/accstatz"), of("/accstatz?unused=1")), (1, 3));
    assert_eq!(value(&empty(), "/accstatz")["account_statz"], serde_json::json!([]));
}

#[test]
fn healthz() {
    let response = get(&empty(), "/healthz");
    assert_eq!((response.status, response.content_type), (200, "application/json"));
    assert_eq!(response.body, br#"{"status":"ok"}"#);
}

#[test]
fn features_that_are_off() {
    let node = lively();
    same(&fields(&body(&node, "/routez"), None), "server_id server_name now num_routes routes", &[]);
    same(&fields(&body(&node, "/gatewayz"), None), "server_id now outbound_gateways inbound_gateways", &[]);
    same(&fields(&body(&node, "/leafz"), None), "server_id now leafnodes leafs", &[]);
    let jsz = body(&node, "/jsz");
    let all = "memory storage reserved_memory reserved_storage accounts ha_assets api server_id now disabled config \
        streams consumers messages bytes total";
    same(&fields(&jsz, None), all, &[]);
    same(&fields(&jsz, Some("api")), "level total errors", &[]);
    same(&fields(&jsz, Some("config")), "max_memory max_storage", &[]);
    assert!(jsz.contains("\"disabled\": true"));
    assert_eq!(body(&node, "/ipqueuesz"), "{}");
    assert_eq!((get(&node, "/raftz").status, get(&node, "/raftz").body), (404, b"No Raft nodes registered".to_vec()));
}
