//! Tokens and seeds as they stand in files: between lines of dashes, or bare.

use crate::auth::nkey::{KeyError, Seed};

/// The token of a `.jwt` or `.creds` file; a text without decoration is the token itself.
pub fn token(text: &str) -> &str {
    section(text, 0).unwrap_or_else(|| text.trim())
}

/// The seed of a `.creds` file (the second section) or of an `.nk` file.
///
/// # Errors
/// When there is no seed.
pub fn seed(text: &str) -> Result<Seed, KeyError> {
    let bare = || text.lines().map(str::trim).find(|line| line.starts_with('S')).unwrap_or_default();
    Seed::parse(section(text, 1).unwrap_or_else(bare))
}

/// What is between a line of at least three dashes on both ends and the next one; `skip` of those before.
fn section(text: &str, skip: usize) -> Option<&str> {
    let mut lines = text.lines().map(str::trim);
    let mut left = skip;
    loop {
        lines.find(|line| is_rule(line))?;
        let content = lines.next().filter(|line| !line.is_empty() && !is_rule(line));
        if lines.next().is_some_and(is_rule)
            && let Some(content) = content
        {
            if left == 0 {
                return Some(content);
            }
            left -= 1;
        }
    }
}

fn is_rule(line: &str) -> bool {
    line.len() >= 6 && line.starts_with("---") && line.ends_with("---")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::auth::nkey::Kind;

    #[test]
    fn bare_and_decorated() {
        assert_eq!(token("a.b.c\n"), "a.b.c");
        let own = Seed::new(Kind::User, [7; 32]);
        let text = own.encode();
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\r\na.b.c\r\n------END NATS USER JWT------\r\n\r\n\
             ************************* IMPORTANT *************************\r\n\r\n\
             -----BEGIN USER NKEY SEED-----\r\n{text}\r\n------END USER NKEY SEED------\r\n"
        );
        assert_eq!(token(&creds), "a.b.c");
        assert_eq!(seed(&creds).unwrap().public(), own.public());
        assert_eq!(seed(&format!("# my key\n{text}\n")).unwrap().public(), own.public());
        for none in ["", "---\n", "-----BEGIN-----\n-----END-----\n", "-----BEGIN-----\nx"] {
            assert!(seed(none).is_err(), "{none:?}");
        }
    }
}
