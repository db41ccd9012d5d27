//! What is wrong with claims that are signed well: they are then not taken, or no longer.

use std::collections::BTreeMap;

use super::claims::{Account, Activation, Export, ExportKind, Hours, Import, Operator, Permission, Permissions};
use super::claims::{SigningKey, Texts, User};
use super::{Token, decode, hours, networks};
use crate::auth::nkey::{Kind, PublicKey};
use crate::subject;

/// Descriptions are not longer than this, bytes.
const INFO_BYTES_MAX: usize = 8 * 1024;

/// All that is wrong, in words for the signer; none of it secret.
pub type Issues = Vec<String>;

/// Whether `text` is the public key of a `kind`.
pub fn is_key(text: &str, kind: Kind) -> bool {
    PublicKey::parse(text).is_ok_and(|key| key.kind() == kind)
}

/// What is wrong with an account's claims, times aside.
pub fn of_account(token: &Token<Account>) -> Issues {
    let mut issues = Issues::new();
    let account = &token.body;
    exports(&account.exports, &mut issues);
    imports(&account.imports, &token.subject, &mut issues);
    permissions(&account.default_permissions, &mut issues);
    mappings(account, &mut issues);
    authorization(account, &mut issues);
    trace(account, &mut issues);
    let limits = &account.limits;
    let exceeds = |count: usize, limit: i64| limit != -1 && i64::try_from(count).is_ok_and(|count| count > limit);
    if exceeds(account.imports.len(), limits.imports) {
        issues.push("the account contains more imports than allowed by the operator".to_owned());
    }
    if exceeds(account.exports.len(), limits.exports) {
        issues.push("the account contains more exports than allowed by the operator".to_owned());
    }
    let wild = account.exports.iter().any(|export| subject::has_wildcard(export.subject.as_bytes()));
    if limits.exports != -1 && !limits.wildcards && wild {
        issues.push("the account contains wildcard exports that are not allowed by the operator".to_owned());
    }
    if limits.tiered_limits.contains_key("") {
        issues.push("Tiered JetStream Limits can not contain a blank \"\" tier name".to_owned());
    }
    for signer in &account.signing_keys {
        let key = signer.key();
        match signer {
            _ if is_key(key, Kind::Account) => {}
            SigningKey::Plain(_) => issues.push(format!("{key:?} is not a valid account signing key")),
            SigningKey::Scoped(_) => issues.push(format!("{key} is not an account public key")),
        }
    }
    if account.description.len() > INFO_BYTES_MAX || account.info_url.len() > INFO_BYTES_MAX {
        issues.push("Description is too long".to_owned());
    }
    if !["", "system", "owner"].contains(&&*account.cluster_traffic) {
        issues.push(format!("unknown cluster traffic option: {:?}", account.cluster_traffic));
    }
    issues
}

/// What is wrong with a user's claims, times aside. `knows_zone` says whether a time zone exists.
pub fn of_user(token: &Token<User>, knows_zone: impl Fn(&str) -> bool) -> Issues {
    let mut issues = Issues::new();
    let user = &token.body;
    let rights = &user.rights;
    permissions(&rights.permissions, &mut issues);
    for network in rights.src.iter().filter(|text| networks::Network::parse(text).is_none()) {
        issues.push(format!("invalid cidr {network:?} in user src limits"));
    }
    for range in &rights.times {
        times(range, &mut issues);
    }
    if !rights.times_location.is_empty() && !knows_zone(&rights.times_location) {
        issues.push("could not parse iana time zone by name".to_owned());
    }
    if !user.issuer_account.is_empty() && !is_key(&user.issuer_account, Kind::Account) {
        issues.push("account_id is not an account public key".to_owned());
    }
    issues
}

/// What is wrong with an operator's claims, times aside.
pub fn of_operator(operator: &Operator) -> Issues {
    let mut issues = Issues::new();
    for key in operator.signing_keys.iter().filter(|key| !is_key(key, Kind::Operator)) {
        issues.push(format!("{key} is not an operator public key"));
    }
    if !operator.system_account.is_empty() && !is_key(&operator.system_account, Kind::Account) {
        issues.push(format!("{} is not an account public key", operator.system_account));
    }
    issues
}

fn subject(subject: &str, issues: &mut Issues) {
    if subject.is_empty() {
        return issues.push("subject cannot be empty".to_owned());
    }
    if subject.contains(' ') {
        issues.push(format!("subject {subject:?} cannot have spaces"));
    }
    if subject.starts_with('.') || subject.ends_with('.') {
        issues.push(format!("subject {subject:?} cannot start or end with a `.`"));
    }
    if subject.contains("..") {
        issues.push(format!("subject {subject:?} cannot contain consecutive `.`"));
    }
}

