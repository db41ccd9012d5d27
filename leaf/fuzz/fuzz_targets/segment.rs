//! Any bytes as the only segment of a log, or any changes to a sound one, plain and encrypted: opened, read and looked at
//! without harm. Of an encrypted one nothing is read that was not written, whatever somebody does to it, checksums and all.

#![no_main]

use std::sync::Arc;

use leaf::store::sim::SimDisk;
use leaf::store::{Append, Disk, FileId, Key, Keys, Log, Op, Reader, Settings, Want, verify};
use libfuzzer_sys::fuzz_target;

const FILE: FileId = FileId { segment: 1, generation: 0 };
const KEY: &[u8] = b"30e4f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e";
const MESSAGES: u64 = 6;

fn payload(seq: u64) -> String {
    format!("payload {seq}").repeat(1 + seq as usize * 3)
}

/// A log of some messages in one segment.
fn fill(disk: &mut SimDisk, settings: &Settings) {
    let Ok((mut log, _)) = Log::open(disk, settings.clone(), 0, 1, None) else { return };
    for seq in 1..=MESSAGES {
        let payload = payload(seq);
        let message = Append { subject: b"a.b", payload: payload.as_bytes(), msg_id: b"id", ..Append::default() };
        let _ = log.append(0, &message);
        while let Some(batch) = log.poll_batch(0) {
            let result = batch.carry_out(disk);
            log.batch_done(0, result);
        }
    }
}

/// Changes bytes as `data` says, and has the checksums of all records right that still have a length.
fn change(disk: &mut SimDisk, data: &[u8]) {
    let Ok(mut bytes) = (Want { file: FILE, offset: 0, len: 1 << 20 }).read(disk) else { return };
    for change in data.chunks_exact(3) {
        let at = 1024 + usize::from(u16::from_le_bytes([change[0], change[1]])) % (bytes.len() - 1024);
        bytes[at] ^= change[2];
    }
    let salt = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
    let mut at = 1024;
    while let Some(length) = bytes.get(at..at + 4) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(record) = bytes.get_mut(at..at + length).filter(|record| record.len() >= 32) else { break };
        let mut crc = crc32fast::Hasher::new_with_initial(salt);
        crc.update(&record[..4]);
        crc.update(&record[8..]);
        record[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        at += length.next_multiple_of(8);
    }
    disk.perform(&Op::Write(FILE, 0, bytes)).ok();
}

fuzz_target!(|data: &[u8]| {
    let Some((&mode, data)) = data.split_first() else { return };
    let keys = Key::parse(KEY, "fuzz").ok().map(|key| Arc::new(Keys::new(key, None, &[1; 32].into())));
    let keys = keys.filter(|_| mode % 2 == 1);
    let mut disk = SimDisk::new(1);
    let settings = Settings { segment_bytes: 16 * 1024, keys: keys.clone(), ..Settings::default() };
    fill(&mut disk, &settings);
    match mode / 2 % 4 {
        // Nothing but the bytes.
        0 => drop(disk.perform(&Op::Write(FILE, 0, data.to_vec()))),
        // A valid head in front of them.
        1 => drop(disk.perform(&Op::Write(FILE, 1024, data.to_vec()))),
        _ => change(&mut disk, data),
    }
    for keys in [None, keys.as_deref()] {
        let _ = verify::inspect(&mut disk, keys, FILE, &mut |_| {});
    }
    let Ok((log, _)) = Log::open(&mut disk, settings, 0, 1, None) else { return };
    let mut reader = Reader::new(0);
    while let Ok(Some(record)) = reader.next(&log, &mut disk) {
        // In place of the head there may be one of a plain segment.
        if keys.is_some() && mode / 2 % 4 > 0 {
            assert_eq!(record.payload, payload(record.seq).as_bytes(), "message {}", record.seq);
        }
    }
});
