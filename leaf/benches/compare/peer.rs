//! The servers: finding them, starting them, being sure they stop.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, wire::Client};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(10);

/// A server program to measure.
pub(crate) struct Contender {
    /// What the report calls it.
    pub(crate) name: &'static str,
    /// Its executable.
    pub(crate) path: PathBuf,
    /// What it says its version is.
    pub(crate) version: String,
}

impl Contender {
    /// Takes a program and asks for its version.
    pub(crate) fn new(name: &'static str, path: PathBuf) -> Self {
        let output = Command::new(&path).arg("--version").stdin(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let version = text.lines().next().filter(|line| !line.is_empty()).unwrap_or("version unknown");
        Self { name, version: version.to_owned(), path }
    }
}

/// The nats-server to compare with: the one named, else the variable's, else the PATH's.
pub(crate) fn find_peer(named: Option<&Path>) -> Result<Option<PathBuf>> {
    let named = named.map(Path::to_path_buf).or_else(|| env::var_os("NATS_SERVER").map(PathBuf::from));
    let named = named.filter(|path| !path.as_os_str().is_empty());
    match named {
        Some(path) if path.is_file() => Ok(Some(path)),
        Some(path) => Err(format!("there is no nats-server at {}", path.display()).into()),
        None => Ok(find_program("nats-server")),
    }
}

fn find_program(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A running server, killed when dropped.
pub(crate) struct Server {
    /// Where it takes clients.
    pub(crate) address: SocketAddr,
    /// Its executable.
    pub(crate) program: PathBuf,
    /// From its start to its answer to a client.
    pub(crate) start: Duration,
    child: Child,
    log: PathBuf,
    config: PathBuf,
}

impl Server {
    /// Starts a server on a free port and waits until it greets a client.
    /// It reads `configuration`, if there is one.
    pub(crate) fn start(contender: &Contender, configuration: &str) -> Result<Self> {
        let address = free_address()?;
        let log = env::temp_dir().join(format!("petiole-compare-{}-{}.log", std::process::id(), address.port()));
        let config = log.with_extension("conf");
        let mut command = command(&contender.path);
        if !configuration.is_empty() {
            fs::write(&config, configuration)?;
            command.arg("-c").arg(&config);
        }
        let begin = Instant::now();
        let child = command
            .args(["-a", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", contender.path.display()))?;
        let program = contender.path.clone();
        let mut server = Self { address, program, start: Duration::ZERO, child, log, config };
        server.wait_until_ready()?;
        server.start = begin.elapsed();
        Ok(server)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the server ended: {status}{}", self.log_tail()).into()),
        }
    }

    /// The end of what it wrote to its log, to go with an error.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().map(|line| format!("\n    {line}")).collect()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START;
        loop {
            self.check_alive()?;
            match Client::connect(self.address) {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() > deadline => {
                    return Err(format!("the server does not answer: {failure}{}", self.log_tail()).into());
                }
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already, which is what is wanted; so with the file.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.log);
        let _ = fs::remove_file(&self.config);
    }
}

/// The program, to be started so that it ends with this process even if this process is killed. Only a library call
/// between fork and exec could ask for that here, which takes unsafe code; `setpriv` asks, then becomes the program.
fn command(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else {
        return Command::new(program);
    };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// An address nobody listens on.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
