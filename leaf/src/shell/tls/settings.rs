//! From a `tls` block to what a handshake needs: certificates, keys, who may come in, which algorithms.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption, UnbufferedClientConnection, verify_server_name};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, ParsedCertificate, ResolvesServerCert, ServerConfig, UnbufferedServerConnection,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::TlsStream;
use super::stream::cipher_suite_name;
use crate::config::{ClientTls, Tls};

/// TLS as one listener offers it. A copy is cheap; connections keep what they began with when a reload replaces it.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    warnings: Vec<String>,
}

impl ServerTls {
    /// Reads the files of a `tls` block and checks that they fit together. The error names the file and what is wrong.
    pub fn load(tls: &Tls) -> Result<Self, String> {
        let mut warnings = Vec::new();
        let provider = Arc::new(CryptoProvider {
            cipher_suites: cipher_suites(&tls.cipher_suites, &mut warnings)?,
            kx_groups: groups(&tls.curve_preferences, &mut warnings)?,
            ..ring::default_provider()
        });
        let certificates = certificates(&tls.certs, &provider)?;
        let verifier = client_verifier(tls, &provider)?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions(tls));
        let builder = builder.map_err(|error| format!("tls: {error}"))?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(certificates));
        // No resumption: neither tickets nor a store of sessions that thousands of devices would fill.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), warnings })
    }

    /// What the block asks for and this build cannot offer, although something else serves in its place.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The server's side of a new connection.
    pub fn accept(&self) -> Result<TlsStream, String> {
        let connection = UnbufferedServerConnection::new(self.config.clone());
        connection.map(TlsStream::new).map_err(|error| error.to_string())
    }
}

/// TLS as one who dials: a block of a remote, or nothing but the public authorities.
pub fn connect(tls: Option<&ClientTls>, name: &str) -> Result<TlsStream, String> {
    let plain = ClientTls::default();
    let tls = tls.unwrap_or(&plain);
    let provider = Arc::new(ring::default_provider());
    let versions = if tls.only_1_3 { ONLY_1_3 } else { FROM_1_2 };
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions);
    let builder = builder.map_err(|error| format!("tls: {error}"))?;
    let builder = if tls.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone())))
    } else {
        let public = || webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        builder.with_root_certificates(tls.ca_file.as_deref().map(authorities).transpose()?.unwrap_or_else(public))
    };
    let mut config = match &tls.cert {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            // For its messages: they name the files.
            certified_key(chain, key, &provider)?;
            let auth = builder.with_client_auth_cert(read_chain(chain)?, read_key(key)?);
            auth.map_err(|error| format!("tls: {}: {error}", chain.display()))?
        }
    };
    // A link lasts; nothing is resumed.
    config.resumption = Resumption::disabled();
    let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("tls: {name} is no name of a server"))?;
    let connection = UnbufferedClientConnection::new(Arc::new(config), name);
    TlsStream::begin(connection.map_err(|error| error.to_string())?)
}

/// `insecure`: the hub's certificate is not looked at, only that the hub has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

static ONLY_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
static FROM_1_2: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];

fn versions(tls: &Tls) -> &'static [&'static SupportedProtocolVersion] {
    if tls.only_1_3 { ONLY_1_3 } else { FROM_1_2 }
}

/// The certificates of a listener, the default first.
#[derive(Debug)]
struct Certificates(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| is_for(key, name));
        let best = self.0.iter().filter(usable).find(named);
        best.or_else(|| self.0.iter().find(usable)).cloned()
    }
}

