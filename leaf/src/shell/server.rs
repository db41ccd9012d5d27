//! The event loop: one thread, a task for each connection that does nothing but read.
//!
//! Bytes are read into one shared buffer and handed to the node at once; then everything the batch
//! touched is written directly, without waking another task. Only a socket that would block gets a
//! waiting writer.

use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::task::{AbortHandle, spawn_local};
use tracing::{debug, error, warn};

mod websocket;

use super::disk::Disks;
use super::host::Host;
use super::listener::Listener;
use super::tls::{self, ServerTls, TlsStream};
use super::turn::{self, Turn};
use super::{dial, resolver};
use crate::auth::password;
use crate::config::{ClientTls, HandshakeFirst, Secret};
use crate::node::{Arrival, CloseReason, Command, ConnId, Nanos, Node, OutQueue, StoreOp, TlsFacts};
use crate::store::LogId;
use websocket::Framing;

/// Bytes read at once, by all connections into the same buffer.
const READ_BYTES: usize = 256 * 1024;
/// The same of a link to a hub, which mostly brings small answers to what was sent: a few hundred of them are a turn.
const LINK_READ_BYTES: usize = 16 * 1024;
/// Pieces of a queue written at once.
const SLICES_MAX: usize = 32;
/// Plain bytes turned into TLS records at once; no more waits behind a slow socket in cipher.
const TLS_PLAIN_BYTES: usize = 16 * 1024;
/// How long the last bytes for a closed connection may take.
const FAREWELL_WITHIN: Duration = Duration::from_secs(1);
/// What is still read of a closed connection, so that its last words arrive. Who goes on sending is cut off.
const LINGER_BYTES: usize = 4 * 1024 * 1024;
/// Passwords compared at the same time; bcrypt is slow by design and must not take every core.
const PASSWORD_CHECKS_MAX: usize = 1;

/// What all tasks of a server share.
pub struct Server {
    /// The engine.
    pub node: RefCell<Node>,
    sockets: RefCell<Vec<Option<Rc<Socket>>>>,
    started: Instant,
    buffer: RefCell<Box<[u8]>>,
    /// What frames of WebSocket say, for as long as it takes to hand it over; and plaintext on its way to TLS.
    scratch: RefCell<Vec<u8>>,
    dirty: RefCell<Vec<ConnId>>,
    /// When the timer task wakes up.
    armed: Cell<Nanos>,
    timer: Notify,
    /// The listeners must close.
    closing: watch::Sender<bool>,
    /// The server must end.
    pub shutdown: Notify,
    passwords: Rc<Semaphore>,
    /// The configuration must be read again.
    pub reload: Notify,
    /// What only the host knows.
    pub(super) host: Host,
    /// Orders for the resolver's directory.
    store: UnboundedSender<(u64, StoreOp)>,
    /// Who has the directories of the node's logs.
    disks: RefCell<Disks>,
}

/// TLS as configured.
#[derive(Debug)]
pub struct TlsSetup {
    /// Keys and rules.
    pub server: ServerTls,
    /// Who speaks first.
    pub first: HandshakeFirst,
    /// A client may also stay in clear.
    pub optional: bool,
    /// Time for the handshake.
    pub timeout: Duration,
    /// Handshakes a second; 0 for no limit.
    pub rate_limit: u32,
    /// The second that is being counted, and how many it had.
    pub rate: Cell<(u64, u32)>,
    /// Turned away since the log last told.
    pub rejected: Cell<u32>,
}

impl TlsSetup {
    /// Counts a handshake; says whether it may go ahead.
    fn admit(&self, second: u64) -> bool {
        let (counted, n) = self.rate.get();
        let n = if counted == second { n + 1 } else { 1 };
        self.rate.set((second, n));
        self.rate_limit == 0 || n <= self.rate_limit
    }

    /// Counts one who was turned away. The log tells how many there were, a line a second at most.
    fn reject(self: &Rc<Self>) {
        let before = self.rejected.replace(self.rejected.get() + 1);
        if before > 0 {
            return;
        }
        let setup = self.clone();
        spawn_local(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            warn!("Rejected {} connections due to TLS rate limiting", setup.rejected.take());
        });
    }
}

