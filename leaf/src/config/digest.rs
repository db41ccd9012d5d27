//! The digest of a configuration: what two servers may compare to see whether they run the same one.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use super::value::{Entry, Map, Value};

/// `sha256:<hex>` over the values, without comments, blanks, order, and where variables and includes were.
///
/// The bytes are those of nats-server (JSON with sorted keys and a new line), so the digests are equal too.
pub(super) fn digest(map: &Map) -> String {
    let mut json = String::new();
    write_map(&mut json, map);
    json.push('\n');
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(json.as_bytes())))
}

fn write_map(json: &mut String, map: &Map) {
    let mut entries: Vec<&Entry> = map.entries().collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    json.push('{');
    for (i, entry) in entries.into_iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        write_text(json, &entry.key);
        json.push(':');
        write_value(json, &entry.node.value);
    }
    json.push('}');
}

fn write_value(json: &mut String, value: &Value) {
    match value {
        Value::Bool(yes) => json.push_str(if *yes { "true" } else { "false" }),
        Value::Integer(number) => json.push_str(&number.to_string()),
        Value::Float(number) => json.push_str(&number.to_string()),
        Value::Text(text) | Value::Date(text) => write_text(json, text),
        Value::Map(map) => write_map(json, map),
        Value::List(list) => {
            json.push('[');
            for (i, node) in list.iter().enumerate() {
                if i > 0 {
                    json.push(',');
                }
                write_value(json, &node.value);
            }
            json.push(']');
        }
    }
}

fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\u{8}' => json.push_str("\\b"),
            '\u{c}' => json.push_str("\\f"),
            // Go escapes what would matter inside of HTML or JavaScript.
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a String cannot fail.
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}
