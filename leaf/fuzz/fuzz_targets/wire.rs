//! The client protocol's parser: it never panics, takes no more than there is, and says the same of an
//! operation whether or not something follows it.
#![no_main]

use leaf::wire::{Bounds, Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bounds = Bounds { control_line_bytes: 1024, payload_bytes: 4096 };
    let mut rest = input;
    while !rest.is_empty() {
        match parse(rest, &bounds) {
            Ok(Parsed::Op(op, used)) => {
                assert!(used > 0 && used <= rest.len());
                assert_eq!(parse(&rest[..used], &bounds), Ok(Parsed::Op(op, used)));
                rest = &rest[used..];
            }
            Ok(Parsed::Incomplete(_)) | Err(_) => return,
        }
    }
});
