//! The official Rust client against our binary: what its users do every day.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use futures_util::StreamExt;

mod support;
use support::Server;

#[tokio::test]
async fn publishes_subscribes_and_asks() {
    let server = Server::start("basic", "");
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut all = client.subscribe("t.>").await.unwrap();
    let mut workers = client.queue_subscribe("job.*", "w".into()).await.unwrap();
    client.flush().await.unwrap();

    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Unit", "kelvin");
    client.publish_with_headers("t.a", headers, "293".into()).await.unwrap();
    let message = all.next().await.unwrap();
    assert_eq!((message.subject.as_str(), &message.payload[..]), ("t.a", &b"293"[..]));
    assert_eq!(message.headers.unwrap().get("Unit").unwrap().as_str(), "kelvin");

    let responder = client.clone();
    let answer = tokio::spawn(async move {
        let job = workers.next().await.unwrap();
        responder.publish(job.reply.unwrap(), "done".into()).await.unwrap();
    });
    assert_eq!(client.request("job.1", "go".into()).await.unwrap().payload, "done");
    answer.await.unwrap();

    let nobody = client.request("nobody", "?".into()).await.unwrap_err();
    assert_eq!(nobody.kind(), async_nats::RequestErrorKind::NoResponders);
}

/// A payload larger than any buffer on the way, there and back, unharmed.
#[tokio::test]
async fn carries_a_large_payload() {
    let server = Server::start("large", "");
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut first = client.subscribe("big").await.unwrap();
    let mut second = client.subscribe("big").await.unwrap();
    client.flush().await.unwrap();
    let payload: Vec<u8> = (0..1_000_000u32).map(|i| (i % 251) as u8).collect();
    client.publish("big", payload.clone().into()).await.unwrap();
    assert!(first.next().await.unwrap().payload == payload);
    assert!(second.next().await.unwrap().payload == payload);
}

#[tokio::test]
async fn logs_in_or_does_not() {
    let config = "authorization { users: [ { user: u, password: p, permissions: { publish: \"ok\" } } ] }";
    let server = Server::start("users", config);
    let with = |password: &str| async_nats::ConnectOptions::with_user_and_password("u".into(), password.to_owned());
    assert!(with("p").connect(server.url()).await.is_ok());
    let refused = with("wrong").connect(server.url()).await.unwrap_err();
    assert_eq!(refused.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}
