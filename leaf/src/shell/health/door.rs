//! The server's side of `health`: the socket file, and the checks.

use std::fs::{File, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{Check, DEEP, LINK, SERVER, SHALLOW, SOCKET, Verdict};
use crate::node::{LinkHealth, LogHealth};
use crate::shell::listener::Open;
use crate::shell::server::Server;

/// The line behind the last check.
pub(super) const END: &str = "end";
/// How long a question may take to come, and a listener to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// How long a sync may take: cards take seconds when they clean up.
const SYNC_WITHIN: Duration = Duration::from_secs(20);
/// Bytes of a question.
const QUESTION_BYTES_MAX: usize = 16;
/// Bytes of a path that a socket can have (108, and a zero byte).
const PATH_BYTES_MAX: usize = 100;
/// How long to wait when nobody can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the server is asked. One question at a time; the next ones wait in the kernel.
#[derive(Debug)]
pub(in crate::shell) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// So that only what is ours is removed.
    inode: u64,
}

/// A path to the socket that is short enough, and what it hangs on to.
pub(super) fn reachable(dir: &Path) -> io::Result<(Option<File>, PathBuf)> {
    let path = dir.join(SOCKET);
    if path.as_os_str().as_bytes().len() <= PATH_BYTES_MAX {
        return Ok((None, path));
    }
    let dir = File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd()));
    Ok((Some(dir), path))
}

impl Door {
    /// Opens it where the server keeps its data. `None` where there is no such directory, and, said aloud, where it cannot be:
    /// nobody is served less without it.
    pub(in crate::shell) fn open(server: &Server) -> Option<Self> {
        let dir = server.node.borrow().config.store_dir.clone();
        if !dir.is_dir() {
            debug!("No health checks: there is no directory {}", dir.display());
            return None;
        }
        Self::bind(&dir)
            .inspect_err(|error| warn!("No health checks, for {}: {error}", dir.join(SOCKET).display()))
            .ok()
    }

