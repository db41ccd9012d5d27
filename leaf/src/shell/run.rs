//! From the command line to the last connection: what both programs do, in order.

use jiff::tz::TimeZone;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal as on_signal};
use tokio::task::{LocalSet, spawn_local};
use tracing::{error, info, warn};
use zeroize::Zeroizing;

use super::activation::Handed;
use super::listener::{Listener, Open, Program, load_tls};
use super::logs::Answers;
use super::notify::Notifier;
use super::resolver::{self, Worker};
use super::server::{Server, TlsSetup};
use super::{files, health, http, log, signal, store_tool, update};
use crate::auth::callout::ServerKeys;
use crate::auth::nkey;
use crate::config::cli::{self, Invocation};
use crate::config::{self, Config, Flags, StoreEncryption};
use crate::node::{Identity, Node};
use crate::store::Keys;

/// Connections the kernel holds for us while we are busy.
const BACKLOG: u32 = 1024;
/// How long the last answers may take when the server ends.
const DRAIN: Duration = Duration::from_millis(100);
/// What the socket of the status pages is called when it is handed over.
const MONITORING: &str = "monitoring";
/// Why nothing can be reloaded; nats-server's words.
const NO_FILE: &str = "can only reload config when a file is provided using -c or --config";
/// What the listener for leaf nodes is called in the log, by whoever has one.
const LEAFNODES: &str = "leafnode";
/// Where everybody is reached.
const ANY_HOST: &str = "0.0.0.0";
/// Where only this machine is reached.
const LOOPBACK: &str = "127.0.0.1";

/// Runs a program with the arguments of the process.
pub fn main(program: &'static Program) -> ExitCode {
    let name = program.name;
    match cli::parse(std::env::args().skip(1)) {
        Ok(Invocation::Run(flags)) => start(program, &flags),
        Ok(Invocation::Test(path)) => test(name, &path),
        Ok(Invocation::Version) => print(&cli::version(name)),
        Ok(Invocation::Help) => print(&cli::help(name)),
        Ok(Invocation::HelpTls) => print(cli::tls_help()),
        Ok(Invocation::Store(arguments)) => store_tool::run(name, &arguments),
        Ok(Invocation::Health(arguments)) => health::run(name, arguments, |flags| Ok(load(flags)?.store_dir)),
        Ok(Invocation::Update(arguments)) => update::run(name, &arguments),
        Ok(Invocation::Signal(argument)) => done(name, signal::run(&files::program_name(), &argument)),
        Err(usage) => {
            match &usage {
                cli::Usage::Malformed(text) => {
                    eprintln!("{text}");
                    println!("{}", cli::help(name));
                }
                cli::Usage::Refused(text) => eprintln!("{name}: {text}"),
            }
            ExitCode::from(usage.exit_code())
        }
    }
}

fn print(text: &str) -> ExitCode {
    println!("{}", text.trim_end());
    ExitCode::SUCCESS
}

fn done(name: &str, result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            if log::journal::is_stderr() {
                // There is no log yet, but who filters by importance must see all of it.
                text.lines().for_each(|line| eprintln!("<3>{line}"));
            } else {
                eprintln!("{name}: {text}");
            }
            ExitCode::FAILURE
        }
    }
}

/// `-t`: is the file in order? A warning counts as a mistake, as with nats-server.
fn test(name: &str, path: &Path) -> ExitCode {
    let result = config::read(path, &mut Disk).map_err(|errors| errors.to_string()).and_then(|config| {
        let warnings = config.warnings.join("\n");
        if warnings.is_empty() { Ok(config) } else { Err(warnings) }
    });
    match result {
        Ok(config) => {
            eprintln!("{name}: configuration file {} is valid ({})", path.display(), config.digest);
            ExitCode::SUCCESS
        }
        Err(text) => done(name, Err(text)),
    }
}

/// The files and the environment of this machine.
struct Disk;

