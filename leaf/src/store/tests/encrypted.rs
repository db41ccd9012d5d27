//! Encrypted logs.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::sim::SimDisk;
use super::super::*;
use super::{all, drain, flip_bits, opened, put, small};

fn key(byte: u8) -> Key {
    Key::new(Zeroizing::new([byte; KEY_BYTES]), "a test")
}

/// With a key, and the one before it. Each time with other noise, as in each process.
pub(super) fn with(now: u8, before: Option<u8>, noise: u8) -> Settings {
    let keys = Keys::new(key(now), before.map(key), &Zeroizing::new([noise; 32]));
    Settings { keys: Some(Arc::new(keys)), ..small() }
}

/// All bytes of a disk.
fn bytes(disk: &mut SimDisk) -> Vec<u8> {
    let mut all = Vec::new();
    for file in disk.list().unwrap() {
        let len = disk.len(file) as usize;
        all.extend(Want { file, offset: 0, len }.read(disk).unwrap());
    }
    all
}

fn shows(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn fill(log: &mut Log, disk: &mut SimDisk, count: u64) {
    for at in 0..count {
        let payload = format!("secret payload {at:0>80}");
        let message = Append {
            subject: b"secret.subject",
            headers: b"NATS/1.0\r\nSecret: header\r\n\r\n",
            payload: payload.as_bytes(),
            msg_id: b"secret id",
            deadline: None,
        };
        log.append(5, &message).unwrap();
        log.keep(5, b"secret key", Some(b"secret value")).unwrap();
        drain(log, disk, 5);
    }
}

/// Subject, header, payload, id, what is kept, and footers: nothing of them is on the disk, and all of it comes back.
#[test]
fn nothing_can_be_read_without_the_key() {
    let mut disk = SimDisk::new(1);
    let settings = with(1, None, 1);
    let (mut log, _) = opened(&mut disk, &settings);
    fill(&mut log, &mut disk, 200);
    assert!(log.state().segments > 3);
    let on_disk = bytes(&mut disk);
    assert!(!shows(&on_disk, b"secret") && !shows(&on_disk, b"Secret"));
    let (log, report) = opened(&mut disk, &with(1, None, 2));
    assert!(report.is_clean() && report.scanned == 2, "{report:?}");
    assert_eq!((log.state().messages, log.kept(b"secret key")), (200, Some(&b"secret value"[..])));
    let mut reader = Reader::one(77);
    let record = reader.next(&log, &mut disk).unwrap().unwrap();
    assert_eq!((record.subject, record.msg_id), (&b"secret.subject"[..], &b"secret id"[..]));
    assert!(record.headers.starts_with(b"NATS/1.0\r\nSecret") && record.payload.starts_with(b"secret payload 00"));
}

#[test]
fn a_flipped_bit_costs_one_encrypted_record() {
    flip_bits(&Settings { segment_bytes: 64 * 1024, ..with(1, None, 1) }, 1597);
}

#[test]
fn a_wrong_key_changes_nothing() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &with(1, None, 1));
    fill(&mut log, &mut disk, 100);
    // A batch that a crash tore: opening has something to do.
    put(&mut log, 6, "a", &"x".repeat(2000));
    let batch = log.poll_batch(6).unwrap();
    let Op::Write(file, offset, torn) = &batch.ops[0] else { panic!("{batch:?}") };
    disk.perform(&Op::Write(*file, *offset, torn[..1500].to_vec())).unwrap();
    let before = bytes(&mut disk);
    let id = key(1).id();
    for (settings, words) in [
        (small(), format!("is encrypted with key {id}, and no key is given")),
        (with(2, None, 1), format!("is encrypted with key {id}; given is {} (a test)", key(2).id())),
        (with(2, Some(3), 1), format!("{} (a test) and {} (a test)", key(2).id(), key(3).id())),
    ] {
        let error = Log::open(&mut disk, settings, 7, 7, None).unwrap_err();
        assert!(matches!(error, OpenError::Locked(..)) && error.to_string().contains(&words), "{error}");
        assert!(bytes(&mut disk) == before, "{words}");
    }
    let (log, _) = opened(&mut disk, &with(1, None, 2));
    assert_eq!(log.state().messages, 100);
}

/// A log that was not encrypted, then was, then got another key: all can be read, what is new is encrypted with the new key,
/// and the old ones are not needed any more when what they are for is gone.
#[test]
fn keys_come_and_change() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &small());
    put(&mut log, 0, "a", "plain");
    drain(&mut log, &mut disk, 0);
    for (settings, payload) in [(with(1, None, 1), "first key"), (with(2, Some(1), 2), "second key")] {
        let (mut log, report) = opened(&mut disk, &settings);
        assert!(report.is_clean());
        put(&mut log, 0, "a", payload);
        drain(&mut log, &mut disk, 0);
        let (_, inspected) =
            verify::inspect_all(&mut disk, settings.keys.as_deref(), &mut |_, _| {}).unwrap().pop().unwrap();
        assert_eq!(inspected.key, Some(settings.keys.as_ref().unwrap().current().id()));
    }
    let (mut log, _) = opened(&mut disk, &with(2, Some(1), 3));
    let found: Vec<String> = all(&log, &mut disk, "").into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(found, ["plain", "first key", "second key"]);
    assert!(matches!(Log::open(&mut disk, with(2, None, 1), 0, 7, None), Err(OpenError::Locked(..))));
    log.trim(0, 3);
    drain(&mut log, &mut disk, 0);
    let (log, _) = opened(&mut disk, &with(2, None, 4));
    assert_eq!(log.state().messages, 1);
}

