//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

const USAGE: &str = "usage: outage [--seconds N] [--seed N] [--plot FILE.svg]";
/// Fewer leave no time for three faults.
const SECONDS_MIN: u64 = 5;

pub(crate) struct Options {
    /// How long the sensors publish.
    pub(crate) seconds: Duration,
    pub(crate) seed: u64,
    /// Where to draw what happened.
    pub(crate) plot: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { seconds: Duration::from_secs(36), seed: 1, plot: None };
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Err(USAGE.to_owned());
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse::<u64>().map_err(|_| format!("{name} {value}: no number\n{USAGE}"));
            match name.as_str() {
                "--seconds" => options.seconds = Duration::from_secs(number()?.max(SECONDS_MIN)),
                "--seed" => options.seed = number()?,
                "--plot" => options.plot = Some(value.into()),
                _ => return Err(format!("{name} is no option\n{USAGE}")),
            }
        }
        Ok(options)
    }
}
