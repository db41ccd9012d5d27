//! One TLS connection, from either side: ciphertext in, plaintext out, and the reverse. No sockets, no clock.

use std::fmt;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus};
use rustls::{CipherSuite, CommonState, ProtocolVersion};

/// The most ciphertext, in bytes, that is kept because a record or a handshake message is not complete: the largest
/// handshake message (64 KiB) with room for the framing of its records.
pub const MAX_BUFFERED_INPUT: usize = 96 * 1024;

/// How much ciphertext may wait to be taken, in bytes, before [`TlsStream::send`] accepts no more. The last record
/// may go beyond it.
pub const MAX_BUFFERED_OUTPUT: usize = 256 * 1024;

/// The plaintext of one record, at most; TLS allows no more.
const RECORD: usize = 16 * 1024;

/// What a record adds to its plaintext, at most: header, explicit nonce, type, tag.
const RECORD_OVERHEAD: usize = 5 + 8 + 1 + 16;

/// The record that says goodbye: an alert has two bytes.
const CLOSE_NOTIFY: usize = RECORD_OVERHEAD + 2;

/// What came of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The handshake ended with these bytes; plaintext of the same call comes after it.
    pub handshake_done: bool,
    /// The peer will send no more. Whatever it sent after saying so is ignored.
    pub peer_closed: bool,
}

/// Which side of a connection it is. Boxed: the machines are large, and most connections of a list may have none.
enum Machine {
    Server(Box<UnbufferedServerConnection>),
    Client(Box<UnbufferedClientConnection>),
}

/// The same for both machines, whose types differ.
macro_rules! on_machine {
    ($side:expr, $machine:ident => $body:expr) => {
        match &mut $side {
            Machine::Server($machine) => $body,
            Machine::Client($machine) => $body,
        }
    };
}

/// One side of a TLS connection. While idle it holds no buffers.
pub struct TlsStream {
    connection: Machine,
    /// The beginning of a record that is not complete.
    input: Vec<u8>,
    /// Ciphertext to write.
    output: Vec<u8>,
    peer_closed: bool,
    closed: bool,
    /// What ended the connection. The machine must not run again: it refers to input that is gone.
    failed: Option<String>,
}

