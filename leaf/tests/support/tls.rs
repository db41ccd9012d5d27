//! The client's side of TLS.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::{Client, Server};

pub(crate) fn certificate(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/certs", name].iter().collect()
}

/// The files of the server's certificate, and `more`, as a block of a configuration.
pub(crate) fn block(more: &str) -> String {
    let file = |name| certificate(name).display().to_string();
    let (cert, key, ca) = (file("server.pem"), file("server-key.pem"), file("ca.pem"));
    format!("tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\"\n {more} }}\n")
}

pub(crate) fn read_certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(&fs::read(certificate(name)).unwrap()).unwrap()
}

/// How a client does TLS.
#[derive(Clone, Copy)]
pub(crate) struct Tls {
    pub(crate) version: &'static SupportedProtocolVersion,
    /// The certificate it trusts.
    pub(crate) trusts: &'static str,
    /// The name of its own certificate and key.
    pub(crate) shows: Option<&'static str>,
    /// Who it means to speak with.
    pub(crate) expects: &'static str,
}

pub(crate) const TLS_1_3: Tls = Tls { version: &TLS13, trusts: "ca.pem", shows: None, expects: "localhost" };
pub(crate) const TLS_1_2: Tls = Tls { version: &TLS12, ..TLS_1_3 };

impl Tls {
    fn begin(&self) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        roots.add(read_certificate(self.trusts)).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(&[self.version]).with_root_certificates(roots);
        let config = match self.shows {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let key = PrivateKeyDer::from_pem_slice(&fs::read(certificate(&format!("{name}-key.pem"))).unwrap());
                builder.with_client_auth_cert(vec![read_certificate(&format!("{name}.pem"))], key.unwrap()).unwrap()
            }
        };
        ClientConnection::new(Arc::new(config), ServerName::try_from(self.expects).unwrap()).unwrap()
    }

    /// TLS from the first byte.
    pub(crate) fn first(&self, server: &Server) -> Client {
        self.over(Client::connect(server))
    }

    /// TLS after INFO, which is what clients do unless told otherwise.
    pub(crate) fn after_info(&self, server: &Server) -> Client {
        let mut client = Client::connect(server);
        client.until("\r\n");
        self.over(client)
    }

    /// TLS after INFO, and whom it was with.
    pub(crate) fn meets(&self, server: &Server) -> CertificateDer<'static> {
        let mut client = Client::connect(server);
        client.until("\r\n");
        let stream = self.on(client.into_socket());
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// TLS on any stream.
    pub(crate) fn on<T: Read + Write>(&self, stream: T) -> StreamOwned<ClientConnection, T> {
        self.try_on(stream).unwrap()
    }

    fn try_on<T: Read + Write>(&self, mut stream: T) -> io::Result<StreamOwned<ClientConnection, T>> {
        let mut connection = self.begin();
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }

    fn over(&self, client: Client) -> Client {
        let socket = client.into_socket();
        let kept = socket.try_clone().unwrap();
        Client::over(self.on(socket), kept)
    }

    /// TLS from the first byte, with `words` right behind the client's last part of the handshake.
    pub(crate) fn impatient(&self, server: &Server, words: &str) -> Client {
        let mut socket = Client::connect(server).into_socket();
        let kept = socket.try_clone().unwrap();
        let mut connection = self.begin();
        connection.writer().write_all(words.as_bytes()).unwrap();
        let mut last = Vec::new();
        while connection.is_handshaking() {
            socket.write_all(&std::mem::take(&mut last)).unwrap();
            if !connection.wants_write() {
                connection.read_tls(&mut socket).unwrap();
                connection.process_new_packets().unwrap();
            }
            while connection.wants_write() {
                connection.write_tls(&mut last).unwrap();
            }
        }
        socket.write_all(&last).unwrap();
        Client::over(StreamOwned::new(connection, socket), kept)
    }

    /// The first message of a handshake, and no more.
    pub(crate) fn only_hello(&self, mut socket: &TcpStream) {
        self.begin().write_tls(&mut socket).unwrap();
    }

    /// Whether the server lets this client in. With TLS 1.3 a client learns only later that it is not wanted.
    pub(crate) fn gets_in(&self, server: &Server) -> bool {
        let mut client = Client::connect(server);
        client.until("\r\n");
        let Ok(mut stream) = self.try_on(client.into_socket()) else { return false };
        let mut answer = [0; 6];
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && &answer == b"PONG\r\n"
    }
}
