use crate::config::{Account, Auth, Config, Secret, User};
use crate::monitor::tests::{join, of};
use crate::node::{ConnId, Node, SECOND};

fn node() -> Node {
    let account = |name: &str| Account { name: name.into(), ..Account::default() };
    let user = |name: &str, account: usize| User {
        name: name.into(),
        password: Secret::new("p"),
        account,
        permissions: None,
        connection_types: Vec::new(),
    };
    of(Config {
        accounts: vec![account("$G"), account("SYS"), account("BUSY"), account("IDLE")],
        auth: Auth { users: vec![user("s", 1), user("b", 2), user("i", 3)].into(), ..Auth::default() },
        system_account: Some("SYS".into()),
        ..Config::default()
    })
}

fn login(node: &mut Node, user: &str, more: &str) -> ConnId {
    join(node, 1, &format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"p\"}}\r\n{more}"))
}

/// What waits for a connection; it is taken to be written.
fn heard(node: &mut Node, id: ConnId) -> String {
    node.take_dirty(&mut Vec::new());
    let out = node.output(id).unwrap();
    let text = out.pieces().map(String::from_utf8_lossy).collect::<String>();
    let (now, written) = (node.now(), out.pending());
    node.sent(now, id, written);
    text
}

/// Whoever comes late hears how many connections accounts have: that is told again every 30 seconds, as by nats-server,
/// of accounts that have some.
#[test]
fn connections_are_told_again_and_again() {
    let mut node = node();
    let system = login(&mut node, "s", "SUB $SYS.ACCOUNT.*.SERVER.CONNS 1\r\n");
    login(&mut node, "b", "");
    let told = |text: &str| text.matches("MSG $SYS.ACCOUNT.BUSY.SERVER.CONNS ").count();
    assert_eq!(told(&heard(&mut node, system)), 1, "as it came");
    for (second, times) in [(29, 0), (30, 1), (31, 0), (59, 0), (60, 1), (90, 1)] {
        node.tick(second * SECOND);
        let text = heard(&mut node, system);
        assert_eq!(told(&text), times, "at {second} s: {text}");
        assert!(!text.contains("ACCOUNT.IDLE."), "nobody is in it: {text}");
    }
}