fn permissions(permissions: &Permissions, issues: &mut Issues) {
    permission(&permissions.subscribe, true, issues);
    permission(&permissions.publish, false, issues);
}

fn permission(rules: &Permission, queues: bool, issues: &mut Issues) {
    for entry in rules.allow.iter().chain(&rules.deny) {
        let mut words = entry.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some(one), None, _) => subject(one, issues),
            (Some(one), Some(queue), None) => {
                subject(one, issues);
                subject(queue, issues);
                if !queues {
                    issues.push(format!("Permission Subject \"{entry}\" is not allowed to contain queue"));
                }
            }
            _ => issues.push(format!("Permission Subject \"{entry}\" contains too many spaces")),
        }
    }
}

fn times(range: &Hours, issues: &mut Issues) {
    for (what, text) in [("start", &range.start), ("end", &range.end)] {
        if text.is_empty() {
            issues.push(format!("time ranges {what} must contain {} {what}", if what == "end" { "an" } else { "a" }));
        } else if hours::time(text).is_none() {
            issues.push(format!("{what} in time range is invalid {text:?}"));
        }
    }
}

fn exports(exports: &[Export], issues: &mut Issues) {
    for export in exports {
        one_export(export, issues);
    }
    for kind in [ExportKind::Service, ExportKind::Stream] {
        let same: Vec<&Export> = exports.iter().filter(|export| export.kind == kind).collect();
        for (i, outer) in same.iter().enumerate() {
            let inner = same.iter().enumerate().find(|(j, inner)| i != *j && is_within(&inner.subject, &outer.subject));
            if let Some((_, inner)) = inner {
                let kind = name(kind);
                let text = format!("{kind} export subject {:?} already exports {:?}", outer.subject, inner.subject);
                issues.push(text);
            }
        }
    }
}

fn name(kind: ExportKind) -> &'static str {
    match kind {
        ExportKind::Stream => "stream",
        ExportKind::Service => "service",
    }
}

fn is_within(inner: &str, outer: &str) -> bool {
    subject::covers(outer.as_bytes(), inner.as_bytes())
}

fn one_export(export: &Export, issues: &mut Issues) {
    let service = export.kind == ExportKind::Service;
    let response = &*export.response_type;
    if service && !["", "Singleton", "Stream", "Chunked"].contains(&response) {
        issues.push(format!("invalid response type for service: {response:?}"));
    }
    if !service && !response.is_empty() {
        issues.push(format!("invalid response type for stream: {response:?}"));
    }
    if !service && export.allow_trace {
        issues.push("AllowTrace only valid for service export".to_owned());
    }
    if let Some(latency) = &export.service_latency {
        if !service {
            issues.push("latency tracking only permitted for services".to_owned());
        }
        subject(&latency.results, issues);
        if subject::has_wildcard(latency.results.as_bytes()) {
            issues.push("results subject can not contain wildcards".to_owned());
        }
    }
    if export.response_threshold < 0 {
        issues.push("negative response threshold is invalid".to_owned());
    }
    if export.response_threshold > 0 && !service {
        issues.push("response threshold only valid for services".to_owned());
    }
    subject(&export.subject, issues);
    let position = export.account_token_position as usize;
    if position > 0 {
        let text = &export.subject;
        match text.split('.').nth(position - 1) {
            _ if !subject::has_wildcard(text.as_bytes()) => {
                issues.push(format!("Account Token Position can only be used with wildcard subjects: {text}"));
            }
            None => issues.push(format!("Account Token Position {position} exceeds length of subject '{text}'")),
            Some("*") => {}
            Some(token) => issues
                .push(format!("Account Token Position {position} matches '{token}' but must match a * in: {text}")),
        }
    }
}

fn imports(imports: &[Import], importer: &str, issues: &mut Issues) {
    let mut services: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for import in imports {
        if import.kind == ExportKind::Service {
            let local = [&import.to, &import.local_subject, &import.subject].into_iter().find(|text| !text.is_empty());
            let local = local.map(|text| with_stars(text)).unwrap_or_default();
            let others = services.entry(&import.account).or_default();
            for other in others.iter().filter(|other| is_within(&local, other) || is_within(other, &local)) {
                let account = &import.account;
                issues.push(format!(
                    "overlapping subject namespace for {local:?} and {other:?} in same account {account:?}"
                ));
            }
            others.push(local);
        }
        one_import(import, importer, issues);
    }
}

/// `$1` and the like as `*`.
fn with_stars(subject: &str) -> String {
    let star =
        |token: &str| token.strip_prefix('$').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let tokens: Vec<&str> = subject.split('.').map(|token| if star(token) { "*" } else { token }).collect();
    tokens.join(".")
}

