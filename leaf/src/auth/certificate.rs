//! What a client's certificate says of it. The certificate was verified by TLS; here only names are read.
//!
//! Names are compared as nats-server does for `verify_and_map`: e-mail addresses, DNS names and URIs among the
//! alternative names, then the subject, by its parts in any order and by its texts.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// Names of a certificate beyond these many are passed over.
const NAMES_MAX: usize = 256;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
/// The extensions of a certificate.
const EXTENSIONS: u8 = 0xa3;
const VERSION: u8 = 0xa0;
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// 0.9.2342.19200300.100.1.25
const DOMAIN_COMPONENT: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x19];

/// A certificate's names and keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    emails: Vec<String>,
    dns_names: Vec<String>,
    uris: Vec<String>,
    subject: Vec<Rdn>,
    /// SHA-256 of the public key's block, as in `pinned_certs`.
    pub key_digest: [u8; 32],
    /// SHA-256 of the whole certificate.
    pub digest: [u8; 32],
}

/// A part of a distinguished name: attributes that stand together.
type Rdn = Vec<Attribute>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attribute {
    oid: Vec<u8>,
    value: String,
}

/// A distinguished name as people write it: types in capitals and their values, the most special part first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(Vec<Vec<(String, String)>>);

impl Certificate {
    /// Reads DER; nothing if that is no certificate.
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (mut whole, _) = Der(der).enter(SEQUENCE)?;
        let (mut body, _) = whole.enter(SEQUENCE)?;
        if body.peek() == Some(VERSION) {
            body.next()?;
        }
        // Serial number, algorithm, issuer, validity.
        for _ in 0..4 {
            body.next()?;
        }
        let (subject, _) = body.enter(SEQUENCE)?;
        let (_, _, key) = body.next()?;
        let mut certificate = Self {
            subject: rdns(subject)?,
            key_digest: Sha256::digest(key).into(),
            digest: Sha256::digest(der).into(),
            ..Self::default()
        };
        while let Some((tag, content, _)) = body.next() {
            if tag == EXTENSIONS {
                certificate.read_extensions(content)?;
            }
        }
        Some(certificate)
    }

    fn read_extensions(&mut self, content: &[u8]) -> Option<()> {
        let (mut list, _) = Der(content).enter(SEQUENCE)?;
        while let Some((_, extension, _)) = list.next() {
            let mut extension = Der(extension);
            let (_, oid, _) = extension.next()?;
            if oid != ALTERNATIVE_NAMES {
                continue;
            }
            // Whether it is critical may stand before the value.
            while let Some((tag, value, _)) = extension.next() {
                if tag == OCTETS {
                    self.read_names(value)?;
                }
            }
        }
        Some(())
    }

    fn read_names(&mut self, value: &[u8]) -> Option<()> {
        let (mut names, _) = Der(value).enter(SEQUENCE)?;
        while let Some((tag, name, _)) = names.next() {
            let list = match tag {
                EMAIL => &mut self.emails,
                DNS => &mut self.dns_names,
                URI => &mut self.uris,
                _ => continue,
            };
            if let Ok(name) = std::str::from_utf8(name)
                && list.len() < NAMES_MAX
            {
                list.push(name.to_owned());
            }
        }
        Some(())
    }

    /// The alternative names, in the order in which they are tried.
    pub fn alternative_names(&self) -> impl Iterator<Item = &str> {
        self.emails.iter().chain(&self.dns_names).chain(&self.uris).map(String::as_str)
    }

    /// The subject, unless it has an attribute that has no name.
    pub fn name(&self) -> Option<Name> {
        let rdns = self.subject.iter().rev().filter(|rdn| !rdn.is_empty()).map(|rdn| {
            let named = rdn.iter().rev().map(|one| Some((type_name(&one.oid)?.to_owned(), one.value.clone())));
            named.collect::<Option<Vec<_>>>()
        });
        rdns.collect::<Option<Vec<_>>>().map(Name)
    }

    /// The texts of the subject that may be a user's name, in the order in which they are tried.
    pub fn subject_texts(&self) -> Vec<String> {
        let plain = written(&self.standard());
        let domain = self.subject.iter().flatten().filter(|one| one.oid == DOMAIN_COMPONENT);
        let domain: Vec<String> = domain.map(|one| format!("DC={}", one.value)).collect();
        if domain.is_empty() { vec![plain] } else { vec![format!("{plain},{}", domain.join(",")), plain] }
    }

    /// The subject as monitoring shows it (Go: `pkix.Name.String`).
    pub fn subject(&self) -> String {
        let others = self.subject.iter().flatten().filter(|one| order(&one.oid).is_none());
        let others = others.map(|one| vec![one.clone()]);
        written(&others.chain(self.standard()).collect::<Vec<_>>())
    }

    /// The public key's digest in hexadecimal.
    pub fn key_id(&self) -> String {
        HEXLOWER.encode(&self.key_digest)
    }

    /// The known attributes, those of a kind together, in the order that Go gives them.
    fn standard(&self) -> Vec<Rdn> {
        let mut kinds: [Rdn; KINDS.len()] = Default::default();
        for one in self.subject.iter().flatten() {
            let Some(at) = order(&one.oid) else { continue };
            // There is one common name and one serial number: the last.
            if at >= KINDS.len() - 2 {
                kinds[at].clear();
            }
            kinds[at].push(one.clone());
        }
        kinds.into_iter().filter(|kind| !kind.is_empty()).collect()
    }
}