    fn bind(dir: &Path) -> io::Result<Self> {
        let (_dir, reachable) = reachable(dir)?;
        if std::os::unix::net::UnixStream::connect(&reachable).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
        }
        match std::fs::remove_file(&reachable) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&reachable)?;
        std::fs::set_permissions(&reachable, Permissions::from_mode(0o600))?;
        let inode = std::fs::metadata(&reachable)?.ino();
        Ok(Self { listener, path: dir.join(SOCKET), inode })
    }

    /// Answers until the server ends.
    pub(in crate::shell) async fn serve(self, server: Rc<Server>, ports: Vec<Rc<Open>>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &server, &ports).await {
                        debug!("health check: {error}");
                    }
                }
                Err(error) => {
                    warn!("A health check cannot be accepted: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // A file that stays does no harm: the next server removes it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn answer(mut stream: UnixStream, server: &Rc<Server>, ports: &[Rc<Open>]) -> io::Result<()> {
    let deep = match timeout(WITHIN, question(&mut stream)).await??.trim_end() {
        DEEP => true,
        SHALLOW => false,
        _ => return Ok(()),
    };
    let mut say = async |check: Check| stream.write_all(format!("{check}\n").as_bytes()).await;
    say(itself(server)).await?;
    for port in ports {
        say(listener(server, port, deep).await).await?;
    }
    let monitor = server.host.monitor.get();
    if let Some(address) = monitor.filter(|_| deep) {
        say(judge("listener/monitoring", monitoring(server, address).await)).await?;
    }
    let logs = server.node.borrow().logs_health();
    for state in logs {
        say(log(server, state, deep).await).await?;
    }
    let links = server.node.borrow().links_health();
    for LinkHealth { place, trouble } in links {
        let (verdict, text) = trouble.map_or((Verdict::Ok, "up".to_owned()), |trouble| (Verdict::Down, trouble));
        say(Check::new(verdict, format!("{LINK}{place}"), text)).await?;
    }
    stream.write_all(format!("{END}\n").as_bytes()).await
}

/// A line, or what fits of it.
async fn question(stream: &mut UnixStream) -> io::Result<String> {
    let mut heard = String::new();
    while heard.len() < QUESTION_BYTES_MAX && !heard.ends_with('\n') {
        heard.push(char::from(stream.read_u8().await?));
    }
    Ok(heard)
}

fn itself(server: &Server) -> Check {
    let node = server.node.borrow();
    if node.is_lame_duck() {
        return Check::new(Verdict::Failed, SERVER, "lame duck: it sends its clients away");
    }
    let (program, version) = (node.identity.program, env!("CARGO_PKG_VERSION"));
    let up = Duration::from_nanos(server.now()).as_secs();
    Check::new(Verdict::Ok, SERVER, format_args!("{program} {version}, process {}, up {up} s", std::process::id()))
}

/// A check of which a text says what is good or bad about it.
fn judge(name: impl Into<String>, result: Result<String, String>) -> Check {
    match result {
        Ok(text) => Check::new(Verdict::Ok, name, text),
        Err(text) => Check::new(Verdict::Failed, name, text),
    }
}

/// Whether those who connect get to this server, and, looked at closely, whether it greets them.
async fn listener(server: &Server, port: &Open, deep: bool) -> Check {
    let name = format!("listener/{}", port.listener.socket);
    let address = port.address;
    let knocked = match timeout(WITHIN, knock(port)).await {
        Ok(result) => result.map_err(|error| format!("{address}: {error}")),
        Err(_) => Err(format!("{address} takes nobody in")),
    };
    if knocked.is_err() || !deep || !port.greets() {
        return judge(name, knocked.map(|()| format!("{address} takes connections")));
    }
    let greeting = timeout(WITHIN, greeting(server, address)).await;
    let greeting = greeting.unwrap_or_else(|_| Err("no greeting in time".to_owned()));
    judge(name, greeting.map(|()| format!("{address} greets")).map_err(|text| format!("{address}: {text}")))
}

/// Connects, and waits until the listener has seen that: whoever else may have its port, or stands in front of it, has not.
async fn knock(port: &Open) -> io::Result<()> {
    let (socket, to) = dial(port.address)?;
    let come = port.expect(socket.local_addr()?);
    let _stream = socket.connect(to).await?;
    come.await.map_err(|_| io::Error::other("it was asked by somebody else"))
}

/// A socket that has its address before it is connected, and where to connect it to.
fn dial(address: SocketAddr) -> io::Result<(TcpSocket, SocketAddr)> {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = if ip.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.bind((ip, 0).into())?;
    Ok((socket, (ip, address.port()).into()))
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let (socket, to) = dial(address)?;
    socket.connect(to).await
}

/// Is greeted as any client is, and by this server.
async fn greeting(server: &Server, address: SocketAddr) -> Result<(), String> {
    let mut stream = connect(address).await.map_err(|error| error.to_string())?;
    let id = server.node.borrow().identity.server_id.clone();
    let heard = line(&mut stream).await.map_err(|error| format!("no greeting: {error}"))?;
    match heard.starts_with("INFO ") && heard.contains(&id) {
        true => Ok(()),
        false => Err(format!("another greeting than ours: {:.60}", heard.trim_end())),
    }
}

async fn monitoring(server: &Server, address: SocketAddr) -> Result<String, String> {
    let path = server.node.borrow().config.monitor.as_ref().map(|at| at.base_path.clone()).unwrap_or_default();
    let ask = async {
        let mut stream = connect(address).await?;
        let question = format!("GET {path}/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(question.as_bytes()).await?;
        line(&mut stream).await
    };
    match timeout(WITHIN, ask).await {
        Ok(Ok(status)) if status.starts_with("HTTP/1.1 200 ") => Ok(format!("{address} answers")),
        Ok(Ok(status)) => Err(format!("{address} answers {}", status.trim_end())),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}

/// The first line, or as much of it as comes at once.
async fn line(stream: &mut TcpStream) -> io::Result<String> {
    let mut bytes = [0; 4096];
    let mut filled = 0;
    while filled < bytes.len() && !bytes[..filled].contains(&b'\n') {
        match stream.read(&mut bytes[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    let line = bytes[..filled].split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

/// Whether a log takes in what comes, and, looked at closely, whether its disk does.
async fn log(server: &Server, state: LogHealth, deep: bool) -> Check {
    let name = format!("log/{}", state.name);
    if let Some(trouble) = state.trouble {
        return Check::new(Verdict::Failed, name, trouble);
    }
    if !deep {
        return Check::new(Verdict::Ok, name, "open");
    }
    let started = Instant::now();
    let probed = match timeout(SYNC_WITHIN, server.probe(state.id)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err("the thread that writes it has ended".to_owned()),
        Err(_) => Err(format!("a sync takes more than {} s", SYNC_WITHIN.as_secs())),
    };
    judge(name, probed.map(|()| format!("written and synced in {} ms", started.elapsed().as_millis())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;
    use crate::shell::listener::{Endpoint, Listener};

    static SOME: Listener = Listener {
        what: "client",
        socket: "client",
        port: "port",
        at: |_| None::<Endpoint<'_>>,
        greets: true,
        websocket: false,
        peer: || Box::new(crate::client::Client::new()),
    };

    /// Another process has the port: it takes the connection, but that is not this server's doing.
    #[tokio::test]
    async fn a_thief_of_the_port_is_not_the_listener() {
        let thief = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = Open::new(&SOME, None, thief.local_addr().unwrap());
        let mut knocking = std::pin::pin!(knock(&port));
        tokio::select! {
            result = &mut knocking => panic!("{result:?}"),
            taken = thief.accept() => drop(taken.unwrap()),
        }
        assert!(timeout(Duration::from_millis(50), knocking).await.is_err());
    }
}
