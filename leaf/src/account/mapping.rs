//! Subject mappings: what is published to one subject goes to another.
//!
//! The first mapping, in the order of the file, whose source covers the subject is the one; it is
//! applied once. (nats-server's order is that of a hash table, another one at each start.) One of
//! its destinations is drawn by weight for each message. When the weights do not add up to 100,
//! the missing share
//! * stays on the subject, unless
//! * the source itself is listed as a destination: then whoever wrote it wants loss, and it is dropped.
//!
//! A destination is a subject, some of whose tokens are functions; a token is a function as a whole
//! or not at all. Positions count the `*` of the source from 1; 0 and less stand for the subject's
//! first token. Positions and sizes that do not suit a token leave it as it is.
//!
//! | Function | What takes its place |
//! |---|---|
//! | `$1`, `{{wildcard(1)}}` | the token |
//! | `{{partition(n,1,2…)}}` | FNV-1a (32 bits) of these tokens, put together without dots, modulo n |
//! | `{{partition(n)}}` | the same of the whole subject; also with positions if the source has no wildcard |
//! | `{{split(1,-)}}` | the token, cut at each `-` |
//! | `{{splitfromleft(1,n)}}`, `…right` | the token, cut once after n bytes from that side |
//! | `{{slicefromleft(1,n)}}`, `…right` | the token in slices of n bytes, the rest at the other side |
//! | `{{left(1,n)}}`, `{{right(1,n)}}` | n bytes of the token |
//! | `{{random(n)}}` | a number below n |
//!
//! The case of a function's name does not matter. (nats-server takes capitals only where words begin.)

use std::io::Write;

use crate::config::{self, Destination};
use crate::subject;

/// The mappings of an account.
#[derive(Clone, Debug, Default)]
pub struct Mappings {
    entries: Vec<Entry>,
}

/// What became of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It stays as it is.
    Unchanged,
    /// It is now another one.
    Changed,
    /// The message goes nowhere.
    Dropped,
}

impl Mappings {
    /// Compiles the mappings of an account for a server in the cluster of that name.
    ///
    /// Destinations for this very cluster displace the ones for any. If a source is there twice, the
    /// later mapping takes the place of the earlier one.
    ///
    /// # Errors
    /// The index of the mapping in question, and a text for the operator.
    pub fn compile(mappings: &[config::Mapping], cluster: Option<&str>) -> Result<Self, (usize, String)> {
        let mut entries: Vec<Entry> = Vec::with_capacity(mappings.len());
        for (index, mapping) in mappings.iter().enumerate() {
            let entry = Entry::compile(mapping, cluster).map_err(|text| (index, text))?;
            match entries.iter_mut().find(|earlier| earlier.source == entry.source) {
                Some(earlier) => *earlier = entry,
                None => entries.push(entry),
            }
        }
        Ok(Self { entries })
    }

    /// The subjects that are mapped, maybe with wildcards.
    pub fn sources(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|entry| entry.source.as_ref())
    }

    /// Whether one of them is for this subject.
    pub fn concern(&self, subject: &[u8]) -> bool {
        self.entries.iter().any(|entry| entry.is_for(subject))
    }

    /// Whether there is nothing to apply.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Maps the subject of a message. `draw` is random and decides what chance decides. `out` holds
    /// the new subject after [`Mapped::Changed`] and is left alone otherwise.
    pub fn apply(&self, subject: &[u8], draw: u64, out: &mut Vec<u8>) -> Mapped {
        let Some(entry) = self.entries.iter().find(|entry| entry.is_for(subject)) else { return Mapped::Unchanged };
        match entry.choose(draw) {
            None => Mapped::Dropped,
            Some(Target::Source) => Mapped::Unchanged,
            Some(Target::Template(template)) => {
                out.clear();
                template.write(subject, draw, out);
                Mapped::Changed
            }
        }
    }
}

/// One mapping.
#[derive(Clone, Debug)]
struct Entry {
    source: Box<[u8]>,
    wild: bool,
    choices: Vec<Choice>,
}

/// A destination, for draws from 0 to 99 that are below this and that the choices before did not take.
#[derive(Clone, Debug)]
struct Choice {
    below: u8,
    target: Target,
}

#[derive(Clone, Debug)]
enum Target {
    /// The subject as it is.
    Source,
    Template(Template),
}

