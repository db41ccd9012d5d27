//! Many accounts in one configuration.

use std::{fmt::Write, thread};

use super::{Figure, KIB, Pace, Scenario};
use crate::{Result, peer::Server, procfs};

const ACCOUNTS: usize = 10_000;
const USERS: usize = 10;

/// How long a server takes to start with them, and what memory.
pub(super) struct Accounts;

impl Scenario for Accounts {
    fn name(&self) -> &'static str {
        "accounts-10000"
    }

    fn configuration(&self) -> String {
        let mut text = "no_auth_user: u0x0\naccounts {\n".to_owned();
        for account in 0..ACCOUNTS {
            let user = |user| format!("{{user: u{account}x{user}, password: p{account}x{user}}}");
            let users: Vec<_> = (0..USERS).map(user).collect();
            // A String takes everything.
            let _ = writeln!(text, "A{account} {{ users: [{}] }}", users.join(", "));
        }
        text + "}\n"
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        thread::sleep(pace.rest);
        Ok(vec![
            Figure::cost("ms from start to first client", server.start.as_secs_f64() * 1e3),
            Figure::cost("resident, MiB", procfs::resident(server.pid())? as f64 / KIB),
        ])
    }
}