impl config::Source for Disk {
    fn read(&mut self, path: &Path) -> io::Result<String> {
        let bytes = std::fs::read(path)?;
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8"))
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// What the C library takes for large enough to tidy up when it is given back, and not for so large that it asks the
/// system for it apart.
const BALLAST_BYTES: usize = 100 * 1024;

/// Reads the file on a thread of its own, where the C library keeps memory apart: what the tree of values takes is given
/// back to the system, and does not stay as holes among the parts of the configuration. (For a hundred thousand users
/// that is 35 MiB. musl needs no such help.)
fn read_apart(path: &Path) -> Result<Config, String> {
    let owned = path.to_owned();
    let read = std::thread::Builder::new().name("config".to_owned()).spawn(move || {
        let ballast: Vec<u8> = Vec::with_capacity(BALLAST_BYTES);
        (config::parse(&owned, &mut Disk), ballast)
    });
    let read = read.map_err(|error| format!("no thread to read {}: {error}", path.display()))?;
    let Ok((tree, ballast)) = read.join() else { return Err(format!("{} cannot be read", path.display())) };
    let tree = tree.map_err(|errors| errors.to_string())?;
    let config = config::understand(&tree, &mut Disk).map_err(|errors| errors.to_string());
    // This thread would keep some pieces of it for its own next use, and one at the end would hold all the rest; one that
    // ends keeps nothing.
    if let Ok(end) = std::thread::Builder::new().name("config".to_owned()).spawn(move || drop(tree)) {
        // A panic in it has been reported.
        let _ = end.join();
    }
    drop(ballast);
    config
}

/// The configuration file, if there is one, and what the command line says about it.
fn load(flags: &Flags) -> Result<Config, String> {
    let mut config = match &flags.config {
        None => Config::default(),
        Some(path) => read_apart(path)?,
    };
    flags.apply(&mut config)?;
    config::check(&config)?;
    Ok(config)
}

/// The listeners of a configuration, with their TLS.
fn load_listeners(program: &Program, config: &Config) -> Result<Vec<(&'static Listener, Option<TlsSetup>)>, String> {
    if config.leafnodes.listener.is_some() && !program.listeners().any(|listener| listener.what == LEAFNODES) {
        return Err(format!("{} lets no leaf nodes in (\"leafnodes\" has a port): petiole-hub does", program.name));
    }
    let configured = program.listeners().filter_map(|listener| Some((listener, (listener.at)(config)?)));
    configured.map(|(listener, at)| Ok((listener, load_tls(&at)?))).collect()
}

fn start(program: &'static Program, flags: &Flags) -> ExitCode {
    let name = program.name;
    let prepared = load(flags).and_then(|config| {
        let listeners = load_listeners(program, &config)?;
        let (handed, notifier) = (Handed::from_env()?, Notifier::from_env()?);
        let handle = log::init(&config.log)?;
        Ok((config, listeners, handed, notifier, handle))
    });
    let (config, listeners, handed, notifier, handle) = match prepared {
        Ok(prepared) => prepared,
        Err(text) => return done(name, Err(text)),
    };
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fatal(&format!("Cannot start the event loop: {error}")),
    };
    let started = Started { flags, config, listeners, handed, notifier: Rc::new(notifier), log: handle };
    let result = LocalSet::new().block_on(&runtime, serve(program, started));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => fatal(&text),
    }
}

fn fatal(text: &str) -> ExitCode {
    error!(target: "fatal", "{text}");
    ExitCode::FAILURE
}

/// What a server has before its event loop runs.
struct Started<'a> {
    flags: &'a Flags,
    config: Config,
    listeners: Vec<(&'static Listener, Option<TlsSetup>)>,
    handed: Handed,
    notifier: Rc<Notifier>,
    log: log::Handle,
}