impl Entry {
    fn compile(mapping: &config::Mapping, cluster: Option<&str>) -> Result<Self, String> {
        let source = Source::parse(&mapping.source)?;
        check_weights(&mapping.destinations)?;
        // Those of other clusters, too: what is wrong is wrong everywhere.
        for destination in &mapping.destinations {
            Template::parse(&destination.template, &source)?;
        }

        let in_cluster = |name: Option<&str>| {
            let of = move |d: &&Destination| d.cluster.as_deref() == name;
            mapping.destinations.iter().filter(of).collect::<Vec<_>>()
        };
        let ours = cluster.map(|name| in_cluster(Some(name))).unwrap_or_default();
        let ours = if ours.is_empty() { in_cluster(None) } else { ours };

        let mut choices = Vec::with_capacity(ours.len() + 1);
        let mut below = 0;
        for destination in ours {
            // At most 100 in all, see above.
            below += destination.weight;
            let target = Target::Template(Template::parse(&destination.template, &source)?);
            choices.push(Choice { below, target });
        }
        let wants_loss = mapping.destinations.iter().any(|destination| destination.template == mapping.source);
        if below < 100 && !wants_loss {
            choices.push(Choice { below: 100, target: Target::Source });
        }
        Ok(Self { source: mapping.source.as_bytes().into(), wild: source.is_wild(), choices })
    }

    /// Whether this mapping is the one for `subject`. A token `*` in it, which a client that is not
    /// pedantic may publish to, is only covered by a wildcard; an empty token by nothing but `>`.
    fn is_for(&self, subject: &[u8]) -> bool {
        if !self.wild {
            return *self.source == *subject;
        }
        let mut pairs = subject::tokens(&self.source).zip(subject::tokens(subject));
        subject::covers(&self.source, subject) && pairs.all(|(want, have)| want == b">" || !have.is_empty())
    }

    fn choose(&self, draw: u64) -> Option<&Target> {
        let drawn = draw % 100;
        self.choices.iter().find(|choice| drawn < u64::from(choice.below)).map(|choice| &choice.target)
    }
}

fn check_weights(destinations: &[Destination]) -> Result<(), String> {
    for (index, destination) in destinations.iter().enumerate() {
        let Destination { template, weight, cluster } = destination;
        if destinations[..index].iter().any(|earlier| earlier.template == *template) {
            return Err(format!("destination {template:?} is there twice"));
        }
        let same = destinations.iter().filter(|other| other.cluster == *cluster);
        if *weight > 100 || same.map(|other| u32::from(other.weight)).sum::<u32>() > 100 {
            return Err(format!("weights of more than 100% with destination {template:?}"));
        }
    }
    Ok(())
}

/// What templates need to know about a source.
struct Source {
    /// Where its `*` are: indices of tokens.
    stars: Vec<usize>,
    /// Where its `>` is, if it has one.
    rest: Option<usize>,
}

impl Source {
    fn parse(text: &str) -> Result<Self, String> {
        if !subject::is_valid(text.as_bytes()) {
            return Err(format!("{text:?} is not a valid subject"));
        }
        let positions = |wanted: &[u8]| {
            let tokens = subject::tokens(text.as_bytes()).enumerate();
            tokens.filter(|(_, token)| *token == wanted).map(|(index, _)| index).collect::<Vec<_>>()
        };
        Ok(Self { stars: positions(b"*"), rest: positions(b">").pop() })
    }

    fn is_wild(&self) -> bool {
        !self.stars.is_empty() || self.rest.is_some()
    }

    /// The token that the `number`th `*` stands for.
    fn position(&self, number: i64) -> Result<usize, &'static str> {
        const OUT_OF_RANGE: &str = "the source has no such wildcard";
        if !self.is_wild() {
            return Err(OUT_OF_RANGE);
        }
        match usize::try_from(number) {
            Err(_) | Ok(0) => Ok(0),
            Ok(number) => self.stars.get(number - 1).copied().ok_or(OUT_OF_RANGE),
        }
    }
}

/// A destination, taken apart.
#[derive(Clone, Debug)]
struct Template {
    /// Joined with dots.
    parts: Vec<Part>,
    /// With `>` at the end: the subject's tokens from this one on follow.
    rest: Option<usize>,
}

