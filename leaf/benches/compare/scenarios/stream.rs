//! One publisher at full speed, and whoever listens.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{Figure, Pace, Scenario};
use crate::{
    Result,
    flow::{self, Publisher, Sharing, Subscriber, Tally},
    peer::Server,
    procfs,
    script::{Frames, Script},
    wire::Client,
};

/// How far ahead of its subscribers a publisher may be, over all of them.
const WINDOW: usize = 4 * 1024 * 1024;

/// How far for each of many subscribers at least: enough to keep a server busy while the publisher naps.
const LEAST_WINDOW: usize = 512 * 1024;

/// Where many subjects are used, so many.
const SUBJECTS: usize = 10_000;

const SUBJECT: &str = "bench.stream";

/// What is published, and who listens.
pub(super) struct Stream {
    name: &'static str,
    payload: usize,
    many_subjects: bool,
    interest: Interest,
    access: Access,
}

/// Who publishes and listens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Anybody may do anything.
    Open,
    /// A user with permissions.
    Permissions,
    /// Two accounts, of which one imports what the other publishes.
    Import,
}

impl Access {
    fn configuration(self) -> &'static str {
        match self {
            Self::Open => "",
            Self::Permissions => {
                r#"no_auth_user: p
                authorization { users: [ { user: p, password: p, permissions: {
                  publish: { allow: ["bench.>", "other.*", "_INBOX.>"], deny: ["bench.secret", "bench.*.hidden"] }
                  subscribe: { allow: ["bench.>", "_INBOX.>"], deny: ["bench.secret"] } } } ] }"#
            }
            Self::Import => {
                r#"no_auth_user: p
                accounts {
                  P { users: [ {user: p, password: p} ], exports: [ {stream: "bench.>"} ] }
                  C { users: [ {user: c, password: c} ], imports: [ {stream: {account: P, subject: "bench.>"}, prefix: imp} ] }
                }"#
            }
        }
    }

    /// What comes before a subject where it is subscribed to.
    fn prefix(self) -> &'static str {
        if self == Self::Import { "imp." } else { "" }
    }

    fn subscriber(self, server: &Server) -> Result<Client> {
        match self {
            Self::Import => Client::connect_as(server.address, "c"),
            _ => Client::connect(server.address),
        }
    }
}

enum Interest {
    Nobody,
    /// So many subscribers to everything.
    Each(usize),
    /// One subscriber to each subject by itself.
    Literal,
    /// A queue group of so many.
    Group(usize),
}

impl Interest {
    fn subscribers(&self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Literal => 1,
            Self::Each(count) | Self::Group(count) => *count,
        }
    }

    fn sharing(&self) -> Sharing {
        if matches!(self, Self::Group(_)) { Sharing::Group } else { Sharing::Each }
    }
}

/// All scenarios of this kind.
pub(super) fn all() -> Vec<Stream> {
    let stream = |name, payload, many_subjects, interest| {
        let access = match name {
            "permissions" => Access::Permissions,
            "stream-import" => Access::Import,
            _ => Access::Open,
        };
        Stream { name, payload, many_subjects, interest, access }
    };
    vec![
        stream("pub-sub-16", 16, false, Interest::Each(1)),
        stream("pub-sub-128", 128, false, Interest::Each(1)),
        stream("pub-sub-1024", 1024, false, Interest::Each(1)),
        stream("fan-out-20", 128, false, Interest::Each(20)),
        stream("subjects-wildcard", 128, true, Interest::Each(1)),
        stream("subjects-literal", 128, true, Interest::Literal),
        stream("no-subscriber", 128, false, Interest::Nobody),
        stream("queue-4", 128, false, Interest::Group(4)),
        stream("permissions", 128, false, Interest::Each(1)),
        stream("stream-import", 128, false, Interest::Each(1)),
    ]
}

