//! What waits to be written to one connection.
//!
//! ```text
//!   head ->| sent | waiting ... ||  shared payload  || waiting ... | room |<- tail
//!           `------ owned ------'                     `----- owned -----'
//! ```
//! Small messages are copied into chunks, large payloads for several receivers are shared. A partial
//! write moves `head` and nothing else. A drained queue gives its chunks back and holds no buffer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

use crate::link::s2::Encoder;

/// Bytes of the first chunk of a queue: a few answers, so that a wide fan-out stays cheap.
const CHUNK_SMALL_BYTES: usize = 1024;
/// Bytes of the chunks of a queue that is longer than that.
const CHUNK_LARGE_BYTES: usize = 32 * 1024;
/// Spare chunks kept, of each kind: 64 KiB and 512 KiB.
const SPARE_SMALL_MAX: usize = 64;
const SPARE_LARGE_MAX: usize = 16;
/// What compression keeps of each of its two buffers, bytes.
const PRESS_BYTES_MAX: usize = 256 * 1024;

/// Chunks that were written out and wait for their next use.
#[derive(Debug, Default)]
pub struct Pool {
    small: Vec<Vec<u8>>,
    large: Vec<Vec<u8>>,
    /// What deliveries to MQTT need; away only while a peer of MQTT writes.
    pub(crate) mqtt: Option<Box<crate::mqtt::Shared>>,
    /// Counts routings, so that a peer can tell one message from the next.
    pub(crate) routings: u64,
    /// For all links that compress, in turn.
    press: Option<Box<Press>>,
}

/// What compression needs while it works.
#[derive(Debug, Default)]
pub(super) struct Press {
    pub(super) encoder: Encoder,
    pub(super) plain: Vec<u8>,
    pub(super) wire: Vec<u8>,
}

impl Pool {
    /// To be given back with [`Self::give_press`].
    pub(super) fn take_press(&mut self) -> Box<Press> {
        self.press.take().unwrap_or_default()
    }

    pub(super) fn give_press(&mut self, mut press: Box<Press>) {
        press.plain.clear();
        press.wire.clear();
        press.plain.shrink_to(PRESS_BYTES_MAX);
        press.wire.shrink_to(PRESS_BYTES_MAX);
        self.press = Some(press);
    }

    fn take(&mut self, room: usize, first: bool) -> Vec<u8> {
        if first && room <= CHUNK_SMALL_BYTES {
            return self.small.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_SMALL_BYTES));
        }
        if room <= CHUNK_LARGE_BYTES {
            return self.large.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_LARGE_BYTES));
        }
        Vec::with_capacity(room)
    }

    fn give(&mut self, chunk: Chunk) {
        let Chunk::Owned(mut bytes) = chunk else { return };
        let (list, max) = match bytes.capacity() {
            CHUNK_SMALL_BYTES => (&mut self.small, SPARE_SMALL_MAX),
            CHUNK_LARGE_BYTES => (&mut self.large, SPARE_LARGE_MAX),
            _ => return,
        };
        if list.len() < max {
            bytes.clear();
            list.push(bytes);
        }
    }
}

#[derive(Debug)]
enum Chunk {
    Owned(Vec<u8>),
    Shared(Rc<[u8]>, usize),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Shared(bytes, from) => &bytes[*from..],
        }
    }
}

/// The queue of one connection. Its bound is `max_pending`, which its owner keeps.
#[derive(Debug, Default)]
pub struct OutQueue {
    chunks: VecDeque<Chunk>,
    head: usize,
    pending: usize,
}

impl OutQueue {
    /// Bytes that wait.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// Appends what `write` appends to the buffer it gets, at most about `room` bytes.
    #[inline]
    pub fn append(&mut self, pool: &mut Pool, room: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let tail = self.tail(pool, room);
        let before = tail.len();
        write(tail);
        let grown = tail.len() - before;
        self.pending += grown;
    }

