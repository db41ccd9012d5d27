//! Keys and JWTs of strangers: reading them never panics, and what was read is what was written.
#![no_main]

use leaf::auth::callout::{Expected, ServerKeys};
use leaf::auth::certificate::{Certificate, Name};
use leaf::auth::jwt::{Account, Activation, Operator, Token, User, decode, decorated, issues, template, token};
use leaf::auth::nkey::{Kind, PublicKey, Seed};
use leaf::auth::xkey::CurveKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(key) = PublicKey::parse(input) {
        assert_eq!(key.encode(), input);
    }
    if let Ok(seed) = Seed::parse(input) {
        assert_eq!(seed.encode(), input);
    }
    if let Some(certificate) = Certificate::parse(input.as_bytes()) {
        let _ = (certificate.subject(), certificate.subject_texts(), certificate.alternative_names().count());
    }
    if let Some(name) = Name::parse(input) {
        assert!(name.equals(&name) && name.has_parts_of(&name));
    }
    let _ = (decorated::token(input), decorated::seed(input));
    let _ = (decode::<Operator>(input), decode::<Account>(input), decode::<User>(input), decode::<Activation>(input));

    // The same text as claims, signed well, so that what lies behind the signature is reached.
    let signer = Seed::new(Kind::Account, [1; 32]);
    let issuer = signer.public().encode();
    let claims = |kind: &str| {
        let rest = if input.is_empty() { String::new() } else { format!(",{input}") };
        let text = format!(r#"{{"iss":"{issuer}","sub":"A","nats":{{"type":"{kind}","version":2{rest}}}}}"#);
        token::encode(&text, &signer)
    };
    if let Ok(account) = decode::<Account>(&claims("account")) {
        let _ = issues::of_account(&account);
    }
    if let Ok(user) = decode::<User>(&claims("user")) {
        let _ = issues::of_user(&user, |_| true);
        fill(&user);
    }
    call_back(input, &claims("authorization_response"));
});

/// The answers of a service: as they came, well signed, and well sealed.
fn call_back(input: &str, signed: &str) {
    let (keys, service) = (ServerKeys::new([2; 32]), CurveKey::new([3; 32]));
    let (public, nonce) = (service.public(), [0; 24]);
    let expected = Expected { user: "A", server: "", service: Some(&public), signs: None, now: 0 };
    let ours = PublicKey::parse(&keys.curve()).expect("a key that was just encoded");
    assert!(keys.read(input.as_bytes(), &expected, &|_| None).is_err());
    let sealed = service.seal(input.as_bytes(), &ours, &nonce);
    assert!(keys.read(&sealed, &expected, &|_| None).is_err());
    for answer in [signed.as_bytes(), &service.seal(signed.as_bytes(), &ours, &nonce)] {
        if let Ok(answer) = keys.read(answer, &expected, &|_| None) {
            assert_eq!(&*answer.user.subject, "A");
        }
    }
    let stranger = CurveKey::new([4; 32]);
    assert_eq!(stranger.open(input.as_bytes(), &public), None);
}

fn fill(user: &Token<User>) {
    let tags = &user.body.tags;
    let person = template::Person {
        name: &user.name,
        subject: &user.subject,
        tags,
        account_name: "account",
        account_subject: &user.issuer,
        account_tags: tags,
    };
    if let Ok(filled) = template::fill(&user.body.rights.permissions, &person) {
        assert!(filled.publish.allow.len() <= template::SUBJECTS_MAX);
    }
}
