//! Bytes as a compressed link: never a panic, never more memory than a block; and what is written is read again.
#![no_main]

use leaf::link::s2::{Encoder, Level, Reader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = Reader::default();
    let mut left = 64 << 20;
    let mut take = |bytes: &[u8]| {
        left -= bytes.len() as i64;
        left > 0
    };
    let cut = data.first().map_or(0, |&byte| usize::from(byte) * data.len() / 256);
    let _ = reader.feed(&data[..cut], &mut take).and_then(|()| reader.feed(&data[cut..], &mut take));

    for level in [Level::None, Level::Fast, Level::Better, Level::Best] {
        let mut wire = Vec::new();
        Encoder::begin(&mut wire);
        Encoder::default().chunks(data, level, &mut wire);
        let mut got = Vec::new();
        let mut take = |bytes: &[u8]| {
            got.extend_from_slice(bytes);
            true
        };
        Reader::default().feed(&wire, &mut take).expect("what we wrote");
        assert!(got == data);
    }
});
