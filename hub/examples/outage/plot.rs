//! A picture of what happened: the backlog and the rate at the hub over time.

use std::fmt::Write as _;
use std::time::Duration;

use crate::ledger::Counts;
use crate::schedule::Fault;

/// How things were at a moment.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    pub(crate) counts: Counts,
    pub(crate) fault: Option<Fault>,
    /// The leaf was killed just now.
    pub(crate) killed: bool,
}

/// Rates are taken over this many samples.
const RATE_OVER: usize = 5;

/// Messages a second of late: published, and new at the hub.
pub(crate) fn rate(samples: &[Sample]) -> (f64, f64) {
    let (Some(last), Some(first)) = (samples.last(), samples.get(samples.len().saturating_sub(RATE_OVER + 1))) else {
        return (0.0, 0.0);
    };
    let time = (last.at - first.at).as_secs_f64().max(1e-3);
    let of = |count: fn(&Counts) -> u64| (count(&last.counts) - count(&first.counts)) as f64 / time;
    (of(|counts| counts.published), of(|counts| counts.at_hub))
}

const LEFT: f64 = 70.0;
const WIDTH: f64 = 690.0;
const PANEL: f64 = 120.0;
const TOPS: [f64; 2] = [34.0, 194.0];
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#57606a}.n{text-anchor:end}.m{text-anchor:middle}\
    .down{fill:#cf222e;opacity:.12}.why{fill:#cf222e}.axis{stroke:#8b949e;fill:none}\
    .backlog{fill:#0969da;opacity:.75}.rate{stroke:#1a7f37;fill:none;stroke-width:1.5}.kill{stroke:#cf222e;stroke-dasharray:3 3}";

/// An SVG document.
pub(crate) fn draw(samples: &[Sample]) -> String {
    let end = samples.last().map_or(1.0, |last| last.at.as_secs_f64());
    let x = |at: Duration| LEFT + at.as_secs_f64() / end * WIDTH;
    let backlog: Vec<f64> = samples.iter().map(|sample| sample.counts.backlog as f64).collect();
    let rates: Vec<f64> = (1..=samples.len()).map(|count| rate(&samples[..count]).1).collect();
    let mut svg = String::new();
    // A string takes everything.
    let _ = writeln!(svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 780 350\"><style>{STYLE}</style>");
    let _ = writeln!(svg, "<rect width=\"780\" height=\"350\" fill=\"#fff\"/>");
    for (from, to, fault) in faults(samples) {
        let (left, right) = (x(from), x(to));
        for top in TOPS {
            let _ = writeln!(
                svg,
                "<rect class=\"down\" x=\"{left:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{PANEL}\"/>",
                right - left
            );
        }
        let (middle, name) = ((left + right) / 2.0, fault.name());
        let _ = writeln!(svg, "<text class=\"m why\" x=\"{middle:.1}\" y=\"{}\">link {name}</text>", TOPS[0] - 6.0);
    }
    for sample in samples.iter().filter(|sample| sample.killed) {
        let at = x(sample.at);
        let _ = writeln!(svg, "<path class=\"kill\" d=\"M{at:.1} {}V{}\"/>", TOPS[0], TOPS[1] + PANEL);
    }
    let names = ["backlog on the leaf's flash, readings", "readings a second at the hub"];
    for ((top, name), values) in TOPS.into_iter().zip(names).zip([&backlog, &rates]) {
        let most = round_up(values.iter().copied().fold(1.0, f64::max));
        let mut line = String::new();
        for (sample, value) in samples.iter().zip(values) {
            let _ = write!(line, "L{:.1} {:.1}", x(sample.at), top + PANEL - value / most * PANEL);
        }
        let bottom = top + PANEL;
        let (class, path) = if top == TOPS[0] {
            ("backlog", format!("M{LEFT} {bottom}{line}V{bottom}Z"))
        } else {
            ("rate", format!("M{LEFT} {bottom}{line}"))
        };
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
        let _ = writeln!(svg, "<path class=\"axis\" d=\"M{LEFT} {top}V{bottom}H{}\"/>", LEFT + WIDTH);
        let _ = writeln!(svg, "<text class=\"n\" x=\"{}\" y=\"{}\">{most}</text>", LEFT - 6.0, top + 10.0);
        let _ = writeln!(svg, "<text class=\"n\" x=\"{}\" y=\"{bottom}\">0</text>", LEFT - 6.0);
        let _ = writeln!(svg, "<text x=\"{}\" y=\"{}\">{name}</text>", LEFT + 6.0, top + 14.0);
    }
    for second in (0..=end as u64).step_by(5) {
        let at = x(Duration::from_secs(second));
        let _ = writeln!(svg, "<text class=\"m\" x=\"{at:.1}\" y=\"{}\">{second} s</text>", TOPS[1] + PANEL + 18.0);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The spans without a link: from, to, and why.
fn faults(samples: &[Sample]) -> Vec<(Duration, Duration, Fault)> {
    let mut spans: Vec<(Duration, Duration, Fault)> = Vec::new();
    for pair in samples.windows(2) {
        let Some(fault) = pair[0].fault else { continue };
        match spans.last_mut() {
            Some(last) if last.2 == fault => last.1 = pair[1].at,
            _ => spans.push((pair[0].at, pair[1].at, fault)),
        }
    }
    spans
}

/// The end of an axis: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|step| *step >= value).unwrap_or(value)
}
