//! Exports and imports as an account's JWT has them, and the activation tokens that private ones ask for.

use std::time::Duration;

use super::jwt::claims::{self, Activation, ExportKind, is_revoked};
use super::jwt::{Account, Token, decode};
use super::trust::{Standing, seconds};
use crate::config::{Approval, Export, Flow, Import, Latency, Response, ResponseKind, Sampling};

fn flow(kind: ExportKind) -> Flow {
    match kind {
        ExportKind::Stream => Flow::Stream,
        ExportKind::Service => Flow::Service,
    }
}

/// What the account gives.
pub(super) fn exports(account: &Account) -> Vec<Export> {
    account.exports.iter().map(export).collect()
}

fn export(claims: &claims::Export) -> Export {
    let to = match claims.account_token_position as usize {
        0 if claims.token_req => Approval::Token,
        0 => Approval::Public,
        position => Approval::Position(position),
    };
    let default = Response::default();
    let response = Response {
        kind: match &*claims.response_type {
            "Stream" => ResponseKind::Stream,
            "Chunked" => ResponseKind::Chunked,
            _ => ResponseKind::Singleton,
        },
        threshold: match u64::try_from(claims.response_threshold) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default.threshold,
        },
    };
    Export {
        flow: flow(claims.kind),
        subject: claims.subject.as_ref().into(),
        to,
        response,
        latency: claims.service_latency.as_ref().map(latency),
        allow_trace: claims.allow_trace,
    }
}

fn latency(claims: &claims::Latency) -> Latency {
    let sampling = match &claims.sampling {
        claims::Sampling::Percent(percent) if *percent > 0 => Sampling::Percent((*percent).min(100) as u8),
        // Nothing, or the word.
        _ => Sampling::Headers,
    };
    Latency { sampling, subject: claims.results.as_ref().into() }
}

/// What the account takes.
pub(super) fn imports(account: &Account) -> Vec<Import> {
    account.imports.iter().map(import).collect()
}

fn import(claims: &claims::Import) -> Import {
    let (subject, to, renamed) = (&*claims.subject, &*claims.to, &*claims.local_subject);
    let (subject, local) = match claims.kind {
        _ if !renamed.is_empty() => (subject, renamed.to_owned()),
        _ if to.is_empty() => (subject, subject.to_owned()),
        ExportKind::Stream => (subject, format!("{}.{subject}", to.strip_suffix('.').unwrap_or(to))),
        // Here the importer's own name comes first.
        ExportKind::Service => (to, subject.to_owned()),
    };
    Import {
        flow: flow(claims.kind),
        account: claims.account.as_ref().into(),
        subject: subject.to_owned(),
        local,
        share: claims.share,
        allow_trace: claims.allow_trace,
        activation: (!claims.token.is_empty()).then(|| claims.token.as_ref().into()),
    }
}

/// Whether the token of `import` lets `importer` have what `exporter` gives as `export`, at `now`, nanoseconds since
/// 1970. If it does, the second it expires, 0 for never.
pub fn activation(exporter: &Standing, export: &Export, importer: &str, import: &Import, now: i128) -> Option<i64> {
    let token: Token<Activation> = decode(import.activation.as_deref()?).ok()?;
    let body = &token.body;
    let signed = match &*body.issuer_account {
        "" => *token.issuer == *exporter.key,
        account => account == &*exporter.key && exporter.is_signer(&token.issuer),
    };
    let covers = crate::subject::covers(body.subject.as_bytes(), import.subject.as_bytes());
    let revoked =
        exporter.activations_revoked(export).is_some_and(|all| is_revoked(all, &token.subject, token.issued_at));
    let holds = signed
        && covers
        && !revoked
        && *token.subject == *importer
        && flow(body.kind) == import.flow
        && token.holds_at(seconds(now));
    holds.then_some(token.expires)
}
