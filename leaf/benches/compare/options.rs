//! The command line.

use std::path::PathBuf;

use crate::Result;

/// What the command line asks for.
#[derive(Default)]
pub(crate) struct Options {
    /// Everything shorter.
    pub(crate) quick: bool,
    /// Print the scenarios' names and stop.
    pub(crate) list: bool,
    /// How often each scenario is measured.
    pub(crate) rounds: usize,
    /// The nats-server to compare with.
    pub(crate) peer: Option<PathBuf>,
    /// The petiole-leaf to measure, in place of the one built along.
    pub(crate) ours: Option<PathBuf>,
    /// Where the report goes besides standard output.
    pub(crate) out: Option<PathBuf>,
    only: Vec<String>,
    server: Option<String>,
}

impl Options {
    /// Reads the arguments; nothing if this is not a run to measure anything.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self { rounds: 1, ..Self::default() };
        let mut arguments = arguments.peekable();
        // `cargo test --all-targets` runs benches too, without the `--bench` which `cargo bench` adds.
        if arguments.peek().is_none() {
            println!("nothing measured: run `cargo bench -p petiole-leaf --bench compare`");
            return Ok(None);
        }
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--bench" => {}
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--only" => options.only.push(value()?),
                "--server" => options.server = Some(value()?),
                "--peer" => options.peer = Some(value()?.into()),
                "--ours" => options.ours = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                other => return Err(format!("unknown option {other}; see benches/compare/main.rs").into()),
            }
        }
        Ok(Some(options))
    }

    /// Whether to run the scenario of this name.
    pub(crate) fn wants(&self, scenario: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| scenario.contains(part.as_str()))
    }

    /// Whether to run the server of this name.
    pub(crate) fn wants_server(&self, name: &str) -> bool {
        self.server.as_deref().is_none_or(|wanted| wanted == name)
    }
}
