//! `docs/STORE-FORMAT.md`, followed to the letter: nothing of the log's own code reads what is on the disk here.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use std::sync::Arc;
use zeroize::Zeroizing;

use super::super::sim::SimDisk;
use super::super::*;
use super::{drain, opened, small};

const KEY: [u8; 32] = [0x42; 32];
const TIME: Time = 1_700_000_000_123_456_789;

/// Numbers of so many bytes at an offset.
fn number(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn file(disk: &mut SimDisk, segment: u64) -> Vec<u8> {
    let file = FileId { segment, generation: 0 };
    let len = disk.len(file) as usize;
    Want { file, offset: 0, len }.read(disk).unwrap()
}

/// CRC-32 as everybody has it, begun with a number.
fn crc(begun: u32, parts: &[&[u8]]) -> u64 {
    let mut hasher = crc32fast::Hasher::new_with_initial(begun);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().into()
}

/// The key of an encrypted segment, by its head.
fn key_of(head: &[u8]) -> Option<LessSafeKey> {
    if number(head, 10, 2) & 2 == 0 {
        assert!(head[60..512].iter().all(|&byte| byte == 0));
        return None;
    }
    assert_eq!((number(head, 60, 4), number(head, 104, 4)), (1, crc(0, &[&head[60..104]])));
    let derive = |salt: &[u8], info: &'static [u8], out: &mut [u8]| {
        let info = [info];
        let key = Salt::new(HKDF_SHA256, salt).extract(&KEY);
        let okm = key.expand(&info, HKDF_SHA256).unwrap();
        let mut all = [0; 32];
        okm.fill(&mut all).unwrap();
        out.copy_from_slice(&all[..out.len()]);
    };
    let (mut name, mut key) = ([0; 8], [0; 32]);
    derive(b"", b"petiole log key id", &mut name);
    derive(&head[72..88], b"petiole log segment", &mut key);
    assert_eq!(name, head[64..72]);
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
    let mut tag = head[88..104].to_vec();
    let nonce = Nonce::assume_unique_for_key([0xFF; 12]);
    key.open_in_place(nonce, Aad::from(&head[..88]), &mut tag).unwrap();
    Some(key)
}

/// A record at an offset, as a plain one, and where it ends.
fn record(bytes: &[u8], at: usize, salt: u32, key: Option<&LessSafeKey>) -> (Vec<u8>, usize) {
    let length = number(bytes, at, 4) as usize;
    let whole = &bytes[at..at + length];
    assert_eq!(number(whole, 4, 4), crc(salt, &[&whole[..4], &whole[8..]]), "at {at}");
    let end = (at + length).next_multiple_of(8);
    assert!(bytes[at + length..end].iter().all(|&byte| byte == 0));
    let check = u64::from((length as u32 ^ salt).wrapping_mul(0x9E37_79B1) >> 16);
    let Some(key) = key else {
        assert_eq!(number(whole, 30, 2), check);
        return (whole.to_vec(), end);
    };
    assert_eq!(number(whole, 16, 2), check);
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&whole[8..16]);
    nonce[8..].copy_from_slice(&((at / 8) as u32).to_le_bytes());
    let mut body = whole[18..].to_vec();
    let body = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut body).unwrap();
    ([&[0; 8], &body[..22], &[0; 2], &body[22..]].concat(), end)
}

/// Reads postcard.
struct Postcard<'a>(&'a [u8]);

impl Postcard<'_> {
    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = self.0.split_first().unwrap();
            self.0 = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1) as i64 ^ -((number & 1) as i64)
    }

    fn text(&mut self) -> String {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn list<T>(&mut self, one: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..self.number()).map(|_| one(self)).collect()
    }
}

/// A log of two segments and more, with one of everything.
fn written(keys: Option<Arc<Keys>>) -> SimDisk {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { keys, msgs_per_subject_max: 9, ..small() });
    let payload = "p".repeat(1000);
    let full = Append {
        subject: b"a.b",
        headers: b"NATS/1.0\r\n\r\n",
        payload: payload.as_bytes(),
        msg_id: b"id",
        deadline: Some(TIME + 1),
    };
    log.append(TIME, &full).unwrap();
    log.keep(TIME, b"k", Some(b"v")).unwrap();
    log.append(TIME, &Append { subject: b"c", payload: b"gone", ..Append::default() }).unwrap();
    drain(&mut log, &mut disk, TIME);
    let mut reader = Reader::one(2);
    let record = reader.next(&log, &mut disk).unwrap().unwrap();
    assert!(log.delete(TIME, &record));
    while log.state().segments < 2 {
        log.append(TIME, &Append { subject: b"c", payload: payload.as_bytes(), ..Append::default() }).unwrap();
        drain(&mut log, &mut disk, TIME);
    }
    disk
}

