//! Connections that this side makes.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::server::Server;
use crate::config::Secret;
use crate::link::{Dial, place};
use crate::node::Dialled;

/// What the kernel keeps unsent of a new link at most, bytes.
const UNSENT_BYTES: u32 = 32 * 1024;

/// Makes the connection and serves it to its end.
pub(super) async fn run(server: Rc<Server>, dial: Box<Dial>) {
    let at = place(&dial.host, dial.port);
    let connected = match timeout(dial.timeout, connect(&dial)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(format!("cannot connect to {at}: {error}")),
        Err(_) => Err(format!("cannot connect to {at}: no answer in {:?}", dial.timeout)),
    };
    let mut nonce = [0; 11];
    let random = getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"));
    let ready = connected.and_then(|connected| random.map(|()| connected));
    let (stream, result) = match ready {
        Ok((stream, remote)) => {
            let credentials = dial.credentials.as_deref().map(read);
            (Some((stream, remote)), Ok(Dialled { remote, credentials }))
        }
        Err(why) => (None, Err(why)),
    };
    // The node's first commands for the connection need its socket: they come after it is there.
    let id = { server.node.borrow_mut().dialled(server.now(), dial.ticket, nonce, result) };
    match id.zip(stream) {
        Some((id, (stream, remote))) => server.serve_dialled(id, stream, remote).await,
        None => server.with_node(|_, _| ()),
    }
}

/// Tries all addresses of a name in turn.
async fn connect(dial: &Dial) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((dial.host.as_str(), dial.port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // Until it is known what the link moves. A kernel that does not know this keeps more, and all else holds.
                let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES);
                return Ok((stream, address));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The text of a credentials file.
fn read(path: &Path) -> Result<Secret, String> {
    let text = std::fs::read_to_string(path);
    text.map(Secret::new).map_err(|error| format!("cannot read the credentials file {}: {error}", path.display()))
}
