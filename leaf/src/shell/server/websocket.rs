//! Connections that are WebSockets: their handshake, and frames on the way in and out.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use tracing::debug;

use super::{Read, Reader, SLICES_MAX, Server, Socket};
use crate::client::Client;
use crate::mqtt::Mqtt;
use crate::node::{CloseReason, Nanos, OutQueue, Peer};
use crate::shell::tls::TlsStream;
use crate::websocket::{self, Decoder, Encoder, Endpoint, Event, Fault, Refusal, Rules, Upgrade};

/// What waits goes out in frames of at most so many bytes: who collects them whole must hear of the first soon.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Frames both ways.
pub(super) struct Framing {
    decoder: Decoder,
    encoder: Encoder,
    /// It has said all that it will be heard to say.
    closed: bool,
    fault: Option<Fault>,
}

impl Framing {
    fn new(response: Vec<u8>, endpoint: Endpoint) -> Self {
        let decoder = match endpoint {
            Endpoint::Nats => Decoder::default(),
            Endpoint::Mqtt => Decoder::binary_only(),
        };
        Self { decoder, encoder: Encoder::new(response), closed: false, fault: None }
    }

    /// The last bytes, and why there are no more.
    pub(super) fn finish(&mut self, farewell: &OutQueue, reason: CloseReason) -> Vec<u8> {
        self.encoder.finish(farewell.pieces(), reason, self.fault)
    }
}

impl Server {
    /// Writes until nothing waits (`true`) or the socket would block (`false`).
    pub(super) fn write_frames(&self, socket: &Socket, framing: &mut Framing, now: Nanos) -> io::Result<bool> {
        let mut node = self.node.borrow_mut();
        loop {
            let Some(queue) = node.output(socket.id) else { return Ok(true) };
            framing.encoder.begin(queue.pending().min(FRAME_BYTES_MAX));
            let [first, header] = framing.encoder.before();
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            (slices[0], slices[1]) = (IoSlice::new(first), IoSlice::new(header));
            let count = 2 + queue.slices_within(framing.encoder.room(), &mut slices[2..]);
            if slices[..count].iter().all(|slice| slice.is_empty()) {
                return Ok(true);
            }
            match socket.write.try_write_vectored(&slices[..count]) {
                Ok(n) => {
                    let n = framing.encoder.wrote(n);
                    node.sent(now, socket.id, n);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    node.blocked(now, socket.id);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives TLS a part of what waits, and what comes before it, in one record. Returns how much of what waits.
    pub(super) fn send_framed(&self, tls: &mut TlsStream, framing: &mut Framing, waiting: &[u8]) -> io::Result<usize> {
        framing.encoder.begin(waiting.len());
        let waiting = &waiting[..waiting.len().min(framing.encoder.room())];
        let [first, header] = framing.encoder.before();
        let mut plain = self.scratch.borrow_mut();
        plain.clear();
        for piece in [first, header, waiting] {
            plain.extend_from_slice(piece);
        }
        let n = tls.send(&plain).map_err(io::Error::other)?;
        Ok(framing.encoder.wrote(n))
    }
}

impl Reader {
    /// The handshake: what comes after it is spoken in frames.
    pub(super) async fn upgrade(&mut self, secure: bool) -> Result<(), CloseReason> {
        self.early.borrow_mut().get_or_insert_default();
        let within = {
            let node = self.server.node.borrow();
            node.config.websocket.as_ref().map(|websocket| websocket.handshake_timeout).unwrap_or_default()
        };
        let request = tokio::time::timeout(within, self.request(secure)).await;
        let id = self.socket.id;
        match request {
            Ok(Some(Ok(upgrade))) => self.upgraded(upgrade),
            Ok(Some(Err(refusal))) => {
                debug!("{} - cid:{} - websocket handshake error: {refusal}", self.remote, id.cid());
                let response = refusal.response();
                self.server.with_node(|node, now| node.turn_away(now, id, &response));
            }
            Ok(None) => return Err(CloseReason::ClientClosed),
            Err(_) => {
                debug!("{} - cid:{} - websocket handshake timeout", self.remote, id.cid());
                return Err(CloseReason::ClientClosed);
            }
        }
        Ok(())
    }

    /// Reads until the request is there; `None` if the connection ends before.
    async fn request(&mut self, secure: bool) -> Option<Result<Upgrade, Refusal>> {
        loop {
            let answer = {
                let (early, node) = (self.early.borrow(), self.server.node.borrow());
                let rules = Rules { config: node.config.websocket.as_ref()?, secure, mqtt: node.config.mqtt.is_some() };
                websocket::read(early.as_deref().unwrap_or_default(), &rules)
            };
            if let Some(answer) = answer.transpose() {
                return Some(answer);
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Some(Read::Bytes) => {}
                Some(Read::End | Read::Failed) | None => return None,
            }
        }
    }

    fn upgraded(&self, upgrade: Upgrade) {
        let id = self.socket.id;
        let early = self.early.take().unwrap_or_default();
        *self.socket.framing.borrow_mut() = Some(Box::new(Framing::new(upgrade.response, upgrade.endpoint)));
        let peer: Box<dyn Peer> = match upgrade.endpoint {
            Endpoint::Nats => Box::new(Client::by_websocket(upgrade.cookies)),
            Endpoint::Mqtt => Box::new(Mqtt::by_websocket(upgrade.cookies)),
        };
        self.server.with_node(|node, now| {
            node.turn_into(id, peer);
            node.greet(now, id);
        });
        let now = self.server.now();
        self.take(now, &early[upgrade.used..]);
        // One who speaks MQTT waits for the answer, which the node knows nothing of.
        self.server.flush(id, now);
        self.server.pump(now);
    }

    /// Takes bytes that are frames.
    pub(super) fn take_frames(&self, framing: &mut Framing, now: Nanos, bytes: &[u8]) {
        let id = self.socket.id;
        let Framing { decoder, encoder, closed, fault } = framing;
        if *closed {
            return;
        }
        let mut scratch = self.server.scratch.borrow_mut();
        let node = &self.server.node;
        let result = decoder.receive(bytes, &mut scratch, &mut |event| match event {
            _ if *closed => {}
            Event::Data(bytes) => node.borrow_mut().receive(now, id, bytes),
            Event::Ping(payload) => encoder.answer(payload),
            Event::Close(status) => {
                encoder.close_with(status);
                *closed = true;
                node.borrow_mut().closed(now, id, CloseReason::ClientClosed);
            }
        });
        if let Err(why) = result
            && !*closed
        {
            debug!("{} - cid:{} - websocket: {why}", self.remote, id.cid());
            (*fault, *closed) = (Some(why), true);
            node.borrow_mut().closed(now, id, CloseReason::MalformedOperation);
        }
    }
}
