//! `tls` and `allow_non_tls`. The files themselves are read elsewhere.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::defaults::FALLBACK_DELAY;
use super::duration;
use super::error::{Error, Notes, quote};
use super::links::ClientTls;
use super::model::{HandshakeFirst, Tls};
use super::read::{Draft, Taken, entries};
use super::value::{Node, Value};

use std::time::Duration;

/// The cipher suites we have, by the names that Go and the standards use.
const CIPHER_SUITES: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
];

/// The curves we have.
const CURVES: [&str; 3] = ["X25519", "CurveP256", "CurveP384"];

/// `tls`, `allow_non_tls`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    match key {
        "tls" => draft.config.tls = Some(block(node, &mut draft.notes)?),
        "allow_non_tls" => draft.config.allow_non_tls = node.boolean()?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// The certificate files, as they are spelt in a block.
#[derive(Default)]
struct Files {
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    pairs: Vec<(PathBuf, PathBuf)>,
}

pub(super) fn block(node: &Node, notes: &mut Notes) -> Result<Tls, Error> {
    let map = node.map()?;
    let mut tls = Tls::default();
    let mut files = Files::default();
    entries(map, notes, unknown, |key, node, _| {
        match key {
            "cert_file" => files.cert = Some(file(key, node)?),
            "key_file" => files.key = Some(file(key, node)?),
            "certs" | "certificates" => files.pairs = pairs(node)?,
            _ => return option(&mut tls, key, node),
        }
        Ok(Taken::Yes)
    });
    tls.certs = files.together().map_err(|text| Error::at(&node.at, text))?;
    tls.verify |= tls.map;
    Ok(tls)
}

/// A block of those who do not look at who somebody is by his certificate.
pub(super) fn block_without_names(node: &Node, notes: &mut Notes) -> Result<Tls, Error> {
    let tls = block(node, notes)?;
    refuse_names(&tls, node)?;
    Ok(tls)
}

fn refuse_names(tls: &Tls, node: &Node) -> Result<(), Error> {
    match (tls.map, tls.pinned.is_empty()) {
        (true, _) => Err(Error::unsupported(&node.at, "verify_and_map")),
        (_, false) => Err(Error::unsupported(&node.at, "pinned_certs")),
        _ => Ok(()),
    }
}

fn pinned(node: &Node) -> Result<BTreeSet<String>, Error> {
    let Value::List(list) = &node.value else {
        return Err(Error::at(&node.at, "error parsing tls config, expected 'pinned_certs' to be a list"));
    };
    let mut pinned = BTreeSet::new();
    for node in list {
        let text = node.text()?.to_ascii_lowercase();
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let text = format!("error parsing 'pinned_certs' key {text} does not contain a hex encoded sha256");
            return Err(Error::at(&node.at, text));
        }
        pinned.insert(text);
    }
    Ok(pinned)
}

/// A block of one who dials: certificates are needed only by hubs that verify.
pub(super) fn client_block(node: &Node, notes: &mut Notes) -> Result<ClientTls, Error> {
    let mut files = Files::default();
    let (mut tls, mut insecure) = (Tls::default(), false);
    entries(node.map()?, notes, unknown, |key, node, _| {
        match key {
            "cert_file" => files.cert = Some(file(key, node)?),
            "key_file" => files.key = Some(file(key, node)?),
            "certs" | "certificates" => files.pairs = pairs(node)?,
            "insecure" => insecure = flag(key, node)?,
            "cipher_suites" | "curve_preferences" => return Err(Error::unsupported(&node.at, key)),
            _ => return option(&mut tls, key, node),
        }
        Ok(Taken::Yes)
    });
    refuse_names(&tls, node)?;
    let none = files.cert.is_none() && files.key.is_none() && files.pairs.is_empty();
    let certs = if none { Vec::new() } else { files.together().map_err(|text| Error::at(&node.at, text))? };
    let first = tls.handshake_first != HandshakeFirst::No;
    Ok(ClientTls { cert: certs.into_iter().next(), ca_file: tls.ca_file, insecure, only_1_3: tls.only_1_3, first })
}