async fn serve(program: &'static Program, started: Started<'_>) -> Result<(), String> {
    let Started { flags, config, listeners, mut handed, notifier, log } = started;
    let name = program.name;
    raise_file_limit();
    let signals = Signals::new()?;
    let mut seed = [0; 40];
    getrandom::fill(&mut seed).map_err(|error| format!("No randomness to start with: {error}"))?;
    let server_id = nkey::server_id(&secret(&seed));
    welcome(name, &config, &server_id);
    let accounts = resolver::open(&config).await?;
    let host = config.host.clone().unwrap_or_else(|| default_host(&config).to_owned());
    let mut open = Vec::new();
    for (listener, tls) in listeners {
        let Some(at) = (listener.at)(&config) else { continue };
        let secure = tls.is_some();
        let handed = handed.take(listener.socket);
        let (socket, address) = open_or_take(handed, at.host.unwrap_or(&host), at.port, listener.port).await?;
        open.push((Open::new(listener, tls, address), socket, address, secure));
    }
    let Some(&(.., address, _)) = open.first() else { return Err("no listener for clients".to_owned()) };
    let monitor = match &config.monitor {
        None => None,
        Some(at) => {
            let (handed, host) = (handed.take(MONITORING), at.host.as_deref().unwrap_or(&host));
            Some(open_or_take(handed, host, at.port, "monitoring port").await?)
        }
    };
    handed.finish()?;
    let mut identity = identity(name, &config, &host, address, server_id);
    let leafnodes = open.iter().find(|(port, ..)| port.listener.what == LEAFNODES);
    let told = config.leafnodes.listener.as_ref().and_then(|listener| listener.advertise.as_deref());
    identity.leafnodes = leafnodes.map(|(_, _, address, _)| reachable(told, *address));
    let browsers = open.iter().find(|(port, ..)| port.listener.websocket).map(|(_, _, address, _)| *address);
    let told = config.websocket.as_ref().and_then(|websocket| websocket.advertise.as_deref());
    identity.websocket = browsers.map(|address| reachable(told, address));
    let port_files = Files::write(&config, address, browsers, monitor.as_ref().map(|(_, at)| *at))?;
    if let Some((_, at)) = &monitor {
        info!("Starting http monitor on {at}");
    }
    for (port, _, address, secure) in &open {
        announce(port.listener.what, *address, *secure);
    }
    let draws = u64::from_le_bytes([seed[32], seed[33], seed[34], seed[35], seed[36], seed[37], seed[38], seed[39]]);
    let base_path = config.monitor.as_ref().map(|at| at.base_path.clone()).unwrap_or_default();
    let is_open = flags.config.is_none() && !config.login_required();
    let (orders, inbox) = tokio::sync::mpsc::unbounded_channel();
    let worker = Worker::new(&config, inbox);
    let keys = config.store_encryption.as_ref().map(log_keys).transpose()?;
    let mut node = Node::with_zones(config, identity, draws, Box::new(time_zone))?;
    node.hold_keys(ServerKeys::new(secret(&seed)));
    let (disks, mut answers) = Answers::start()?;
    let server = Server::new(node, Instant::now(), orders, disks);
    if let Some(worker) = worker {
        server.set_wall_clock();
        spawn_local(worker.run(server.clone()));
        server.with_node(|node, now| node.store_opened(now, accounts));
    }
    notifier.during("Recovering the logs", answers.open_all(&server, keys)).await?;
    spawn_local(answers.deliver(server.clone()));
    spawn_local(server.clone().keep_time());
    let mut ports = Vec::new();
    for (port, socket, ..) in open {
        ports.push(port.clone());
        spawn_local(port.accept(server.clone(), socket));
    }
    if let Some((listener, _)) = monitor {
        spawn_local(http::serve(server.clone(), listener, base_path));
    }
    if let Some(door) = health::Door::open(&server) {
        spawn_local(door.serve(server.clone(), ports.clone()));
    }
    info!("Server is ready");
    let status = format!("Listening for clients on {address}");
    notifier.ready(&status);
    spawn_local(notifier.clone().feed_watchdog(server.clone()));
    if is_open {
        invite(address);
    }
    signals.obey(&Running { server: server.clone(), ports, flags, log, notifier: notifier.clone(), status }).await;
    info!("Initiating Shutdown...");
    notifier.stopping("Saying goodbye", DRAIN);
    server.with_node(|node, now| node.close_all(now));
    tokio::time::sleep(DRAIN).await;
    port_files.remove();
    info!("Server Exiting..");
    Ok(())
}

/// Without a word about where to listen, everybody is reached only if everybody must log in.
fn default_host(config: &Config) -> &'static str {
    if config.login_required() { ANY_HOST } else { LOOPBACK }
}

/// A time zone of this machine; its own for an empty name.
fn time_zone(name: &str) -> Option<TimeZone> {
    if name.is_empty() { Some(TimeZone::system()) } else { TimeZone::get(name).ok() }
}

/// As many connections as the system allows, not as many as a shell's default does.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_err() {
        warn!("The limit of open files stays at {:?}", limit.current);
    }
}

