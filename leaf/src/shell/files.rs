//! The files a server leaves for others to find it: the pid file and the ports file.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// The file name this process was started with: `nats-server` where it was installed under that name.
pub fn program_name() -> String {
    let started_as = std::env::args_os().next().map(PathBuf::from);
    let name = started_as.as_deref().and_then(Path::file_name).and_then(OsStr::to_str);
    name.unwrap_or(env!("CARGO_PKG_NAME")).to_owned()
}

/// Writes this process's pid to `path`: decimal digits and nothing else, readable by the owner only, as nats-server
/// does. Nobody removes the file at the end.
pub fn write_pid_file(path: &Path) -> Result<(), String> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(std::process::id().to_string().as_bytes())
    };
    write().map_err(|error: io::Error| format!("Could not write pidfile: {}: {error}", path.display()))
}

/// What a ports file says: the URLs of every listener. A list that is empty is left out of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ports {
    /// Client listeners, `nats://` or `tls://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nats: Vec<String>,
    /// WebSocket listeners, `ws://` or `wss://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub websocket: Vec<String>,
    /// Monitoring listeners, `http://`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub monitoring: Vec<String>,
}

/// A ports file on disk: `<program>_<pid>.ports` in `ports_file_dir`.
#[derive(Debug)]
pub struct PortsFile {
    path: PathBuf,
}

impl PortsFile {
    /// Writes the file. Who waits for it to appear never sees half of it.
    pub fn write(directory: &Path, program: &str, ports: &Ports) -> Result<Self, String> {
        let name = format!("{program}_{}.ports", std::process::id());
        let path = directory.join(&name);
        let temporary = directory.join(format!(".{name}.tmp"));
        let replace = || {
            fs::write(&temporary, serde_json::to_vec(ports)?)?;
            fs::rename(&temporary, &path)
        };
        if let Err(error) = replace() {
            // Nothing to add if this fails too: most often there is no such directory.
            fs::remove_file(&temporary).ok();
            return Err(format!("Error writing ports file ({}): {error}", path.display()));
        }
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the file at the end of the server.
    pub fn remove(self) -> Result<(), String> {
        fs::remove_file(&self.path)
            .map_err(|error| format!("Error cleaning up ports file {}: {error}", self.path.display()))
    }
}

/// The URLs under which the listener at `address` can be reached. A wildcard stands for all of `local`, `0.0.0.0`
/// too.
pub fn urls(scheme: &str, address: SocketAddr, local: &[IpAddr]) -> Vec<String> {
    let url = |ip: IpAddr| format!("{scheme}://{}", SocketAddr::new(ip, address.port()));
    if !address.ip().is_unspecified() {
        return vec![url(address.ip())];
    }
    local.iter().copied().map(url).collect()
}

/// Every address of this machine, loopback included, IPv4 first. Empty where the kernel does not say.
pub fn local_addresses() -> Vec<IpAddr> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let v4 = ipv4_addresses(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    let v6 = ipv6_addresses(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6);
    v4.chain(v6).collect()
}

/// The kernel's IPv4 routes as a tree: an address of this machine is a leaf followed by `/32 host LOCAL`. Each comes
/// once for every table it is in.
fn ipv4_addresses(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(leaf.filter(|address| !found.contains(address)));
        }
    }
    found
}

/// The kernel's IPv6 addresses: a line for each, which starts with 32 hexadecimal digits.
fn ipv6_addresses(if_inet6: &str) -> Vec<Ipv6Addr> {
    let digits = if_inet6.lines().filter_map(|line| line.split_whitespace().next());
    digits
        .filter(|digits| digits.len() == 32)
        .filter_map(|digits| u128::from_str_radix(digits, 16).ok())
        .map(Ipv6Addr::from)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FIB_TRIE: &str = "Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 127.0.0.0
        /8 host LOCAL
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.255
        /32 link BROADCAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 192.0.2.2
        /32 host LOCAL
";
    const IF_INET6: &str = "fd000000000000000000000000000002 04 40 00 82     eth0
00000000000000000000000000000001 01 80 10 80       lo
";

    fn scratch(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("petiole-files-{}-{name}", std::process::id()));
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_pid_file_has_only_digits_and_replaces_an_old_one() {
        let directory = scratch("pid");
        let path = directory.join("pid");
        fs::write(&path, "12345678901234567890\n").unwrap();
        write_pid_file(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), std::process::id().to_string());
        fs::remove_file(&path).unwrap();
        write_pid_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = write_pid_file(&directory.join("no/pid")).unwrap_err();
        assert!(error.starts_with("Could not write pidfile: ") && error.contains("no/pid"), "{error}");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_ports_file_is_written_whole_and_removed() {
        let directory = scratch("ports");
        let ports = Ports {
            nats: vec!["nats://127.0.0.1:4222".into()],
            monitoring: vec!["http://[::1]:8222".into()],
            ..Ports::default()
        };
        let file = PortsFile::write(&directory, "nats-server", &ports).unwrap();
        assert_eq!(file.path(), directory.join(format!("nats-server_{}.ports", std::process::id())));
        let text = fs::read_to_string(file.path()).unwrap();
        assert_eq!(text, r#"{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://[::1]:8222"]}"#);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
        file.remove().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir_all(&directory).unwrap();
        let error = PortsFile::write(&directory, "nats-server", &ports).unwrap_err();
        assert!(error.starts_with("Error writing ports file ("), "{error}");
    }

    #[test]
    fn what_is_not_listened_on_is_not_in_the_file() {
        assert_eq!(serde_json::to_string(&Ports::default()).unwrap(), "{}");
    }

    #[test]
    fn a_wildcard_stands_for_all_addresses() {
        let local: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "fe80::1".parse().unwrap()];
        let of = |address: &str| urls("nats", address.parse().unwrap(), &local);
        assert_eq!(of("10.0.0.1:4222"), ["nats://10.0.0.1:4222"]);
        assert_eq!(of("[::1]:1"), ["nats://[::1]:1"]);
        assert_eq!(of("0.0.0.0:4222"), ["nats://127.0.0.1:4222", "nats://[fe80::1]:4222"]);
        assert_eq!(of("[::]:4222"), ["nats://127.0.0.1:4222", "nats://[fe80::1]:4222"]);
    }

    #[test]
    fn addresses_are_read_from_the_kernels_tables() {
        assert_eq!(ipv4_addresses(FIB_TRIE), [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 2)]);
        assert_eq!(ipv6_addresses(IF_INET6), ["fd00::2".parse::<Ipv6Addr>().unwrap(), Ipv6Addr::LOCALHOST]);
        assert_eq!(ipv4_addresses("|-- x\n/32 host LOCAL\n"), [] as [Ipv4Addr; 0]);
        assert_eq!(ipv6_addresses("zz\n\n00000000000000000000000000000g01 lo"), [] as [Ipv6Addr; 0]);
    }

    #[test]
    fn this_machine_has_a_loopback_address() {
        assert!(local_addresses().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
