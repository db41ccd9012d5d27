//! S2, the compression of links: the stream format of Snappy with larger blocks and repeated offsets.
//!
//! Both formats are public: `format_description.txt` and `framing_format.txt` of google/snappy, and the README of
//! `klauspost/compress/s2` for what S2 adds. What [`Encoder`] writes keeps to Snappy's blocks of 64 KiB, which every
//! reader of S2 takes; [`Reader`] takes all of both.
//!
//! ```text
//!   chunk     type, length (3 bytes, little endian), then for types 0 and 1:
//!             masked CRC-32C of the plain bytes (4), a block or the plain bytes themselves
//!   ff        "S2sTwO" or "sNaPpY": the beginning; it may come again at any time
//!   80 … fe   to be skipped
//! ```

mod block;
mod checksum;
mod encode;
mod read;

pub use block::decode;
pub use encode::{Encoder, Level};
pub use read::{Reader, Trouble};

/// How a stream begins.
pub const MAGIC: &[u8; 10] = b"\xff\x06\x00\x00S2sTwO";
/// The same of Snappy.
const MAGIC_SNAPPY: &[u8; 10] = b"\xff\x06\x00\x00sNaPpY";
/// Plain bytes of a block at most.
pub const BLOCK_BYTES_MAX: usize = 4 << 20;
/// A chunk's type and length.
const HEADER_BYTES: usize = 4;
/// A chunk's checksum.
const CHECKSUM_BYTES: usize = 4;

const COMPRESSED: u8 = 0;
const PLAIN: u8 = 1;