fn one_import(import: &Import, importer: &str, issues: &mut Issues) {
    let service = import.kind == ExportKind::Service;
    if service && import.allow_trace {
        issues.push("AllowTrace only valid for stream import".to_owned());
    }
    if import.account.is_empty() {
        issues.push("account to import from is not specified".to_owned());
    }
    subject(&import.subject, issues);
    if !import.local_subject.is_empty() {
        renaming(&import.local_subject, &import.subject, issues);
        if !import.to.is_empty() {
            issues.push("Local Subject replaces To".to_owned());
        }
    }
    if import.share && !service {
        let text = &import.subject;
        issues.push(format!("sharing information (for latency tracking) is only valid for services: {text:?}"));
    }
    if !import.token.is_empty() {
        activation(import, importer, issues);
    }
}

fn renaming(local: &str, from: &str, issues: &mut Issues) {
    subject(local, issues);
    let open = |text: &str| text == ">" || text.ends_with(".>");
    if open(local) != open(from) {
        issues.push("both, renaming subject and subject, need to end or not end in >".to_owned());
    }
    let stars = |text: &str| text.split('.').filter(|token| *token == "*").count();
    if stars(&with_stars(local)) != stars(from) {
        issues.push("subject does not contain enough * or reference wildcards $[0-9]".to_owned());
    }
}

fn activation(import: &Import, importer: &str, issues: &mut Issues) {
    let what = &import.subject;
    let Ok(token) = decode::<Activation>(&import.token) else {
        return issues.push(format!("import {what:?} contains an invalid activation token"));
    };
    if token.issuer != import.account && token.body.issuer_account != import.account {
        issues.push(format!("activation token doesn't match account for import {what:?}"));
    }
    if &*token.subject != importer {
        issues.push(format!("activation token doesn't match account it is being included in, {what:?}"));
    }
    if token.body.kind != import.kind {
        let (have, want) = (name(token.body.kind), name(import.kind));
        issues.push(format!("mismatch between token import type {have} and type of import {want}"));
    }
    subject(&token.body.subject, issues);
    let service = import.kind == ExportKind::Service;
    let asked = if service && !import.to.is_empty() { &import.to } else { &import.subject };
    if !is_within(asked, &token.body.subject) {
        issues.push(format!("activation token import subject {:?} doesn't match import {what:?}", token.body.subject));
    }
}

fn mappings(account: &Account, issues: &mut Issues) {
    for (from, destinations) in &account.mappings {
        subject(from, issues);
        let mut totals: BTreeMap<&str, u32> = BTreeMap::new();
        for to in destinations {
            subject(&to.subject, issues);
            let weight = if to.weight == 0 { 100 } else { to.weight };
            if weight > 100 {
                issues.push(format!("Mapping {from:?} has a weight {weight} that exceeds 100"));
            }
            *totals.entry(&to.cluster).or_default() += u32::from(weight);
        }
        if totals.values().any(|total| *total > 100) {
            issues.push(format!("Mapping {from:?} exceeds 100% among all of it's weighted to mappings"));
        }
    }
}

fn authorization(account: &Account, issues: &mut Issues) {
    let callout = &account.authorization;
    if !callout.allowed_accounts.is_empty() && callout.auth_users.is_empty() {
        issues.push("External authorization cannot have accounts without users specified".to_owned());
    }
    keys(&callout.auth_users, Kind::User, "AuthUser", "user public key", issues);
    let accounts: Texts = callout.allowed_accounts.iter().filter(|account| &***account != "*").cloned().collect();
    if accounts.len() < callout.allowed_accounts.len() && callout.allowed_accounts.len() > 1 {
        issues.push("AllowedAccounts can only be a list of accounts or \"*\"".to_owned());
    }
    keys(&accounts, Kind::Account, "Account", "account public key", issues);
    if !callout.xkey.is_empty() && !is_key(&callout.xkey, Kind::Curve) {
        issues.push(format!("XKey {:?} is not a valid public xkey", callout.xkey));
    }
}

fn keys(list: &Texts, kind: Kind, who: &str, what: &str, issues: &mut Issues) {
    for key in list.iter().filter(|key| !is_key(key, kind)) {
        issues.push(format!("{who} {key:?} is not a valid {what}"));
    }
}

