//! The counters, drawn in place on a terminal, else a line a second.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use crate::ledger::Counts;
use crate::plot::{Sample, rate};
use crate::schedule::{Fault, Schedule};

/// Columns of the bar that shows the backlog.
const BAR: u64 = 32;
/// Readings that fill the bar.
const BAR_FULL: u64 = 16_000;

pub(crate) struct Screen {
    total: Duration,
    terminal: bool,
    /// Lines on the terminal that are to be drawn over.
    drawn: usize,
    /// The second of the last line, if it is no terminal.
    said: Option<u64>,
}

impl Screen {
    pub(crate) fn new(total: Duration) -> Self {
        Self { total, terminal: stdout().is_terminal(), drawn: 0, said: None }
    }

    pub(crate) fn show(&mut self, at: Duration, counts: &Counts, fault: Option<Fault>, samples: &[Sample]) {
        let link = fault.map_or("up", Fault::name);
        let (into, up) = rate(samples);
        if !self.terminal {
            if self.said.replace(at.as_secs()) != Some(at.as_secs()) {
                let Counts { published, acknowledged, at_hub, backlog, lost, .. } = counts;
                println!(
                    "{:3} s  link {link:16}  published {published:6}  on flash {acknowledged:6}  at the hub {at_hub:6} \
                     ({up:5.0}/s)  backlog {backlog:6}  lost {lost}",
                    at.as_secs()
                );
            }
            return;
        }
        let colour = if fault.is_some() { "\x1b[31m" } else { "\x1b[32m" };
        let filled = (counts.backlog * BAR).div_ceil(BAR_FULL).min(BAR) as usize;
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR as usize - filled));
        let lines = [
            String::new(),
            format!("  20 sensors ──MQTT──▶ leaf ══{colour} {link} \x1b[0m══▶ hub"),
            String::new(),
            format!("  published   {:>9}   {into:>6.0}/s", counts.published),
            format!("  on flash    {:>9}   acknowledged after the sync", counts.acknowledged),
            format!("  at the hub  {:>9}   {up:>6.0}/s", counts.at_hub),
            format!("  backlog     {:>9}   {bar}", counts.backlog),
            format!("  lost        {:>9}", counts.lost),
            String::new(),
            format!("  {:.1} of {} s", at.as_secs_f64().min(self.total.as_secs_f64()), self.total.as_secs()),
        ];
        let mut text = String::new();
        if self.drawn > 0 {
            text.push_str(&format!("\x1b[{}A", self.drawn));
        }
        for line in &lines {
            // What is left of a longer line goes.
            text.push_str(&format!("{line}\x1b[K\n"));
        }
        self.drawn = lines.len();
        // Nobody looks if this fails.
        let _ = stdout().write_all(text.as_bytes());
    }

    pub(crate) fn summary(&self, counts: &Counts, schedule: &Schedule, samples: &[Sample]) {
        let Counts { published, acknowledged, at_hub, lost, repeated, .. } = counts;
        let took = samples.last().map_or(Duration::ZERO, |last| last.at);
        let most = samples.iter().map(|sample| sample.counts.backlog).max().unwrap_or(0);
        println!();
        println!(
            "In {:.1} s, {:.1} of them without a link, 20 sensors published {published} readings; up to {most} waited.",
            took.as_secs_f64(),
            schedule.without_link().as_secs_f64()
        );
        println!(
            "{acknowledged} were acknowledged, {at_hub} are at the hub, {lost} are lost; {repeated} came there again."
        );
    }
}