#[test]
fn what_is_on_disk_is_what_is_written_down() {
    let encrypted = Keys::new(Key::new(Zeroizing::new(KEY), ""), None, &Zeroizing::new([1; 32]));
    for keys in [None, Some(Arc::new(encrypted))] {
        check(&mut written(keys));
    }
}

fn check(disk: &mut SimDisk) {
    let (first, second) = (file(disk, 1), file(disk, 2));
    for (bytes, segment) in [(&first, 1), (&second, 2)] {
        assert_eq!(bytes[..512], bytes[512..1024]);
        assert_eq!(bytes[..8], *b"PETIOLOG");
        assert_eq!((number(bytes, 8, 2), number(bytes, 10, 2) & !2), (1, 0));
        assert_eq!((number(bytes, 16, 8), number(bytes, 24, 4), number(bytes, 28, 4)), (segment, 0, 0));
        assert_eq!(number(bytes, 56, 4), crc(0, &[&bytes[..56]]));
    }
    assert_eq!((number(&first, 32, 8), number(&first, 40, 8), number(&first, 48, 8)), (1, 0, 0));
    assert_eq!(number(&second, 48, 8), TIME as u64);
    let (end, salt, key) = (number(&second, 40, 8) as usize, number(&first, 12, 4) as u32, key_of(&first));
    let (messages, notes) = walk(&first, end, salt, key.as_ref());
    assert_eq!(notes, [vec![4], vec![1, 1], vec![5, 0], vec![2, 1, b'k', 1, b'v'], vec![0, 2, 1, b'c', 35]]);
    // What belongs to the first message, bit by bit.
    let whole = &messages[0];
    assert_eq!((number(whole, 8, 8), number(whole, 16, 8), whole[24], whole[25]), (1, TIME as u64, 1, 3));
    assert_eq!((number(whole, 26, 2), number(whole, 28, 2)), (3, 12));
    assert_eq!((number(whole, 32, 8), number(whole, 40, 2)), (TIME as u64 + 1, 2));
    assert_eq!(whole[42..], *["id", "a.b", "NATS/1.0\r\n\r\n", &"p".repeat(1000)].concat().as_bytes());
    // The second has neither id nor deadline.
    assert_eq!((messages[1][25], &messages[1][32..]), (0, &b"cgone"[..]));
    let count = messages.len() as u64;
    assert_eq!(number(&second, 32, 8), count + 1);
    footer(&record(&first, end.next_multiple_of(512), salt, key.as_ref()).0, count);
}

/// The messages of a segment, and the payloads of its notes.
fn walk(bytes: &[u8], end: usize, salt: u32, key: Option<&LessSafeKey>) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut at, mut messages, mut notes) = (1024, Vec::new(), Vec::new());
    while at < end {
        let (whole, next) = record(bytes, at, salt, key);
        match whole[24] {
            1 => messages.push(whole),
            2 => notes.push(whole[32..].to_vec()),
            3 => assert!(next % 512 == 0 && whole[32..].iter().all(|&byte| byte == 0), "a pad ends on a sector"),
            other => panic!("kind {other} at {at}"),
        }
        at = next;
    }
    assert_eq!(at, end);
    (messages, notes)
}

fn footer(whole: &[u8], count: u64) {
    assert_eq!(whole[24], 4);
    let mut rest = Postcard(&whole[32..]);
    assert_eq!((rest.number(), rest.number(), rest.signed(), rest.signed()), (1, count, TIME, TIME));
    let pair = |rest: &mut Postcard<'_>| (rest.number(), rest.number());
    assert_eq!(rest.list(pair), [(2, 2)]);
    let marks = rest.list(|rest| (rest.number(), rest.signed(), rest.number(), rest.number()));
    assert!(matches!(marks[..], [(1, TIME, offset, 0)] if offset > 1024), "{marks:?}");
    let first_bytes = 30 + 3 + 4 + 12 + 1000;
    let others = (count - 2) * 1031;
    assert_eq!(rest.number(), first_bytes + others);
    let subjects = rest.list(|rest| (rest.text(), rest.number(), rest.number(), rest.number()));
    assert_eq!(subjects, [("a.b".to_owned(), 1, 1, first_bytes), ("c".to_owned(), count - 2, count, 1031)]);
    let deleted = rest.list(|rest| (rest.number(), rest.number(), rest.text(), rest.number()));
    assert_eq!(deleted, [(0, 2, "c".to_owned(), 35)]);
    assert_eq!((rest.number(), rest.number()), (1, 1), "one with a deadline; numbers by subject follow");
    let numbers = rest.list(|rest| rest.list(pair));
    // What is deleted may be among them.
    assert!(numbers.len() == 2 && numbers[0] == [(1, first_bytes)] && numbers[1].last() == Some(&(count, 1031)));
    assert_eq!((rest.number(), rest.number()), (0, 0), "nothing is lost; it was not written again");
    assert!(rest.0.is_empty());
}
