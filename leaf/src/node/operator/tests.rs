//! Operator mode in simulated time: no sockets, no clock, no files.

#![allow(clippy::unwrap_used)]

use super::super::{Arrival, Identity as Server, SECOND, StoreAnswer, StoreOp};
use super::*;
use crate::auth::jwt::{decode, token};
use crate::auth::nkey::{Kind, Seed};
use crate::client::Client;
use crate::config::{Delete, Operator, ResolverDir};
use std::path::PathBuf;
use std::time::Duration;

/// 2026-11-24, nanoseconds and seconds since 1970.
const EPOCH: i128 = EPOCH_SECOND as i128 * 1_000_000_000;
const EPOCH_SECOND: i64 = 1_795_478_400;
const NONCE: [u8; 11] = [7; 11];

fn seed(kind: Kind, byte: u8) -> Seed {
    Seed::new(kind, [byte; 32])
}

fn operator() -> Seed {
    seed(Kind::Operator, 1)
}

fn system() -> Seed {
    seed(Kind::Account, 2)
}

fn account() -> Seed {
    seed(Kind::Account, 3)
}

/// A JWT about `subject`; `rest` is added to its claims, `nats` to what NATS says.
fn jwt(kind: &str, subject: &Seed, signer: &Seed, rest: &str, nats: &str) -> String {
    let (issuer, subject) = (signer.public(), subject.public());
    let claims =
        format!(r#"{{"iss":"{issuer}","sub":"{subject}","iat":5{rest},"nats":{{"type":"{kind}","version":2{nats}}}}}"#);
    token::encode(&claims, signer)
}

const LIMITS: &str = r#","limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"conn":-1,"leaf":-1}"#;

fn account_jwt(which: &Seed, rest: &str, nats: &str) -> String {
    jwt("account", which, &operator(), rest, &format!("{LIMITS}{nats}"))
}

fn user_jwt(of: &Seed, byte: u8, rest: &str) -> (String, Seed) {
    let user = seed(Kind::User, byte);
    (jwt("user", &user, of, rest, r#","subs":-1,"data":-1,"payload":-1"#), user)
}

fn config(resolver: Resolver, preload: &[(&Seed, String)]) -> Config {
    let claims = format!(r#","system_account":"{}""#, system().public());
    let own = jwt("operator", &operator(), &operator(), "", &claims);
    Config {
        system_account: Some(system().public().encode()),
        operator: Some(Operator {
            operators: vec![decode(&own).unwrap()],
            resolver: Some(resolver),
            preload: preload.iter().map(|(key, jwt)| (key.public().encode(), jwt.clone())).collect(),
            ..Operator::default()
        }),
        ..Config::default()
    }
}

fn directory() -> Resolver {
    Resolver::Full(ResolverDir {
        dir: PathBuf::new(),
        limit: Some(3),
        interval: Duration::from_secs(60),
        timeout: Duration::from_secs(1),
        delete: Delete::Removes,
        ttl: None,
    })
}

/// A node and its shell's part, played by the test.
struct Stage {
    node: Node,
    now: Nanos,
}

impl Stage {
    fn new(config: Config) -> Self {
        let server = Server {
            server_id: "N".into(),
            epoch: EPOCH,
            host: "h".into(),
            port: 1,
            leafnodes: None,
            websocket: None,
            program: "petiole-leaf",
        };
        Self { node: Node::new(config, server, 1).unwrap(), now: 0 }
    }

    fn memory(account_rest: &str) -> Self {
        let preload =
            [(&system(), account_jwt(&system(), "", "")), (&account(), account_jwt(&account(), account_rest, ""))];
        Self::new(config(Resolver::Memory, &preload))
    }

    fn stored() -> Self {
        let mut stage = Self::new(config(directory(), &[]));
        stage.node.store_opened(0, Vec::new());
        stage
    }

    fn connect(&mut self, (jwt, user): &(String, Seed)) -> ConnId {
        let arrival = Arrival { remote: ([127, 0, 0, 1], 9).into(), nonce: NONCE };
        let id = self.node.accept(self.now, &arrival, Box::new(Client::new()));
        self.node.greet(self.now, id);
        self.drain(id);
        let sig = user.sign(nkey::nonce_text(NONCE).as_bytes());
        let connect = format!(r#"CONNECT {{"verbose":false,"jwt":"{jwt}","sig":"{sig}"}}"#);
        self.node.receive(self.now, id, format!("{connect}\r\nPING\r\n").as_bytes());
        id
    }

    fn say(&mut self, id: ConnId, text: &str) {
        self.node.receive(self.now, id, text.as_bytes());
    }

    /// What waits to be written to a connection.
    fn drain(&mut self, id: ConnId) -> String {
        let Some(queue) = self.node.output(id) else { return String::new() };
        let bytes: Vec<u8> = queue.pieces().flatten().copied().collect();
        self.node.sent(self.now, id, bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    /// All commands; the last words of closed connections as text.
    fn commands(&mut self) -> (Vec<(u64, StoreOp)>, Vec<String>) {
        let (mut ops, mut farewells) = (Vec::new(), Vec::new());
        while let Some(command) = self.node.poll_command() {
            match command {
                Command::Store { ticket, op } => ops.push((ticket, op)),
                Command::Measure => self.node.measured(self.now, &crate::monitor::tests::host()),
                Command::Close { farewell, .. } => {
                    let bytes: Vec<u8> = farewell.pieces().flatten().copied().collect();
                    farewells.push(String::from_utf8(bytes).unwrap());
                }
                _ => {}
            }
        }
        (ops, farewells)
    }

    fn farewells(&mut self) -> Vec<String> {
        self.commands().1
    }

    /// Lets time pass, as long as the node has deadlines.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + seconds * SECOND;
        while let Some(due) = self.node.deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.node.tick(self.now);
        }
        self.now = end;
    }
}

const VIOLATION: &str = "-ERR 'Authorization Violation'\r\n";

#[test]
fn a_user_is_in_until_it_expires_to_the_second() {
    let mut stage = Stage::memory("");
    let id = stage.connect(&user_jwt(&account(), 9, &format!(r#","exp":{}"#, EPOCH_SECOND + 10)));
    assert_eq!(stage.drain(id), "PONG\r\n");
    stage.pass(9);
    assert_eq!(stage.farewells(), [] as [String; 0]);
    stage.pass(1);
    assert_eq!(stage.farewells(), ["-ERR 'User Authentication Expired'\r\n"]);
    stage.pass(1);
    stage.connect(&user_jwt(&account(), 9, &format!(r#","exp":{}"#, EPOCH_SECOND + 10)));
    assert_eq!(stage.farewells(), [VIOLATION]);
}

#[test]
fn an_account_expires_with_all_its_users() {
    let mut stage = Stage::memory(&format!(r#","exp":{}"#, EPOCH_SECOND + 10));
    let ids = [9, 10].map(|byte| stage.connect(&user_jwt(&account(), byte, "")));
    let system = stage.connect(&user_jwt(&system(), 11, ""));
    for id in ids.into_iter().chain([system]) {
        assert_eq!(stage.drain(id), "PONG\r\n");
    }
    stage.pass(10);
    let told = stage.farewells();
    assert!(told.len() == 2 && told.iter().all(|text| text.ends_with("-ERR 'Account Authentication Expired'\r\n")));
    stage.connect(&user_jwt(&account(), 9, ""));
    assert_eq!(stage.farewells(), [VIOLATION], "and nobody comes back");
}

/// A gateway learns the time from the network, after it has let users in.
#[test]
fn a_clock_that_is_set_counts_for_those_who_are_in() {
    let mut stage = Stage::memory("");
    let id = stage.connect(&user_jwt(&account(), 9, &format!(r#","exp":{}"#, EPOCH_SECOND + 1_000)));
    assert_eq!(stage.drain(id), "PONG\r\n");
    stage.node.set_wall_clock(stage.now, EPOCH + 995_000_000_000);
    stage.pass(4);
    assert_eq!(stage.farewells(), [] as [String; 0]);
    stage.pass(1);
    assert!(stage.farewells()[0].ends_with("-ERR 'User Authentication Expired'\r\n"));
}

#[test]
fn what_is_said_while_the_account_is_fetched_is_heard_later() {
    let mut stage = Stage::stored();
    stage.node.store_opened(0, vec![(account().public().encode().into(), account_jwt(&account(), "", ""))]);
    let (one, two) = (stage.connect(&user_jwt(&account(), 9, "")), stage.connect(&user_jwt(&account(), 10, "")));
    let (ops, _) = stage.commands();
    let [(ticket, StoreOp::Load(key))] = &ops[..] else { panic!("one load for both: {ops:?}") };
    assert_eq!(**key, account().public().encode());
    stage.say(one, "SUB x 1\r\nPUB x 1\r\ny\r\n");
    assert_eq!((stage.drain(one), stage.drain(two)), (String::new(), String::new()));
    let text = account_jwt(&account(), "", "");
    stage.node.store_answered(stage.now, *ticket, StoreAnswer::Text(Ok(text)));
    assert_eq!(stage.drain(one), "PONG\r\nMSG x 1 1\r\ny\r\n");
    assert_eq!(stage.drain(two), "PONG\r\n");
    assert_eq!(stage.farewells(), [] as [String; 0]);
}

#[test]
fn a_file_that_is_gone_or_of_another_account_lets_nobody_in() {
    for answer in [Err("no such file".to_owned()), Ok(account_jwt(&system(), "", "")), Ok("rubbish".to_owned())] {
        let mut stage = Stage::stored();
        stage.node.store_opened(0, vec![(account().public().encode().into(), account_jwt(&account(), "", ""))]);
        stage.connect(&user_jwt(&account(), 9, ""));
        let (ops, _) = stage.commands();
        stage.node.store_answered(stage.now, ops[0].0, StoreAnswer::Text(answer));
        assert_eq!(stage.farewells(), [VIOLATION]);
    }
}

/// Made-up accounts are not asked for: the index knows them not to be there.
#[test]
fn a_crowd_of_strangers_costs_no_file_and_no_account() {
    let mut stage = Stage::stored();
    let accounts = stage.node.accounts.iter().count();
    for byte in 20..200 {
        stage.connect(&user_jwt(&seed(Kind::Account, byte), 9, ""));
    }
    let (ops, farewells) = stage.commands();
    assert!(ops.is_empty() && farewells.len() == 180);
    assert_eq!(stage.node.accounts.iter().count(), accounts);
}

#[test]
fn fetches_from_the_web_are_bounded() {
    let mut stage = Stage::new(config(Resolver::Url("http://h/".to_owned()), &[]));
    for byte in 20..200 {
        stage.connect(&user_jwt(&seed(Kind::Account, byte), 9, ""));
    }
    let mut fetches = Vec::new();
    let mut refused = 0;
    while let Some(command) = stage.node.poll_command() {
        match command {
            Command::FetchAccount { key, .. } => fetches.push(key),
            Command::Close { .. } => refused += 1,
            _ => {}
        }
    }
    assert_eq!((fetches.len(), refused), (FETCHES_MAX, 180 - FETCHES_MAX));
    for key in fetches {
        stage.node.account_fetched(stage.now, &key, Err("404".to_owned()));
    }
    assert_eq!(stage.farewells().len(), FETCHES_MAX);
}

/// Until its JWT is brought, the system account lets in whom its own key signed; its limit of accounts holds.
#[test]
fn an_empty_directory_is_filled_by_the_system_account() {
    let mut stage = Stage::stored();
    let id = stage.connect(&user_jwt(&system(), 9, ""));
    assert_eq!(stage.drain(id), "PONG\r\n");
    stage.say(id, "SUB answer 1\r\n");
    let push = |stage: &mut Stage, jwt: &str| {
        stage.say(id, &format!("PUB $SYS.REQ.CLAIMS.UPDATE answer {}\r\n{jwt}\r\n", jwt.len()));
        let (ops, _) = stage.commands();
        let saved = ops.len();
        for (ticket, op) in ops {
            assert!(matches!(op, StoreOp::Save(..)), "{op:?}");
            assert_eq!(stage.drain(id), "", "not before it is written");
            stage.node.store_answered(stage.now, ticket, StoreAnswer::Done(Ok(())));
        }
        (saved, stage.drain(id))
    };
    for key in [system(), account(), seed(Kind::Account, 40)] {
        let (saved, answer) = push(&mut stage, &account_jwt(&key, "", ""));
        assert!(saved == 1 && answer.contains("jwt updated"), "{answer}");
    }
    let (saved, answer) = push(&mut stage, &account_jwt(&seed(Kind::Account, 41), "", ""));
    assert!(saved == 0 && answer.contains("jwt store is full"), "{answer}");
    let other = jwt("account", &account(), &seed(Kind::Operator, 77), "", LIMITS);
    push(&mut stage, &other);
    stage.connect(&user_jwt(&account(), 12, ""));
    let (ops, _) = stage.commands();
    stage.node.store_answered(stage.now, ops[0].0, StoreAnswer::Text(Ok(other)));
    assert_eq!(stage.farewells(), [VIOLATION], "whoever stored it, nobody trusts its signer");
}

#[test]
fn expired_accounts_leave_the_directory() {
    let mut stage = Stage::stored();
    let brief = account_jwt(&account(), &format!(r#","exp":{}"#, EPOCH_SECOND + 30), "");
    let lasting = account_jwt(&system(), "", "");
    let file = |key: &Seed, text: &str| (key.public().encode().into(), text.to_owned());
    stage.node.store_opened(0, vec![file(&account(), &brief), file(&system(), &lasting)]);
    stage.pass(29);
    assert!(stage.commands().0.is_empty());
    stage.pass(61);
    let (ops, _) = stage.commands();
    let [(_, StoreOp::Delete { key, keep: false })] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(**key, account().public().encode());
}
