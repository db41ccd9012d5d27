//! What an import calls the subjects it takes: `news.*` as `imp.$1`.
//!
//! Only whole tokens move; every wildcard of the source is used, so that a subject has a way back.

use crate::subject;

/// One subject, or a pattern of them, as another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing changes.
    Same,
    /// Something, with its dot, comes before.
    Prefix(Box<[u8]>),
    Tokens(Tokens),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Tokens {
    parts: Vec<Part>,
    /// The tokens of the source from this one on follow.
    rest: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<[u8]>),
    /// The source's token at this index.
    Token(usize),
}

/// A renaming and its way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renaming {
    /// The new names, as a pattern.
    pub pattern: Box<[u8]>,
    /// Old to new.
    pub there: Rename,
    /// New to old.
    pub back: Rename,
}

impl Renaming {
    /// Renames what `from` matches to `to`, in which `*`, `$1` or `{{wildcard(1)}}` stand for the
    /// wildcards of `from`. Both are valid subjects.
    ///
    /// # Errors
    /// Why there is no such renaming, in nats-server's words.
    pub fn new(from: &str, to: &str) -> Result<Self, String> {
        if from == to {
            let same = Rename { form: Form::Same };
            return Ok(Self { pattern: to.as_bytes().into(), there: same.clone(), back: same });
        }
        let from_tokens: Vec<&str> = from.split('.').collect();
        let stars: Vec<usize> = (0..from_tokens.len()).filter(|&at| from_tokens[at] == "*").collect();
        let rest = from_tokens.iter().position(|token| *token == ">");
        let to_tokens: Vec<&str> = to.split('.').collect();
        let open = to_tokens.last() == Some(&">");
        let mut parts = Vec::with_capacity(to_tokens.len());
        let mut starred = 0;
        for token in &to_tokens[..to_tokens.len() - usize::from(open)] {
            let number = match *token {
                "*" => {
                    starred += 1;
                    Some(starred)
                }
                token => reference(token)?,
            };
            parts.push(match number {
                None => Part::Literal(token.as_bytes().into()),
                Some(number) => {
                    let star = number.checked_sub(1).and_then(|at| stars.get(at));
                    let missing =
                        || format!("invalid mapping destination: wildcard index out of range in {token}: [{number}]");
                    Part::Token(*star.ok_or_else(missing)?)
                }
            });
        }
        let used = |star: &usize| parts.contains(&Part::Token(*star));
        if !stars.iter().all(used) || open != rest.is_some() {
            return Err(format!("invalid mapping destination: not using all of the token wildcard(s) in {to}"));
        }
        let back = invert(&from_tokens, &parts);
        let pattern = pattern(&parts, open).into();
        Ok(Self { pattern, there: Rename::of(Tokens { parts, rest }), back: Rename::of(back) })
    }
}

/// The number of the wildcard that `token` stands for, if it does.
fn reference(token: &str) -> Result<Option<usize>, String> {
    if let Some(number) = token.strip_prefix('$').and_then(|digits| digits.parse().ok()) {
        return Ok(Some(number));
    }
    let Some(call) = token.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) else { return Ok(None) };
    let call = call.trim().to_ascii_lowercase();
    let inner = call.strip_prefix("wildcard(").and_then(|rest| rest.strip_suffix(')'));
    inner.and_then(|digits| digits.trim().parse().ok()).map(Some).ok_or_else(|| {
        format!(
            "invalid mapping destination: the only mapping function allowed for import transforms is {{{{Wildcard()}}}} in {token}"
        )
    })
}

fn invert(from: &[&str], parts: &[Part]) -> Tokens {
    let place = |at: usize| parts.iter().position(|part| *part == Part::Token(at)).unwrap_or_default();
    let closed = from.iter().enumerate().filter(|(_, token)| **token != ">");
    let back = closed.map(|(at, token)| match *token {
        "*" => Part::Token(place(at)),
        token => Part::Literal(token.as_bytes().into()),
    });
    Tokens { parts: back.collect(), rest: (from.last() == Some(&">")).then_some(parts.len()) }
}

fn pattern(parts: &[Part], open: bool) -> Vec<u8> {
    let mut tokens: Vec<&[u8]> = Vec::with_capacity(parts.len() + 1);
    tokens.extend(parts.iter().map(|part| match part {
        Part::Literal(text) => &**text,
        Part::Token(_) => b"*",
    }));
    if open {
        tokens.push(b">");
    }
    tokens.join(&b'.')
}

