//! Whether Prometheus can read `/metrics`.

use std::collections::{HashMap, HashSet};

use super::*;

/// Reads the text format strictly: each family has HELP, then TYPE, then its samples, all of them different.
/// Returns the samples, name and labels as written.
fn read(text: &str) -> HashMap<String, f64> {
    assert!(text.ends_with('\n'));
    let mut samples = HashMap::new();
    let (mut families, mut helped, mut family, mut kind) = (HashSet::new(), "", "", "");
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(families.insert(name) && !help.is_empty(), "{line}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert!(family == helped && ["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert!(family.starts_with("petiole_"), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(name == family && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            check_labels(labels);
            let value: f64 = value.parse().unwrap();
            assert!(kind == "gauge" || value >= 0.0, "{line}");
            assert!(samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

/// `name="value",…}` with `\\`, `\"` and `\n` as the only escapes.
fn check_labels(mut rest: &str) {
    while let Some((name, after)) = rest.split_once("=\"") {
        assert!(name.trim_start_matches(',').bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{rest}");
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (_, '\\') => assert!(matches!(chars.next(), Some((_, '\\' | '"' | 'n'))), "{rest}"),
                (at, '"') => break at,
                _ => {}
            }
        };
        rest = &after[end + 1..];
    }
    assert_eq!(rest, "}");
}

#[test]
fn prometheus_can_read_it() {
    let response = get(&lively(), "/metrics");
    assert_eq!((response.status, response.content_type), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let samples = read(&String::from_utf8(response.body).unwrap());
    for (series, value) in [
        ("petiole_connections{kind=\"client\"}", 2.0),
        ("petiole_connections_accepted_total", 3.0),
        ("petiole_subscriptions", 48.0),
        ("petiole_received_messages_total", 2.0),
        ("petiole_received_bytes_total", 5.0),
        ("petiole_sent_messages_total", 3.0),
        ("petiole_account_connections{account=\"$G\"}", 2.0),
        ("petiole_account_subscriptions{account=\"$SYS\"}", 41.0),
        ("petiole_account_logins_total{account=\"B\\\"\\\\\"}", 0.0),
        ("petiole_http_requests_total{path=\"/varz\"}", 1.0),
        ("petiole_process_cpu_seconds_total", 0.25),
        ("petiole_uptime_seconds", 10.0),
        ("petiole_lame_duck", 0.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!((samples["petiole_start_time_seconds"] - 1_795_460_438.26).abs() < 0.01);
}
