//! Permissions of a scoped signing key, with what they say of the user filled in: `{{name()}}`,
//! `{{subject()}}`, `{{account-name()}}`, `{{account-subject()}}`, `{{tag(x)}}`, `{{account-tag(x)}}`.

use std::fmt;

use super::claims::{Permissions, Texts};
use crate::subject;

/// Subjects that one list may grow to by tags with several values.
pub const SUBJECTS_MAX: usize = 4096;

/// Who a template is filled in for.
#[derive(Clone, Copy, Debug)]
pub struct Person<'a> {
    /// `{{name()}}`
    pub name: &'a str,
    /// `{{subject()}}`: the public key.
    pub subject: &'a str,
    /// `{{tag(x)}}`: each `x:value` gives one value.
    pub tags: &'a Texts,
    /// `{{account-name()}}`
    pub account_name: &'a str,
    /// `{{account-subject()}}`: the public key.
    pub account_subject: &'a str,
    /// `{{account-tag(x)}}`
    pub account_tags: &'a Texts,
}

/// Why a template cannot be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It calls what does not exist.
    Unknown,
    /// A denied subject would not be one: to leave it out would allow too much.
    Subject,
    /// More than [`SUBJECTS_MAX`] subjects.
    Many,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "a template calls an unknown function",
            Self::Subject => "a template makes an invalid denied subject",
            Self::Many => "a template makes more than 4096 subjects",
        })
    }
}

/// Fills in `permissions`.
///
/// An allowed subject that would be none is left out; if that leaves nothing of what was allowed, nothing is.
///
/// # Errors
/// See [`TemplateError`].
pub fn fill(permissions: &Permissions, person: &Person<'_>) -> Result<Permissions, TemplateError> {
    let mut all = permissions.clone();
    for rules in [&mut all.subscribe, &mut all.publish] {
        let restricted = !rules.allow.is_empty();
        rules.allow = list(&rules.allow, person, false)?;
        rules.deny = list(&rules.deny, person, true)?;
        if restricted && rules.allow.is_empty() && !rules.deny.iter().any(|subject| subject == ">") {
            rules.deny.push(">".to_owned());
        }
    }
    Ok(all)
}

fn list(subjects: &[String], person: &Person<'_>, strict: bool) -> Result<Vec<String>, TemplateError> {
    if !subjects.iter().any(|subject| next_call(subject).is_some()) {
        return Ok(subjects.to_vec());
    }
    let mut filled = Vec::with_capacity(subjects.len());
    for subject in subjects {
        for subject in expand(subject, person, strict)? {
            match is_subject(&subject) {
                true if filled.len() == SUBJECTS_MAX => return Err(TemplateError::Many),
                true => filled.push(subject),
                false if strict => return Err(TemplateError::Subject),
                false => {}
            }
        }
    }
    Ok(filled)
}

/// The first `{{…}}`: where it begins, its inside, where it ends.
fn next_call(text: &str) -> Option<(usize, &str, usize)> {
    let mut from = 0;
    loop {
        let start = from + text[from..].find("{{")?;
        let inside = &text[start + 2..];
        let end = inside.find('}')?;
        if end > 0 && inside[end..].starts_with("}}") {
            return Some((start, &inside[..end], start + 2 + end + 2));
        }
        from = start + 1;
    }
}

/// All subjects that one entry stands for: one, or one for each combination of the values of its tags.
fn expand(entry: &str, person: &Person<'_>, strict: bool) -> Result<Vec<String>, TemplateError> {
    let mut subjects = vec![String::new()];
    let mut rest = entry;
    while let Some((start, call, end)) = next_call(rest) {
        let values = values(call.trim(), person)?;
        if values.is_empty() && strict {
            return Err(TemplateError::Subject);
        }
        if subjects.len().saturating_mul(values.len()) > SUBJECTS_MAX {
            return Err(TemplateError::Many);
        }
        let before = &rest[..start];
        subjects =
            subjects.iter().flat_map(|done| values.iter().map(move |value| format!("{done}{before}{value}"))).collect();
        rest = &rest[end..];
    }
    subjects.iter_mut().for_each(|subject| subject.push_str(rest));
    Ok(subjects)
}