/// The socket that was handed over, or one of our own.
async fn open_or_take(
    handed: Option<io::Result<std::net::TcpListener>>,
    host: &str,
    port: Option<u16>,
    what: &str,
) -> Result<(TcpListener, SocketAddr), String> {
    let Some(handed) = handed else { return listen(host, port, what).await };
    let adopt = |socket| {
        let listener = TcpListener::from_std(socket)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    handed.and_then(adopt).map_err(|error| format!("Error taking over the socket for {what}: {error}"))
}

async fn listen(host: &str, port: Option<u16>, what: &str) -> Result<(TcpListener, SocketAddr), String> {
    let port = port.unwrap_or(0);
    let failed = |error: io::Error| format!("Error listening on {what}: {host}:{port}, \"{error}\"");
    let mut found: Vec<SocketAddr> =
        tokio::net::lookup_host((host.trim_matches(['[', ']']), port)).await.map_err(failed)?.collect();
    // As Go does: a name that has both is taken by its IPv4 address.
    found.sort_by_key(SocketAddr::is_ipv6);
    let address = *found.first().ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
    // As Go does: every address is every one of both families, where there is IPv6.
    if address.ip() == Ipv4Addr::UNSPECIFIED {
        match listen_on((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(listener) => {
                let port = listener.local_addr().map_err(failed)?.port();
                return Ok((listener, SocketAddr::new(address.ip(), port)));
            }
            Err(error) if Errno::from_io_error(&error) == Some(Errno::AFNOSUPPORT) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let listener = listen_on(address).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// The keys of the logs, with noise of this process alone.
fn log_keys(encryption: &StoreEncryption) -> Result<Arc<Keys>, String> {
    let mut noise = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *noise).map_err(|error| format!("No randomness to encrypt with: {error}"))?;
    info!("Logs are encrypted with key {}", encryption.key.id());
    Ok(Arc::new(Keys::new(encryption.key.clone(), encryption.previous.clone(), &noise)))
}

/// What the server's key is made of.
fn secret(seed: &[u8; 40]) -> [u8; 32] {
    let mut secret = [0; 32];
    secret.copy_from_slice(&seed[..32]);
    secret
}

fn identity(program: &'static str, config: &Config, host: &str, address: SocketAddr, server_id: String) -> Identity {
    let (host, port) = advertised(config, host, address.port());
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i128;
    Identity { server_id, epoch, host, port, leafnodes: None, websocket: None, program }
}

/// What others are told to connect to, as `told` in the configuration: never the address that stands for all.
fn reachable(told: Option<&str>, address: SocketAddr) -> (String, u16) {
    if let Some(text) = told {
        let place = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = place.unwrap_or((text, address.port()));
        return (host.trim_matches(['[', ']']).to_owned(), port);
    }
    if !address.ip().is_unspecified() {
        return (address.ip().to_string(), address.port());
    }
    let reachable = files::local_addresses().into_iter().find(|ip| ip.is_ipv4() && !ip.is_loopback());
    (reachable.map_or_else(|| LOOPBACK.to_owned(), |ip| ip.to_string()), address.port())
}

/// What INFO tells clients to connect to.
fn advertised(config: &Config, host: &str, port: u16) -> (String, u16) {
    let Some(text) = &config.client_advertise else { return (host.to_owned(), port) };
    match text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))) {
        Some((host, port)) if !host.is_empty() => (host.trim_matches(['[', ']']).to_owned(), port),
        _ => (text.clone(), port),
    }
}

/// Who this is, before anything can fail.
fn welcome(name: &str, config: &Config, server_id: &str) {
    info!("Starting {name}");
    info!("  Version:  {}", env!("CARGO_PKG_VERSION"));
    info!("  Protocol: nats-server {}", crate::PROTOCOL_VERSION);
    info!("  Name:     {}", if config.server_name.is_empty() { server_id } else { &config.server_name });
    info!("  ID:       {server_id}");
    if let Some(file) = &config.file {
        info!("Using configuration file: {} ({})", file.display(), config.digest);
    }
    for remark in config::remarks(config) {
        warn!("{remark}");
    }
    if config.host.is_none() && !config.login_required() {
        info!("Nobody has to log in and no host is set: only this machine can connect");
    }
}

fn announce(what: &str, address: SocketAddr, tls: bool) {
    info!("Listening for {what} connections on {address}");
    if tls {
        info!("TLS required for {what} connections");
    }
}

/// The first run: what to try next.
fn invite(address: SocketAddr) {
    info!("Open to every program on this machine. Try, in two terminals:");
    info!("    nats --server {address} subscribe 'hello.>'");
    info!("    nats --server {address} publish hello.world 'it works'");
    info!("A configuration file (-c) adds users, TLS and limits; -m 8222 adds a status page");
}

/// The files that say where the server is.
struct Files(Option<files::PortsFile>);

impl Files {
    fn write(
        config: &Config,
        clients: SocketAddr,
        websocket: Option<SocketAddr>,
        monitor: Option<SocketAddr>,
    ) -> Result<Self, String> {
        if let Some(path) = &config.pid_file {
            files::write_pid_file(path)?;
        }
        let Some(directory) = &config.ports_file_dir else { return Ok(Self(None)) };
        let local = files::local_addresses();
        let scheme = if config.tls.is_some() { "tls" } else { "nats" };
        let browsers = if config.websocket.as_ref().is_some_and(|own| own.tls.is_some()) { "wss" } else { "ws" };
        let ports = files::Ports {
            nats: files::urls(scheme, clients, &local),
            websocket: websocket.map(|at| files::urls(browsers, at, &local)).unwrap_or_default(),
            monitoring: monitor.map(|at| files::urls("http", at, &local)).unwrap_or_default(),
        };
        let written = files::PortsFile::write(directory, &files::program_name(), &ports);
        // As nats-server: nobody is served less without it.
        Ok(Self(written.inspect_err(|error| error!("{error}")).ok()))
    }

    fn remove(self) {
        if let Some(Err(error)) = self.0.map(files::PortsFile::remove) {
            warn!("{error}");
        }
    }
}

/// What signals act upon.
struct Running<'a> {
    server: Rc<Server>,
    ports: Vec<Rc<Open>>,
    flags: &'a Flags,
    log: log::Handle,
    notifier: Rc<Notifier>,
    /// What the service manager shows while all is well.
    status: String,
}

