//! `/`: the way to everything else.

use std::fmt::Write;

use super::{Endpoint, Response, View};

pub(super) fn page(view: &View<'_>) -> Response {
    let base = view.node.config.monitor.as_ref().map_or("", |monitor| &monitor.base_path);
    let program = view.node.identity.program;
    let mut links = String::new();
    for path in Endpoint::all().filter(|endpoint| *endpoint != Endpoint::Index).map(Endpoint::path) {
        let (href, name) = (escape(&format!("{base}{path}")), &path[1..]);
        // A String takes everything.
        let _ = writeln!(links, "<li><a href=\"{href}\">{name}</a></li>");
    }
    Response::html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{program}</title>\n\
         <style>body {{ font-family: system-ui, sans-serif; margin: 2em; }}</style>\n</head>\n<body>\n\
         <h1>{program} {version}</h1>\n<p>{name}</p>\n<ul>\n{links}</ul>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
        name = escape(view.server_name()),
    ))
}

/// `text` where HTML is expected.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
