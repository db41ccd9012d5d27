//! The node's logs and the threads that have their directories.

use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::disk::Disks;
use super::server::Server;
use super::turn::Turn;
use crate::node::{MQTT_LOG, is_downlink};
use crate::store::{Answer, Keys};

/// What the disk threads said and the node has not heard yet. Bounded by who orders: a batch for each log, a read for each
/// reader.
#[derive(Debug)]
pub struct Answers(UnboundedReceiver<Answer>);

impl Answers {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn start() -> Result<(Disks, Self), String> {
        let (told, answers) = unbounded_channel();
        let disks = Disks::start(move |answer| {
            // Nobody hears it only when the server ends.
            let _ = told.send(answer);
        });
        let disks = disks.map_err(|error| format!("Cannot start the disk threads: {error}"))?;
        Ok((disks, Self(answers)))
    }

    /// Opens the node's logs, encrypted with `keys`. Nothing is accepted before.
    ///
    /// # Errors
    /// When one cannot be opened; the text names it.
    pub async fn open_all(&mut self, server: &Rc<Server>, keys: Option<Arc<Keys>>) -> Result<(), String> {
        server.set_wall_clock();
        server.with_node(|node, now| node.open_forwards(now, keys));
        while !server.node.borrow().forwards_ready() {
            let Some(answer) = self.0.recv().await else { return Err("the disk threads have ended".to_owned()) };
            if let Answer::Opened { log, result: Err(error) } = &answer {
                let what = match *log {
                    MQTT_LOG => "the log of MQTT sessions",
                    log if is_downlink(log) => "the log of a durable subscription",
                    _ => "a log of store_and_forward",
                };
                let directory = server.node.borrow().log_directory(*log);
                return Err(format!("Cannot open {what}, {}: {error}", directory.display()));
            }
            server.with_node(|node, now| node.disk_answered(now, answer));
        }
        Ok(())
    }

    /// Hands the answers to the node until the server ends.
    pub async fn deliver(mut self, server: Rc<Server>) {
        let mut turn = Turn::default();
        loop {
            let answer = match self.0.try_recv() {
                Ok(answer) => answer,
                Err(_) => {
                    turn.end();
                    let Some(answer) = self.0.recv().await else { return };
                    answer
                }
            };
            server.with_node(|node, now| node.disk_answered(now, answer));
            turn.share(server.now()).await;
        }
    }
}
