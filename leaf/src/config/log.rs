//! Options about what is logged, how and where.

use std::path::PathBuf;

use super::error::{Error, quote};
use super::listen::some;
use super::read::{Draft, Taken};
use super::value::Node;

/// `debug`, `log_file` and the like; ours in addition: `log_format`.
pub(super) fn set(draft: &mut Draft, key: &str, node: &Node) -> Result<Taken, Error> {
    let log = &mut draft.config.log;
    match key {
        "debug" => log.debug = node.boolean()?,
        "trace" => log.trace = node.boolean()? || log.trace_verbose || log.trace_headers,
        "trace_verbose" => {
            log.trace_verbose = node.boolean()?;
            log.trace |= log.trace_verbose;
        }
        "trace_headers" => {
            log.trace_headers = node.boolean()?;
            log.trace |= log.trace_headers;
        }
        "max_traced_msg_len" => log.max_traced_msg_len = natural(node)?,
        "logtime" => log.time = node.boolean()?,
        "logtime_utc" => log.utc = node.boolean()?,
        "log_file" | "logfile" => log.file = some(node)?.map(PathBuf::from),
        "logfile_size_limit" | "log_size_limit" => log.size_limit = natural(node)? as u64,
        "logfile_max_num" | "log_max_num" => log.max_num = natural(node)?,
        "log_format" => log.json = is_json(node.text()?).map_err(|text| Error::at(&node.at, text))?,
        _ => return Ok(Taken::No),
    }
    Ok(Taken::Yes)
}

/// A number; a negative one is 0, which switches these options off.
fn natural(node: &Node) -> Result<usize, Error> {
    Ok(usize::try_from(node.integer()?.max(0)).unwrap_or(usize::MAX))
}

/// Whether a `log_format` is `json`.
pub(super) fn is_json(format: &str) -> Result<bool, String> {
    match format {
        "json" => Ok(true),
        "text" => Ok(false),
        other => Err(format!("log_format must be \"json\" or \"text\", not {}", quote(other))),
    }
}
