//! WebSocket: the handshake never panics, and frames say the same in whatever pieces they come.
#![no_main]

use leaf::config::Websocket;
use leaf::websocket::{Decoder, Event, Fault, Rules, read};
use libfuzzer_sys::fuzz_target;

/// All data in one, all else in order, and how it ended.
fn heard(input: &[u8], piece: usize) -> (Vec<u8>, Vec<String>, Result<(), Fault>) {
    let (mut decoder, mut scratch) = (Decoder::default(), Vec::new());
    let (mut data, mut others) = (Vec::new(), Vec::new());
    let result = input.chunks(piece).try_for_each(|piece| {
        decoder.receive(piece, &mut scratch, &mut |event| match event {
            Event::Data(bytes) => data.extend_from_slice(bytes),
            other => others.push(format!("{other:?}")),
        })
    });
    (data, others, result)
}

fuzz_target!(|input: &[u8]| {
    let config = Websocket { same_origin: true, jwt_cookie: Some("j".into()), ..Websocket::default() };
    match read(input, &Rules { config: &config, secure: false, mqtt: true }) {
        Ok(Some(upgrade)) => assert!(upgrade.used <= input.len()),
        Ok(None) => {}
        Err(refusal) => assert!(refusal.response().starts_with(b"HTTP/1.1 4")),
    }
    let whole = heard(input, input.len().max(1));
    for piece in [1, 3, 64] {
        assert_eq!(heard(input, piece), whole);
    }
});