    /// Takes the last `count` bytes back, which one [`Self::append`] has added.
    pub(crate) fn retract(&mut self, count: usize) {
        let Some(Chunk::Owned(bytes)) = self.chunks.back_mut() else { return };
        debug_assert!(count <= bytes.len(), "more than was appended");
        bytes.truncate(bytes.len() - count);
        self.pending -= count;
    }

    /// Appends `bytes`.
    pub fn extend(&mut self, pool: &mut Pool, bytes: &[u8]) {
        self.append(pool, bytes.len(), |out| out.extend_from_slice(bytes));
    }

    /// Appends `bytes[from..]` without copying.
    pub fn share(&mut self, bytes: Rc<[u8]>, from: usize) {
        self.pending += bytes.len() - from;
        self.chunks.push_back(Chunk::Shared(bytes, from));
    }

    #[inline]
    fn tail(&mut self, pool: &mut Pool, room: usize) -> &mut Vec<u8> {
        let fits = match self.chunks.back() {
            Some(Chunk::Owned(bytes)) => bytes.capacity() - bytes.len() >= room,
            _ => false,
        };
        if !fits {
            let first = self.chunks.is_empty();
            self.chunks.push_back(Chunk::Owned(pool.take(room, first)));
        }
        match self.chunks.back_mut() {
            Some(Chunk::Owned(bytes)) => bytes,
            _ => unreachable!("the tail is owned: it was just looked at or pushed"),
        }
    }

    /// Fills `slices` from the front; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.head;
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[skip..]);
            skip = 0;
            count += 1;
        }
        count
    }

    /// The same with no more than `bytes` in them.
    pub fn slices_within<'a>(&'a self, mut bytes: usize, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(self.pieces()) {
            if bytes == 0 {
                break;
            }
            let piece = &piece[..piece.len().min(bytes)];
            *slice = IoSlice::new(piece);
            bytes -= piece.len();
            count += 1;
        }
        count
    }

    /// The front of the queue, as much as is in one piece.
    pub fn front(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| &chunk.bytes()[self.head..])
    }

    /// Everything that waits, piece by piece.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let head = self.head;
        self.chunks.iter().enumerate().map(move |(at, chunk)| &chunk.bytes()[if at == 0 { head } else { 0 }..])
    }

    /// The first `n` waiting bytes are written.
    pub fn sent(&mut self, pool: &mut Pool, n: usize) {
        debug_assert!(n <= self.pending, "sent more than there was");
        self.pending -= n;
        self.head += n;
        while let Some(front) = self.chunks.front() {
            let len = front.bytes().len();
            if self.head < len {
                return;
            }
            self.head -= len;
            if let Some(chunk) = self.chunks.pop_front() {
                pool.give(chunk);
            }
        }
    }

    /// Forgets everything that waits.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.sent(pool, self.pending);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the sizes of writes, the bytes come out once and in order, and a drained queue holds nothing.
    #[test]
    fn keeps_order_over_partial_writes() {
        let (mut pool, mut queue) = (Pool::default(), OutQueue::default());
        let big: Rc<[u8]> = vec![b'x'; 70_000].into();
        let mut wanted = Vec::new();
        for i in 0..40u8 {
            let small = vec![i; 500];
            queue.extend(&mut pool, &small);
            wanted.extend_from_slice(&small);
            if i % 10 == 0 {
                queue.share(big.clone(), 5);
                wanted.extend_from_slice(&big[5..]);
            }
        }
        let mut got = Vec::new();
        let mut step = 1;
        while !queue.is_empty() {
            let n = step.min(queue.front().len());
            got.extend_from_slice(&queue.front()[..n]);
            queue.sent(&mut pool, n);
            step = step * 7 % 4099 + 1;
        }
        assert!(got == wanted);
        assert!(queue.chunks.is_empty() && queue.head == 0);
        assert!(queue.front().is_empty());
        assert!(pool.small.len() <= SPARE_SMALL_MAX && pool.large.len() <= SPARE_LARGE_MAX);
    }
}
