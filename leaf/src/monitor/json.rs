//! JSON the way Go's encoder writes it, so that answers compare byte for byte.

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

use super::Response;

/// A response with `value`, indented by two blanks.
pub(super) fn pretty(value: &impl Serialize) -> Response {
    Response::json(write(value, PrettyFormatter::with_indent(b"  ")))
}

/// `value` on one line.
pub(super) fn compact(value: &impl Serialize) -> Vec<u8> {
    write(value, CompactFormatter)
}

/// Appends `value` on one line.
pub(crate) fn compact_into(value: &impl Serialize, out: &mut Vec<u8>) {
    write_into(value, CompactFormatter, out);
}

fn write(value: &impl Serialize, layout: impl Formatter) -> Vec<u8> {
    let mut body = Vec::new();
    write_into(value, layout, &mut body);
    body
}

fn write_into(value: &impl Serialize, layout: impl Formatter, out: &mut Vec<u8>) {
    // Our types have string keys and a Vec takes everything: there is nothing that could fail.
    let written = value.serialize(&mut Serializer::with_formatter(out, Go(layout)));
    debug_assert!(written.is_ok(), "{written:?}");
}

/// A layout with Go's habits: `<`, `>` and `&` are escaped in strings, whole numbers have no decimals.
struct Go<F>(F);

impl<F: Formatter> Formatter for Go<F> {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value}")
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (before, after) = rest.split_at(at);
            let mut chars = after.chars();
            let special = chars.next().map_or(0, u32::from);
            write!(writer, "{before}\\u{special:04x}")?;
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_like_gos() {
        #[derive(Serialize)]
        struct Sample {
            a: Vec<&'static str>,
            b: [f64; 3],
            c: Vec<u8>,
        }
        let sample = Sample { a: vec!["work.>", "\"é\"\u{2028}<&"], b: [0.0, 1.0, 0.6], c: vec![] };
        assert_eq!(
            String::from_utf8_lossy(&compact(&sample)),
            r#"{"a":["work.\u003e","\"é\"\u2028\u003c\u0026"],"b":[0,1,0.6],"c":[]}"#
        );
        let body = pretty(&["a"]).body;
        assert_eq!(String::from_utf8_lossy(&body), "[\n  \"a\"\n]");
    }
}
