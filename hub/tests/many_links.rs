//! A thousand leaf nodes on one hub: what each costs there, and how they come back when the hub was away.
//!
//! The leaf nodes are real nodes with real links, without their event loops: a loop here carries bytes between them and
//! their sockets.

#![allow(clippy::disallowed_methods, reason = "not an engine")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use leaf::config::{Config, Source, read};
use leaf::node::{Command, ConnId, Dialled, Identity, Nanos, Node};

#[path = "../../leaf/tests/support/mod.rs"]
mod support;
use support::{Server, eventually};

const LEAFS: usize = 1000;
/// What a link may cost at the hub, KiB.
const KIB_MAX: u64 = 30;
/// How long is waited for all to be back: on a quiet machine they are within a third of the 15 s wanted.
const BACK_WITHIN: Duration = Duration::from_secs(90);

/// A configuration that is in no file.
struct Text(String);

impl Source for Text {
    fn read(&mut self, _: &Path) -> std::io::Result<String> {
        Ok(self.0.clone())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }
}

fn config(at: usize, port: u16) -> Config {
    let remote = format!("{{ url: \"nats-leaf://127.0.0.1:{port}\" }}");
    let text = format!("server_name: L{at}\nleafnodes {{ remotes: [ {remote} ] }}\n");
    read(Path::new("leaf.conf"), &mut Text(text)).unwrap()
}

/// A leaf node and its socket.
struct Leaf {
    node: Node,
    link: Option<(ConnId, TcpStream)>,
}

impl Leaf {
    fn new(at: usize, port: u16) -> Self {
        let identity = Identity {
            server_id: format!("N{at:055}"),
            epoch: 0,
            host: "127.0.0.1".into(),
            port: 4222,
            leafnodes: None,
            websocket: None,
            program: "petiole-leaf",
        };
        Self { node: Node::new(config(at, port), identity, at as u64 + 1).unwrap(), link: None }
    }

    /// Does what can be done now; says how often it dialled.
    fn turn(&mut self, now: Nanos, buffer: &mut [u8]) -> usize {
        if self.node.deadline().is_some_and(|due| due <= now) {
            self.node.tick(now);
        }
        if let Some((id, socket)) = &mut self.link {
            let id = *id;
            match socket.read(buffer) {
                Ok(0) => self.node.closed(now, id, leaf::node::CloseReason::ClientClosed),
                Ok(n) => self.node.receive(now, id, &buffer[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.node.closed(now, id, leaf::node::CloseReason::ReadError),
            }
        }
        let mut dials = 0;
        while let Some(command) = self.node.poll_command() {
            match command {
                Command::Dial(dial) => {
                    dials += 1;
                    self.dial(now, dial.ticket, dial.port);
                }
                Command::Close { .. } => self.link = None,
                _ => {}
            }
        }
        let mut dirty = Vec::new();
        self.node.take_dirty(&mut dirty);
        for id in dirty {
            let bytes: Vec<u8> =
                self.node.output(id).map(|queue| queue.pieces().flatten().copied().collect()).unwrap_or_default();
            let Some((_, socket)) = &mut self.link else { continue };
            // What a leaf node without clients says always fits into the socket.
            if socket.write_all(&bytes).is_ok() {
                self.node.sent(now, id, bytes.len());
            }
        }
        dials
    }

    fn dial(&mut self, now: Nanos, ticket: u64, port: u16) {
        let connected = TcpStream::connect(("127.0.0.1", port)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            Ok((socket.peer_addr()?, socket))
        });
        match connected {
            Ok((remote, socket)) => {
                let id = self.node.dialled(now, ticket, [0; 11], Ok(Dialled { remote, credentials: None }));
                self.link = id.map(|id| (id, socket));
            }
            Err(error) => drop(self.node.dialled(now, ticket, [0; 11], Err(error.to_string()))),
        }
    }

    fn is_up(&self) -> bool {
        self.node.uplinks() > 0
    }
}

/// Runs all until `done`; gives the most that dialled in a tenth of a second.
fn run(leafs: &mut [Leaf], started: Instant, mut done: impl FnMut(&[Leaf]) -> bool) -> usize {
    let mut buffer = vec![0; 65536];
    let (mut window, mut dials, mut most) = (Instant::now(), 0, 0);
    while !done(leafs) {
        for leaf in leafs.iter_mut() {
            dials += leaf.turn(started.elapsed().as_nanos() as Nanos, &mut buffer);
        }
        let elapsed = window.elapsed().as_millis() as usize;
        if elapsed >= 100 {
            // A window grows when this process did not get the processor: that is no stampede.
            most = most.max(dials * 100 / elapsed);
            (window, dials) = (Instant::now(), 0);
        }
    }
    most
}

fn hub(name: &str, port: i32) -> Server {
    Server::start(
        name,
        &format!("server_name: HUB\nhttp: \"127.0.0.1:-1\"\nleafnodes {{ listen: \"127.0.0.1:{port}\" }}\n"),
    )
}

#[test]
fn a_thousand_leaf_nodes() {
    let first = hub("many-hub-1", -1);
    let port = first.leafnode_port();
    let before = first.resident();
    let started = Instant::now();
    let mut leafs: Vec<Leaf> = (0..LEAFS).map(|at| Leaf::new(at, port)).collect();
    let all_up = |leafs: &[Leaf]| leafs.iter().all(Leaf::is_up);
    run(&mut leafs, started, all_up);
    let linked = |hub: &Server| support::get(hub.monitor.unwrap(), "/varz")["leafnodes"] == LEAFS;
    eventually("the hub has them all", || linked(&first));
    let each = (first.resident() - before) as f64 / LEAFS as f64;
    println!("a link costs {each:.1} KiB at the hub");
    assert!(each < KIB_MAX as f64, "{each} KiB");

    // The hub is away for long enough that they all have tried in vain several times.
    drop(first);
    let away = Instant::now();
    run(&mut leafs, started, |_| away.elapsed() > Duration::from_secs(8));
    assert!(!leafs.iter().any(Leaf::is_up));
    let second = hub("many-hub-2", i32::from(port));
    let back = Instant::now();
    let most = run(&mut leafs, started, |leafs| all_up(leafs) || back.elapsed() > BACK_WITHIN);
    println!("all are back after {:?}; at most {most} came in 100 ms", back.elapsed());
    assert!(all_up(&leafs), "{} of them", leafs.iter().filter(|leaf| leaf.is_up()).count());
    eventually("the hub has them all again", || linked(&second));
    // Spread over seconds, not all at once.
    assert!(most < LEAFS / 4, "{most} in 100 ms");
}