struct Socket {
    id: ConnId,
    write: OwnedWriteHalf,
    /// A writer task waits for room.
    waiting: Cell<bool>,
    writer: RefCell<Option<AbortHandle>>,
    closed: Cell<bool>,
    /// What the kernel keeps for it unsent at most, bytes; 0 is as much as it likes.
    unsent_max: Cell<u32>,
    /// Its last words are on their way: what it still sends is read, so that they are not lost over it.
    lingers: Cell<bool>,
    reader: RefCell<Option<Waker>>,
    tls: RefCell<Option<Box<Tls>>>,
    /// Of a WebSocket, once its handshake is done.
    framing: RefCell<Option<Box<Framing>>>,
}

struct Tls {
    stream: TlsStream,
    /// Records that are not written yet.
    cipher: Vec<u8>,
}

impl Tls {
    fn facts(&self, first: bool) -> TlsFacts {
        TlsFacts {
            version: self.stream.version().unwrap_or_default(),
            cipher_suite: self.stream.cipher_suite().unwrap_or_default(),
            first,
            certificates: self.stream.peer_certificates().iter().map(|one| one.as_ref().into()).collect(),
        }
    }
}

impl Server {
    /// A server around `node`, whose time 0 is now.
    pub fn new(node: Node, started: Instant, store: UnboundedSender<(u64, StoreOp)>, disks: Disks) -> Rc<Self> {
        Rc::new(Self {
            node: RefCell::new(node),
            sockets: RefCell::default(),
            started,
            buffer: RefCell::new(vec![0; READ_BYTES].into()),
            scratch: RefCell::default(),
            dirty: RefCell::default(),
            armed: Cell::new(Nanos::MAX),
            timer: Notify::new(),
            closing: watch::Sender::new(false),
            shutdown: Notify::new(),
            passwords: Rc::new(Semaphore::new(PASSWORD_CHECKS_MAX)),
            reload: Notify::new(),
            host: Host::default(),
            store,
            disks: RefCell::new(disks),
        })
    }

    /// The node's clock.
    pub fn now(&self) -> Nanos {
        self.started.elapsed().as_nanos() as Nanos
    }