/// Segments that are not encrypted are older than those that are: another one was put there.
#[test]
fn a_plain_segment_does_not_follow_an_encrypted_one() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &with(1, None, 1));
    fill(&mut log, &mut disk, 100);
    let last = disk.list().unwrap().into_iter().max().unwrap();
    let mut other = SimDisk::new(1);
    let (mut log, _) = opened(&mut other, &small());
    while log.state().segments <= last.segment {
        put(&mut log, 0, "a", &"forged".repeat(100));
        drain(&mut log, &mut other, 0);
    }
    let file = FileId { segment: last.segment + 1, generation: 0 };
    let bytes = Want { file, offset: 0, len: 16 * 1024 }.read(&mut other).unwrap();
    for op in [Op::Create(file, bytes.len() as u64), Op::Write(file, 0, bytes), Op::Sync(file), Op::SyncDir] {
        disk.perform(&op).unwrap();
    }
    let error = Log::open(&mut disk, with(1, None, 1), 0, 7, None).unwrap_err();
    assert_eq!(error, OpenError::Locked(file, Lock::NotEncrypted));
}

/// Damage in an encrypted log is repaired with the key, and left alone without it.
#[test]
fn repairs_with_the_key_alone() {
    let mut disk = SimDisk::new(1);
    let settings = with(1, None, 1);
    let (mut log, _) = opened(&mut disk, &settings);
    fill(&mut log, &mut disk, 100);
    let first = FileId { segment: 1, generation: 0 };
    disk.flip(first, (8 * 1024 + 40) * 8);
    let before = bytes(&mut disk);
    let mut dropped = 0;
    let error = repair::repair(&mut disk, None, 0, 3, &mut |_, _, _| panic!("without a key")).unwrap_err();
    assert!(matches!(error, OpenError::Locked(..)) && bytes(&mut disk) == before);
    let keys = settings.keys.as_deref();
    let repaired = repair::repair(&mut disk, keys, 0, 3, &mut |_, _, bytes| {
        dropped += bytes.len();
        Ok(())
    });
    assert!(repaired == Ok(1) && dropped > 0);
    let (log, report) = opened(&mut disk, &with(1, None, 2));
    assert!(report.is_clean(), "{report:?}");
    assert!((99..=100).contains(&log.state().messages), "{:?}", log.state());
    assert!(!shows(&bytes(&mut disk), b"secret"));
}

/// Does so many operations, and then nothing.
struct Until<'a>(&'a mut SimDisk, u64);

impl Disk for Until<'_> {
    fn perform(&mut self, op: &Op) -> Result<(), DiskError> {
        self.1 = self.1.checked_sub(1).ok_or(DiskError::Failed("the power is gone".to_owned()))?;
        self.0.perform(op)
    }

    fn list(&mut self) -> std::io::Result<Vec<FileId>> {
        self.0.list()
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(file, offset, bytes)
    }
}

/// All segments are written again with a new key while the power goes at any moment: nothing is lost, and the second try
/// finishes it.
#[test]
fn a_change_of_keys_may_be_interrupted() {
    let mut made = SimDisk::new(1);
    let (mut log, _) = opened(&mut made, &small());
    fill(&mut log, &mut made, 40);
    let (mut log, _) = opened(&mut made, &with(1, None, 1));
    fill(&mut log, &mut made, 40);
    let wanted = all(&log, &mut made, "");
    let old = made.list().unwrap().len() as u64;
    for ops in 0.. {
        let mut disk = made.clone();
        let keys = with(2, Some(1), 2).keys.unwrap();
        let first = repair::encrypt(&mut Until(&mut disk, ops), &keys, 9, 3);
        if first.is_ok() {
            assert!(first == Ok(old) && ops > 8 * old, "{first:?} after {ops} operations");
            return;
        }
        disk.crash();
        // As a server finds it, and as it is left by the second try.
        let (log, report) = opened(&mut disk.clone(), &with(2, Some(1), 3));
        assert!(report.damage.is_empty() && all(&log, &mut disk.clone(), "") == wanted, "{ops}: {report:?}");
        let keys = with(2, Some(1), 4).keys.unwrap();
        repair::encrypt(&mut disk, &keys, 9, 3).unwrap_or_else(|error| panic!("{ops}: {error}"));
        let (log, report) = opened(&mut disk, &with(2, None, 5));
        assert!(report.damage.is_empty() && all(&log, &mut disk, "") == wanted, "{ops}: {report:?}");
    }
}
