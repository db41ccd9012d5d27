//! Users that the real `nsc` made (`tests/operator/make`).

use std::path::PathBuf;

use leaf::auth::jwt::decorated;
use leaf::auth::nkey::Seed;
use serde_json::{Value, json};

pub(crate) fn fixture(path: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/operator").join(path)).unwrap()
}

/// What somebody shows: a JWT and, unless it is left out, the signature of a seed.
#[derive(Clone)]
pub(crate) struct Creds {
    pub(crate) jwt: String,
    pub(crate) seed: Option<String>,
}

impl Creds {
    pub(crate) fn of(user: &str) -> Self {
        Self::read(&fixture(&format!("creds/{user}.creds")))
    }

    /// As a `.creds` file says it.
    pub(crate) fn read(text: &str) -> Self {
        Self { jwt: decorated::token(text).to_owned(), seed: Some(decorated::seed(text).unwrap().encode()) }
    }

    pub(crate) fn unsigned(self) -> Self {
        Self { seed: None, ..self }
    }

    pub(crate) fn connect(&self, nonce: &str) -> String {
        let signature = self.seed.as_ref().map(|seed| Seed::parse(seed).unwrap().sign(nonce.as_bytes()));
        let connect = json!({ "verbose": false, "protocol": 1, "jwt": self.jwt, "sig": signature });
        format!("CONNECT {connect}\r\n")
    }

    /// The claims, to be changed and signed again.
    pub(crate) fn claims(&self) -> Value {
        claims(&self.jwt)
    }
}

pub(crate) fn claims(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&data_encoding::BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}