/// The signals a server obeys.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let on = |kind| on_signal(kind).map_err(|error| format!("Cannot handle signals: {error}"));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            user1: on(SignalKind::user_defined1())?,
            user2: on(SignalKind::user_defined2())?,
        })
    }

    /// Does what signals say until one of them, or the end of lame duck mode, ends the server.
    async fn obey(mut self, running: &Running<'_>) {
        let server = &running.server;
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return trapped("interrupt"),
                _ = self.terminate.recv() => {
                    trapped("terminated");
                    if !server.node.borrow().is_lame_duck() {
                        return;
                    }
                }
                _ = self.hangup.recv() => {
                    trapped("hangup");
                    running.reload();
                }
                _ = self.user1.recv() => {
                    trapped("user defined signal 1");
                    running.log.reopen();
                }
                _ = self.user2.recv() => {
                    trapped("user defined signal 2");
                    running.start_lame_duck();
                }
                () = server.reload.notified() => running.reload(),
                () = server.shutdown.notified() => return,
            }
        }
    }
}

fn trapped(signal: &str) {
    info!("Trapped \"{signal}\" signal");
}

impl Running<'_> {
    /// Reads the configuration again; on any mistake everything stays as it is.
    fn reload(&self) {
        self.notifier.reloading();
        let result = if self.flags.config.is_some() { self.try_reload() } else { Err(NO_FILE.to_owned()) };
        match &result {
            Ok(()) => self.notifier.ready(&self.status),
            Err(text) => {
                error!("Failed to reload server configuration: {text}");
                self.notifier.ready(&format!("{} (the last reload failed: see the log)", self.status));
            }
        }
        self.server.with_node(|node, now| node.reloaded(now, &result));
    }

    fn start_lame_duck(&self) {
        let within = self.server.node.borrow().config.lame_duck_duration;
        self.notifier.stopping("Lame duck: sending clients away", within);
        self.server.with_node(|node, now| node.start_lame_duck(now));
    }

    /// First everything that may fail, then the change: half a configuration would be worse than the old one.
    fn try_reload(&self) -> Result<(), String> {
        let config = load(self.flags)?;
        let settings: Result<Vec<_>, String> = self.ports.iter().map(|port| port.read_tls(&config)).collect();
        let settings = settings?;
        let accounts = resolver::reread(&config)?;
        let change = self.log.prepare(&config.log)?;
        let (pid_file, digest, warnings) = (config.pid_file.clone(), config.digest.clone(), config.warnings.clone());
        self.server.with_node(|node, now| node.reload(now, config))?;
        if let Some(accounts) = accounts {
            self.server.with_node(|node, now| node.store_opened(now, accounts));
        }
        for (port, tls) in self.ports.iter().zip(settings) {
            port.set_tls(tls);
        }
        self.log.adopt(change);
        for warning in warnings {
            warn!("{warning}");
        }
        if let Some(Err(error)) = pid_file.as_deref().map(files::write_pid_file) {
            warn!("{error}");
        }
        info!("Reloaded server configuration ({digest})");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::*;

    /// As with nats-server, whose `0.0.0.0` is Go's: clients that try `::1` first for `localhost` were refused.
    #[tokio::test]
    async fn every_address_is_of_both_families() {
        let (listener, address) = listen("0.0.0.0", None, "port").await.unwrap();
        assert!(address.is_ipv4() && address.port() != 0);
        let mut hosts = vec!["127.0.0.1"];
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            hosts.push("::1");
        }
        for host in hosts {
            let client = std::net::TcpStream::connect((host, address.port())).unwrap();
            let (_, remote) = listener.accept().await.unwrap();
            assert_eq!(remote.ip().to_canonical(), client.local_addr().unwrap().ip(), "{host}");
        }
    }
}
