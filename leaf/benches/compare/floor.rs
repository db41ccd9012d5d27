//! What the kernel alone takes: a relay that looks at nothing, moving the same bytes between the same two sockets.
//!
//! No server that reads and writes sockets can cost less than this, so a figure near it has no more to give. The relay
//! is a process of its own, so that its processor time can be read like a server's, and waits for its sockets in the
//! way petiole-leaf does.

use std::{
    io::{BufRead, BufReader, Read, Write, stdout},
    net::{Ipv4Addr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    runtime, try_join,
};

use crate::{Result, procfs, scenarios::Pace};

/// A message of 1,024 bytes as it goes to a subscriber, and 128 bytes as in a request.
const MESSAGE: usize = 1_024 + 36;
const REQUEST: usize = 128 + 60;
/// What the publisher of the other scenarios writes at once, and what our server reads at once.
const CHUNK: usize = 64 * 1024;
const READ: usize = 256 * 1024;

/// Relays between the first two who connect, until either leaves. Its port is the one line it prints.
pub(crate) fn relay() -> Result<()> {
    runtime::Builder::new_current_thread().enable_io().build()?.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("{}", listener.local_addr()?.port());
        stdout().flush()?;
        let (one, other) = (listener.accept().await?.0, listener.accept().await?.0);
        one.set_nodelay(true)?;
        other.set_nodelay(true)?;
        let (one, other) = (one.into_split(), other.into_split());
        let _ = try_join!(pump(one.0, other.1), pump(other.0, one.1));
        Ok(())
    })
}

/// Fails when there is no more, which ends the other direction too.
async fn pump(from: OwnedReadHalf, to: OwnedWriteHalf) -> std::io::Result<()> {
    let mut buffer = vec![0; READ];
    loop {
        from.readable().await?;
        let length = match from.try_read(&mut buffer) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => to.writable().await?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// A running relay and its two ends.
struct Relay {
    child: Child,
    near: TcpStream,
    far: TcpStream,
}

impl Relay {
    fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?).arg("--relay").stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("the relay has no output")?).read_line(&mut line)?;
        let port: u16 = line.trim().parse()?;
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let (near, far) = (connect()?, connect()?);
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        Ok(Self { child, near, far })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is to be said of it, in one sentence.
pub(crate) fn measure(pace: &Pace) -> Result<String> {
    let stream = stream(pace)?;
    let (p50, p99) = round_trips(pace)?;
    Ok(format!(
        "The kernel alone: a relay that looks at nothing takes {stream:.0} ns to move what a message of 1024 B is on the \
         wire, and its round trip of {REQUEST} B takes {p50:.0} us (p50) and {p99:.0} us (p99)."
    ))
}

/// Nanoseconds of processor for each message that a stream moves.
fn stream(pace: &Pace) -> Result<f64> {
    let relay = Relay::start()?;
    let pid = relay.child.id();
    let (mut to, mut from) = (&relay.near, relay.far.try_clone()?);
    let chunk = vec![b'x'; CHUNK];
    let mut send_for = |time: Duration| -> Result<u64> {
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time {
            to.write_all(&chunk)?;
            sent += CHUNK as u64;
        }
        Ok(sent)
    };
    let (progress, arrived) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; CHUNK * 2];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if progress.send(length as u64).is_err() {
                return;
            }
        }
    });
    let wait = |mut missing: u64| -> Result<()> {
        while missing > 0 {
            missing = missing.saturating_sub(arrived.recv()?);
        }
        Ok(())
    };
    wait(send_for(pace.warm_up())?)?;
    let before = procfs::cpu_time(pid)?;
    let sent = send_for(pace.measured())?;
    wait(sent)?;
    let spent = procfs::cpu_time(pid)?.saturating_sub(before);
    drop(relay);
    reader.join().map_err(|_| "the reader panicked")?;
    Ok(spent.as_nanos() as f64 * MESSAGE as f64 / sent as f64)
}

/// The median and the 99th percentile of a round trip through the relay and an echo, in microseconds.
fn round_trips(pace: &Pace) -> Result<(f64, f64)> {
    let relay = Relay::start()?;
    let mut echo = relay.far.try_clone()?;
    let echo = thread::spawn(move || {
        let mut buffer = [0; REQUEST];
        while echo.read_exact(&mut buffer).is_ok() && echo.write_all(&buffer).is_ok() {}
    });
    let mut near = &relay.near;
    let mut buffer = [b'x'; REQUEST];
    let mut times = Vec::new();
    for (time, counts) in [(pace.warm_up(), false), (pace.measured(), true)] {
        let start = Instant::now();
        while start.elapsed() < time {
            let begin = Instant::now();
            near.write_all(&buffer)?;
            near.read_exact(&mut buffer)?;
            if counts {
                times.push(begin.elapsed().as_nanos() as f64 / 1_000.0);
            }
        }
    }
    drop(relay);
    echo.join().map_err(|_| "the echo panicked")?;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok((at(0.5), at(0.99)))
}
