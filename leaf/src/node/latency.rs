//! Samples of how long a service takes: nats-server's `io.nats.server.metric.v1.service_latency`.
//!
//! A sample begins with a request across an import and ends with its first answer, or with the reason why
//! there will be none. It is published in the account that has the service.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde::Serialize;

use super::client_info::ClientInfo;
use super::publish::Trail;
use super::responses::Response;
use super::{Nanos, Node};
use crate::account::sharing::ServiceImport;
use crate::config::Sampling;
use crate::message::{Message, header};
use crate::monitor::{Rfc3339, json};

const TYPE: &str = "io.nats.server.metric.v1.service_latency";

/// A request that is measured.
#[derive(Debug)]
pub(super) struct Sample {
    since: Nanos,
    /// Of the requester, then and now: its round-trip time.
    rtt: Nanos,
    /// JSON.
    requester: Box<serde_json::value::RawValue>,
    /// The headers that asked for it.
    headers: BTreeMap<String, Vec<String>>,
}

/// Why there is no answer.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    NoReply,
    Nobody,
    Late,
}

impl Failure {
    fn status(self) -> (u16, &'static str) {
        match self {
            Self::NoReply => (400, "Bad Request"),
            Self::Nobody => (503, "Service Unavailable"),
            Self::Late => (504, "Service Timeout"),
        }
    }
}

#[derive(Serialize)]
struct ServiceLatency<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    timestamp: Rfc3339,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    requestor: &'a serde_json::value::RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    responder: Option<ClientInfo<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    header: &'a BTreeMap<String, Vec<String>>,
    start: Rfc3339,
    service: Nanos,
    system: Nanos,
    total: Nanos,
}

impl Node {
    /// Begins a sample, if this request is to be measured.
    pub(super) fn begin_sample(
        &mut self,
        trail: &Trail<'_>,
        import: &ServiceImport,
        message: &Message<'_>,
    ) -> Option<Box<Sample>> {
        let (latency, from) = (import.service.latency.as_ref()?, trail.from?);
        let drawn = match latency.sampling {
            Sampling::Percent(percent) => self.draw.below(100) < usize::from(percent),
            Sampling::Headers => false,
        };
        let headers = if drawn { Some(BTreeMap::new()) } else { asking(message.headers()) };
        let headers = headers?;
        let info = self.client_info(from, import.share);
        let (rtt, mut text) = (info.rtt, Vec::new());
        json::compact_into(&info, &mut text);
        let requester = serde_json::from_slice(&text).ok()?;
        Some(Box::new(Sample { since: self.now, rtt, requester, headers }))
    }

    /// A request got its answer, from `responder`.
    pub(super) fn end_sample(&mut self, import: &Rc<ServiceImport>, sample: &Sample, responder: Option<u32>) {
        let id = self.responses.event_id();
        let taken = self.now.saturating_sub(sample.since);
        let responder = responder.map(|slot| self.client_info(slot, true));
        let rtt = responder.as_ref().map_or(0, |info| info.rtt);
        let times = (taken.saturating_sub(rtt), sample.rtt + taken);
        let body = self.sample_text(id, sample, 200, "", responder, times);
        self.publish_sample(import, &body);
    }

    /// A request gets no answer.
    pub(super) fn fail_sample(&mut self, import: &Rc<ServiceImport>, sample: &Sample, why: Failure) {
        let (status, text) = why.status();
        let id = self.responses.event_id();
        let body = self.sample_text(id, sample, status, text, None, (0, 0));
        self.publish_sample(import, &body);
    }

    /// The same for one that was waited for.
    pub(super) fn fail_response(&mut self, mut response: Response, why: Failure) {
        if let Some(sample) = response.sample.take() {
            self.fail_sample(&response.import, &sample, why);
        }
        self.responses.reuse(response.reply);
    }

