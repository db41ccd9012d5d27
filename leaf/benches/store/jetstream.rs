//! The same by a nats-server: publishing to a stream kept in files, with replies.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{Cost, Result, proc};

/// Ends with the measurement.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// `None` when there is no nats-server.
pub(crate) fn appends(
    directory: &Path,
    always: bool,
    outstanding: u64,
    size: usize,
    lasting: Duration,
) -> Result<Option<Cost>> {
    fs::create_dir_all(directory)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let sync = if always { "sync_interval: always" } else { "" };
    let config = directory.join("server.conf");
    let store = directory.display();
    fs::write(&config, format!("listen: 127.0.0.1:{port}\njetstream {{\n store_dir: \"{store}\"\n {sync}\n}}\n"))?;
    let spawned = Command::new("nats-server").arg("-c").arg(&config).stderr(Stdio::null()).spawn();
    let Ok(child) = spawned else { return Ok(None) };
    let server = Server(child);
    let stream = connect(port)?;
    let mut out = stream.try_clone()?;
    let mut input = BufReader::new(stream);
    let request = r#"{"name":"S","subjects":["bench.>"],"storage":"file"}"#;
    write!(out, "CONNECT {{\"verbose\":false}}\r\nSUB _R.> 1\r\n")?;
    write!(out, "PUB $JS.API.STREAM.CREATE.S _R.c {}\r\n{request}\r\n", request.len())?;
    let answer = reply(&mut input)?;
    if answer.contains("error") {
        return Err(answer.into());
    }
    let mut frame = format!("PUB bench.a _R.a {size}\r\n").into_bytes();
    frame.extend(vec![b'x'; size]);
    frame.extend(b"\r\n");
    let (cpu, io, start) = (proc::cpu_time(server.0.id())?, proc::written(server.0.id())?, Instant::now());
    let (mut sent, mut acknowledged, mut burst) = (0, 0, Vec::new());
    while start.elapsed() < lasting || acknowledged < sent {
        burst.clear();
        while start.elapsed() < lasting && sent - acknowledged < outstanding {
            burst.extend(&frame);
            sent += 1;
        }
        out.write_all(&burst)?;
        loop {
            let answer = reply(&mut input)?;
            if !answer.contains("\"seq\"") {
                return Err(answer.into());
            }
            acknowledged += 1;
            if input.buffer().is_empty() || acknowledged == sent {
                break;
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    let cpu = (proc::cpu_time(server.0.id())? - cpu) / acknowledged as u32;
    let io = proc::written(server.0.id())? - io;
    let written = io as f64 / (acknowledged as f64 * size as f64);
    Ok(Some(Cost { per_second: acknowledged as f64 / took, cpu, written }))
}

fn connect(port: u16) -> Result<TcpStream> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                return Ok(stream);
            }
            Err(error) if Instant::now() > until => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// The next message's payload.
fn reply(input: &mut BufReader<TcpStream>) -> Result<String> {
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err("the server hung up".into());
        }
        if line.starts_with("PING") {
            input.get_mut().write_all(b"PONG\r\n")?;
        } else if line.starts_with("-ERR") {
            return Err(line.into());
        } else if line.starts_with("MSG") {
            let size: usize = line.split_whitespace().last().ok_or("no size")?.parse()?;
            let mut body = vec![0; size + 2];
            input.read_exact(&mut body)?;
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
    }
}
