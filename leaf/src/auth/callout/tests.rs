#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const NOW: i128 = 1_800_000_000 * 1_000_000_000;

fn account() -> Seed {
    Seed::new(Kind::Account, [3; 32])
}

fn zones(_: &str) -> Option<jiff::tz::TimeZone> {
    None
}

fn token(kind: &str, claims: Value, mut nats: Value) -> String {
    nats["type"] = kind.into();
    nats["version"] = 2.into();
    let mut all = json!({ "iss": account().public().encode(), "nats": nats });
    for (name, value) in claims.as_object().unwrap() {
        all[name] = value.clone();
    }
    encode(&all.to_string(), &account())
}

/// A server that has asked about a user.
struct Scene {
    keys: ServerKeys,
    server: String,
    user: String,
}

impl Scene {
    fn new() -> Self {
        let secret = [1; 32];
        let mut keys = ServerKeys::new(secret);
        let user = keys.user();
        Self { keys, server: crate::auth::nkey::server_id(&secret), user }
    }

    fn user_jwt(&self, claims: Value) -> String {
        let mut all = json!({ "sub": self.user, "aud": "APP" });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        token("user", all, json!({ "subs": -1 }))
    }

    fn answer(&self, nats: Value) -> String {
        token("authorization_response", json!({ "sub": self.user, "aud": self.server }), nats)
    }

    fn read(&self, payload: &[u8], service: Option<&PublicKey>) -> Result<Answer, CalloutError> {
        let expected = Expected { user: &self.user, server: &self.server, service, signs: None, now: NOW };
        self.keys.read(payload, &expected, &zones)
    }

    fn fault(&self, payload: &str) -> CalloutError {
        self.read(payload.as_bytes(), None).unwrap_err()
    }
}

#[test]
fn a_good_answer_names_the_user() {
    let scene = Scene::new();
    let answer = scene.answer(json!({ "jwt": scene.user_jwt(json!({ "name": "Alice" })) }));
    let user = scene.read(answer.as_bytes(), None).unwrap().user;
    assert_eq!((&*user.name, &*user.audience), ("Alice", "APP"));
}

#[test]
fn every_fault_has_its_name() {
    let mut scene = Scene::new();
    let jwt = scene.user_jwt(json!({}));
    let good = scene.answer(json!({ "jwt": jwt }));
    assert_eq!(scene.fault(""), CalloutError::NoReason);
    assert_eq!(scene.fault("eyJ"), CalloutError::Response(TokenError::Parts));
    assert_eq!(scene.fault(&good[..good.len() - 1]), CalloutError::Response(TokenError::Signature));
    assert_eq!(scene.fault(&jwt), CalloutError::Response(TokenError::Kind));
    assert_eq!(scene.fault(&scene.answer(json!({}))), CalloutError::Claims);
    assert_eq!(scene.fault(&scene.answer(json!({ "jwt": jwt, "error": "both" }))), CalloutError::Claims);
    assert_eq!(scene.fault(&scene.answer(json!({ "error": "no\n" }))), CalloutError::Refused("no\n".into()));
    let expired = scene.user_jwt(json!({ "exp": 1 }));
    assert_eq!(scene.fault(&scene.answer(json!({ "jwt": expired }))), CalloutError::UserTime);
    let stranger = scene.user_jwt(json!({ "sub": Seed::new(Kind::User, [5; 32]).public().encode() }));
    assert_eq!(scene.fault(&scene.answer(json!({ "jwt": stranger }))), CalloutError::OtherSubject);
    // The same answer to a later question, or at another server.
    scene.user = scene.keys.user();
    assert_eq!(scene.fault(&good), CalloutError::OtherUser);
    scene.server = crate::auth::nkey::server_id(&[2; 32]);
    let elsewhere = token("authorization_response", json!({ "sub": scene.user, "aud": "N" }), json!({ "jwt": jwt }));
    assert_eq!(scene.fault(&elsewhere), CalloutError::OtherServer);
}

#[test]
fn sealed_answers_come_from_the_service_alone() {
    let scene = Scene::new();
    let (service, stranger) = (CurveKey::new([4; 32]), CurveKey::new([6; 32]));
    let ours = PublicKey::parse(&scene.keys.curve()).unwrap();
    let answer = scene.answer(json!({ "jwt": scene.user_jwt(json!({})) }));
    let seal = |key: &CurveKey| key.seal(answer.as_bytes(), &ours, &[0; 24]);
    assert!(scene.read(&seal(&service), Some(&service.public())).is_ok());
    assert_eq!(scene.read(&seal(&stranger), Some(&service.public())).unwrap_err(), CalloutError::Sealed);
    assert!(matches!(scene.read(&seal(&service), None).unwrap_err(), CalloutError::Response(_)));
}

/// Nothing the server makes up is ever the same again, and none of it tells of the secret.
#[test]
fn what_is_derived_differs() {
    let mut keys = ServerKeys::new([1; 32]);
    let all: std::collections::BTreeSet<String> = (0..100).flat_map(|_| [keys.user(), keys.token()]).collect();
    assert_eq!(all.len(), 200);
    assert_ne!(ServerKeys::new([1; 32]).curve(), ServerKeys::new([2; 32]).curve());
}