fn option(tls: &mut Tls, key: &str, node: &Node) -> Result<Taken, Error> {
    match key {
        "ca_file" => tls.ca_file = Some(file(key, node)?),
        "verify" => tls.verify = flag(key, node)?,
        "timeout" => {
            let given = duration::of_timeout("tls", node)?;
            tls.timeout = if given.is_zero() { Tls::default().timeout } else { given };
        }
        "min_version" => tls.only_1_3 = only_1_3(node)?,
        "cipher_suites" => tls.cipher_suites = choice(key, node, cipher_suite)?,
        "curve_preferences" => tls.curve_preferences = choice(key, node, curve)?,
        "handshake_first" | "first" | "immediate" => tls.handshake_first = handshake_first(key, node)?,
        "connection_rate_limit" => tls.connection_rate_limit = rate(node)?,
        // These concern clients and suites that we do not have: nothing changes.
        "insecure" | "allow_insecure_cipher_suites" => drop(flag(key, node)?),
        "verify_cert_and_check_known_urls" if flag(key, node)? => {
            return Err(Error::at(&node.at, "verify_cert_and_check_known_urls not supported in this context"));
        }
        "verify_cert_and_check_known_urls" => {}
        "ocsp_peer" if matches!(node.value, Value::Bool(false)) => {}
        "verify_and_map" => tls.map = flag(key, node)?,
        "pinned_certs" => tls.pinned = pinned(node)?,
        "ocsp_peer" | "cert_store" | "cert_match" | "cert_match_by" | "ca_certs_match" | "cert_match_skip_invalid" => {
            return Err(Error::unsupported(&node.at, key));
        }
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

fn unknown(node: &Node, key: &str) -> Error {
    Error::at(&node.at, format!("error parsing tls config, unknown field {}", quote(key)))
}

fn file(key: &str, node: &Node) -> Result<PathBuf, Error> {
    match &node.value {
        Value::Text(name) if !name.is_empty() => Ok(name.into()),
        _ => Err(Error::at(&node.at, format!("error parsing tls config, expected '{key}' to be filename"))),
    }
}

fn flag(key: &str, node: &Node) -> Result<bool, Error> {
    match node.value {
        Value::Bool(on) => Ok(on),
        _ => Err(Error::at(&node.at, format!("error parsing tls config, expected '{key}' to be a boolean"))),
    }
}

impl Files {
    /// The pairs of files, of which there must be one.
    fn together(self) -> Result<Vec<(PathBuf, PathBuf)>, &'static str> {
        match (self.cert, self.key) {
            (Some(_), _) if !self.pairs.is_empty() => {
                Err("error parsing tls config, cannot combine 'cert_file' option with 'certs' option")
            }
            (Some(cert), Some(key)) => Ok(vec![(cert, key)]),
            (Some(_), None) => Err("missing 'key_file' in TLS configuration"),
            (None, Some(_)) => Err("missing 'cert_file' in TLS configuration"),
            (None, None) if self.pairs.is_empty() => Err("missing 'cert_file' and 'key_file' in TLS configuration"),
            (None, None) => Ok(self.pairs),
        }
    }
}

fn pairs(node: &Node) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
    let wrong = |node: &Node| {
        let text = format!("error parsing certificates config: unsupported type {}", node.value.kind());
        Error::at(&node.at, text)
    };
    let Value::List(list) = &node.value else { return Err(wrong(node)) };
    list.iter()
        .map(|node| {
            let Value::Map(map) = &node.value else { return Err(wrong(node)) };
            let (mut cert, mut key) = (None, None);
            for entry in map.entries() {
                match entry.key.as_str() {
                    "cert_file" => cert = Some(file("cert_file", &entry.node)?),
                    "key_file" => key = Some(file("key_file", &entry.node)?),
                    other => {
                        let text = format!("error parsing tls certs config, unknown field {}", quote(other));
                        return Err(Error::at(&entry.node.at, text));
                    }
                }
            }
            let both = "error parsing certificates config: both 'cert_file' and 'cert_key' options are required";
            cert.zip(key).ok_or_else(|| Error::at(&node.at, both))
        })
        .collect()
}

