//! Keys and JWTs of strangers: reading them never panics, and what was read is what was written.
#![no_main]

use leaf::auth::jwt::{Account, Activation, Operator, Token, User, decode, decorated, issues, template, token};
use leaf::auth::nkey::{Kind, PublicKey, Seed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(key) = PublicKey::parse(input) {
        assert_eq!(key.encode(), input);
    }
    if let Ok(seed) = Seed::parse(input) {
        assert_eq!(seed.encode(), input);
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
});

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
