use crate::config::{Account, Auth, Config, Secret, User};
use crate::monitor::tests::{join, of};
use crate::node::Command;

/// Of `secret`; the cost is the lowest there is.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36";

/// How many hashes are compared when somebody logs in as this.
fn comparisons(connect: &str) -> usize {
    let user = |name: &str, password: &str, types: &[&str]| User {
        name: name.into(),
        password: Secret::new(password),
        account: 0,
        permissions: None,
        connection_types: types.iter().map(|text| (*text).to_owned()).collect(),
    };
    let users = vec![user("known", HASH, &[]), user("elsewhere", HASH, &["MQTT"]), user("plain", "secret", &[])];
    let mut node = of(Config {
        accounts: vec![Account { name: "$G".into(), ..Account::default() }],
        auth: Auth { users: users.into(), ..Auth::default() },
        ..Config::default()
    });
    let id = join(&mut node, 1, &format!("CONNECT {{\"verbose\":false,{connect}}}\r\n"));
    let mut count = 0;
    while let Some(command) = node.poll_command() {
        if matches!(command, Command::CheckPassword { .. }) {
            count += 1;
            node.password_checked(2, id, false);
        }
    }
    assert!(node.find(id).is_none(), "nobody is let in: {connect}");
    count
}

/// The time of a login is that of comparing hashes, so who counts them knows what can be told from outside: nothing. A
/// user who is not there, one whose way to connect is another and one whose password is not hashed cost what the known
/// one costs.
#[test]
fn whoever_is_refused_costs_one_comparison() {
    for connect in [
        r#""user":"known","pass":"wrong""#,
        r#""user":"known","pass":"""#,
        r#""user":"unknown","pass":"wrong""#,
        r#""user":"elsewhere","pass":"secret""#,
        r#""user":"plain","pass":"wrong""#,
    ] {
        assert_eq!(comparisons(connect), 1, "{connect}");
    }
}