fn is_for(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

fn certificates(
    files: &[(impl AsRef<Path>, impl AsRef<Path>)],
    provider: &CryptoProvider,
) -> Result<Certificates, String> {
    if files.is_empty() {
        return Err("tls: no certificate is configured".to_owned());
    }
    let load = |(chain, key): &(_, _)| certified_key(AsRef::as_ref(chain), AsRef::as_ref(key), provider).map(Arc::new);
    files.iter().map(load).collect::<Result<_, _>>().map(Certificates)
}

fn certified_key(chain: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let certified = CertifiedKey::from_der(read_chain(chain)?, read_key(key)?, provider);
    certified.map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("tls: key {} does not match certificate {}", key.display(), chain.display())
        }
        rustls::Error::InvalidCertificate(error) => format!("tls: bad certificate in {}: {error:?}", chain.display()),
        other => format!("tls: unusable key in {}: {other}", key.display()),
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(format!("tls: no certificate in {}", path.display())),
        Ok(chain) => Ok(chain),
        Err(error) => Err(format!("tls: {} is not PEM: {error}", path.display())),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = read(path)?;
    match PrivateKeyDer::from_pem_slice(&pem) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            let encrypted = String::from_utf8_lossy(&pem).contains("ENCRYPTED PRIVATE KEY");
            let why = if encrypted { "is encrypted, which is not supported" } else { "has no private key inside" };
            Err(format!("tls: {} {why}", path.display()))
        }
        Err(error) => Err(format!("tls: {} is not PEM: {error}", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("tls: cannot read {}: {error}", path.display()))
}