    fn sample_text(
        &self,
        id: String,
        sample: &Sample,
        status: u16,
        description: &'static str,
        responder: Option<ClientInfo<'_>>,
        (service, total): (Nanos, Nanos),
    ) -> Vec<u8> {
        let event = ServiceLatency {
            kind: TYPE,
            id,
            timestamp: Rfc3339(self.wall_now()),
            status,
            description,
            requestor: &sample.requester,
            responder,
            header: &sample.headers,
            start: Rfc3339(self.wall_at(sample.since) - i128::from(sample.rtt)),
            service,
            // What the node takes from the answer to its delivery: it is one step.
            system: 0,
            total,
        };
        let mut text = Vec::new();
        json::compact_into(&event, &mut text);
        text
    }

    fn publish_sample(&mut self, import: &Rc<ServiceImport>, body: &[u8]) {
        let Some(latency) = &import.service.latency else { return };
        let subject = latency.subject.as_bytes();
        self.publish_as_server(import.exporter, &Message { subject, reply: b"", header_len: 0, body, framed: b"" });
    }
}

/// The headers that ask for a sample: Jaeger's, Zipkin's (B3) and the W3C's trace context. `None` if none does.
fn asking(headers: &[u8]) -> Option<BTreeMap<String, Vec<String>>> {
    if headers.is_empty() {
        return None;
    }
    let find = |name: &str| {
        let mut fields = header::fields(headers);
        let value = fields.find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()))?.1;
        Some(String::from_utf8_lossy(value).into_owned())
    };
    let with = |first: &str, value: String, others: &[&str]| {
        let rest = others.iter().filter_map(|name| Some(((*name).to_owned(), vec![find(name)?])));
        let mut all: BTreeMap<String, Vec<String>> = rest.collect();
        all.insert(first.to_owned(), vec![value]);
        all
    };
    if let Some(id) = find("Uber-Trace-Id") {
        let flags = id.split(':').nth(3).and_then(|flags| u8::from_str_radix(flags, 16).ok());
        return flags.filter(|flags| flags & 1 == 1).map(|_| with("Uber-Trace-Id", id, &[]));
    }
    let b3 = ["X-B3-Traceid", "X-B3-Parentspanid", "X-B3-Spanid"];
    match find("X-B3-Sampled") {
        Some(sampled) if sampled == "1" => return Some(with("X-B3-Sampled", sampled, &b3)),
        Some(sampled) if sampled == "0" => return None,
        _ => {}
    }
    if let Some(id) = find("X-B3-Traceid") {
        return Some(with("X-B3-Traceid", id, &b3[1..]));
    }
    if let Some(id) = find("B3") {
        let parts: Vec<&str> = id.split('-').collect();
        let off = parts.get(2) == Some(&"0") || parts == ["0"];
        return (!off).then(|| with("B3", id, &[]));
    }
    let context = find("Traceparent")?;
    let parts: Vec<&str> = context.split('-').collect();
    (parts.len() == 4 && parts[3] == "01").then(|| with("Traceparent", context, &["Tracestate"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_headers_ask() {
        for (line, asks) in [
            ("Uber-Trace-Id: 1:2:0:1", true),
            ("Uber-Trace-Id: 1:2:0:0", false),
            ("Uber-Trace-Id: 1", false),
            ("X-B3-Sampled: 1", true),
            ("X-B3-Sampled: 0\r\nX-B3-TraceId: 7", false),
            ("X-B3-TraceId: 7", true),
            ("b3: 80f1-e457-1", true),
            ("b3: 80f1-e457-0", false),
            ("b3: 0", false),
            ("traceparent: 00-4bf9-00f0-01\r\ntracestate: a=b", true),
            ("traceparent: 00-4bf9-00f0-00", false),
            ("Other: 1", false),
        ] {
            let headers = format!("NATS/1.0\r\n{line}\r\n\r\n");
            assert_eq!(asking(headers.as_bytes()).is_some(), asks, "{line}");
        }
        assert!(asking(b"").is_none());
    }
}
