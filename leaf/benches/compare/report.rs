//! The table.

use std::fmt::Write;

use crate::{
    Result,
    peer::Contender,
    scenarios::{Better, Figure},
};

/// Everything measured.
pub(crate) struct Results {
    /// The servers, ours first.
    pub(crate) contenders: Vec<Contender>,
    /// How often everything is measured.
    pub(crate) rounds: usize,
    /// What was lost, or who died.
    pub(crate) failures: Vec<String>,
    notes: Vec<String>,
    rows: Vec<Row>,
}

/// One figure of one scenario.
struct Row {
    scenario: &'static str,
    label: &'static str,
    better: Better,
    /// One value of each round, for each server.
    values: Vec<Vec<f64>>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(contenders: Vec<Contender>, rounds: usize) -> Self {
        Self { contenders, rounds, failures: Vec::new(), notes: Vec::new(), rows: Vec::new() }
    }

    /// Adds a remark to be printed below the table.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Adds what a scenario measured of a server.
    pub(crate) fn record(&mut self, scenario: &'static str, contender: usize, outcome: Result<Vec<Figure>>) {
        match outcome {
            Ok(figures) => {
                for figure in &figures {
                    self.row(scenario, figure).values[contender].push(figure.value);
                }
            }
            Err(failure) => self.failures.push(format!("{scenario}, {}: {failure}", self.contenders[contender].name)),
        }
    }

    fn row(&mut self, scenario: &'static str, figure: &Figure) -> &mut Row {
        let known = self.rows.iter().position(|row| row.scenario == scenario && row.label == figure.label);
        let index = known.unwrap_or(self.rows.len());
        if known.is_none() {
            let values = vec![Vec::new(); self.contenders.len()];
            self.rows.push(Row { scenario, label: figure.label, better: figure.better, values });
        }
        &mut self.rows[index]
    }
}

/// The report in Markdown.
pub(crate) fn markdown(results: &Results, machine: &str, quick: bool) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_report(&mut text, results, machine, quick);
    text
}

fn write_report(text: &mut String, results: &Results, machine: &str, quick: bool) -> std::fmt::Result {
    writeln!(text, "Machine: {machine}.")?;
    for contender in &results.contenders {
        writeln!(text, "{}: {} ({}).", contender.name, contender.version, contender.path.display())?;
    }
    let length = if quick { "quick run, " } else { "" };
    writeln!(text, "Servers and load generator share the cores; {length}medians of {} round(s).\n", results.rounds)?;
    write_table(text, results)?;
    writeln!(text, "\n↓ less is better, ↑ more is better; — nothing measured.")?;
    for note in &results.notes {
        writeln!(text, "{note}")?;
    }
    for failure in &results.failures {
        writeln!(text, "FAILED: {failure}")?;
    }
    Ok(())
}

fn write_table(text: &mut String, results: &Results) -> std::fmt::Result {
    let names: Vec<_> = results.contenders.iter().map(|contender| contender.name).collect();
    let ratio = names.len() == 2;
    let last = if ratio { " ours/theirs |" } else { "" };
    writeln!(text, "| scenario | figure | {} |{last}", names.join(" | "))?;
    let columns = names.len() + usize::from(ratio);
    writeln!(text, "|---|---|{}", "--:|".repeat(columns))?;
    for row in &results.rows {
        let arrow = if row.better == Better::Less { '↓' } else { '↑' };
        write!(text, "| {} | {} {arrow} |", row.scenario, row.label)?;
        let medians: Vec<_> = row.values.iter().map(|values| median(values)).collect();
        for median in &medians {
            write!(text, " {} |", amount(*median))?;
        }
        if let (true, [ours, theirs]) = (ratio, medians.as_slice()) {
            write!(text, " {} |", quotient(*ours, *theirs))?;
        }
        writeln!(text)?;
    }
    Ok(())
}

/// The figures of one measurement, for whoever watches.
pub(crate) fn one_line(figures: &[Figure]) -> String {
    let parts: Vec<_> = figures.iter().map(|figure| format!("{} {}", amount(figure.value), figure.label)).collect();
    parts.join(", ")
}

fn median(values: &[f64]) -> f64 {
    let mut known: Vec<_> = values.iter().copied().filter(|value| value.is_finite()).collect();
    known.sort_by(f64::total_cmp);
    match known.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => known[count / 2],
        count => (known[count / 2 - 1] + known[count / 2]) / 2.0,
    }
}

/// Ours as a multiple of theirs; none of nothing.
fn quotient(ours: f64, theirs: f64) -> String {
    let ratio = ours / theirs;
    if ratio.is_finite() { format!("{ratio:.2}") } else { "—".to_owned() }
}

/// Three digits or more, thousands apart.
fn amount(value: f64) -> String {
    let decimals = match value.abs() {
        _ if !value.is_finite() => return "—".to_owned(),
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), String::new()), |(a, b)| (a, format!(".{b}")));
    let groups: Vec<_> = whole.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",") + &fraction
}
