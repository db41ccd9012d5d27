//! MQTT's properties as NATS headers, and back.
//!
//! | MQTT | NATS |
//! |---|---|
//! | the quality of service | `Nmqtt-Pub:0`, `1`, `2` (as nats-server); without it a message counts as QoS 2 |
//! | Content Type | `Content-Type` |
//! | Response Topic | the reply subject |
//! | Correlation Data | `Nmqtt-Correlation-Data`, base64 |
//! | Payload Format Indicator | `Nmqtt-Payload-Format` |
//! | Message Expiry Interval | `Nmqtt-Message-Expiry`, seconds |
//! | User Property | a header of its name; one whose name or value no header can have is left out |

use data_encoding::BASE64;
use mqtt_bridge::packet::Publish;
use mqtt_bridge::{Property, QoS, Value, Will, subject, write_property};

use crate::message::Message;

const FIRST: &[u8] = b"NATS/1.0\r\n";
const QOS: &str = "Nmqtt-Pub";
const CORRELATION: &str = "Nmqtt-Correlation-Data";
const FORMAT: &str = "Nmqtt-Payload-Format";
const EXPIRY: &str = "Nmqtt-Message-Expiry";
const CONTENT_TYPE: &str = "Content-Type";

/// Bytes of headers that are turned into properties at most; the rest is left out.
const PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// Appends the header block of a message, and the subject of its response topic to `reply`.
#[inline]
pub(crate) fn write(publish: &Publish<'_>, out: &mut Vec<u8>, reply: &mut Vec<u8>) {
    const PLAIN: [&[u8]; 3] =
        [b"NATS/1.0\r\nNmqtt-Pub:0\r\n\r\n", b"NATS/1.0\r\nNmqtt-Pub:1\r\n\r\n", b"NATS/1.0\r\nNmqtt-Pub:2\r\n\r\n"];
    if publish.properties.is_empty() {
        return out.extend_from_slice(PLAIN[publish.qos as usize]);
    }
    out.extend_from_slice(FIRST);
    line(QOS, ["0", "1", "2"][publish.qos as usize], out);
    if let Some(seconds) = publish.expiry {
        line(EXPIRY, &seconds.to_string(), out);
    }
    publish.properties.iter().for_each(|(property, value)| one(property, value, out, reply));
    out.extend_from_slice(b"\r\n");
}

/// The same for a will.
pub(crate) fn write_will(will: &Will, out: &mut Vec<u8>, reply: &mut Vec<u8>) {
    out.extend_from_slice(FIRST);
    line(QOS, ["0", "1", "2"][will.qos as usize], out);
    if let Some(seconds) = will.expiry {
        line(EXPIRY, &seconds.to_string(), out);
    }
    will.forwarded().properties().for_each(|(property, value)| one(property, value, out, reply));
    out.extend_from_slice(b"\r\n");
}

fn one(property: Property, value: Value<'_>, out: &mut Vec<u8>, reply: &mut Vec<u8>) {
    match (property, value) {
        (Property::ContentType, Value::Text(text)) if is_value(text) => line(CONTENT_TYPE, text, out),
        (Property::ResponseTopic, Value::Text(topic)) => subject::of_topic(topic, reply),
        (Property::CorrelationData, Value::Binary(data)) => line(CORRELATION, &BASE64.encode(data), out),
        (Property::PayloadFormat, Value::Byte(format)) => line(FORMAT, if format == 1 { "1" } else { "0" }, out),
        (_, Value::Pair(name, value)) if is_name(name) && is_value(value) => line(name, value, out),
        _ => {}
    }
}

fn line(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Names that mean something here are nobody's own.
fn is_name(name: &str) -> bool {
    let reserved = name.as_bytes().get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"nmqtt-"));
    !name.is_empty() && !reserved && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':')
}

fn is_value(value: &str) -> bool {
    !value.contains(['\r', '\n'])
}

/// What a message that did not come by MQTT says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) qos: QoS,
    /// Seconds.
    pub(super) expiry: Option<u32>,
}