/// One or, after cutting, more tokens of the new subject. Numbers of tokens are indices into the old one.
#[derive(Clone, Debug)]
enum Part {
    Literal(Box<[u8]>),
    Token(usize),
    /// No tokens are the whole subject.
    Partition {
        buckets: u32,
        tokens: Vec<usize>,
    },
    Split {
        token: usize,
        at: Box<[u8]>,
    },
    Cut {
        token: usize,
        how: Cut,
        size: usize,
    },
    Random {
        below: u32,
    },
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    SplitFromLeft,
    SplitFromRight,
    SliceFromLeft,
    SliceFromRight,
    Left,
    Right,
}

impl Template {
    fn parse(text: &str, source: &Source) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut open = false;
        for token in text.split('.') {
            if token.is_empty() || open {
                return Err(format!("{text:?} is not a valid subject"));
            }
            if token == ">" {
                open = true;
                continue;
            }
            parts.push(Part::parse(token, source).map_err(|why| format!("{why}: {token}"))?);
        }
        match (open, source.rest) {
            (true, None) => Err(format!("{text:?} has a > which the source has not")),
            (false, Some(_)) => Err(format!("{text:?} lacks the > of the source")),
            (_, rest) => Ok(Self { parts, rest }),
        }
    }

    fn write(&self, subject: &[u8], draw: u64, out: &mut Vec<u8>) {
        for (index, part) in self.parts.iter().enumerate() {
            if index > 0 {
                out.push(b'.');
            }
            part.write(subject, spread(draw, index), out);
        }
        let Some(rest) = self.rest else { return };
        for (index, token) in subject::tokens(subject).skip(rest).enumerate() {
            if index > 0 || !self.parts.is_empty() {
                out.push(b'.');
            }
            out.extend_from_slice(token);
        }
    }
}

impl Part {
    fn parse(token: &str, source: &Source) -> Result<Self, &'static str> {
        if let Some(number) = token.strip_prefix('$').and_then(|number| number.parse().ok()) {
            return source.position(number).map(Self::Token);
        }
        if let Some(call) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
            return Self::parse_call(call, source);
        }
        if token == "*" {
            return Err("a destination has functions, not wildcards");
        }
        if token.bytes().any(|byte| b"\t\n\x0c\r ".contains(&byte)) {
            return Err("a subject has no blanks");
        }
        Ok(Self::Literal(token.as_bytes().into()))
    }

    fn parse_call(call: &str, source: &Source) -> Result<Self, &'static str> {
        let (name, arguments) = split_call(call).ok_or("not a function")?;
        match (name.to_ascii_lowercase().as_str(), arguments.as_slice()) {
            ("wildcard", [position]) => source.position(number(position)?).map(Self::Token),
            ("partition", [buckets, positions @ ..]) => Self::partition(buckets, positions, source),
            ("random", [below]) => Ok(Self::Random { below: small(below)?.unsigned_abs() }),
            ("split", [position, at]) if at.contains(' ') => {
                source.position(number(position)?)?;
                Err("a subject has no blanks")
            }
            ("split", [position, at]) => {
                Ok(Self::Split { token: source.position(number(position)?)?, at: at.as_bytes().into() })
            }
            ("wildcard" | "random" | "split", _) => Err("wrong number of arguments"),
            (name, arguments) => {
                let how = Cut::parse(name).ok_or("unknown function")?;
                let [position, size] = arguments else { return Err("wrong number of arguments") };
                // A negative size cuts as little as 0 does.
                let size = usize::try_from(small(size)?).unwrap_or(0);
                Ok(Self::Cut { token: source.position(number(position)?)?, how, size })
            }
        }
    }

    fn partition(buckets: &str, positions: &[&str], source: &Source) -> Result<Self, &'static str> {
        // A negative number wraps around, as in nats-server; there are few who have that many partitions.
        let buckets = small(buckets)?.cast_unsigned();
        let mut tokens = Vec::with_capacity(positions.len());
        for position in positions {
            let position = number(position)?;
            if source.is_wild() {
                tokens.push(source.position(position)?);
            }
        }
        Ok(Self::Partition { buckets, tokens })
    }

    fn write(&self, subject: &[u8], draw: u64, out: &mut Vec<u8>) {
        // The source matched, so that every token it names is there.
        let token = |index: usize| subject::tokens(subject).nth(index).unwrap_or_default();
        match self {
            Self::Literal(text) => out.extend_from_slice(text),
            Self::Token(index) => out.extend_from_slice(token(*index)),
            Self::Partition { buckets, tokens } => {
                let hash = match tokens.is_empty() {
                    true => fnv1a(subject.iter()),
                    false => fnv1a(tokens.iter().flat_map(|&index| token(index))),
                };
                write_number(hash.checked_rem(*buckets).unwrap_or(0), out);
            }
            Self::Split { token: index, at } => write_split(token(*index), at, out),
            Self::Cut { token: index, how, size } => how.write(token(*index), *size, out),
            Self::Random { below } => {
                let drawn = draw.checked_rem(u64::from(*below)).unwrap_or(0);
                write_number(u32::try_from(drawn).unwrap_or(0), out);
            }
        }
    }
}

