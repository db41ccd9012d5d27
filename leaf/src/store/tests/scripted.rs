//! What the simulation found, each as a short story.

use super::super::sim::SimDisk;
use super::super::*;
use super::{all, drain, opened, put, small};

/// A deletion for which there was no room began a new segment, and the old one's footer already knew of it: after a
/// crash between the two the message was gone although nothing said so.
#[test]
fn a_footer_does_not_know_of_deletions_to_come() {
    let mut rotated = 0;
    for count in 95..106 {
        let mut disk = SimDisk::new(1);
        let (mut log, _) = opened(&mut disk, &small());
        for _ in 0..count {
            put(&mut log, 0, "a", &"x".repeat(100));
        }
        drain(&mut log, &mut disk, 0);
        let mut reader = Reader::one(1);
        let record = reader.next(&log, &mut disk).unwrap().unwrap();
        assert!(log.delete(0, &record));
        let batch = log.poll_batch(0).unwrap();
        if !matches!(batch.ops[0], Op::Create(..)) {
            continue;
        }
        rotated += 1;
        batch.ops.iter().for_each(|op| disk.perform(op).unwrap());
        disk.crash();
        for _ in 0..2 {
            let (mut log, _) = opened(&mut disk, &small());
            assert!(log.is_there(1), "{count}");
            while log.state().segments < 4 {
                put(&mut log, 0, "b", &"y".repeat(1000));
                drain(&mut log, &mut disk, 0);
            }
        }
    }
    assert!(rotated > 0);
}

/// A key that was dropped came back where the segment that had it was read and the one that dropped it known by its footer.
#[test]
fn what_is_dropped_stays_dropped() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &small());
    log.keep(0, b"key", Some(b"value")).unwrap();
    for segments in 2..6 {
        while log.state().segments < segments {
            put(&mut log, 0, "a", &"x".repeat(500));
            drain(&mut log, &mut disk, 0);
        }
        log.keep(0, b"key", None).unwrap();
        drain(&mut log, &mut disk, 0);
    }
    let first = FileId { segment: 1, generation: 0 };
    let footer = verify::inspect_all(&mut disk, None, &mut |_, _| {}).unwrap()[0].1.end;
    disk.flip(first, footer * 8 + 400);
    let (log, report) = opened(&mut disk, &small());
    assert_eq!((report.scanned, log.kept(b"key")), (3, None));
}

/// A process died between making a segment and syncing the directory; the next one wrote into it, and the power went.
#[test]
fn a_name_is_certain_before_its_file_is_used() {
    for seed in 0..20 {
        let mut disk = SimDisk::new(seed);
        let (mut log, _) = opened(&mut disk, &small());
        let batch = log.poll_batch(0).unwrap();
        let before = batch.ops.iter().take_while(|op| **op != Op::SyncDir);
        before.for_each(|op| disk.perform(op).unwrap());
        let (mut log, _) = opened(&mut disk, &small());
        put(&mut log, 0, "a", "kept");
        drain(&mut log, &mut disk, 0);
        disk.crash();
        let (log, _) = opened(&mut disk, &small());
        assert_eq!(all(&log, &mut disk, "").len(), 1, "seed {seed}");
    }
}

/// A limit for each subject holds from the moment it is there, whatever a crash left or another configuration allowed.
#[test]
fn a_new_limit_for_each_subject_holds_at_once() {
    for keep in [1, 2, 5] {
        let mut disk = SimDisk::new(1);
        let (mut log, _) = opened(&mut disk, &small());
        for at in 0..300 {
            put(&mut log, 0, &format!("key.{}", at % 3), &format!("{at:0>100}"));
            drain(&mut log, &mut disk, 0);
        }
        let settings = Settings { msgs_per_subject_max: keep, ..small() };
        for _ in 0..3 {
            let (mut log, _) = opened(&mut disk, &settings);
            drain(&mut log, &mut disk, 0);
            assert_eq!(log.state().messages, 3 * keep);
            put(&mut log, 0, "key.0", "more");
            drain(&mut log, &mut disk, 0);
            let found = all(&log, &mut disk, "key.0");
            assert_eq!((found.len() as u64, &*found.last().unwrap().1), (keep, "more"));
        }
    }
}

/// Segments whose messages are gone lay between old ones, which then never expired.
#[test]
fn age_passes_over_empty_segments() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { age_max: 1000, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    put(&mut log, 0, "a", "old");
    drain(&mut log, &mut disk, 0);
    for time in 1..4 {
        // Nothing but notes: segments without messages.
        for _ in 0..20 {
            log.keep(time, b"key", Some(&[0; 1000])).unwrap();
            drain(&mut log, &mut disk, time);
        }
    }
    put(&mut log, 10, "a", "old too");
    drain(&mut log, &mut disk, 10);
    assert!(log.state().segments > 2);
    log.tick(2000);
    assert_eq!(log.state().messages, 0);
}

/// A disk that was full let the newer of two segments go before the older, whose deletions it had.
#[test]
fn removals_keep_their_order_on_a_full_disk() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { msgs_per_subject_max: 1, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    for at in 0..400 {
        put(&mut log, 0, &format!("key.{}", at % 40), &"x".repeat(200));
        if at == 200 {
            disk.capacity_bytes = disk.used_bytes();
        }
        let mut tries = 0;
        while let Some(batch) = log.poll_batch(2_000_000_000 * tries) {
            let result = batch.carry_out(&mut disk);
            log.batch_done(2_000_000_000 * tries, result);
            tries += 1;
            let known = log.state().messages;
            let (again, _) = opened(&mut disk.clone(), &settings);
            assert!(again.state().messages <= 40 && known <= 40, "{at}: {:?}", again.state());
        }
    }
}
