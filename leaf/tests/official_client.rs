//! The official Rust client against our binary: what its users do every day.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use futures_util::StreamExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Server {
    child: Child,
    dir: std::path::PathBuf,
    url: String,
}

impl Server {
    /// Starts on any free port, told by the ports file.
    fn start(name: &str, config: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let file = dir.join("s.conf");
        std::fs::write(&file, format!("listen: \"127.0.0.1:-1\"\n{config}")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_petiole-leaf"))
            .args(["-c", file.to_str().unwrap(), "--ports_file_dir", dir.to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ports = dir.join(format!("petiole-leaf_{}.ports", child.id()));
        let mut server = Self { child, dir, url: String::new() };
        for _ in 0..500 {
            if let Ok(text) = std::fs::read_to_string(&ports) {
                server.url = text.split('"').find(|part| part.starts_with("nats://")).unwrap().to_owned();
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[tokio::test]
async fn publishes_subscribes_and_asks() {
    let server = Server::start("basic", "");
    let client = async_nats::connect(&server.url).await.unwrap();
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
    let client = async_nats::connect(&server.url).await.unwrap();
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
    assert!(with("p").connect(&server.url).await.is_ok());
    let refused = with("wrong").connect(&server.url).await.unwrap_err();
    assert_eq!(refused.kind(), async_nats::ConnectErrorKind::AuthorizationViolation);
}