fn only_1_3(node: &Node) -> Result<bool, Error> {
    let wrong = |why: String| Err(Error::at(&node.at, format!("error parsing tls config: {why}")));
    match &node.value {
        Value::Text(version) => match version.as_str() {
            "1.2" => Ok(false),
            "1.3" => Ok(true),
            "1.0" | "1.1" => wrong(format!("unsupported TLS version: TLS {version}")),
            other => wrong(format!("unknown version: {other}")),
        },
        other => wrong(format!("'min_version' wrong type: {}", other.kind())),
    }
}

fn choice(key: &str, node: &Node, known: fn(&str) -> Result<String, String>) -> Result<Vec<String>, Error> {
    let list = node.list()?;
    if list.is_empty() {
        return Err(Error::at(&node.at, format!("error parsing tls config, '{key}' cannot be empty")));
    }
    list.iter().map(|node| known(node.text()?).map_err(|text| Error::at(&node.at, text))).collect()
}

/// The standard name of a suite; rustls's and the older names of Go are understood too.
fn cipher_suite(name: &str) -> Result<String, String> {
    let mut standard = match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name.to_owned(),
    };
    if standard.ends_with("_POLY1305") {
        standard.push_str("_SHA256");
    }
    if CIPHER_SUITES.contains(&standard.as_str()) {
        return Ok(standard);
    }
    if ["TLS_RSA_", "TLS_ECDHE_RSA_", "TLS_ECDHE_ECDSA_"].iter().any(|kind| name.starts_with(kind)) {
        return Err(format!("cipher suite {} is not supported", quote(name)));
    }
    Err(format!("unrecognized cipher {name}"))
}

fn curve(name: &str) -> Result<String, String> {
    match name {
        name if CURVES.contains(&name) => Ok(name.to_owned()),
        "CurveP521" | "X25519MLKEM768" => Err(format!("curve {} is not supported", quote(name))),
        name => Err(format!("unrecognized curve preference {name}")),
    }
}

fn handshake_first(key: &str, node: &Node) -> Result<HandshakeFirst, Error> {
    let wrong = |text: String| Error::at(&node.at, text);
    let text = match &node.value {
        Value::Bool(true) => return Ok(HandshakeFirst::Yes),
        Value::Bool(false) => return Ok(HandshakeFirst::No),
        Value::Text(text) => text,
        other => {
            return Err(wrong(format!("field {} should be a boolean or a string, got {}", quote(key), other.kind())));
        }
    };
    let invalid = || wrong(format!("field {}'s value {} is invalid", quote(key), quote(text)));
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" => Ok(HandshakeFirst::Yes),
        "false" | "off" => Ok(HandshakeFirst::No),
        "auto" | "auto_fallback" => Ok(HandshakeFirst::Auto(FALLBACK_DELAY)),
        other => match u64::try_from(duration::parse(other).map_err(|_| invalid())?) {
            Ok(0) => Ok(HandshakeFirst::Yes),
            Ok(nanos) => Ok(HandshakeFirst::Auto(Duration::from_nanos(nanos))),
            Err(_) => Err(invalid()),
        },
    }
}

fn rate(node: &Node) -> Result<u32, Error> {
    match node.value {
        Value::Integer(number) => Ok(u32::try_from(number.max(0)).unwrap_or(u32::MAX)),
        _ => Err(Error::at(&node.at, "error parsing tls config, 'connection_rate_limit' wrong type")),
    }
}
