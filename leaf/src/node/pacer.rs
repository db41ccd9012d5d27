//! Output of a link between servers: what is small and urgent never waits behind data.
//!
//! ```text
//!   urgent   PING PONG        ---.
//!   control  LS+ LS-          ----+--> the connection's queue (at most `room` bytes) --> socket
//!   data     LMSG HMSG        ---'
//! ```
//! Only what the link moves in [`AHEAD`] waits in the connection's queue, where nothing can overtake it any more. The
//! rest stays in its lane, and each time the socket has taken something the lanes are asked in this order. Lanes are
//! cut between frames.

use std::collections::VecDeque;

use super::outq::{OutQueue, Pool, Press};
use super::{Nanos, SECOND};
use crate::config::{Compression, Mode};
use crate::link::s2::{Encoder, Level};

/// How much of the link's own time may wait beyond recall, nanoseconds.
const AHEAD: Nanos = SECOND / 20;
/// Bytes that may wait beyond recall, whatever the rate.
const ROOM_BYTES_MIN: usize = 4 * 1024;
const ROOM_BYTES_MAX: usize = 256 * 1024;
/// Small frames are moved together, bytes.
const PARCEL_BYTES: usize = 2 * 1024;
/// A rate is measured over at least this long.
const MEASURE: Nanos = SECOND / 10;
/// A lane holds what the link moves in this time, seconds; what does not fit is dropped.
const BACKLOG_SECONDS: usize = 5;
/// A lane holds this much however slow the link is, bytes.
const BACKLOG_BYTES_MIN: usize = 1024 * 1024;
/// A link that moves less than this is compressed well, whatever its round-trip time, bytes a second.
const NARROW: usize = 1024 * 1024;
/// What is compressed at once, plain bytes: enough to find repetitions in, and little if it turns out to have none.
const BLOCK_BYTES_MIN: usize = 4 * 1024;
const BLOCK_BYTES_MAX: usize = 32 * 1024;
/// How many times smaller compression is expected to make something at most.
const SHRINK_MAX: usize = 16;
/// A link that moves so much catches up soon: producers wait for it, bytes a second.
const FAST: usize = 8 * 1024 * 1024;

/// One kind of output.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: OutQueue,
    /// Sizes of what may be moved at once: whole frames.
    parcels: VecDeque<u32>,
    /// Bytes that are in parcels.
    packed: usize,
}

impl Lane {
    /// Ends a frame: what was appended since the last one.
    fn cut(&mut self) {
        let added = self.queue.pending() - self.packed;
        if added == 0 {
            return;
        }
        self.packed += added;
        match self.parcels.back_mut() {
            Some(last) if (*last as usize) < PARCEL_BYTES => *last += added as u32,
            _ => self.parcels.push_back(added as u32),
        }
    }