impl Scenario for Stream {
    fn name(&self) -> &'static str {
        self.name
    }

    fn configuration(&self) -> String {
        self.access.configuration().to_owned()
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        let subjects = self.subjects();
        let script = self.script(&subjects);
        let frames = self.frames(&script, &subjects);
        let tallies = flow::tallies(self.interest.subscribers());
        let sharing = self.interest.sharing();
        let window = (WINDOW / tallies.len().max(1)).max(LEAST_WINDOW);
        thread::scope(|scope| {
            let mut subscribers = Vec::new();
            let outcome = self.subscribe_all(server, &subjects, &tallies, |client, tally| {
                let verifier = flow::verifier(&frames, sharing);
                subscribers.push(Subscriber::start(scope, client, verifier, tally)?);
                Ok(())
            });
            let outcome = outcome.and_then(|()| {
                let client = Client::connect(server.address)?;
                self.measure(server, pace, Publisher::new(client, &script, &tallies, sharing, window))
            });
            // What went wrong at a subscriber is the cause of what the publisher noticed.
            flow::stop_all(subscribers)?;
            outcome
        })
    }
}

impl Stream {
    fn subjects(&self) -> Vec<String> {
        if !self.many_subjects {
            return vec![SUBJECT.to_owned()];
        }
        // The factor has no divisor in common with the number of subjects: each comes once.
        (0..SUBJECTS).map(|number| format!("bench.device{:04}.state", number * 7919 % SUBJECTS)).collect()
    }

    fn script(&self, subjects: &[String]) -> Script {
        if self.many_subjects {
            Script::new(subjects, subjects.len(), self.payload)
        } else {
            Script::one_chunk(SUBJECT, self.payload)
        }
    }

    fn frames(&self, script: &Script, subjects: &[String]) -> Frames {
        match self.interest {
            // Message and subscription number go together: both count the subjects.
            Interest::Literal => {
                let numbers: std::collections::HashMap<_, _> =
                    subjects.iter().enumerate().map(|(index, subject)| (subject.as_str(), index + 1)).collect();
                script.frames("", |subject| numbers.get(subject).copied().unwrap_or_default())
            }
            _ => script.frames(self.access.prefix(), |_| 1),
        }
    }

    /// The lines with which a subscriber says what it wants.
    fn subscription(&self, subjects: &[String]) -> String {
        match self.interest {
            Interest::Literal => {
                subjects.iter().enumerate().map(|(index, subject)| format!("SUB {subject} {}\r\n", index + 1)).collect()
            }
            Interest::Group(_) => format!("SUB {SUBJECT} workers 1\r\n"),
            _ if self.many_subjects => "SUB bench.> 1\r\n".to_owned(),
            _ => format!("SUB {}{SUBJECT} 1\r\n", self.access.prefix()),
        }
    }

    /// Connects every subscriber and hands it over once the server knows what it wants.
    fn subscribe_all<'a>(
        &self,
        server: &Server,
        subjects: &[String],
        tallies: &'a [Tally],
        mut start: impl FnMut(Client, &'a Tally) -> Result<()>,
    ) -> Result<()> {
        let subscription = self.subscription(subjects);
        for tally in tallies {
            let mut client = self.access.subscriber(server)?;
            client.send(subscription.as_bytes())?;
            client.flush()?;
            start(client, tally)?;
        }
        Ok(())
    }

    fn measure(&self, server: &Server, pace: &Pace, mut publisher: Publisher<'_>) -> Result<Vec<Figure>> {
        publisher.send_for(pace.warm_up)?;
        let (sent, delivered) = (publisher.sent(), publisher.delivered());
        let start = Instant::now();
        let cpu = procfs::cpu_time(server.pid())?;
        publisher.send_for(pace.measured)?;
        let time = start.elapsed();
        let cpu = procfs::cpu_time(server.pid())?.saturating_sub(cpu);
        publisher.check_counts()?;
        Ok(match self.interest {
            Interest::Nobody => figures("ns of server CPU per published", publisher.sent() - sent, cpu, time),
            _ => figures("ns of server CPU per delivered", publisher.delivered() - delivered, cpu, time),
        })
    }
}

fn figures(label: &'static str, messages: u64, cpu: Duration, time: Duration) -> Vec<Figure> {
    vec![
        Figure::cost(label, cpu.as_nanos() as f64 / messages as f64),
        Figure::performance("messages/s", messages as f64 / time.as_secs_f64()),
    ]
}
