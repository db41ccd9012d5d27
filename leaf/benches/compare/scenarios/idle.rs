//! Many connections which do nothing.

use std::{thread, time::Duration};

use super::{Figure, Pace, Scenario};
use crate::{
    Result, machine,
    peer::Server,
    procfs,
    wire::{Client, Event},
};

/// Connections with a subscription each, and the memory they take.
pub(super) struct IdleConnections;

impl Scenario for IdleConnections {
    fn name(&self) -> &'static str {
        "idle-connections"
    }

    fn impossible(&self, pace: &Pace) -> Option<String> {
        let limit = machine::descriptor_limit();
        (!pace.has_descriptors()).then(|| format!("it takes {} open files, {limit} are allowed", pace.descriptors()))
    }

    fn run(&self, server: &Server, pace: &Pace) -> Result<Vec<Figure>> {
        thread::sleep(pace.rest);
        let before = procfs::resident(server.pid())?;
        let mut clients: Vec<_> =
            (0..pace.connections).map(|number| subscribe(server, number)).collect::<Result<_>>()?;
        thread::sleep(pace.rest);
        let after = procfs::resident(server.pid())?;
        let cpu = procfs::cpu_time(server.pid())?;
        publish(server, clients.len())?;
        for (number, client) in clients.iter_mut().enumerate() {
            receive(client, number).map_err(|failure| format!("idle connection {number}: {failure}"))?;
        }
        Ok(vec![
            Figure::cost("KiB per connection", after.saturating_sub(before) as f64 / pace.connections as f64),
            Figure::cost("resident with all of them, MiB", after as f64 / super::KIB),
            Figure::cost("µs of server CPU to set one up", per_connection(cpu, pace.connections)),
        ])
    }
}

/// The start of the server is in there too; it hardly shows.
fn per_connection(cpu: Duration, connections: usize) -> f64 {
    cpu.as_micros() as f64 / connections as f64
}

fn subscribe(server: &Server, number: usize) -> Result<Client> {
    let mut client = Client::connect_small(server.address)?;
    client.send(format!("SUB bench.idle.{number} 1\r\n").as_bytes())?;
    client.flush()?;
    Ok(client)
}

/// One message for each connection.
fn publish(server: &Server, connections: usize) -> Result<()> {
    let mut client = Client::connect(server.address)?;
    let batch: String =
        (0..connections).map(|number| format!("PUB bench.idle.{number} 8\r\n{number:08}\r\n")).collect();
    client.send(batch.as_bytes())?;
    client.flush()
}

fn receive(client: &mut Client, number: usize) -> Result<()> {
    let Event::Message(message) = client.next()? else { return Err("a PONG for a message".into()) };
    if client.part(&message.payload) != format!("{number:08}").as_bytes() {
        return Err("the message is not its own".into());
    }
    Ok(())
}