impl Name {
    /// Reads RFC 4514; nothing if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (mut rdns, mut rdn) = (Vec::new(), Vec::new());
        let mut reader = Reader::default();
        let mut kind = String::new();
        let mut chars = text.bytes().peekable();
        while let Some(char) = chars.next() {
            match char {
                b'\\' => {
                    let next = chars.next()?;
                    if b" \"#+,;<=>\\".contains(&next) {
                        reader.push(next);
                    } else {
                        let digits = [next, chars.next()?];
                        let byte = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
                        reader.push(byte);
                    }
                }
                b'=' => {
                    kind = reader.take()?;
                    if chars.peek() == Some(&b'#') {
                        return None;
                    }
                }
                b',' | b'+' => {
                    rdn.push((named(&mut kind)?, reader.take()?));
                    if char == b',' {
                        rdns.push(std::mem::take(&mut rdn));
                    }
                }
                b' ' => reader.blank(),
                other => reader.push(other),
            }
        }
        if !reader.bytes.is_empty() {
            rdn.push((named(&mut kind)?, reader.take()?));
            rdns.push(rdn);
        }
        Some(Self(rdns))
    }

    /// Whether the parts are the same, one after the other.
    pub fn equals(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| same_rdn(a, b))
    }

    /// Whether the parts are the same in any order.
    pub fn has_parts_of(&self, other: &Self) -> bool {
        let mut left: Vec<_> = other.0.iter().collect();
        self.0.len() == other.0.len()
            && self.0.iter().all(|mine| match left.iter().position(|theirs| same_rdn(mine, theirs)) {
                Some(at) => {
                    left.swap_remove(at);
                    true
                }
                None => false,
            })
    }
}

fn named(kind: &mut String) -> Option<String> {
    Some(std::mem::take(kind)).filter(|kind| !kind.is_empty())
}

fn same_rdn(a: &[(String, String)], b: &[(String, String)]) -> bool {
    let within = |a: &[(String, String)], b: &[(String, String)]| {
        a.iter().all(|(kind, value)| b.iter().any(|(k, v)| k.eq_ignore_ascii_case(kind) && v == value))
    };
    a.len() == b.len() && within(a, b) && within(b, a)
}

/// Collects a value; blanks at its ends do not count unless they are escaped.
#[derive(Default)]
struct Reader {
    bytes: Vec<u8>,
    /// Blanks at the end.
    blanks: usize,
}

impl Reader {
    fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
        self.blanks = 0;
    }

    fn blank(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.push(b' ');
            self.blanks += 1;
        }
    }

    fn take(&mut self) -> Option<String> {
        self.bytes.truncate(self.bytes.len() - self.blanks);
        self.blanks = 0;
        String::from_utf8(std::mem::take(&mut self.bytes)).ok()
    }
}

/// The last number of the attributes 2.5.4.x that Go knows, in the order in which it writes them backwards, and what
/// they are called.
const KINDS: [(u8, &str); 9] = [
    (6, "C"),
    (10, "O"),
    (11, "OU"),
    (7, "L"),
    (8, "ST"),
    (9, "STREET"),
    (17, "POSTALCODE"),
    (3, "CN"),
    (5, "SERIALNUMBER"),
];

fn order(oid: &[u8]) -> Option<usize> {
    let &[0x55, 0x04, number] = oid else { return None };
    KINDS.iter().position(|(known, _)| *known == number)
}

fn type_name(oid: &[u8]) -> Option<&'static str> {
    if oid == DOMAIN_COMPONENT {
        return Some("DC");
    }
    order(oid).map(|at| KINDS[at].1)
}

/// A name as Go writes it: backwards, with escapes.
fn written(rdns: &[Rdn]) -> String {
    let part = |one: &Attribute| match order(&one.oid) {
        Some(at) => format!("{}={}", KINDS[at].1, escaped(&one.value)),
        None => format!("{}={}", dotted(&one.oid), escaped(&one.value)),
    };
    let parts = rdns.iter().rev().map(|rdn| rdn.iter().map(part).collect::<Vec<_>>().join("+"));
    parts.collect::<Vec<_>>().join(",")
}

