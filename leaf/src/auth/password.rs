//! Passwords and tokens as configured: plain texts and bcrypt hashes.

use std::hint::black_box;

/// Whether a configured password is a bcrypt hash: it begins like `$2a$10$`, with one of `abxy`.
/// Everything else is a plain text, even when it has a `$`. (nats-server's rule.)
pub fn is_bcrypt(configured: &str) -> bool {
    let [b'$', b'2', variant, b'$', tens, ones, b'$', ..] = configured.as_bytes() else { return false };
    b"abxy".contains(variant) && tens.is_ascii_digit() && ones.is_ascii_digit()
}

/// Whether two plain texts are equal, in a time that tells no more than their lengths.
pub fn plain_matches(configured: &str, offered: &str) -> bool {
    if configured.len() != offered.len() {
        return false;
    }
    let difference = configured.bytes().zip(offered.bytes()).fold(0, |seen, (a, b)| black_box(seen | (a ^ b)));
    difference == 0
}

/// Whether `password` is the one that was hashed. It takes tens of milliseconds and more: not for
/// the thread that serves.
///
/// Only the first 72 bytes of the password count, as with nats-server: Go refuses longer ones when
/// it makes a hash, but compares without a look at the length, and the algorithm uses no more. The
/// letter of the version (`$2a$` … `$2y$`) changes nothing. A malformed hash matches no password.
pub fn bcrypt_matches(hash: &str, password: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `foo`, from the capture.
    const FOO: &str = "$2a$04$abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36";

    #[test]
    fn bcrypt_is_told_by_its_beginning() {
        for hash in [FOO, "$2b$10$", "$2x$99$whatever", "$2y$12$\u{e9}"] {
            assert!(is_bcrypt(hash), "{hash}");
        }
        for plain in ["", "$", "$2", "$2a$", "$2a$1$x", "$2c$10$x", "$2a$1x$", " $2a$10$", "2a$10$", "$1a$10$x"] {
            assert!(!is_bcrypt(plain), "{plain}");
        }
    }

    #[test]
    fn plain_texts() {
        assert!(plain_matches("secret", "secret"));
        assert!(plain_matches("", ""));
        assert!(!plain_matches("secret", "Secret"));
        assert!(!plain_matches("secret", "secre"));
        assert!(!plain_matches("", "x"));
    }

    #[test]
    fn hashes_of_every_letter() {
        assert!(bcrypt_matches(FOO, "foo"));
        assert!(!bcrypt_matches(FOO, "fop"));
        assert!(!bcrypt_matches(FOO, ""));
        for letter in ["2b", "2x", "2y"] {
            assert!(bcrypt_matches(&FOO.replace("2a", letter), "foo"), "{letter}");
        }
    }

    #[test]
    fn rubbish_matches_nothing_and_does_not_panic() {
        for hash in
            ["", "$2a$04$", "$2a$99$abcdefghijklmnopqrstuusPAkIApvNSrrxdx0BTXtj7R2NfqZq36", "$2a$04$\u{e9}\u{e9}"]
        {
            assert!(!bcrypt_matches(hash, "foo"), "{hash}");
        }
        let multibyte = format!("$2a$04${}", "\u{20ac}".repeat(18));
        assert!(!bcrypt_matches(&multibyte, "foo"));
    }

    #[test]
    fn seventy_two_bytes_count() {
        let long = "x".repeat(72);
        let hash = bcrypt::hash_with_salt(&long, 4, [1; 16]).map(|parts| parts.to_string()).unwrap_or_default();
        assert!(bcrypt_matches(&hash, &long));
        assert!(bcrypt_matches(&hash, &format!("{long}and more")));
        assert!(!bcrypt_matches(&hash, &long[1..]));
    }
}