impl Cut {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "splitfromleft" => Self::SplitFromLeft,
            "splitfromright" => Self::SplitFromRight,
            "slicefromleft" => Self::SliceFromLeft,
            "slicefromright" => Self::SliceFromRight,
            "left" => Self::Left,
            "right" => Self::Right,
            _ => return None,
        })
    }

    fn write(self, token: &[u8], size: usize, out: &mut Vec<u8>) {
        if size == 0 || size >= token.len() {
            out.extend_from_slice(token);
            return;
        }
        let other = token.len() - size;
        match self {
            Self::SplitFromLeft => write_joined([&token[..size], &token[size..]], out),
            Self::SplitFromRight => write_joined([&token[..other], &token[other..]], out),
            Self::SliceFromLeft => write_joined(token.chunks(size), out),
            Self::SliceFromRight => write_joined(token.rchunks(size).rev(), out),
            Self::Left => out.extend_from_slice(&token[..size]),
            Self::Right => out.extend_from_slice(&token[other..]),
        }
    }
}

/// Takes ` Name ( a, b ) ` apart.
fn split_call(call: &str) -> Option<(&str, Vec<&str>)> {
    let (name, rest) = call.split_once('(')?;
    let inside = rest.trim_ascii_end().strip_suffix(')')?;
    let mut arguments: Vec<&str> = inside.split(',').collect();
    for later in arguments.iter_mut().skip(1) {
        *later = later.trim_ascii_start();
    }
    Some((name.trim_ascii(), arguments))
}

fn number(text: &str) -> Result<i64, &'static str> {
    text.trim_matches(' ').parse().map_err(|_| "not a number where one is needed")
}

/// A number that fits 32 bits.
fn small(text: &str) -> Result<i32, &'static str> {
    i32::try_from(number(text)?).map_err(|_| "a number out of range")
}

/// Writes what `token` is between each `at`. Pieces are set apart by one dot, empty ones left out,
/// except that two separators in front leave an empty token there. No separator cuts every character.
fn write_split(token: &[u8], at: &[u8], out: &mut Vec<u8>) {
    let mut rest = Some(token);
    let mut first = None;
    for index in 0.. {
        let Some(piece) = next_piece(&mut rest, at) else { return };
        let first_is_empty = *first.get_or_insert(piece.is_empty());
        if piece.is_empty() {
            continue;
        }
        let follows_an_empty_first = index == 1 && first_is_empty;
        if index > 0 && !follows_an_empty_first {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
    }
}

/// Takes what is before the next `at` off `rest`, which is `None` when there is no more.
fn next_piece<'a>(rest: &mut Option<&'a [u8]>, at: &[u8]) -> Option<&'a [u8]> {
    let text = (*rest)?;
    if at.is_empty() {
        if text.is_empty() {
            return None;
        }
        let (character, after) = text.split_at(character_length(text));
        *rest = Some(after);
        return Some(character);
    }
    let Some(end) = text.windows(at.len()).position(|window| window == at) else {
        *rest = None;
        return Some(text);
    };
    *rest = Some(&text[end + at.len()..]);
    Some(&text[..end])
}

/// Bytes of the first UTF-8 character; 1 where there is none.
fn character_length(text: &[u8]) -> usize {
    let longest = text.len().min(4);
    (1..=longest).find(|&length| std::str::from_utf8(&text[..length]).is_ok()).unwrap_or(1)
}

fn write_joined<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
    }
}

fn write_number(number: u32, out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{number}");
}