impl TlsStream {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self::of(Machine::Server(Box::new(connection)))
    }

    /// The side that begins: there is output to take.
    pub(super) fn begin(connection: UnbufferedClientConnection) -> Result<Self, String> {
        let mut stream = Self::of(Machine::Client(Box::new(connection)));
        stream.advance(&mut [], &mut |_| ())?;
        Ok(stream)
    }

    fn of(connection: Machine) -> Self {
        Self { connection, input: Vec::new(), output: Vec::new(), peer_closed: false, closed: false, failed: None }
    }

    fn state(&self) -> &CommonState {
        match &self.connection {
            Machine::Server(connection) => connection,
            Machine::Client(connection) => connection,
        }
    }

    /// Takes bytes from the network, all of them, and hands each plaintext to `plain` in order. Afterwards there may be
    /// output to take: also after an error, which ends the connection, since the peer is told why.
    pub fn receive(&mut self, cipher: &[u8], plain: &mut dyn FnMut(&[u8])) -> Result<Progress, String> {
        self.check()?;
        if self.peer_closed {
            return Ok(Progress { handshake_done: false, peer_closed: true });
        }
        let handshaking = self.is_handshaking();
        if let Err(error) = self.take_in(cipher, plain) {
            self.failed = Some(error.clone());
            return Err(error);
        }
        let handshake_done = handshaking && !self.is_handshaking();
        Ok(Progress { handshake_done, peer_closed: self.peer_closed })
    }

    /// Encrypts as much of `plain` as there is room for and returns how many bytes that was: less than all when
    /// [`MAX_BUFFERED_OUTPUT`] waits to be taken, none during the handshake or after [`close`](Self::close).
    pub fn send(&mut self, plain: &[u8]) -> Result<usize, String> {
        self.check()?;
        if self.is_handshaking() || self.closed {
            return Ok(0);
        }
        let room = MAX_BUFFERED_OUTPUT.saturating_sub(self.output.len());
        let accepted = plain.len().min(room.next_multiple_of(RECORD));
        if accepted > 0 {
            self.encrypt(&plain[..accepted])?;
        }
        Ok(accepted)
    }

    /// Moves the ciphertext that is to be written to the end of `out`.
    pub fn take_output(&mut self, out: &mut Vec<u8>) {
        let output = std::mem::take(&mut self.output);
        if out.is_empty() {
            *out = output;
        } else {
            out.extend_from_slice(&output);
        }
    }

    /// Whether there is ciphertext to write.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Says that nothing more will be sent (`close_notify`). Nothing is said to a peer that is still shaking hands.
    pub fn close(&mut self) {
        if self.closed || self.failed.is_some() || self.is_handshaking() {
            return;
        }
        self.closed = true;
        let output = &mut self.output;
        on_machine!(self.connection, machine => {
            let state = machine.process_tls_records(&mut self.input).state;
            if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
                // An exhausted cipher cannot even say goodbye; the connection ends all the same.
                append(output, CLOSE_NOTIFY, |space| traffic.queue_close_notify(space).map_err(Shortage::from)).ok();
            }
        });
    }

    /// Whether the handshake is still going on.
    pub fn is_handshaking(&self) -> bool {
        self.state().is_handshaking()
    }

    /// The version as /connz shows it, `1.3` or `1.2`, once it is agreed on.
    pub fn version(&self) -> Option<&'static str> {
        match self.state().protocol_version()? {
            ProtocolVersion::TLSv1_3 => Some("1.3"),
            ProtocolVersion::TLSv1_2 => Some("1.2"),
            _ => None,
        }
    }

    /// The cipher suite as /connz shows it, by its standard name, once it is agreed on.
    pub fn cipher_suite(&self) -> Option<&'static str> {
        cipher_suite_name(self.state().negotiated_cipher_suite()?.suite())
    }

    /// The other side's certificates (DER), its own first. Empty unless a listener verifies.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.state().peer_certificates().unwrap_or_default()
    }

    fn check(&self) -> Result<(), String> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Adds `cipher` to what is incomplete, works on it, and keeps what is incomplete then: in a buffer of its size.
    fn take_in(&mut self, cipher: &[u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(cipher);
        let done = self.advance(&mut input, plain)?;
        if self.peer_closed {
            return Ok(());
        }
        let rest = &input[done..];
        if rest.len() > MAX_BUFFERED_INPUT {
            return Err(format!("more than {MAX_BUFFERED_INPUT} bytes of an incomplete message"));
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// Runs the machine until it waits for the network. Returns how many bytes of `input` it is done with.
    fn advance(&mut self, input: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<usize, String> {
        let mut done = 0;
        loop {
            let (waits, discard) = on_machine!(self.connection, machine => {
                let UnbufferedStatus { discard, state } = machine.process_tls_records(&mut input[done..]);
                let waits = match state {
                    Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                        while let Some(record) = traffic.next_record() {
                            plain(record.map_err(|error| error.to_string())?.payload);
                        }
                        Ok(false)
                    }
                    Ok(ConnectionState::EncodeTlsData(mut data)) => {
                        append(&mut self.output, 0, |space| data.encode(space).map_err(Shortage::from)).map(|()| false)
                    }
                    Ok(ConnectionState::TransmitTlsData(data)) => {
                        data.done();
                        Ok(false)
                    }
                    Ok(ConnectionState::PeerClosed) => {
                        self.peer_closed = true;
                        Ok(false)
                    }
                    Ok(ConnectionState::ReadEarlyData(_)) => Err("early data is not offered".to_owned()),
                    Ok(_) => Ok(true),
                    Err(error) => Err(error.to_string()),
                };
                (waits, discard)
            });
            if waits.is_err() {
                self.collect_alert();
            }
            done += discard;
            if waits? {
                return Ok(done);
            }
        }
    }

    /// Encrypts application data, of which the caller bounds the amount.
    fn encrypt(&mut self, plain: &[u8]) -> Result<(), String> {
        let space = plain.len() + plain.len().div_ceil(RECORD) * RECORD_OVERHEAD;
        let output = &mut self.output;
        // The incomplete record again: its beginning must stay where the machine remembers it.
        on_machine!(self.connection, machine => match machine.process_tls_records(&mut self.input).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                append(output, space, |space| traffic.encrypt(plain, space).map_err(Shortage::from))
            }
            Ok(_) => Err("the TLS connection is closed".to_owned()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// Collects the alert that tells the peer what was wrong, after the machine reported an error. It must not see any
    /// input again: a second error would be a second alert, and the machine panics rather than send one.
    fn collect_alert(&mut self) {
        let output = &mut self.output;
        on_machine!(self.connection, machine => {
            while machine.wants_write() {
                let Ok(ConnectionState::EncodeTlsData(mut data)) = machine.process_tls_records(&mut []).state else {
                    return;
                };
                if append(output, 0, |space| data.encode(space).map_err(Shortage::from)).is_err() {
                    return;
                }
            }
        });
    }
}

/// Without keys and plaintext.
impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsStream");
        shown.field("version", &self.version()).field("cipher_suite", &self.cipher_suite());
        shown.field("input", &self.input.len()).field("output", &self.output.len());
        shown.field("peer_closed", &self.peer_closed).field("closed", &self.closed).field("failed", &self.failed);
        shown.finish()
    }
}

/// Why nothing was written.
enum Shortage {
    /// So many bytes of space are needed.
    Space(usize),
    Fatal(String),
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Space(required_size),
            other => Self::Fatal(other.to_string()),
        }
    }
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Self::Space(required_size),
            other => Self::Fatal(other.to_string()),
        }
    }
}