    /// Waits until the listeners must close.
    pub fn stop_listening(&self) -> impl Future<Output = ()> + use<> {
        let mut closing = self.closing.subscribe();
        async move {
            // It ends with an error if the server is gone, which is as good.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }

    /// Tells the node what the clock on the wall shows: it may have been set.
    pub fn set_wall_clock(&self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.node.borrow_mut().set_wall_clock(self.now(), unix as i128);
    }

    /// Calls the node, then does what it asks for.
    pub fn with_node<R>(self: &Rc<Self>, f: impl FnOnce(&mut Node, Nanos) -> R) -> R {
        let now = self.now();
        let result = f(&mut self.node.borrow_mut(), now);
        self.pump(now);
        result
    }

    /// Whether a log's directory can be written: told once that was tried.
    pub(super) fn probe(&self, log: LogId) -> oneshot::Receiver<Result<(), String>> {
        self.disks.borrow().probe(log)
    }

    fn socket(&self, id: ConnId) -> Option<Rc<Socket>> {
        self.sockets.borrow().get(id.slot())?.as_ref().filter(|socket| socket.id == id).cloned()
    }

    /// Does what the node asks for, until it asks for nothing.
    fn pump(self: &Rc<Self>, now: Nanos) {
        loop {
            while let Some(command) = { self.node.borrow_mut().poll_command() } {
                self.execute(command);
            }
            let mut dirty = self.dirty.take();
            self.node.borrow_mut().take_dirty(&mut dirty);
            if dirty.is_empty() {
                self.dirty.replace(dirty);
                break;
            }
            for &id in &dirty {
                self.flush(id, now);
            }
            self.dirty.replace(dirty);
        }
        let due = self.node.borrow().deadline().unwrap_or(Nanos::MAX);
        if due < self.armed.get() {
            self.armed.set(due);
            self.timer.notify_one();
        }
    }

    fn execute(self: &Rc<Self>, command: Command) {
        match command {
            Command::Close { conn, farewell, reason } => self.close(conn, farewell, reason),
            Command::Pause(_) => {}
            Command::Resume(conn) => {
                if let Some(socket) = self.socket(conn) {
                    socket.wake();
                }
            }
            Command::CheckPassword { conn, hash, password } => self.check_password(conn, hash, password),
            Command::FetchAccount { key, url } => {
                let server = self.clone();
                spawn_local(async move {
                    let result = resolver::fetch(&url).await;
                    server.with_node(|node, now| node.account_fetched(now, &key, result));
                });
            }
            Command::Store { ticket, op } => {
                // Nobody is there to answer only if there is no directory, and then nobody asks.
                let _ = self.store.send((ticket, op));
            }
            Command::Measure => {
                let (now, facts) = (self.now(), self.host.facts(self.now()));
                self.set_wall_clock();
                self.node.borrow_mut().measured(now, &facts);
            }
            Command::Disk(order) => self.disks.borrow_mut().order(order),
            Command::Reload => self.reload.notify_one(),
            Command::Dial(dial) => drop(spawn_local(dial::run(self.clone(), dial))),
            Command::StartTls { conn, server_name, settings } => self.start_tls(conn, &server_name, settings.as_ref()),
            Command::StopListening => drop(self.closing.send_replace(true)),
            Command::Shutdown => self.shutdown.notify_one(),
        }
    }

    fn check_password(self: &Rc<Self>, conn: ConnId, hash: Secret, password: Secret) {
        let server = self.clone();
        spawn_local(async move {
            let Ok(_permit) = server.passwords.acquire().await else { return };
            let check = move || password::bcrypt_matches(hash.expose(), password.expose());
            let right = tokio::task::spawn_blocking(check).await.unwrap_or(false);
            server.with_node(|node, now| node.password_checked(now, conn, right));
        });
    }

    /// Writes what waits for a connection, as far as its socket takes it.
    fn flush(self: &Rc<Self>, id: ConnId, now: Nanos) {
        let Some(socket) = self.socket(id) else { return };
        if socket.waiting.get() {
            return;
        }
        match self.write_some(&socket, now) {
            Ok(true) => {}
            Ok(false) => self.write_later(socket),
            Err(_) => self.node.borrow_mut().closed(now, id, CloseReason::WriteError),
        }
    }

    /// Writes until nothing waits (`true`), or the socket would block or the turn that began `now` is over (`false`).
    fn write_some(&self, socket: &Socket, now: Nanos) -> io::Result<bool> {
        if socket.tls.borrow().is_some() {
            return self.write_tls(socket, now);
        }
        if let Some(framing) = &mut *socket.framing.borrow_mut() {
            return self.write_frames(socket, framing, now);
        }
        let mut node = self.node.borrow_mut();
        let mut wrote = false;
        loop {
            let Some(queue) = node.output(socket.id).filter(|queue| !queue.is_empty()) else { return Ok(true) };
            if std::mem::replace(&mut wrote, true) && turn::is_over(now, self.now()) {
                return Ok(false);
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = queue.slices(&mut slices);
            match socket.write.try_write_vectored(&slices[..count]) {
                Ok(n) => node.sent(now, socket.id, n),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    node.blocked(now, socket.id);
                    socket.keep_little(node.unsent_max(socket.id));
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn write_tls(&self, socket: &Socket, now: Nanos) -> io::Result<bool> {
        let mut tls = socket.tls.borrow_mut();
        let Some(tls) = tls.as_mut() else { return Ok(true) };
        let mut node = self.node.borrow_mut();
        let mut wrote = false;
        loop {
            tls.stream.take_output(&mut tls.cipher);
            while !tls.cipher.is_empty() {
                match socket.write.try_write(&tls.cipher) {
                    Ok(n) => drop(tls.cipher.drain(..n)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        node.blocked(now, socket.id);
                        socket.keep_little(node.unsent_max(socket.id));
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
            tls.cipher.shrink_to(0);
            if tls.stream.is_handshaking() {
                return Ok(true);
            }
            if std::mem::replace(&mut wrote, true) && turn::is_over(now, self.now()) {
                return Ok(false);
            }
            let Some(queue) = node.output(socket.id) else { return Ok(true) };
            let front = queue.front();
            let front = &front[..front.len().min(TLS_PLAIN_BYTES)];
            let n = match &mut *socket.framing.borrow_mut() {
                Some(framing) => self.send_framed(&mut tls.stream, framing, front)?,
                None => tls.stream.send(front).map_err(io::Error::other)?,
            };
            if queue.is_empty() && !tls.stream.has_output() {
                return Ok(true);
            }
            if n == 0 && !tls.stream.has_output() {
                // It is closing and takes no more; what waits goes with the connection.
                return Ok(true);
            }
            node.sent(now, socket.id, n);
        }
    }

    fn write_later(self: &Rc<Self>, socket: Rc<Socket>) {
        socket.waiting.set(true);
        let server = self.clone();
        let writer = socket.clone();
        let task = spawn_local(async move {
            let mut turn = Turn::default();
            while !socket.closed.get() {
                turn.share(server.now()).await;
                if socket.write.writable().await.is_err() || socket.closed.get() {
                    break;
                }
                let now = server.now();
                match server.write_some(&socket, now) {
                    Ok(true) => break,
                    // A receiver that has moved may let its producers go on.
                    Ok(false) => server.pump(now),
                    Err(_) => {
                        server.node.borrow_mut().closed(now, socket.id, CloseReason::WriteError);
                        break;
                    }
                }
            }
            socket.waiting.set(false);
            server.pump(server.now());
        });
        *writer.writer.borrow_mut() = Some(task.abort_handle());
    }

    /// The node has let go of a connection: its last bytes may still go out.
    fn close(self: &Rc<Self>, id: ConnId, farewell: OutQueue, reason: CloseReason) {
        let Some(socket) = self.sockets.borrow_mut().get_mut(id.slot()).and_then(Option::take) else { return };
        socket.closed.set(true);
        let is_framed = socket.framing.borrow().is_some();
        socket.lingers.set(!farewell.is_empty() || is_framed);
        socket.wake();
        // It waits for room that a stuck receiver never makes, and would keep the socket open.
        if let Some(writer) = socket.writer.take() {
            writer.abort();
        }
        if farewell.is_empty() && !is_framed && socket.tls.borrow().is_none() {
            return;
        }
        spawn_local(async move {
            let _ = tokio::time::timeout(FAREWELL_WITHIN, last_words(&socket, farewell, reason)).await;
        });
    }

    /// Keeps the node's deadlines.
    pub async fn keep_time(self: Rc<Self>) {
        loop {
            let due = { self.node.borrow().deadline() };
            self.armed.set(due.unwrap_or(Nanos::MAX));
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until((self.started + Duration::from_nanos(due)).into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.timer.notified() => continue,
            }
            self.set_wall_clock();
            self.with_node(Node::tick);
        }
    }

    /// Serves one connection from its first byte to its last: `listener` knows what it may be.
    pub async fn serve(
        self: Rc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        listener: &Listener,
        tls: Option<Rc<TlsSetup>>,
    ) {
        // Without it small messages would wait for each other; a socket that refuses is as good as closed.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let mut nonce = [0; 11];
        if getrandom::fill(&mut nonce).is_err() {
            return warn!("no randomness: connection from {remote} refused");
        }
        self.set_wall_clock();
        let arrival = Arrival { remote, nonce };
        let id = self.node.borrow_mut().accept(self.now(), &arrival, (listener.peer)());
        let mut reader = self.reader(id, stream, remote);
        let done = match &tls {
            None if listener.websocket => Ok(()),
            None => {
                reader.server.with_node(|node, now| node.greet(now, id));
                Ok(())
            }
            Some(setup) => Box::pin(reader.secure(setup, listener.websocket)).await,
        };
        let done = match done {
            Ok(()) if listener.websocket => Box::pin(reader.upgrade(tls.is_some())).await,
            done => done,
        };
        if let Err(reason) = done {
            return reader.server.with_node(|node, now| node.closed(now, id, reason));
        }
        reader.run().await;
    }

    /// Serves a connection that this side made, once the node has its `id`.
    pub(super) async fn serve_dialled(self: Rc<Self>, id: ConnId, stream: TcpStream, remote: SocketAddr) {
        let mut reader = self.clone().reader(id, stream, remote);
        reader.most = LINK_READ_BYTES;
        // What the node had to say before there was a socket.
        self.pump(self.now());
        reader.run().await;
    }

    /// Puts a socket where the node's commands find it.
    fn reader(self: Rc<Self>, id: ConnId, stream: TcpStream, remote: SocketAddr) -> Reader {
        let (read, write) = stream.into_split();
        let socket = Rc::new(Socket {
            id,
            write,
            waiting: Cell::new(false),
            writer: RefCell::default(),
            closed: Cell::new(false),
            unsent_max: Cell::new(0),
            lingers: Cell::new(false),
            reader: RefCell::default(),
            tls: RefCell::default(),
            framing: RefCell::default(),
        });
        {
            let mut sockets = self.sockets.borrow_mut();
            if sockets.len() <= id.slot() {
                sockets.resize_with(id.slot() + 1, || None);
            }
            sockets[id.slot()] = Some(socket.clone());
        }
        Reader { server: self, socket, read, remote, most: READ_BYTES, early: RefCell::default() }
    }

    /// Begins TLS on a connection that this side made.
    fn start_tls(self: &Rc<Self>, id: ConnId, name: &str, settings: Option<&ClientTls>) {
        let Some(socket) = self.socket(id) else { return };
        let now = self.now();
        match tls::connect(settings, name) {
            Ok(stream) => {
                *socket.tls.borrow_mut() = Some(Box::new(Tls { stream, cipher: Vec::new() }));
                self.flush(id, now);
            }
            Err(why) => {
                let mut node = self.node.borrow_mut();
                node.complain(id, &why);
                node.closed(now, id, CloseReason::TlsHandshake);
            }
        }
    }
}

async fn last_words(socket: &Socket, farewell: OutQueue, reason: CloseReason) {
    let mut rest = Vec::new();
    let framed = socket.framing.borrow_mut().as_mut().map(|framing| framing.finish(&farewell, reason));
    let pieces: Vec<&[u8]> = match &framed {
        Some(framed) => vec![framed],
        None => farewell.pieces().collect(),
    };
    if let Some(tls) = socket.tls.borrow_mut().as_mut() {
        rest.append(&mut tls.cipher);
        for plain in pieces {
            // Best effort: there is nobody left to tell.
            let _ = tls.stream.send(plain);
        }
        tls.stream.close();
        tls.stream.take_output(&mut rest);
    } else {
        for plain in pieces {
            rest.extend_from_slice(plain);
        }
    }
    let mut at = 0;
    while at < rest.len() {
        match socket.write.try_write(&rest[at..]) {
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if socket.write.writable().await.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

impl Socket {
    /// What waits in the kernel for the network cannot be overtaken any more: it is to be about what the link moves in a moment.
    fn keep_little(&self, unsent_max: Option<u32>) {
        let Some(bytes) = unsent_max.filter(|&bytes| bytes != self.unsent_max.replace(bytes)) else { return };
        // A kernel that does not know this keeps more, and all else holds.
        let _ = SockRef::from(self.write.as_ref()).set_tcp_notsent_lowat(bytes);
    }

    fn wake(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}

/// The reading side of a connection.
struct Reader {
    server: Rc<Server>,
    socket: Rc<Socket>,
    read: OwnedReadHalf,
    remote: SocketAddr,
    /// Bytes read at once at most.
    most: usize,
    /// While a handshake lasts: what came with its last bytes; of a WebSocket, all of it.
    early: RefCell<Option<Vec<u8>>>,
}

/// What one read came to.
enum Read {
    Bytes,
    End,
    Failed,
}

impl Reader {
    async fn run(mut self) {
        let mut turn = Turn::default();
        loop {
            let next = poll_fn(|cx| {
                let next = self.poll(cx);
                if next.is_pending() {
                    turn.end();
                }
                next
            });
            let reason = match next.await {
                Some(Read::Bytes) => {
                    turn.share(self.server.now()).await;
                    continue;
                }
                Some(Read::End) => CloseReason::ClientClosed,
                Some(Read::Failed) => CloseReason::ReadError,
                // Boxed, for its buffer would be a part of every connection.
                None => return Box::pin(self.linger()).await,
            };
            let id = self.socket.id;
            return self.server.with_node(|node, now| node.closed(now, id, reason));
        }
    }

    /// A socket that is closed with unread bytes is reset, and then the other side may never see the last words.
    async fn linger(self) {
        let Self { socket, read, .. } = self;
        if !socket.lingers.get() {
            return;
        }
        // With it goes the last hold on the writing side but for whoever writes the last words.
        drop(socket);
        let rest = async {
            let mut sink = [0; 4096];
            let mut left = LINGER_BYTES;
            while left > 0 && read.readable().await.is_ok() {
                match read.try_read(&mut sink) {
                    Ok(0) => return,
                    Ok(n) => left = left.saturating_sub(n),
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                    Err(_) => {}
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL_WITHIN, rest).await;
    }

    /// Reads once and hands over what came; `None` when the node has closed the connection.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Read>> {
        let id = self.socket.id;
        if self.socket.closed.get() {
            return Poll::Ready(None);
        }
        if !self.server.node.borrow().is_reading(id) {
            self.remember(cx);
            return Poll::Pending;
        }
        let mut buffer = self.server.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer[..self.most]);
        match Pin::new(&mut self.read).poll_read(cx, &mut read) {
            Poll::Pending => {
                drop(buffer);
                self.remember(cx);
                Poll::Pending
            }
            Poll::Ready(Err(_)) => Poll::Ready(Some(Read::Failed)),
            Poll::Ready(Ok(())) if read.filled().is_empty() => Poll::Ready(Some(Read::End)),
            Poll::Ready(Ok(())) => {
                let failed = self.hand_over(read.filled());
                Poll::Ready(Some(if failed { Read::Failed } else { Read::Bytes }))
            }
        }
    }

    /// Leaves a waker for the node's commands.
    fn remember(&self, cx: &Context<'_>) {
        let mut reader = self.socket.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// Gives bytes to the node, through TLS if there is one; says whether that failed.
    fn hand_over(&self, bytes: &[u8]) -> bool {
        let (server, id) = (&self.server, self.socket.id);
        let now = server.now();
        let mut failed = false;
        let mut done = None;
        match self.socket.tls.borrow_mut().as_mut() {
            None => self.take(now, bytes),
            Some(tls) => {
                // The dialler's handshake ends here; what comes with its last bytes waits for the node to know.
                let mut behind = (tls.stream.is_handshaking() && self.early.borrow().is_none()).then(Vec::new);
                let mut plain = |plain: &[u8]| match &mut behind {
                    Some(behind) => behind.extend_from_slice(plain),
                    None => self.take(now, plain),
                };
                let result = tls.stream.receive(bytes, &mut plain);
                if result.as_ref().is_ok_and(|progress| progress.handshake_done) {
                    done = behind.map(|behind| (tls.facts(false), behind));
                }
                failed = match result {
                    Ok(progress) => progress.peer_closed,
                    Err(error) => {
                        self.tls_failed(tls.stream.is_handshaking(), &error);
                        true
                    }
                };
            }
        }
        if let Some((facts, behind)) = done {
            let mut node = server.node.borrow_mut();
            node.secured(now, id, facts);
            node.receive(now, id, &behind);
        }
        if self.socket.tls.borrow().is_some() || self.socket.framing.borrow().is_some() {
            server.flush(id, now);
        }
        server.pump(now);
        failed
    }

    /// Takes what came, out of its TLS if there is one.
    fn take(&self, now: Nanos, bytes: &[u8]) {
        if let Some(early) = &mut *self.early.borrow_mut() {
            return early.extend_from_slice(bytes);
        }
        match &mut *self.socket.framing.borrow_mut() {
            Some(framing) => self.take_frames(framing, now, bytes),
            None => self.server.node.borrow_mut().receive(now, self.socket.id, bytes),
        }
    }

    /// TLS broke down. Of a connection that this side made the node tells, once.
    fn tls_failed(&self, handshaking: bool, error: &str) {
        let (remote, cid) = (self.remote, self.socket.id.cid());
        let mut node = self.server.node.borrow_mut();
        if handshaking && node.complain(self.socket.id, &format!("TLS handshake error: {error}")) {
            return;
        }
        match handshaking {
            true => error!("{remote} - cid:{cid} - TLS handshake error: {error}"),
            false => debug!("{remote} - cid:{cid} - TLS error: {error}"),
        }
    }

    /// INFO and TLS in the configured order (nats-server: `handshake_first`, `allow_non_tls`).
    /// With a WebSocket that is all: what came behind it stays in `early`.
    async fn secure(&mut self, setup: &Rc<TlsSetup>, websocket: bool) -> Result<(), CloseReason> {
        let id = self.socket.id;
        let first = match setup.first {
            HandshakeFirst::Yes => true,
            HandshakeFirst::No => false,
            HandshakeFirst::Auto(wait) => matches!(tokio::time::timeout(wait, self.first_byte()).await, Ok(Ok(0x16))),
        };
        if !first {
            self.server.with_node(|node, now| node.greet(now, id));
            if setup.optional
                && tokio::time::timeout(setup.timeout, self.first_byte())
                    .await
                    .is_ok_and(|b| b.is_ok_and(|b| b != 0x16))
            {
                return Ok(());
            }
        }
        if self.socket.closed.get() {
            return Err(CloseReason::ClientClosed);
        }
        if !setup.admit(self.server.started.elapsed().as_secs()) {
            setup.reject();
            return Err(CloseReason::TlsRateLimit);
        }
        let stream = setup.server.accept().map_err(|error| {
            warn!("{} - cid:{} - TLS set-up failed: {error}", self.remote, id.cid());
            CloseReason::TlsHandshake
        })?;
        *self.socket.tls.borrow_mut() = Some(Box::new(Tls { stream, cipher: Vec::new() }));
        self.early.replace(Some(Vec::new()));
        match tokio::time::timeout(setup.timeout, self.handshake()).await {
            Ok(true) => {}
            Ok(false) => return Err(CloseReason::TlsHandshake),
            Err(_) => {
                debug!("{} - cid:{} - TLS handshake timeout", self.remote, id.cid());
                return Err(CloseReason::TlsHandshake);
            }
        }
        let facts = self.socket.tls.borrow().as_ref().map(|tls| tls.facts(first));
        if websocket {
            self.server.with_node(|node, now| facts.map(|facts| node.secured(now, id, facts)));
            return Ok(());
        }
        let early = self.early.take().unwrap_or_default();
        self.server.with_node(|node, now| {
            if let Some(facts) = facts {
                node.secured(now, id, facts);
            }
            if first {
                node.greet(now, id);
            }
            // Only now, so that whoever is refused at once was seen to come by TLS.
            node.receive(now, id, &early);
        });
        Ok(())
    }

    async fn first_byte(&self) -> io::Result<u8> {
        let mut byte = [0];
        match self.read.as_ref().peek(&mut byte).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(byte[0]),
        }
    }

    /// Reads until the handshake is done; what came with its last bytes is in `early`.
    async fn handshake(&mut self) -> bool {
        loop {
            match poll_fn(|cx| self.poll(cx)).await {
                Some(Read::Bytes) => {}
                Some(Read::End) => {
                    error!("{} - cid:{} - TLS handshake error: EOF", self.remote, self.socket.id.cid());
                    return false;
                }
                // Said already, or the node wants it closed.
                Some(Read::Failed) | None => return false,
            }
            if self.socket.tls.borrow().as_ref().is_some_and(|tls| !tls.stream.is_handshaking()) {
                return true;
            }
        }
    }
}
