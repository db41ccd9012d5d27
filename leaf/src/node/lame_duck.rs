//! Lame duck mode: no newcomers, a hint to those who are here, then they are sent away one by one.

use tracing::info;

use super::{CloseReason, Command, ConnId, Nanos, Node, SECOND, nanos};

#[derive(Debug)]
pub(super) struct LameDuck {
    next: Nanos,
    step: Nanos,
    batch: usize,
}

impl LameDuck {
    pub(super) fn due(&self) -> Nanos {
        self.next
    }
}

impl Node {
    /// Whether lame duck mode has begun.
    pub fn is_lame_duck(&self) -> bool {
        self.lame_duck.is_some()
    }

    /// Begins lame duck mode (nats-server: SIGUSR2). Again is no more than once.
    pub fn start_lame_duck(&mut self, now: Nanos) {
        self.now = now;
        if self.lame_duck.is_some() {
            return;
        }
        info!("Entering lame duck mode, stop accepting new clients");
        self.commands.push_back(Command::StopListening);
        self.tell_leaving("LAMEDUCK");
        self.facts.info.lame_duck = true;
        self.announce();
        // Spread over what the grace period leaves of the duration, at most a second apart.
        let grace = nanos(self.config.lame_duck_grace_period);
        let spread = nanos(self.config.lame_duck_duration).saturating_sub(grace);
        let count = self.conns.len().max(1);
        let step = (spread / count as Nanos).min(SECOND);
        let (step, batch) = if step == 0 {
            (SECOND / 1000, count.div_ceil((spread / (SECOND / 1000)).max(1) as usize))
        } else {
            (step, 1)
        };
        self.lame_duck = Some(LameDuck { next: now + grace, step, batch });
        if self.conns.is_empty() {
            self.commands.push_back(Command::Shutdown);
        }
    }

    /// Tells every client what the server says about itself now.
    pub(super) fn announce(&mut self) {
        let slots: Vec<u32> = self.conns.iter().map(|(slot, _)| slot as u32).collect();
        for slot in slots {
            self.with_peer(slot, |peer, cx| peer.server_changed(cx));
            self.bound_answers(self.conns[slot as usize].core.id);
        }
    }

    /// Sends the next ones away.
    pub(super) fn waddle(&mut self) {
        let Some(duck) = &mut self.lame_duck else { return };
        if self.now < duck.next {
            return;
        }
        duck.next = self.now + duck.step;
        let batch = duck.batch;
        let leaving: Vec<ConnId> = self.conns.iter().take(batch).map(|(_, conn)| conn.core.id).collect();
        for id in leaving {
            self.close(id, CloseReason::ServerShutdown);
        }
        self.settle();
        if self.conns.is_empty() {
            if let Some(duck) = &mut self.lame_duck {
                duck.next = Nanos::MAX;
            }
            self.commands.push_back(Command::Shutdown);
        }
    }

    /// Ends all connections at once, for a shutdown.
    pub fn close_all(&mut self, now: Nanos) {
        self.now = now;
        self.tell_leaving("SHUTDOWN");
        let all: Vec<ConnId> = self.conns.iter().map(|(_, conn)| conn.core.id).collect();
        for id in all {
            self.close(id, CloseReason::ServerShutdown);
        }
        self.settle();
    }
}
