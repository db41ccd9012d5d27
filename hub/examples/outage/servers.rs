//! The two servers: this program, started again as one of them.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use leaf::shell::listener::{Listener, Program};

/// Which of them a process is.
const ROLE: &str = "PETIOLE_OUTAGE_ROLE";
/// How long one may take to start.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

static HUB_LISTENERS: [Listener; 1] = [::hub::accept::LISTENER];
static HUB: Program = Program { name: "petiole-hub", listeners: &HUB_LISTENERS };
static LEAF: Program = Program { name: "petiole-leaf", listeners: &[] };

/// The program that this process is to be, if it is not the demonstration itself.
pub(crate) fn role() -> Option<&'static Program> {
    match std::env::var(ROLE).ok()?.as_str() {
        "hub" => Some(&HUB),
        "leaf" => Some(&LEAF),
        _ => None,
    }
}

pub(crate) struct Servers {
    dir: PathBuf,
    children: [Option<Child>; 2],
    /// The hub's port for clients.
    pub(crate) hub: u16,
    /// The hub's port for leaf nodes.
    pub(crate) hub_leafnodes: u16,
    /// The leaf's port for sensors.
    pub(crate) mqtt: u16,
}

impl Servers {
    /// Starts the hub; the leaf follows once there is a link.
    pub(crate) fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("petiole-outage-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let [hub, hub_leafnodes, mqtt] = free_ports();
        let mut servers = Self { dir, children: [None, None], hub, hub_leafnodes, mqtt };
        servers.configure(
            "hub",
            &format!("listen: 127.0.0.1:{hub}\nserver_name: hub\nleafnodes {{ listen: 127.0.0.1:{hub_leafnodes} }}\n"),
        );
        servers.children[0] = Some(servers.run("hub", hub));
        servers
    }

    /// Starts a leaf that links to a port.
    pub(crate) fn start_leaf(&mut self, link: u16) {
        let dir = self.dir.display();
        self.configure("leaf", &format!(
            "listen: 127.0.0.1:-1\nserver_name: leaf\nstore_dir: \"{dir}/store\"\nmqtt {{ host: 127.0.0.1, port: {} }}\n\
             leafnodes {{ ping_interval: 500ms, ping_max: 1, reconnect: 100ms, reconnect_max: 500ms\n\
               remotes: [ {{ url: \"nats-leaf://127.0.0.1:{link}\", ignore_discovered_servers: true }} ] }}\n\
             store_and_forward: [ {{ name: telemetry, subjects: \"telemetry.>\", confirm: routed }} ]\n",
            self.mqtt
        ));
        self.restart_leaf();
    }

    /// `kill -9`.
    pub(crate) fn kill_leaf(&mut self) {
        end(&mut self.children[1]);
    }

    pub(crate) fn restart_leaf(&mut self) {
        self.children[1] = Some(self.run("leaf", self.mqtt));
    }

    fn configure(&self, role: &str, text: &str) {
        std::fs::write(self.dir.join(format!("{role}.conf")), text).unwrap();
    }

    /// Starts one and waits until it listens.
    fn run(&self, role: &str, port: u16) -> Child {
        let log =
            std::fs::File::options().append(true).create(true).open(self.dir.join(format!("{role}.log"))).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(ROLE, role).arg("-c").arg(self.dir.join(format!("{role}.conf")));
        let mut child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < STARTED_WITHIN, "no {role}: {}", self.tail(role));
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    /// The end of a log.
    fn tail(&self, role: &str) -> String {
        let log = std::fs::read_to_string(self.dir.join(format!("{role}.log"))).unwrap_or_default();
        log.lines().rev().take(3).collect::<Vec<_>>().join("\n")
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It is gone already, or goes now.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Ports that nobody has now.
fn free_ports<const N: usize>() -> [u16; N] {
    let held: [TcpListener; N] = std::array::from_fn(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    std::array::from_fn(|at| held[at].local_addr().unwrap().port())
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.children.iter_mut().for_each(end);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