fn values<'a>(call: &str, person: &Person<'a>) -> Result<Vec<&'a str>, TemplateError> {
    let fixed = match () {
        () if call.eq_ignore_ascii_case("name()") => person.name,
        () if call.eq_ignore_ascii_case("subject()") => person.subject,
        () if call.eq_ignore_ascii_case("account-name()") => person.account_name,
        () if call.eq_ignore_ascii_case("account-subject()") => person.account_subject,
        () => {
            let argument = |name: &str| {
                let head = call.get(..name.len())?;
                head.eq_ignore_ascii_case(name).then(|| call[name.len()..].strip_suffix(')')).flatten()
            };
            return match (argument("tag("), argument("account-tag(")) {
                (Some(name), _) => Ok(tagged(person.tags, name)),
                (_, Some(name)) => Ok(tagged(person.account_tags, name)),
                _ => Err(TemplateError::Unknown),
            };
        }
    };
    Ok(vec![fixed])
}

/// The values of all tags `name:value`.
fn tagged<'a>(tags: &'a Texts, name: &str) -> Vec<&'a str> {
    let prefix = format!("{}:", name.to_lowercase());
    tags.iter().filter_map(|tag| tag.strip_prefix(&prefix)).collect()
}

/// Whether this is a subject, maybe with wildcards. An entry with a queue is none: beside templates it is
/// dropped, as in nats-server.
fn is_subject(text: &str) -> bool {
    subject::is_valid(text.as_bytes()) && !text.contains([' ', '\t', '\r', '\n', '\u{c}'])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::claims::Permission;
    use super::*;

    fn tags(list: &[&str]) -> Texts {
        list.iter().map(|tag| (*tag).into()).collect()
    }

    fn filled(entries: &[&str], strict: bool) -> Result<Vec<String>, TemplateError> {
        let (own, account) = (tags(&["dept:a", "dept:b", "site:x y"]), tags(&["country:de"]));
        let person = Person {
            name: "joe",
            subject: "UJOE",
            tags: &own,
            account_name: "acme",
            account_subject: "AACME",
            account_tags: &account,
        };
        list(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>(), &person, strict)
    }

    #[test]
    fn every_function() {
        let entries = ["u.{{name()}}.{{ SUBJECT() }}", "a.{{account-name()}}.{{account-subject()}}", "plain.>"];
        assert_eq!(filled(&entries, true).unwrap(), ["u.joe.UJOE", "a.acme.AACME", "plain.>"]);
        assert_eq!(filled(&["t.{{tag(Dept)}}.{{account-tag(country)}}"], true).unwrap(), ["t.a.de", "t.b.de"]);
        assert_eq!(filled(&["{{tag(dept)}}.{{tag(dept)}}"], true).unwrap().len(), 4);
    }

    #[test]
    fn what_makes_no_subject() {
        assert_eq!(filled(&["{{tag(none)}}.x", "y.{{name()}}"], false).unwrap(), ["y.joe"]);
        assert_eq!(filled(&["{{tag(none)}}.x"], true), Err(TemplateError::Subject));
        assert_eq!(filled(&["s.{{tag(site)}}"], false).unwrap(), [] as [&str; 0]);
        assert_eq!(filled(&["s.{{tag(site)}}"], true), Err(TemplateError::Subject));
        assert_eq!(filled(&["{{tag(none)}}.{{name()}}..x", "q {{name()}}"], false).unwrap(), [] as [&str; 0]);
        for odd in ["{{who()}}", "{{tag(x}}", "{{}}{{x}}", "{{é}}"] {
            assert_eq!(filled(&[odd], false), Err(TemplateError::Unknown), "{odd}");
        }
        assert_eq!(filled(&["a q", "{{}}", "{{x", "}}"], true).unwrap(), ["a q", "{{}}", "{{x", "}}"], "no template");
    }

    #[test]
    fn growth_is_bounded() {
        let entry = "{{tag(dept)}}.".repeat(12) + "x";
        assert_eq!(filled(&[&entry], true).unwrap().len(), SUBJECTS_MAX);
        assert_eq!(filled(&[&entry, "y"], true), Err(TemplateError::Many));
        let entry = "{{tag(dept)}}.".repeat(60) + "x";
        assert_eq!(filled(&[&entry], true), Err(TemplateError::Many));
    }

    #[test]
    fn nothing_left_of_what_was_allowed_allows_nothing() {
        let none = Texts::new();
        let person = Person {
            name: "a b",
            subject: "U",
            tags: &none,
            account_name: "",
            account_subject: "A",
            account_tags: &none,
        };
        let publish = Permission { allow: vec!["x.{{name()}}".to_owned()], deny: vec![] };
        let permissions = Permissions { publish, ..Permissions::default() };
        let filled = fill(&permissions, &person).unwrap();
        assert_eq!((filled.publish.allow, filled.publish.deny), (vec![], vec![">".to_owned()]));
        assert!(filled.subscribe.deny.is_empty());
    }
}