    /// Moves parcels as long as less than `room` waits in `to`.
    fn pour(&mut self, to: &mut OutQueue, pool: &mut Pool, room: usize) {
        self.cut();
        while to.pending() < room {
            let Some(size) = self.parcels.pop_front() else { break };
            let mut left = size as usize;
            self.packed -= left;
            while left > 0 {
                let piece = self.queue.front();
                let n = piece.len().min(left);
                to.extend(pool, &piece[..n]);
                self.queue.sent(pool, n);
                left -= n;
            }
        }
        if self.parcels.is_empty() {
            // An idle connection holds no buffers.
            self.parcels = VecDeque::new();
        }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn clear(&mut self, pool: &mut Pool) {
        self.queue.clear(pool);
        *self = Self::default();
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pacer {
    urgent: Lane,
    control: Lane,
    data: Lane,
    room: usize,
    /// Bytes a second, as measured when the socket was full; 0 is not known: nothing ever waited.
    rate: usize,
    /// Since when, and how much has gone since.
    measuring: Option<(Nanos, usize)>,
    codec: Option<Codec>,
}

/// How what goes out is compressed.
#[derive(Debug)]
struct Codec {
    agreed: Mode,
    level: Level,
    /// The stream has begun.
    begun: bool,
    /// How many times smaller it makes what goes out, of late.
    shrink: usize,
}

impl Codec {
    /// Makes `wire` of `plain`.
    fn block(&mut self, press: &mut Press) {
        if !std::mem::replace(&mut self.begun, true) {
            Encoder::begin(&mut press.wire);
        }
        press.encoder.chunks(&press.plain, self.level, &mut press.wire);
        // One small block says little.
        if press.plain.len() >= BLOCK_BYTES_MIN / 2 {
            let shrink = (press.plain.len() / press.wire.len().max(1)).clamp(1, SHRINK_MAX);
            self.shrink = (self.shrink + shrink).div_ceil(2);
        }
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            urgent: Lane::default(),
            control: Lane::default(),
            data: Lane::default(),
            room: ROOM_BYTES_MAX,
            rate: 0,
            measuring: None,
            codec: None,
        }
    }
}

impl Pacer {
    /// Bytes that wait in all lanes.
    pub(crate) fn pending(&self) -> usize {
        self.urgent.queue.pending() + self.control.queue.pending() + self.data.queue.pending()
    }

    /// Where a message goes: into `out` itself if nothing would be overtaken by it.
    #[inline]
    pub(crate) fn data<'a>(&'a mut self, out: &'a mut OutQueue) -> &'a mut OutQueue {
        let direct = self.codec.is_none() && self.pending() == 0 && out.pending() < self.room;
        if direct { out } else { &mut self.data.queue }
    }

    /// A message is written.
    #[inline]
    pub(crate) fn message_written(&mut self) {
        self.data.cut();
    }

    /// Where control frames go, and those that are urgent.
    pub(crate) fn lanes(&mut self) -> (&mut OutQueue, &mut OutQueue) {
        self.control.cut();
        (&mut self.control.queue, &mut self.urgent.queue)
    }

    /// Moves what has room into `out`.
    pub(crate) fn fill(&mut self, out: &mut OutQueue, pool: &mut Pool) {
        if self.pending() == 0 {
            return;
        }
        if self.codec.is_some() {
            return self.fill_compressed(out, pool);
        }
        self.urgent.pour(out, pool, usize::MAX);
        self.control.pour(out, pool, self.room);
        self.data.pour(out, pool, self.room);
    }

    /// The same through the codec, block by block, until what came of them fills the room.
    fn fill_compressed(&mut self, out: &mut OutQueue, pool: &mut Pool) {
        let mut press = pool.take_press();
        let mut plain = OutQueue::default();
        while self.pending() > 0 {
            let room = if out.pending() < self.room { self.block_bytes() } else { 0 };
            self.urgent.pour(&mut plain, pool, usize::MAX);
            self.control.pour(&mut plain, pool, room);
            self.data.pour(&mut plain, pool, room);
            if plain.is_empty() {
                break;
            }
            press.plain.clear();
            for piece in plain.pieces() {
                press.plain.extend_from_slice(piece);
            }
            plain.clear(pool);
            press.wire.clear();
            if let Some(codec) = &mut self.codec {
                codec.block(&mut press);
            }
            out.extend(pool, &press.wire);
        }
        pool.give_press(press);
    }

    /// How much is compressed at once, if it shrinks as what came before did: about what the room holds.
    fn block_bytes(&self) -> usize {
        let shrink = self.codec.as_ref().map_or(1, |codec| codec.shrink);
        (self.room * shrink).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX)
    }

    /// The last words, behind all that is in `out`.
    pub(crate) fn say(&mut self, words: &[u8], out: &mut OutQueue, pool: &mut Pool) {
        self.urgent.queue.extend(pool, words);
        self.urgent.cut();
        self.fill(out, pool);
    }

    /// From now on what goes out is a stream of S2.
    pub(crate) fn compress(&mut self, agreed: Mode) {
        self.codec = Some(Codec { agreed, level: Level::None, begun: false, shrink: 1 });
    }

    /// Chooses how hard to compress; gives how it is called.
    pub(crate) fn adapt(&mut self, settings: &Compression, rtt: Nanos) -> Option<Mode> {
        let narrow = self.rate > 0 && self.rate < NARROW;
        let codec = self.codec.as_mut()?;
        let mode = match settings.effective(codec.agreed, std::time::Duration::from_nanos(rtt)) {
            Mode::Uncompressed | Mode::Fast if narrow && codec.agreed == Mode::Auto => Mode::Better,
            mode => mode,
        };
        codec.level = match mode {
            Mode::Fast => Level::Fast,
            Mode::Better => Level::Better,
            Mode::Best => Level::Best,
            _ => Level::None,
        };
        Some(mode)
    }

    /// Bytes that may still be written before they would wait for the socket.
    pub(crate) fn room_left(&self, out: &OutQueue) -> usize {
        let room = self.room.saturating_sub(out.pending());
        match &self.codec {
            // What is compressed goes by way of the lanes: a block is to come together there.
            Some(codec) if room > 0 => (room * codec.shrink).max(BLOCK_BYTES_MIN).saturating_sub(self.pending()),
            _ if self.pending() > 0 => 0,
            _ => room,
        }
    }

    /// What the kernel is to keep unsent at most, bytes: about as much as waits here.
    pub(crate) fn unsent_max(&self) -> u32 {
        self.room.next_power_of_two() as u32
    }

    /// Whether more than half of the room is free.
    pub(crate) fn wants_more(&self, out: &OutQueue) -> bool {
        out.pending() <= self.room / 2
    }

    /// The socket is full.
    pub(crate) fn blocked(&mut self, now: Nanos) {
        if self.measuring.is_none() {
            self.measuring = Some((now, 0));
        }
    }

    /// The socket took `n` bytes; `drained` when nothing is left to write at all.
    pub(crate) fn moved(&mut self, now: Nanos, n: usize, drained: bool) {
        let Some((since, bytes)) = &mut self.measuring else { return };
        *bytes += n;
        let (took, bytes) = (now.saturating_sub(*since), *bytes);
        if took >= MEASURE {
            let rate = (bytes as u128 * u128::from(SECOND) / u128::from(took)) as usize;
            self.rate = if self.rate == 0 { rate } else { (self.rate + rate) / 2 };
            let ahead = (self.rate as u128 * u128::from(AHEAD) / u128::from(SECOND)) as usize;
            self.room = ahead.clamp(ROOM_BYTES_MIN, ROOM_BYTES_MAX);
            self.measuring = Some((now, 0));
        }
        if drained {
            // What an idle link moves says nothing about what it could.
            self.measuring = None;
        }
    }

    /// Bytes that may wait for this link: what it moves in a few seconds. More is dropped, never held for longer.
    pub(crate) fn backlog_max(&self, max_pending: usize) -> usize {
        if self.rate == 0 || self.is_fast() {
            return max_pending;
        }
        (self.rate * BACKLOG_SECONDS).max(BACKLOG_BYTES_MIN).min(max_pending)
    }

    /// Whether producers may be held back for it: one that catches up soon.
    pub(crate) fn is_fast(&self) -> bool {
        self.rate == 0 || self.rate >= FAST
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        for lane in [&mut self.urgent, &mut self.control, &mut self.data] {
            lane.clear(pool);
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.control.is_empty() && self.data.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(out: &OutQueue) -> Vec<u8> {
        out.pieces().flatten().copied().collect()
    }

    /// A socket that takes nothing, data for it, then a PING and interest: they are next, between two frames.
    #[test]
    fn what_is_urgent_overtakes_data_between_frames() {
        let (mut pool, mut out, mut pacer) = (Pool::default(), OutQueue::default(), Pacer::default());
        pacer.room = 10;
        for i in 0..6u8 {
            let frame = vec![b'0' + i; PARCEL_BYTES];
            pacer.data(&mut out).extend(&mut pool, &frame);
            pacer.message_written();
        }
        pacer.fill(&mut out, &mut pool);
        let (control, urgent) = pacer.lanes();
        control.extend(&mut pool, b"LS+");
        urgent.extend(&mut pool, b"PING");
        // The first frame went straight into the queue.
        assert_eq!(written(&out), vec![b'0'; PARCEL_BYTES]);
        out.sent(&mut pool, PARCEL_BYTES - 4);
        pacer.fill(&mut out, &mut pool);
        assert_eq!(written(&out), b"0000PINGLS+");
        out.sent(&mut pool, 11);
        pacer.fill(&mut out, &mut pool);
        assert_eq!(written(&out), vec![b'1'; PARCEL_BYTES]);
        let mut rest = Vec::new();
        while !pacer.is_empty() || !out.is_empty() {
            rest.extend(written(&out));
            out.sent(&mut pool, out.pending());
            pacer.fill(&mut out, &mut pool);
        }
        let wanted: Vec<u8> = (1..6u8).flat_map(|i| vec![b'0' + i; PARCEL_BYTES]).collect();
        assert!(rest == wanted);
        assert!(pacer.data.parcels.capacity() == 0);
    }

    /// A backlog that is compressed: what has room is gathered into blocks in which repetitions are found, and what comes of them
    /// does not fill the queue beyond its room.
    #[test]
    fn a_backlog_is_compressed_in_blocks() {
        let (mut pool, mut out, mut pacer) = (Pool::default(), OutQueue::default(), Pacer::default());
        pacer.room = ROOM_BYTES_MIN;
        pacer.compress(Mode::Best);
        let settings = Compression::default();
        assert_eq!(pacer.adapt(&settings, 0), Some(Mode::Best));
        let (mut plain, mut wire, mut number) = (0, 0, 0);
        for _ in 0..20 {
            while pacer.room_left(&out) > 0 {
                number += 1;
                let frame = format!(
                    "LMSG telemetry.pump7 64\r\n{{\"n\":{number:09},\"state\":\"ok\",\"unit\":\"celsius\",\"t\":21.50}}\r\n"
                );
                pacer.data(&mut out).extend(&mut pool, frame.as_bytes());
                pacer.message_written();
                plain += frame.len();
            }
            pacer.fill(&mut out, &mut pool);
            assert!(pacer.is_empty() && out.pending() <= ROOM_BYTES_MIN + BLOCK_BYTES_MAX / 4, "{}", out.pending());
            wire += out.pending();
            out.sent(&mut pool, out.pending());
        }
        assert!(plain > wire * 4, "{plain} became {wire}");
        // Noise after that: one block is too large, then it is known.
        let mut state = 1u64;
        let mut noise = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        for round in 0..10 {
            while pacer.room_left(&out) > 0 {
                let frame: Vec<u8> = (0..100).map(|_| noise()).collect();
                pacer.data(&mut out).extend(&mut pool, &frame);
                pacer.message_written();
            }
            pacer.fill(&mut out, &mut pool);
            assert!(out.pending() <= BLOCK_BYTES_MAX + ROOM_BYTES_MIN, "{}", out.pending());
            assert!(
                round < 6 || out.pending() <= 2 * (ROOM_BYTES_MIN + PARCEL_BYTES),
                "round {round}: {}",
                out.pending()
            );
            while !pacer.is_empty() || !out.is_empty() {
                out.sent(&mut pool, out.pending());
                pacer.fill(&mut out, &mut pool);
            }
        }
    }

    /// 50 kbit/s: little waits beyond recall, and no more than some seconds in the lane.
    #[test]
    fn a_slow_link_has_little_room() {
        let (mut pacer, mut now) = (Pacer::default(), 0);
        pacer.blocked(now);
        for _ in 0..50 {
            now += MEASURE;
            pacer.moved(now, 625, false);
        }
        assert_eq!(pacer.room, ROOM_BYTES_MIN);
        assert_eq!(pacer.backlog_max(64 << 20), BACKLOG_BYTES_MIN);
        assert!(!pacer.is_fast());
        for _ in 0..50 {
            now += MEASURE;
            pacer.moved(now, 100 << 20, false);
        }
        assert_eq!(pacer.room, ROOM_BYTES_MAX);
        assert_eq!(pacer.backlog_max(64 << 20), 64 << 20);
    }
}