/// Lets `write` put its bytes at the end of `output`, with `space` to begin with and more if it says so.
fn append(
    output: &mut Vec<u8>,
    mut space: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Shortage>,
) -> Result<(), String> {
    let start = output.len();
    loop {
        output.resize(start + space, 0);
        match write(&mut output[start..]) {
            Ok(written) => {
                output.truncate(start + written);
                return Ok(());
            }
            Err(Shortage::Space(required)) if required > space => space = required,
            Err(Shortage::Space(required)) => {
                output.truncate(start);
                return Err(format!("no end to the space needed ({required} bytes)"));
            }
            Err(Shortage::Fatal(error)) => {
                output.truncate(start);
                return Err(error);
            }
        }
    }
}

/// The standard name of a suite, which is also the one Go and so /connz use.
pub(super) fn cipher_suite_name(suite: CipherSuite) -> Option<&'static str> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        CipherSuite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::version::{TLS12, TLS13};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

    use super::super::ServerTls;
    use super::super::fixtures::{block, certificate_file};
    use super::*;

    /// A client and a server with a wire between them.
    struct Pair {
        client: ClientConnection,
        server: TlsStream,
        /// What the server got, decrypted.
        received: Vec<u8>,
        /// The last report of the server.
        progress: Progress,
    }

    /// What a client is made of.
    struct Client {
        versions: &'static [&'static SupportedProtocolVersion],
        certificate: bool,
        name: &'static str,
    }

    static BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    static ONLY_1_2: &[&SupportedProtocolVersion] = &[&TLS12];

    const CLIENT: Client = Client { versions: BOTH, certificate: false, name: "localhost" };

    impl Client {
        fn connect(&self) -> ClientConnection {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(certificate_file("ca.pem")).unwrap()).unwrap();
            let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let builder = builder.with_protocol_versions(self.versions).unwrap().with_root_certificates(roots);
            let config = if self.certificate {
                let chain = vec![CertificateDer::from_pem_file(certificate_file("client.pem")).unwrap()];
                let key = PrivateKeyDer::from_pem_file(certificate_file("client-key.pem")).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            } else {
                builder.with_no_client_auth()
            };
            ClientConnection::new(Arc::new(config), ServerName::try_from(self.name).unwrap()).unwrap()
        }
    }

    impl Pair {
        fn new(tls: &crate::config::Tls, client: &Client) -> Self {
            let server = ServerTls::load(tls).unwrap().accept().unwrap();
            Self { client: client.connect(), server, received: Vec::new(), progress: Progress::default() }
        }

        fn connected() -> Self {
            let mut pair = Self::new(&block(), &CLIENT);
            pair.exchange(usize::MAX).unwrap();
            assert!(!pair.server.is_handshaking());
            pair
        }

        /// Carries bytes both ways, in pieces of at most `piece`, until nobody has anything to say.
        fn exchange(&mut self, piece: usize) -> Result<(), String> {
            loop {
                let to_server = self.client_output();
                for bytes in to_server.chunks(piece) {
                    let received = &mut self.received;
                    let result = self.server.receive(bytes, &mut |plain| received.extend_from_slice(plain));
                    let progress = result?;
                    self.progress.handshake_done |= progress.handshake_done;
                    self.progress.peer_closed = progress.peer_closed;
                }
                if to_server.is_empty() && !self.server.has_output() {
                    return Ok(());
                }
                self.feed_client().unwrap();
            }
        }

        fn client_output(&mut self) -> Vec<u8> {
            let mut bytes = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut bytes).unwrap();
            }
            bytes
        }

        /// Carries the server's output to the client, which decrypts what fits its buffer.
        fn feed_client(&mut self) -> Result<Vec<u8>, rustls::Error> {
            let mut output = Vec::new();
            self.server.take_output(&mut output);
            let mut rest = &output[..];
            let mut plain = Vec::new();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets()?;
                // "Would block" is how it says that there is no more.
                self.client.reader().read_to_end(&mut plain).ok();
            }
            Ok(plain)
        }
    }

    #[test]
    fn a_handshake_goes_through_however_the_bytes_are_cut() {
        for piece in [1, 7, usize::MAX] {
            let mut pair = Pair::new(&block(), &CLIENT);
            assert_eq!(pair.server.send(b"INFO"), Ok(0), "nothing before the end of the handshake");
            pair.exchange(piece).unwrap();
            assert_eq!(pair.progress, Progress { handshake_done: true, peer_closed: false });
            pair.client.writer().write_all(b"CONNECT {}\r\n").unwrap();
            pair.client.writer().write_all(b"PING\r\n").unwrap();
            pair.exchange(piece).unwrap();
            assert_eq!(pair.received, b"CONNECT {}\r\nPING\r\n");
            assert_eq!(pair.server.send(b"PONG\r\n"), Ok(6));
            assert_eq!(pair.feed_client().unwrap(), b"PONG\r\n");
        }
    }

    #[test]
    fn the_end_of_the_handshake_is_told_once() {
        let mut pair = Pair::connected();
        pair.client.writer().write_all(b"x").unwrap();
        let bytes = pair.client_output();
        assert_eq!(pair.server.receive(&bytes, &mut |_| ()), Ok(Progress::default()));
    }

    #[test]
    fn versions_and_suites_have_the_names_of_connz() {
        let pair = Pair::connected();
        assert_eq!(pair.server.version(), Some("1.3"));
        assert!(pair.server.cipher_suite().unwrap().starts_with("TLS_AES_"));
        let mut tls = block();
        tls.cipher_suites = vec!["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into()];
        let mut pair = Pair::new(&tls, &Client { versions: ONLY_1_2, ..CLIENT });
        assert_eq!(pair.server.version(), None);
        assert_eq!(pair.server.cipher_suite(), None);
        pair.exchange(usize::MAX).unwrap();
        assert_eq!(pair.server.version(), Some("1.2"));
        assert_eq!(pair.server.cipher_suite(), Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"));
    }

    #[test]
    fn a_client_below_the_minimum_version_is_told_so() {
        let mut tls = block();
        tls.only_1_3 = true;
        let mut pair = Pair::new(&tls, &Client { versions: ONLY_1_2, ..CLIENT });
        pair.exchange(usize::MAX).unwrap_err();
        let error = pair.feed_client().unwrap_err();
        assert_eq!(error, rustls::Error::AlertReceived(rustls::AlertDescription::ProtocolVersion));
    }

    #[test]
    fn verify_lets_in_only_who_shows_a_certificate_of_the_ca() {
        let mut tls = block();
        tls.verify = true;
        for versions in [ONLY_1_3, ONLY_1_2] {
            let mut pair = Pair::new(&tls, &Client { versions, ..CLIENT });
            let error = pair.exchange(usize::MAX).unwrap_err();
            assert_eq!(error, "peer sent no certificates");
            assert_eq!(pair.server.receive(b"", &mut |_| ()), Err(error.clone()), "it stays failed");
            assert_eq!(pair.server.send(b"x"), Err(error));
            let error = pair.feed_client().unwrap_err();
            assert!(matches!(error, rustls::Error::AlertReceived(_)), "{error}");

            let mut pair = Pair::new(&tls, &Client { versions, certificate: true, ..CLIENT });
            pair.exchange(usize::MAX).unwrap();
            let shown = CertificateDer::from_pem_file(certificate_file("client.pem")).unwrap();
            assert_eq!(pair.server.peer_certificates(), [shown]);
        }
        tls.ca_file = None;
        let mut pair = Pair::new(&tls, &Client { certificate: true, ..CLIENT });
        pair.exchange(usize::MAX).unwrap_err();
    }

    #[test]
    fn the_certificate_is_chosen_by_the_name_asked_for() {
        let mut tls = block();
        tls.certs.push((certificate_file("other.pem"), certificate_file("other-key.pem")));
        let shown = |name: &'static str| {
            let mut pair = Pair::new(&tls, &Client { name, ..CLIENT });
            let result = pair.exchange(usize::MAX);
            result.map(|()| pair.client.peer_certificates().unwrap()[0].clone().into_owned())
        };
        let certificate = |file| CertificateDer::from_pem_file(certificate_file(file)).unwrap();
        assert_eq!(shown("localhost").unwrap(), certificate("server.pem"));
        assert_eq!(shown("other.example").unwrap(), certificate("other.pem"));
        assert_eq!(shown("127.0.0.1").unwrap(), certificate("server.pem"));
    }

    #[test]
    fn output_is_bounded_and_nothing_is_lost() {
        let mut pair = Pair::connected();
        let message: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).take(1_000_000).collect();
        let (mut sent, mut received) = (0, Vec::new());
        while sent < message.len() {
            let accepted = pair.server.send(&message[sent..]).unwrap();
            assert!(accepted > 0);
            assert!(pair.server.output.len() <= MAX_BUFFERED_OUTPUT + RECORD + 32 * RECORD_OVERHEAD);
            if sent == 0 {
                assert!(accepted < message.len());
                assert_eq!(pair.server.send(b"x").unwrap(), 0, "no room");
            }
            sent += accepted;
            received.extend(pair.feed_client().unwrap());
        }
        assert_eq!(received, message);
    }

    #[test]
    fn output_is_added_to_what_is_there() {
        let mut pair = Pair::connected();
        pair.server.send(b"x").unwrap();
        let mut out = b"before".to_vec();
        pair.server.take_output(&mut out);
        assert!(out.starts_with(b"before\x17\x03\x03"));
        assert!(!pair.server.has_output());
    }

    #[test]
    fn a_large_message_arrives_and_leaves_no_buffer_behind() {
        let mut pair = Pair::connected();
        let message = vec![7; 50_000];
        pair.client.set_buffer_limit(None);
        pair.client.writer().write_all(&message).unwrap();
        pair.exchange(10_000).unwrap();
        assert_eq!(pair.received, message);
        assert_eq!((pair.server.input.capacity(), pair.server.output.capacity()), (0, 0));
    }

    #[test]
    fn half_a_record_does_not_stand_in_the_way_of_sending() {
        let mut pair = Pair::connected();
        pair.client.writer().write_all(b"SUB a 1\r\n").unwrap();
        let bytes = pair.client_output();
        let (first, second) = bytes.split_at(9);
        pair.server.receive(first, &mut |_| panic!("nothing is complete")).unwrap();
        assert_eq!(pair.server.send(b"PING\r\n"), Ok(6));
        assert_eq!(pair.feed_client().unwrap(), b"PING\r\n");
        let mut plain = Vec::new();
        pair.server.receive(second, &mut |bytes| plain.extend_from_slice(bytes)).unwrap();
        assert_eq!(plain, b"SUB a 1\r\n");
    }

    #[test]
    fn both_sides_may_close_first() {
        for versions in [ONLY_1_3, ONLY_1_2] {
            let mut pair = Pair::new(&block(), &Client { versions, ..CLIENT });
            pair.exchange(usize::MAX).unwrap();
            pair.client.writer().write_all(b"last").unwrap();
            pair.client.send_close_notify();
            pair.exchange(usize::MAX).unwrap();
            assert_eq!(pair.received, b"last");
            assert!(pair.progress.peer_closed);
            let progress = pair.server.receive(b"rubbish", &mut |_| panic!("closed")).unwrap();
            assert_eq!(progress, Progress { handshake_done: false, peer_closed: true });

            let mut pair = Pair::new(&block(), &Client { versions, ..CLIENT });
            pair.exchange(usize::MAX).unwrap();
            pair.server.send(b"bye").unwrap();
            pair.server.close();
            pair.server.close();
            assert_eq!(pair.server.send(b"x"), Ok(0));
            let mut output = Vec::new();
            pair.server.take_output(&mut output);
            pair.client.read_tls(&mut &output[..]).unwrap();
            assert!(pair.client.process_new_packets().unwrap().peer_has_closed());
        }
    }

    #[test]
    fn a_peer_that_closed_can_still_be_answered() {
        let mut pair = Pair::connected();
        pair.client.send_close_notify();
        pair.exchange(usize::MAX).unwrap();
        assert_eq!(pair.server.send(b"-ERR\r\n"), Ok(6));
        pair.server.close();
        assert_eq!(pair.feed_client().unwrap(), b"-ERR\r\n");
    }

    #[test]
    fn clear_text_is_an_error_and_the_peer_is_told() {
        let mut pair = Pair::new(&block(), &CLIENT);
        let error = pair.server.receive(b"CONNECT {}\r\n", &mut |_| panic!("clear")).unwrap_err();
        assert!(!error.is_empty());
        let mut output = Vec::new();
        pair.server.take_output(&mut output);
        assert_eq!(output.first(), Some(&0x15), "an alert");
        pair.server.close();
        assert!(!pair.server.has_output());
    }

    #[test]
    fn a_handshake_message_without_end_is_cut_off() {
        let mut pair = Pair::new(&block(), &CLIENT);
        // A ClientHello of 65535 bytes, one byte a record.
        let mut hello = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(0));
        let mut bytes = 0;
        let error = loop {
            let record = [0x16, 3, 1, 0, 1, hello.next().unwrap()];
            bytes += record.len();
            if let Err(error) = pair.server.receive(&record, &mut |_| ()) {
                break error;
            }
            assert!(bytes <= MAX_BUFFERED_INPUT);
        };
        assert!(!error.is_empty());
        assert!(bytes <= MAX_BUFFERED_INPUT + 6);
    }

    #[test]
    fn tampered_bytes_end_the_connection() {
        let mut pair = Pair::connected();
        pair.client.writer().write_all(b"PUB a 1\r\nx\r\n").unwrap();
        let mut bytes = pair.client_output();
        *bytes.last_mut().unwrap() ^= 1;
        let error = pair.server.receive(&bytes, &mut |_| panic!("forged")).unwrap_err();
        assert_eq!(error, "cannot decrypt peer's message");
        assert!(matches!(pair.feed_client(), Err(rustls::Error::AlertReceived(_))));
    }

    #[test]
    fn no_changed_byte_of_a_handshake_brings_the_server_down() {
        let tls = ServerTls::load(&block()).unwrap();
        let mut client = CLIENT.connect();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        for position in 0..hello.len() {
            let mut changed = hello.clone();
            changed[position] ^= 0x81;
            let mut server = tls.accept().unwrap();
            for piece in [&changed[..position], &changed[position..], &hello[..]] {
                server.receive(piece, &mut |_| panic!("no plaintext yet")).ok();
            }
            assert!(server.is_handshaking());
            assert!(server.input.len() <= MAX_BUFFERED_INPUT);
        }
    }

    #[test]
    fn no_changed_byte_of_what_follows_does_either() {
        for versions in [ONLY_1_3, ONLY_1_2] {
            let client = Client { versions, ..CLIENT };
            let mut position = 0;
            loop {
                let mut pair = Pair::new(&block(), &client);
                let hello = pair.client_output();
                pair.server.receive(&hello, &mut |_| ()).unwrap();
                pair.feed_client().unwrap();
                let mut flight = pair.client_output();
                let Some(byte) = flight.get_mut(position) else { break };
                *byte ^= 0x41;
                for piece in [&flight[..position], &flight[position..], &hello[..], &[0; 40]] {
                    pair.server.receive(piece, &mut |_| panic!("no plaintext yet")).ok();
                }
                assert!(pair.server.is_handshaking() || pair.server.failed.is_some(), "at {position}");
                position += 1;
            }
            assert!(position > 50);
        }
    }

    #[test]
    fn keys_can_be_renewed() {
        let mut pair = Pair::connected();
        pair.client.refresh_traffic_keys().unwrap();
        pair.client.writer().write_all(b"after").unwrap();
        pair.exchange(3).unwrap();
        assert_eq!(pair.received, b"after");
        pair.server.send(b"answer").unwrap();
        assert_eq!(pair.feed_client().unwrap(), b"answer");
    }

    #[test]
    fn no_tickets_are_sent() {
        let pair = Pair::connected();
        assert_eq!(pair.client.tls13_tickets_received(), 0);
    }
}
