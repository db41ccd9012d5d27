//! Who published what, what was acknowledged, and what is at the hub.

use std::sync::Mutex;

const ACKNOWLEDGED: u8 = 1;
const AT_HUB: u8 = 2;

/// One sensor's messages, by number.
#[derive(Default)]
struct Account {
    marks: Vec<u8>,
    /// Below this everything that was acknowledged must be at the hub: it keeps the order.
    newest_at_hub: usize,
}

#[derive(Default)]
struct Accounts {
    sensors: Vec<Account>,
    /// Messages that the hub had already.
    repeated: u64,
}

pub(crate) struct Ledger(Mutex<Accounts>);

/// Sums over all sensors, messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) published: u64,
    /// On flash: the sensor has its PUBACK.
    pub(crate) acknowledged: u64,
    /// Different ones.
    pub(crate) at_hub: u64,
    /// Acknowledged, and not at the hub yet.
    pub(crate) backlog: u64,
    /// Acknowledged, and can no longer come.
    pub(crate) lost: u64,
    /// Came to the hub again.
    pub(crate) repeated: u64,
}

impl Ledger {
    pub(crate) fn new(sensors: usize) -> Self {
        let sensors = (0..sensors).map(|_| Account::default()).collect();
        Self(Mutex::new(Accounts { sensors, repeated: 0 }))
    }

    /// A sensor publishes its next message; gives its number.
    pub(crate) fn published(&self, sensor: usize) -> usize {
        let marks = &mut self.0.lock().unwrap().sensors[sensor].marks;
        marks.push(0);
        marks.len() - 1
    }

    pub(crate) fn acknowledged(&self, sensor: usize, number: usize) {
        self.0.lock().unwrap().sensors[sensor].marks[number] |= ACKNOWLEDGED;
    }

    pub(crate) fn at_hub(&self, sensor: usize, number: usize) {
        let mut accounts = self.0.lock().unwrap();
        let account = &mut accounts.sensors[sensor];
        let before = account.marks[number];
        account.marks[number] |= AT_HUB;
        account.newest_at_hub = account.newest_at_hub.max(number);
        accounts.repeated += u64::from(before & AT_HUB != 0);
    }

    /// While it runs: lost is what others of the same sensor have overtaken.
    pub(crate) fn counts(&self) -> Counts {
        self.count(|account| account.newest_at_hub)
    }

    /// At the end: lost is whatever is missing.
    pub(crate) fn final_counts(&self) -> Counts {
        self.count(|account| account.marks.len())
    }

    fn count(&self, due_below: impl Fn(&Account) -> usize) -> Counts {
        let accounts = self.0.lock().unwrap();
        let mut counts = Counts { repeated: accounts.repeated, ..Counts::default() };
        for account in &accounts.sensors {
            let due = due_below(account);
            for (number, mark) in account.marks.iter().enumerate() {
                let (acknowledged, at_hub) = (mark & ACKNOWLEDGED != 0, mark & AT_HUB != 0);
                counts.acknowledged += u64::from(acknowledged);
                counts.at_hub += u64::from(at_hub);
                counts.backlog += u64::from(acknowledged && !at_hub);
                counts.lost += u64::from(acknowledged && !at_hub && number < due);
            }
            counts.published += account.marks.len() as u64;
        }
        counts
    }
}