/// A CA file that nobody verifies with is still read: one that is broken should not wait for `verify` to be found.
fn client_verifier(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let configured = tls.ca_file.as_deref().map(authorities).transpose()?;
    if !tls.verify {
        return Ok(Arc::new(NoClientAuth));
    }
    let roots = configured.unwrap_or_else(|| webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    verifier.build().map_err(|error| format!("tls: {error}"))
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(path)? {
        roots.add(certificate).map_err(|error| format!("tls: bad certificate in {}: {error}", path.display()))?;
    }
    Ok(roots)
}

/// Cipher suites that nats-server knows and this build does not have: those without forward secrecy or with CBC.
const OLD_CIPHER_SUITES: [&str; 13] = [
    "TLS_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
];

/// The suites to offer. As in nats-server a list narrows TLS 1.2 only: those of 1.3 are not chosen one by one.
fn cipher_suites(names: &[String], warnings: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, String> {
    let all = ring::ALL_CIPHER_SUITES;
    if names.is_empty() {
        return Ok(ring::DEFAULT_CIPHER_SUITES.to_vec());
    }
    let find = |name: &str| all.iter().copied().find(|suite| cipher_suite_name(suite.suite()) == Some(name));
    let named = choose("cipher", names, find, &OLD_CIPHER_SUITES, warnings)?;
    let modern = all.iter().filter(|suite| suite.tls13().is_some()).copied();
    Ok(modern.chain(named.into_iter().filter(|suite| suite.tls13().is_none())).collect())
}

/// Curves that nats-server knows and this build does not have.
const OTHER_CURVES: [&str; 4] = ["X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "CurveP521"];

fn groups(names: &[String], warnings: &mut Vec<String>) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    if names.is_empty() {
        return Ok(ring::DEFAULT_KX_GROUPS.to_vec());
    }
    let find = |name: &str| match name {
        "X25519" => Some(ring::kx_group::X25519),
        "CurveP256" => Some(ring::kx_group::SECP256R1),
        "CurveP384" => Some(ring::kx_group::SECP384R1),
        _ => None,
    };
    choose("curve preference", names, find, &OTHER_CURVES, warnings)
}

/// Looks up every name. One that only nats-server has is left out with a warning, unless nothing remains.
fn choose<T>(
    what: &str,
    names: &[String],
    find: impl Fn(&str) -> Option<T>,
    elsewhere: &[&str],
    warnings: &mut Vec<String>,
) -> Result<Vec<T>, String> {
    let mut chosen = Vec::new();
    for name in names {
        match find(name) {
            Some(found) => chosen.push(found),
            None if elsewhere.contains(&name.as_str()) => {
                warnings.push(format!("tls: {what} {name} is not supported and left out"));
            }
            None => return Err(format!("tls: unrecognized {what} {name}")),
        }
    }
    if chosen.is_empty() {
        return Err(format!("tls: no supported {what} among {}", names.join(", ")));
    }
    Ok(chosen)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::path::PathBuf;

    use super::super::fixtures::{block, certificate_file};
    use super::*;

    fn error(change: impl FnOnce(&mut Tls)) -> String {
        let mut tls = block();
        change(&mut tls);
        ServerTls::load(&tls).unwrap_err()
    }

    #[test]
    fn errors_name_the_file_and_what_is_wrong() {
        let missing = error(|tls| tls.certs[0].0 = PathBuf::from("/nowhere/cert.pem"));
        assert_eq!(missing, "tls: cannot read /nowhere/cert.pem: No such file or directory (os error 2)");
        let key = certificate_file("server-key.pem");
        let no_certificate = error(|tls| tls.certs[0].0 = key.clone());
        assert_eq!(no_certificate, format!("tls: no certificate in {}", key.display()));
        let chain = certificate_file("server.pem");
        let no_key = error(|tls| tls.certs[0].1 = chain.clone());
        assert_eq!(no_key, format!("tls: {} has no private key inside", chain.display()));
        let stray = certificate_file("stray-key.pem");
        let mismatch = error(|tls| tls.certs[0].1 = stray.clone());
        assert_eq!(mismatch, format!("tls: key {} does not match certificate {}", stray.display(), chain.display()));
        let no_ca = error(|tls| tls.ca_file = Some(key.clone()));
        assert_eq!(no_ca, format!("tls: no certificate in {}", key.display()));
        assert_eq!(error(|tls| tls.certs.clear()), "tls: no certificate is configured");
    }

    #[test]
    fn broken_and_encrypted_files_are_told_apart() {
        let directory = std::env::temp_dir().join(format!("petiole-tls-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let file = directory.join("x.pem");
        let with = |text: &str, place: fn(&mut Tls) -> &mut PathBuf| {
            fs::write(&file, text).unwrap();
            error(|tls| *place(tls) = file.clone())
        };
        let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let text = with(encrypted, |tls| &mut tls.certs[0].1);
        assert!(text.ends_with("x.pem is encrypted, which is not supported"), "{text}");
        let unusable = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let text = with(unusable, |tls| &mut tls.certs[0].1);
        assert!(text.starts_with("tls: unusable key in ") && text.contains("x.pem"), "{text}");
        let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        let text = with(cut, |tls| &mut tls.certs[0].0);
        assert!(text.contains("x.pem is not PEM: "), "{text}");
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let text = with(garbage, |tls| &mut tls.certs[0].0);
        assert!(text.starts_with("tls: bad certificate in ") && text.contains("x.pem"), "{text}");
        let text = with(garbage, |tls| tls.ca_file.get_or_insert_default());
        assert!(text.starts_with("tls: bad certificate in ") && text.contains("x.pem"), "{text}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_list_of_cipher_suites_narrows_tls_1_2_only() {
        let names = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned(), "TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()];
        let mut warnings = Vec::new();
        let suites = cipher_suites(&names, &mut warnings).unwrap();
        let names: Vec<_> = suites.iter().filter_map(|suite| cipher_suite_name(suite.suite())).collect();
        assert_eq!(names.len(), 4);
        assert!(names[..3].iter().all(|name| !name.contains("_WITH_")), "{names:?}");
        assert_eq!(names[3], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
        assert_eq!(warnings, ["tls: cipher TLS_RSA_WITH_AES_128_CBC_SHA is not supported and left out"]);
    }

    #[test]
    fn unknown_algorithms_are_refused() {
        assert_eq!(error(|tls| tls.cipher_suites = vec!["X".into()]), "tls: unrecognized cipher X");
        let only_old = error(|tls| tls.cipher_suites = vec!["TLS_RSA_WITH_RC4_128_SHA".into()]);
        assert_eq!(only_old, "tls: no supported cipher among TLS_RSA_WITH_RC4_128_SHA");
        assert_eq!(error(|tls| tls.curve_preferences = vec!["X".into()]), "tls: unrecognized curve preference X");
    }

    #[test]
    fn what_is_left_out_is_told() {
        let mut tls = block();
        assert!(ServerTls::load(&tls).unwrap().warnings().is_empty());
        tls.curve_preferences = vec!["CurveP521".into(), "CurveP384".into()];
        let warnings = ServerTls::load(&tls).unwrap().warnings().to_vec();
        assert_eq!(warnings, ["tls: curve preference CurveP521 is not supported and left out"]);
    }

    #[test]
    fn without_a_ca_file_the_public_authorities_verify() {
        let mut tls = block();
        tls.verify = true;
        tls.ca_file = None;
        ServerTls::load(&tls).unwrap();
    }
}