fn trace(account: &Account, issues: &mut Issues) {
    let Some(trace) = &account.trace else { return };
    let mut own = Issues::new();
    subject(&trace.dest, &mut own);
    issues.extend(own.first().map(|issue| format!("the account Trace.Destination {issue}")));
    if subject::has_wildcard(trace.dest.as_bytes()) {
        issues.push(format!("the account Trace.Destination subject {:?} is not a valid publish subject", trace.dest));
    }
    if !(0..=100).contains(&trace.sampling) {
        let sampling = trace.sampling;
        issues.push(format!(
            "the account Trace.Sampling value '{sampling}' is not valid, should be in the range [1..100]"
        ));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::auth::jwt::token::Body;

    fn token<B: Body>(nats: &str) -> Token<B> {
        let body = serde_json::from_str(nats).unwrap();
        let text = || Box::<str>::from("");
        Token {
            issuer: text(),
            audience: "".into(),
            subject: "AIMP".into(),
            name: text(),
            id: text(),
            issued_at: 0,
            expires: 0,
            not_before: 0,
            body,
        }
    }

    fn account(nats: &str) -> Issues {
        of_account(&token(nats))
    }

    const LIMITS: &str = r#""limits":{"imports":-1,"exports":-1}"#;

    #[test]
    fn nothing_is_wrong_with_nothing() {
        assert_eq!(account(&format!("{{{LIMITS}}}")), Issues::new());
        assert_eq!(account("{}"), Issues::new());
        assert_eq!(of_user(&token("{}"), |_| false), Issues::new());
        assert_eq!(of_operator(&Operator::default()), Issues::new());
    }

    #[test]
    fn accounts_with_one_fault_each() {
        for (claims, fault) in [
            (r#""exports":[{"subject":"a.>","type":"stream"},{"subject":"a.b","type":"stream"}]"#, "already exports"),
            (r#""exports":[{"subject":"a..b","type":"service"}]"#, "consecutive"),
            (r#""exports":[{"subject":"a","type":"stream","response_type":"Stream"}]"#, "response type"),
            (r#""exports":[{"subject":"a.*","type":"service","account_token_position":1}]"#, "must match"),
            (
                r#""exports":[{"subject":"a","type":"service","service_latency":{"sampling":"headers","results":"x.*"}}]"#,
                "wildcards",
            ),
            (r#""imports":[{"subject":"a","type":"stream"}]"#, "not specified"),
            (r#""imports":[{"subject":"a.*","type":"service","account":"A","local_subject":"b"}]"#, "enough"),
            (r#""imports":[{"subject":"a","type":"service","account":"A","token":"x"}]"#, "invalid activation"),
            (
                r#""imports":[{"subject":"a","type":"service","account":"A"},{"subject":"*","type":"service","account":"A"}]"#,
                "overlapping",
            ),
            (r#""default_permissions":{"pub":{"allow":["a q"]}}"#, "queue"),
            (r#""mappings":{"a":[{"subject":"b","weight":60},{"subject":"c","weight":60}]}"#, "100%"),
            (r#""signing_keys":["AX"]"#, "signing key"),
            (r#""signing_keys":[{"kind":"user_scope","key":"AX"}]"#, "account public key"),
            (r#""cluster_traffic":"mine""#, "cluster traffic"),
            (r#""trace":{"dest":"a.*"}"#, "publish subject"),
            (r#""trace":{"dest":"a","sampling":101}"#, "Sampling"),
            (r#""authorization":{"allowed_accounts":["*"]}"#, "without users"),
            (r#""authorization":{"auth_users":["U"]}"#, "AuthUser"),
        ] {
            let issues = account(&format!("{{{LIMITS},{claims}}}"));
            assert!(issues.len() == 1 && issues[0].contains(fault), "{claims}: {issues:?}");
        }
        let export = r#"{"exports":[{"subject":"a.*","type":"stream"}],"limits":{"imports":-1,"exports":1}}"#;
        assert!(account(export)[0].contains("wildcard"));
        assert!(account(&export.replace(":1}", ":0}"))[0].contains("more exports"));
    }

    #[test]
    fn users_with_one_fault_each() {
        for (claims, fault) in [
            (r#"{"src":"x/y"}"#, "cidr"),
            (r#"{"src":["10.0.0.0/8","x"]}"#, "cidr"),
            (r#"{"times":[{"start":"25:00:00","end":"10:00:00"}]}"#, "start"),
            (r#"{"times":[{"start":"05:00:00"}]}"#, "an end"),
            (r#"{"times_location":"Nowhere"}"#, "zone"),
            (r#"{"issuer_account":"U"}"#, "account_id"),
            (r#"{"sub":{"deny":["a b c"]}}"#, "spaces"),
        ] {
            let issues = of_user(&token(claims), |_| false);
            assert!(issues.len() == 1 && issues[0].contains(fault), "{claims}: {issues:?}");
        }
    }
}