/// FNV-1a, 32 bits.
fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// A number of its own for each part of a template (SplitMix64), so that neither the weight nor
/// another part tells it.
fn spread(draw: u64, index: usize) -> u64 {
    let step = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = draw.wrapping_add(step);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mapping(source: &str, destinations: &[(&str, u8)]) -> config::Mapping {
        let destination =
            |&(template, weight): &(&str, u8)| Destination { template: template.to_owned(), weight, cluster: None };
        config::Mapping { source: source.to_owned(), destinations: destinations.iter().map(destination).collect() }
    }

    fn compile(mappings: &[config::Mapping]) -> Mappings {
        Mappings::compile(mappings, None).unwrap()
    }

    fn apply(mappings: &Mappings, subject: &str, draw: u64) -> Option<String> {
        let mut out = b"old".to_vec();
        match mappings.apply(subject.as_bytes(), draw, &mut out) {
            Mapped::Dropped => None,
            Mapped::Unchanged => Some(subject.to_owned()),
            Mapped::Changed => Some(String::from_utf8(out).unwrap()),
        }
    }

    /// Where draws 0 to 99 go, counted.
    fn shares(mappings: &Mappings, subject: &str) -> Vec<(Option<String>, usize)> {
        let mut all: Vec<_> = (0..100).map(|draw| apply(mappings, subject, draw)).collect();
        all.sort();
        all.chunk_by(|a, b| a == b).map(|group| (group[0].clone(), group.len())).collect()
    }

    /// As nats-server 2.15.1 answered, each line asked of it.
    #[test]
    fn asked_of_the_real_server() {
        for (source, template, subject, expected) in [
            ("old.*", "new.{{wildcard(1)}}", "old.a", "new.a"),
            ("a.*.*", "b.$2.$1", "a.x.y", "b.y.x"),
            ("a.*.*", "b.{{wildcard(2)}}.{{ Wildcard( 1 ) }}", "a.x.y", "b.y.x"),
            ("a.*.*", "b.{{partition(10,1,2)}}.{{partition(7,2)}}.{{partition(10)}}", "a.x.y", "b.2.6.1"),
            ("a.*.*", "b.{{partition(10,1,2)}}.{{partition(7,2)}}.{{partition(10)}}", "a.foo.bar", "b.0.2.1"),
            ("a.*.*", "b.{{partition(3,2,1)}}", "a.x.y", "b.0"),
            ("a.*.*", "b.{{partition(3,2,1)}}", "a.foo.bar", "b.1"),
            ("a.>", "b.{{partition(5)}}.>", "a.x.y", "b.1.x.y"),
            ("a.>", "b.{{partition(5)}}.>", "a.q", "b.3.q"),
            ("a.*", "b.{{partition(0,1)}}.{{partition(-3,1)}}.{{random(0)}}", "a.x", "b.0.4245442695.0"),
            ("a.*", "b.{{random(1)}}.{{random(-1)}}", "a.x", "b.0.0"),
            ("a.*", "b.{{wildcard(0)}}", "a.x", "b.a"),
            ("a.*", "b.$0", "a.x", "b.a"),
            ("a.*", "b.{{split(1,-)}}", "a.x-y", "b.x.y"),
            ("a.*", "b.{{split(1,-)}}", "a.-x", "b.x"),
            ("a.*", "b.{{split(1,-)}}", "a.x", "b.x"),
            ("a.*", "b.{{split(1,-)}}.t", "a.x--y-", "b.x.y.t"),
            ("a.*", "b.{{split(1,-)}}.t", "a.-x-", "b.x.t"),
            ("a.*", "b.{{split(1, --)}}", "a.x--y-z", "b.x.y-z"),
            ("a.*", "b.{{split(1,)}}", "a.xyz", "b.x.y.z"),
            ("a.*", "b.{{splitfromleft(1,2)}}.{{splitfromright(1,2)}}", "a.12345", "b.12.345.123.45"),
            ("a.*", "b.{{splitfromleft(1,2)}}.{{splitfromright(1,2)}}", "a.12", "b.12.12"),
            ("a.*", "b.{{SplitFromLeft(1,3)}}", "a.12345", "b.123.45"),
            ("a.*", "b.{{slicefromleft(1,3)}}.t", "a.1234567890", "b.123.456.789.0.t"),
            ("a.*", "b.{{slicefromleft(1,3)}}.t", "a.12", "b.12.t"),
            ("a.*", "b.{{slicefromright(1,3)}}.t", "a.1234567890", "b.1.234.567.890.t"),
            ("a.*", "b.{{slicefromright(1,3)}}.t", "a.123456", "b.123.456.t"),
            ("a.*", "b.{{left(1,3)}}", "a.1234567", "b.123"),
            ("a.*", "b.{{left(1, 2)}}.{{ right ( 1 , 2 ) }}", "a.xyz", "b.xy.yz"),
            (
                "a.*",
                "b.{{left(1,0)}}.{{right(1,-1)}}.{{left(1,9)}}.{{slicefromleft(1,0)}}",
                "a.xyz",
                "b.xyz.xyz.xyz.xyz",
            ),
            ("a.>", "b.c.>", "a.x.y", "b.c.x.y"),
            ("a.*.>", "b.{{wildcard(1)}}.>", "a.x.y.z", "b.x.y.z"),
            ("a.*.>", "b.{{wildcard(1)}}.>", "a.*.y", "b.*.y"),
            ("a.*.>", "b.>", "a.x.y.z", "b.y.z"),
            ("a", "b.$JS", "a", "b.$JS"),
            ("a.*", "b.$1x.$x.$", "a.q", "b.$1x.$x.$"),
            ("a.*", "b.{{wildcard(1)}}x.y{{wildcard(1)}}", "a.x", "b.{{wildcard(1)}}x.y{{wildcard(1)}}"),
            ("foo.*", "bar.$1", "foo.*", "bar.*"),
            ("foo.*", "bar.$1", "foo.>", "foo.>"),
        ] {
            let mappings = compile(&[mapping(source, &[(template, 100)])]);
            assert_eq!(apply(&mappings, subject, 7).as_deref(), Some(expected), "{source} {template} {subject}");
        }
    }

    /// All but the second refused by nats-server 2.15.1, too; that one it cannot run.
    #[test]
    fn refused_templates() {
        for (source, template, named) in [
            ("a.*", "b.{{nope(1)}}", "unknown function: {{nope(1)}}"),
            ("a.*", "", "valid"),
            ("a.*", "b..c", "valid"),
            ("a.*", "b.>.c", "valid"),
            ("a..b", "c", "\"a..b\""),
            ("a.*", "b. c", "blanks"),
            ("a.*", "b.*", "wildcards"),
            ("a.>", "b.c", "lacks"),
            ("a", "b.>", ">"),
            ("a", "b.$1", "$1"),
            ("a", "b.{{wildcard(1)}}", "{{wildcard(1)}}"),
            ("a.*", "b.$2", "$2"),
            ("a.*", "b.{{wildcard(2)}}", "no such wildcard"),
            ("a.*", "b.{{partition(3,2)}}", "no such wildcard"),
            ("a.*", "b.{{split(1)}}", "number of arguments"),
            ("a.*", "b.{{split(1,a b)}}", "blanks"),
            ("a.*", "b.{{wildcard()}}", "not a number"),
            ("a.*", "b.{{wildcard(x)}}", "not a number"),
            ("a.*", "b.{{wildcard(1,2)}}", "number of arguments"),
            ("a.*", "b.{{wildcard}}", "not a function"),
            ("a.*", "b.{{partition(x,1)}}", "not a number"),
            ("a.*", "b.{{partition()}}", "not a number"),
            ("a.*", "b.{{partition(4294967296)}}", "out of range"),
            ("a.*", "b.{{left(1,2,3)}}", "number of arguments"),
            ("a.*", "b.{{random(1,2)}}", "number of arguments"),
        ] {
            let fine = mapping("fine", &[("ok", 100)]);
            let error = Mappings::compile(&[fine, mapping(source, &[(template, 100)])], None).unwrap_err();
            assert_eq!(error.0, 1);
            assert!(error.1.contains(named), "{source} {template}: {}", error.1);
        }
    }

    #[test]
    fn refused_weights() {
        for destinations in [[("b", 60), ("c", 60)], [("b", 10), ("b", 10)], [("b", 101), ("c", 0)]] {
            assert!(Mappings::compile(&[mapping("a", &destinations)], None).is_err(), "{destinations:?}");
        }
    }

    /// As seen with nats-server 2.15.1.
    #[test]
    fn shares_of_messages() {
        let some = |name: &str, share: usize| (Some(name.to_owned()), share);
        let all = compile(&[mapping("a", &[("b", 50), ("c", 50)])]);
        assert_eq!(shares(&all, "a"), [some("b", 50), some("c", 50)]);
        let partly = compile(&[mapping("a.*", &[("b.$1", 10)])]);
        assert_eq!(shares(&partly, "a.x"), [some("a.x", 90), some("b.x", 10)]);
        let lossy = compile(&[mapping("a", &[("b", 50), ("a", 10)])]);
        assert_eq!(shares(&lossy, "a"), [(None, 40), some("a", 10), some("b", 50)]);
        let lossy = compile(&[mapping("a.>", &[("b.>", 20), ("a.>", 20)])]);
        assert_eq!(shares(&lossy, "a.q"), [(None, 60), some("a.q", 20), some("b.q", 20)]);
        let nothing = compile(&[mapping("a", &[])]);
        assert_eq!(shares(&nothing, "a"), [some("a", 100)]);
    }

    #[test]
    fn clusters_have_their_own() {
        let mut both = mapping("a", &[("any", 100), ("east", 100)]);
        both.destinations[1].cluster = Some("E".into());
        let target = |cluster| apply(&Mappings::compile(&[both.clone()], cluster).unwrap(), "a", 0).unwrap();
        assert_eq!(target(None), "any");
        assert_eq!(target(Some("W")), "any");
        assert_eq!(target(Some("E")), "east");
        both.destinations.remove(0);
        assert_eq!(apply(&compile(&[both]), "a", 0).as_deref(), Some("a"), "for others it stays");
    }

    #[test]
    fn the_first_in_the_file_wins() {
        let mappings = compile(&[
            mapping("a.b", &[("literal", 100)]),
            mapping("a.*", &[("star", 100)]),
            mapping("a.b", &[("again", 100)]),
        ]);
        assert_eq!(apply(&mappings, "a.b", 0).as_deref(), Some("again"));
        assert_eq!(apply(&mappings, "a.c", 0).as_deref(), Some("star"));
        for other in ["a", "a.", "b", "a.b.c", ""] {
            assert_eq!(apply(&mappings, other, 0).as_deref(), Some(other), "{other}");
        }
    }

    #[test]
    fn nothing_to_do() {
        assert!(compile(&[]).is_empty());
        assert!(!compile(&[mapping("a", &[])]).is_empty());
        let mut out = b"kept".to_vec();
        assert_eq!(Mappings::default().apply(b"a", 0, &mut out), Mapped::Unchanged);
        assert_eq!(out, b"kept");
    }

    /// There it depends on the order of a hash table whether the subject or nothing is hashed.
    #[test]
    fn partition_of_a_literal_source_is_of_the_subject() {
        for template in ["b.{{partition(10)}}", "b.{{partition(10,1)}}"] {
            let mappings = compile(&[mapping("lit", &[(template, 100)])]);
            assert_eq!(apply(&mappings, "lit", 0).as_deref(), Some("b.0"));
        }
    }

    #[test]
    fn random_numbers_stay_below_and_do_not_follow_each_other() {
        let mappings = compile(&[mapping("a", &[("{{random(3)}}.{{random(3)}}", 100)])]);
        let mut seen: Vec<String> = (0..1000).filter_map(|draw| apply(&mappings, "a", draw)).collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2", "2.0", "2.1", "2.2"]);
    }

    #[test]
    fn subjects_need_not_be_text() {
        let mappings = compile(&[mapping("a.*", &[("{{split(1,)}}", 100)])]);
        let mut out = Vec::new();
        assert_eq!(mappings.apply(b"a.\xffx\xc3\xa9\xe2", 0, &mut out), Mapped::Changed);
        assert_eq!(out, b"\xff.x.\xc3\xa9.\xe2");
    }

    #[test]
    fn two_separators_in_front_leave_an_empty_token() {
        let mappings = compile(&[mapping("a.*", &[("b.{{split(1,-)}}", 100)])]);
        for (subject, expected) in [("a.--x", "b..x"), ("a.-", "b."), ("a.---", "b.")] {
            assert_eq!(apply(&mappings, subject, 0).as_deref(), Some(expected), "{subject}");
        }
    }
}