fn escaped(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut text = String::with_capacity(value.len());
    for (at, char) in value.chars().enumerate() {
        let special = match char {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at == 0 || at == last,
            '#' => at == 0,
            _ => false,
        };
        if special {
            text.push('\\');
        }
        text.push(char);
    }
    text
}

fn dotted(oid: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0u64;
    for &byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            numbers.push(number);
            number = 0;
        }
    }
    let first = numbers.first().copied().unwrap_or(0);
    let top = (first / 40).min(2);
    let rest = numbers.iter().skip(1).map(ToString::to_string);
    [top.to_string(), (first - 40 * top).to_string()].into_iter().chain(rest).collect::<Vec<_>>().join(".")
}

fn rdns(mut subject: Der<'_>) -> Option<Vec<Rdn>> {
    let mut all = Vec::new();
    while let Some((tag, content, _)) = subject.next() {
        if tag != SET || all.len() >= NAMES_MAX {
            return None;
        }
        let (mut set, mut rdn) = (Der(content), Vec::new());
        while let Some((_, attribute, _)) = set.next() {
            let mut attribute = Der(attribute);
            let (tag, oid, _) = attribute.next()?;
            let (_, value, _) = attribute.next()?;
            if tag != OID || rdn.len() >= NAMES_MAX {
                return None;
            }
            rdn.push(Attribute { oid: oid.to_vec(), value: String::from_utf8_lossy(value).into_owned() });
        }
        all.push(rdn);
    }
    Some(all)
}

/// What is left of a run of elements: tag, length, content.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: its tag, its content, and all of it.
    fn next(&mut self) -> Option<(u8, &'a [u8], &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (bytes, rest) = rest.split_at(count);
            (bytes.iter().fold(0, |length, &byte| length << 8 | usize::from(byte)), rest)
        };
        let content = rest.get(..length)?;
        let whole = &self.0[..self.0.len() - rest.len() + length];
        self.0 = &rest[length..];
        Some((tag, content, whole))
    }

    /// The elements within the next one, which must have this tag, and what comes after it.
    fn enter(&mut self, tag: u8) -> Option<(Self, Self)> {
        let (found, content, _) = self.next()?;
        (found == tag).then_some((Self(content), *self))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn client() -> Vec<u8> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let pem = include_bytes!("../../tests/certs/client.pem");
        CertificateDer::from_pem_slice(pem).unwrap().to_vec()
    }

    #[test]
    fn a_certificate_of_the_tests() {
        let certificate = Certificate::parse(&client()).unwrap();
        assert_eq!(certificate.alternative_names().collect::<Vec<_>>(), ["client.example"]);
        assert_eq!(certificate.subject(), "CN=client,O=Petiole tests");
        assert_eq!(certificate.subject_texts(), ["CN=client,O=Petiole tests"]);
        let name = certificate.name().unwrap();
        assert!(Name::parse("CN=client, O=Petiole tests").unwrap().equals(&name));
        assert!(!Name::parse("O=Petiole tests,CN=client").unwrap().equals(&name));
        assert!(Name::parse("o=Petiole tests,cn=client").unwrap().has_parts_of(&name));
        assert!(!Name::parse("O=Petiole tests,CN=other").unwrap().has_parts_of(&name));
        assert_eq!(certificate.key_id().len(), 64);
    }

    #[test]
    fn nothing_else_panics() {
        let der = client();
        for at in 0..der.len() {
            let _ = Certificate::parse(&der[..at]);
            for bit in 0..8 {
                let mut changed = der.clone();
                changed[at] ^= 1 << bit;
                let _ = Certificate::parse(&changed).map(|one| (one.subject(), one.subject_texts(), one.name()));
            }
        }
    }

    #[test]
    fn names_as_people_write_them() {
        let parts = |text: &str| Name::parse(text).map(|name| name.0);
        let one = |kind: &str, value: &str| (kind.to_owned(), value.to_owned());
        assert_eq!(
            parts("CN= a\\, b\\20 ,OU=x+O=y"),
            Some(vec![vec![one("CN", "a, b ")], vec![one("OU", "x"), one("O", "y")]])
        );
        for bad in ["nothing", "CN", "=x", "CN=a\\", "CN=a\\zz", "CN=#04", "CN=a,b"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        assert_eq!(escaped(" a,b#\"c "), "\\ a\\,b#\\\"c\\ ");
        assert_eq!(dotted(DOMAIN_COMPONENT), "0.9.2342.19200300.100.1.25");
    }
}