/// Reads the headers of a message; its properties replace what is in `properties`.
pub(super) fn read(message: &Message<'_>, properties: &mut Vec<u8>) -> Told {
    properties.clear();
    let mut told = Told { qos: QoS::ExactlyOnce, expiry: None };
    if !message.reply.is_empty() {
        let mut topic = Vec::new();
        if subject::to_topic(message.reply, &mut topic).is_ok()
            && let Ok(topic) = std::str::from_utf8(&topic)
        {
            write_property(Property::ResponseTopic, Value::Text(topic), properties);
        }
    }
    if message.header_len == 0 {
        return told;
    }
    for line in message.headers().split(|&byte| byte == b'\n').skip(1) {
        let Ok(line) = std::str::from_utf8(line.trim_ascii_end()) else { continue };
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if name.contains('\0') || value.contains('\0') || properties.len() + line.len() > PROPERTIES_BYTES_MAX {
            continue;
        }
        match name {
            QOS => told.qos = value.parse().ok().and_then(QoS::new).unwrap_or(told.qos),
            EXPIRY => told.expiry = value.parse().ok(),
            CONTENT_TYPE => write_property(Property::ContentType, Value::Text(value), properties),
            FORMAT => write_property(Property::PayloadFormat, Value::Byte(u8::from(value == "1")), properties),
            CORRELATION => {
                if let Ok(data) = BASE64.decode(value.as_bytes()) {
                    write_property(Property::CorrelationData, Value::Binary(&data), properties);
                }
            }
            name => write_property(Property::UserProperty, Value::Pair(name, value), properties),
        }
    }
    told
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use mqtt_bridge::packet::{Framing, Packet, frame};
    use mqtt_bridge::{Forwarded, Version};

    use super::*;

    /// A PUBLISH with everything: to NATS and back it loses nothing.
    #[test]
    fn properties_go_there_and_back() {
        let mut block = Vec::new();
        write_property(Property::ContentType, Value::Text("text/x"), &mut block);
        write_property(Property::PayloadFormat, Value::Byte(1), &mut block);
        write_property(Property::ResponseTopic, Value::Text("answers/to me"), &mut block);
        write_property(Property::CorrelationData, Value::Binary(&[0, 255, 10]), &mut block);
        write_property(Property::UserProperty, Value::Pair("a", "1"), &mut block);
        write_property(Property::UserProperty, Value::Pair("b", ""), &mut block);
        write_property(Property::UserProperty, Value::Pair("a", "2"), &mut block);
        let mut bytes = vec![0x32, 0, 0, 1, b't', 0, 1, (block.len() + 5) as u8, 2, 0, 0, 0, 9];
        bytes.extend_from_slice(&block);
        bytes.extend_from_slice(b"hi");
        bytes[1] = (bytes.len() - 2) as u8;
        let Ok(Framing::Whole(frame)) = frame(&bytes, 1000) else { panic!("not whole") };
        let Ok(Packet::Publish(publish)) = Packet::read(frame, Version::V5) else { panic!("no PUBLISH") };
        let (mut body, mut reply) = (Vec::new(), Vec::new());
        write(&publish, &mut body, &mut reply);
        let header_len = body.len();
        assert_eq!(reply, b"answers.to/_me");
        assert!(
            body.starts_with(b"NATS/1.0\r\nNmqtt-Pub:1\r\nNmqtt-Message-Expiry:9\r\n") && body.ends_with(b"\r\n\r\n")
        );
        body.extend_from_slice(b"hi");
        let message = Message { subject: b"t", reply: &reply, header_len, body: &body, framed: b"" };
        let mut properties = Vec::new();
        let told = read(&message, &mut properties);
        assert_eq!(told, Told { qos: QoS::AtLeastOnce, expiry: Some(9) });
        let mut before: Vec<_> = publish.forwarded().properties().collect();
        let mut after: Vec<_> = Forwarded::known(&properties).properties().collect();
        // User properties keep their order; the others have none.
        let user = |all: &Vec<(Property, Value<'_>)>| {
            all.iter().filter(|(p, _)| *p == Property::UserProperty).map(|p| format!("{p:?}")).collect::<Vec<_>>()
        };
        assert_eq!(user(&before), user(&after));
        before.sort_by_key(|(property, _)| *property as u8);
        after.sort_by_key(|(property, _)| *property as u8);
        assert_eq!(before, after);
    }

    #[test]
    fn what_no_header_can_say_is_left_out() {
        for name in ["", "a b", "a:b", "é", "Nmqtt-Pub", "nmqtt-x"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(is_name("x-Trace") && !is_value("a\r\nb"));
    }

    /// Whatever a NATS client puts into its headers, the block is one.
    #[test]
    fn any_headers_give_a_block() {
        for headers in [
            &b"NATS/1.0\r\n\r\n"[..],
            b"NATS/1.0 503\r\n\r\n",
            b"NATS/1.0\r\nA: b\r\n: x\r\nno colon\r\n\xff: y\r\nNmqtt-Pub: 9\r\nContent-Type:\r\n\r\n",
        ] {
            let message =
                Message { subject: b"t", reply: b"r+", header_len: headers.len(), body: headers, framed: b"" };
            let mut properties = Vec::new();
            assert_eq!(read(&message, &mut properties).qos, QoS::ExactlyOnce);
            assert!(Forwarded::parse(&properties).is_some(), "{properties:?}");
        }
    }
}