impl Rename {
    /// In its quickest form.
    fn of(tokens: Tokens) -> Self {
        let literals = tokens.parts.iter().take_while(|part| matches!(part, Part::Literal(_))).count();
        let (before, after) = tokens.parts.split_at(literals);
        let in_order = after.iter().enumerate().all(|(at, part)| *part == Part::Token(at));
        if tokens.rest != Some(after.len()) || !in_order {
            return Self { form: Form::Tokens(tokens) };
        }
        if before.is_empty() {
            return Self { form: Form::Same };
        }
        let mut prefix = pattern(before, false);
        prefix.push(b'.');
        Self { form: Form::Prefix(prefix.into()) }
    }

    /// Whether it changes nothing.
    pub fn is_same(&self) -> bool {
        self.form == Form::Same
    }

    /// Appends the new name of `subject`, which the source matches (or covers, if it is a pattern itself).
    pub fn write(&self, subject: &[u8], out: &mut Vec<u8>) {
        match &self.form {
            Form::Same => out.extend_from_slice(subject),
            Form::Prefix(prefix) => {
                out.extend_from_slice(prefix);
                out.extend_from_slice(subject);
            }
            Form::Tokens(tokens) => tokens.write(subject, out),
        }
    }
}

impl Tokens {
    fn write(&self, subject: &[u8], out: &mut Vec<u8>) {
        let mut dot = false;
        let mut add = |token: &[u8]| {
            if std::mem::replace(&mut dot, true) {
                out.push(b'.');
            }
            out.extend_from_slice(token);
        };
        for part in &self.parts {
            match part {
                Part::Literal(text) => add(text),
                Part::Token(at) => add(subject::tokens(subject).nth(*at).unwrap_or_default()),
            }
        }
        let Some(rest) = self.rest else { return };
        subject::tokens(subject).skip(rest).for_each(add);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    fn there_and_back(from: &str, to: &str, pattern: &str, pairs: &[(&str, &str)]) {
        let renaming = Renaming::new(from, to).unwrap();
        assert_eq!(&*renaming.pattern, pattern.as_bytes(), "{from} {to}");
        for (old, new) in pairs {
            for (rename, one, other) in [(&renaming.there, old, new), (&renaming.back, new, old)] {
                let mut out = Vec::new();
                rename.write(one.as_bytes(), &mut out);
                assert_eq!(out.escape_ascii().to_string(), *other, "{from} {to}");
            }
        }
    }

    #[test]
    fn names_go_there_and_back() {
        there_and_back("a.b", "c", "c", &[("a.b", "c")]);
        there_and_back("a.>", "a.>", "a.>", &[("a.x.y", "a.x.y")]);
        there_and_back("a.>", "imp.a.>", "imp.a.>", &[("a.x.y", "imp.a.x.y"), ("a.>", "imp.a.>")]);
        there_and_back(">", "imp.>", "imp.>", &[("a", "imp.a")]);
        there_and_back("a.*.*", "y.$2.$1", "y.*.*", &[("a.1.2", "y.2.1"), ("a.*.2", "y.2.*")]);
        there_and_back("a.*.*", "y.*.*", "y.*.*", &[("a.1.2", "y.1.2")]);
        there_and_back("*.b.>", "{{wildcard(1)}}.q.>", "*.q.>", &[("x.b.c.d", "x.q.c.d")]);
        there_and_back("a.*", "$1", "*", &[("a.x", "x")]);
    }

    #[test]
    fn some_are_none() {
        for (from, to, why) in [
            ("s.*", "y", "not using all of the token wildcard(s) in y"),
            ("s.*.*", "y.$1", "not using all of the token wildcard(s) in y.$1"),
            ("s.>", "y", "not using all"),
            ("s", "y.>", "not using all"),
            ("s.*", "y.$2", "out of range"),
            ("s.*", "y.$0", "out of range"),
            ("s.*", "y.{{split(1,-)}}", "the only mapping function allowed"),
        ] {
            let error = Renaming::new(from, to).unwrap_err();
            assert!(error.contains(why), "{from} {to}: {error}");
        }
    }
}
