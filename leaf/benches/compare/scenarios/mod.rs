//! What is measured.

mod accounts;
mod footprint;
mod idle;
mod request;
mod slow;
mod stream;

use std::time::Duration;

use crate::{Result, machine, peer::Server};

/// One measurement of one server.
pub(crate) trait Scenario {
    /// What the report and `--only` call it.
    fn name(&self) -> &'static str;

    /// Measures a server which has just been started.
    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>>;

    /// What the server reads besides its command line; nothing for most.
    fn configuration(&self) -> String {
        String::new()
    }

    /// Why it cannot be measured on this machine, if so.
    fn impossible(&self, _pace: &Pace) -> Option<String> {
        None
    }
}

/// All scenarios, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn Scenario>> {
    let mut all: Vec<Box<dyn Scenario>> = vec![Box::new(footprint::Footprint), Box::new(accounts::Accounts)];
    all.extend(stream::all().into_iter().map(|stream| Box::new(stream) as Box<dyn Scenario>));
    all.push(Box::new(request::RequestReply));
    all.push(Box::new(slow::SlowConsumer));
    // Last, for it leaves thousands of sockets to the kernel to tidy up.
    all.push(Box::new(idle::IdleConnections));
    all
}

/// How long and how much.
pub(crate) struct Pace {
    /// Publishing before anything counts.
    warm_up: Duration,
    /// Publishing that counts.
    measured: Duration,
    /// Until an idle server's memory is looked at.
    rest: Duration,
    /// What is sent past a slow consumer.
    flood_bytes: u64,
    /// How many connections idle.
    connections: usize,
}

impl Pace {
    /// For figures worth keeping.
    pub(crate) fn full() -> Self {
        Self {
            warm_up: Duration::from_secs(1),
            measured: Duration::from_secs(3),
            rest: Duration::from_secs(2),
            flood_bytes: 5_000_000_000,
            connections: 5_000,
        }
    }

    /// For a look: well under a minute for two servers, of which nats-server takes ten seconds to give up on a slow
    /// consumer.
    pub(crate) fn quick() -> Self {
        Self {
            warm_up: Duration::from_millis(100),
            measured: Duration::from_millis(400),
            rest: Duration::from_millis(250),
            flood_bytes: 1_000_000_000,
            connections: 2_000,
        }
    }

    /// Files which this process, or a server, has open at most.
    pub(crate) fn descriptors(&self) -> u64 {
        self.connections as u64 + 1_000
    }

    /// Publishing before anything counts.
    pub(crate) fn warm_up(&self) -> Duration {
        self.warm_up
    }

    /// Publishing that counts.
    pub(crate) fn measured(&self) -> Duration {
        self.measured
    }

    fn has_descriptors(&self) -> bool {
        machine::descriptor_limit() >= self.descriptors()
    }
}

/// Which way a figure should go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// Costs: the less the better.
    Less,
    /// Performance: the more the better.
    More,
}

/// Something measured.
#[derive(Clone)]
pub(crate) struct Figure {
    /// What it is, with its unit.
    pub(crate) label: &'static str,
    /// How much; not a number if there was nothing to measure.
    pub(crate) value: f64,
    /// Which way is good.
    pub(crate) better: Better,
}

impl Figure {
    fn cost(label: &'static str, value: f64) -> Self {
        Self { label, value, better: Better::Less }
    }

    fn performance(label: &'static str, value: f64) -> Self {
        Self { label, value, better: Better::More }
    }
}

const KIB: f64 = 1024.0;
