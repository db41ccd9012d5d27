//! The log on a disk that keeps its promises.

use super::sim::SimDisk;
use super::*;

mod compaction;
mod encrypted;
mod erasing;
mod format;
mod purging;
mod scripted;
mod simulation;

const SMALL: u64 = 16 * 1024;

fn small() -> Settings {
    Settings { segment_bytes: SMALL, ..Settings::default() }
}

fn opened(disk: &mut SimDisk, settings: &Settings) -> (Log, Report) {
    Log::open(disk, settings.clone(), 0, 7, None).unwrap()
}

/// Does everything that is to be done.
fn drain(log: &mut Log, disk: &mut SimDisk, now: Time) {
    while let Some(batch) = log.poll_batch(now) {
        let result = batch.carry_out(disk);
        log.batch_done(now, result);
    }
}

fn put(log: &mut Log, now: Time, subject: &str, payload: &str) -> Appended {
    let message = Append { subject: subject.as_bytes(), payload: payload.as_bytes(), ..Append::default() };
    log.append(now, &message).unwrap()
}

fn all(log: &Log, disk: &mut SimDisk, filter: &str) -> Vec<(Seq, String)> {
    let filter = filter.as_bytes();
    let mut reader = if filter.is_empty() { Reader::new(1) } else { Reader::matching(1, &[filter]) };
    let mut found = Vec::new();
    while let Some(record) = reader.next(log, disk).unwrap() {
        found.push((record.seq, String::from_utf8(record.payload.to_vec()).unwrap()));
    }
    found
}

/// Messages over several segments, read back before and after opening again: all, by filter, by number.
#[test]
fn keeps_what_it_took() {
    let mut disk = SimDisk::new(1);
    let (mut log, report) = opened(&mut disk, &small());
    assert!(report.is_clean());
    for at in 1..=500u64 {
        put(&mut log, at as Time, &format!("s.{}", at % 10), &format!("{at:0>100}"));
        if at % 7 == 0 {
            drain(&mut log, &mut disk, at as Time);
        }
    }
    assert!(log.committed() < 500, "not everything is written yet");
    drain(&mut log, &mut disk, 500);
    assert_eq!(log.committed(), 500);
    for _ in 0..2 {
        let state = log.state();
        assert!(state.segments > 3, "{state:?}");
        assert_eq!((state.messages, state.first_seq, state.last_seq, state.subjects), (500, 1, 500, 10));
        assert_eq!(state.bytes, 500 * (30 + 3 + 100));
        let found = all(&log, &mut disk, "");
        assert!(found.iter().map(|(seq, _)| *seq).eq(1..=500));
        assert!(found.iter().all(|(seq, payload)| *payload == format!("{seq:0>100}")));
        assert!(all(&log, &mut disk, "s.3").iter().map(|(seq, _)| *seq).eq((3..=500).step_by(10)));
        assert_eq!((log.count(b"s.3"), log.count(b"s.*"), log.last_of(b"s.3")), (50, 500, Some(493)));
        let mut reader = Reader::new(250);
        assert_eq!(reader.next(&log, &mut disk).unwrap().unwrap().seq, 250);
        assert_eq!(Reader::since(&log, 400).next(&log, &mut disk).unwrap().unwrap().seq, 400);
        assert_eq!(Reader::one(77).next(&log, &mut disk).unwrap().unwrap().seq, 77);
        let report;
        (log, report) = opened(&mut disk, &small());
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.scanned, 2);
    }
    assert_eq!(put(&mut log, 501, "s.1", "next").seq, 501);
}

#[test]
fn gathers_appends_into_commits() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { commit_interval: 10, commit_bytes: 1000, ..small() });
    drain(&mut log, &mut disk, 0);
    let first = put(&mut log, 5, "a", "x");
    let second = put(&mut log, 8, "a", "y");
    assert_eq!(first.commit, second.commit);
    assert!(log.poll_batch(14).is_none());
    assert_eq!(log.deadline(), Some(15));
    let batch = log.poll_batch(15).unwrap();
    assert!(matches!(&batch.ops[..], [Op::Write(_, _, bytes), Op::Sync(_)] if bytes.len() % SECTOR_BYTES == 0));
    let third = put(&mut log, 15, "a", "z");
    assert!(third.commit > first.commit);
    assert!(log.poll_batch(99).is_none(), "one batch in flight");
    assert!(!log.is_committed(first.commit));
    log.batch_done(16, Ok(Vec::new()));
    assert!(log.is_committed(first.commit) && !log.is_committed(third.commit));
    put(&mut log, 16, "a", &"w".repeat(1000));
    assert!(log.poll_batch(16).is_some(), "enough bytes do not wait");
}

#[test]
fn refuses_everything_after_a_failure() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &small());
    drain(&mut log, &mut disk, 0);
    put(&mut log, 1, "a", "kept");
    drain(&mut log, &mut disk, 1);
    disk.fail_next = true;
    let lost = put(&mut log, 2, "a", "lost");
    drain(&mut log, &mut disk, 2);
    assert!(!log.is_committed(lost.commit));
    assert!(matches!(log.append(3, &Append::default()), Err(Refused::Failed(text)) if text.contains("simulated")));
    assert!(matches!(log.keep(3, b"k", None), Err(Refused::Failed(_))));
    assert!(log.poll_batch(3).is_none());
    let trusted = log.trusted();
    let (mut log, _) = Log::open(&mut disk, small(), 4, 7, trusted).unwrap();
    drain(&mut log, &mut disk, 4);
    assert_eq!(all(&log, &mut disk, ""), [(1, "kept".to_owned())]);
    put(&mut log, 5, "a", "again");
    drain(&mut log, &mut disk, 5);
    disk.crash();
    let (log, _) = opened(&mut disk, &small());
    assert_eq!(all(&log, &mut disk, "").last().unwrap().1, "again");
}

#[test]
fn keeps_its_limits() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { msgs_max: 100, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    for at in 1..=1000u64 {
        put(&mut log, 0, "a", &format!("{at:0>100}"));
        drain(&mut log, &mut disk, 0);
    }
    let state = log.state();
    assert_eq!((state.messages, state.first_seq, state.discarded), (100, 901, 900));
    // Each message was a commit of its own, and took a sector and more.
    assert!(state.segments <= 5, "{state:?}");
    let (log, _) = opened(&mut disk, &settings);
    assert_eq!((log.state().messages, log.state().first_seq), (100, 901));

    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { bytes_max: 300_000, segment_bytes: 128 * 1024, ..small() });
    for at in 1..=10_000 {
        put(&mut log, at, "a", &"x".repeat(100));
        drain(&mut log, &mut disk, at);
    }
    let bytes = log.state().bytes;
    assert!((200_000..=300_000).contains(&bytes), "{bytes}");

    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { age_max: 1000, segment_bytes: 128 * 1024, ..small() });
    for at in 1..=5000 {
        put(&mut log, at, "a", &"x".repeat(100));
        drain(&mut log, &mut disk, at);
    }
    let first = log.state().first_seq;
    assert!((3300..4000).contains(&first), "{first}");
    let due = log.deadline().unwrap();
    assert!(due > 5000);
    log.tick(9000);
    drain(&mut log, &mut disk, 9000);
    assert_eq!((log.state().messages, log.deadline()), (0, None));
}

#[test]
fn refuses_new_when_told_to() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { msgs_max: 2, discard: Discard::New, ..small() });
    put(&mut log, 0, "a", "1");
    put(&mut log, 0, "a", "2");
    assert_eq!(log.append(0, &Append { subject: b"a", ..Append::default() }), Err(Refused::Full));
    drain(&mut log, &mut disk, 0);
    let mut reader = Reader::new(1);
    let record = reader.next(&log, &mut disk).unwrap().unwrap();
    assert!(log.delete(0, &record));
    assert!(!log.delete(0, &record));
    assert_eq!(put(&mut log, 0, "a", "3").seq, 3);
}

#[test]
fn keeps_the_last_of_each_subject() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { msgs_per_subject_max: 1, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    for at in 0..2000 {
        put(&mut log, 0, &format!("key.{}", at % 7), &format!("{at:0>50}"));
        drain(&mut log, &mut disk, 0);
    }
    for _ in 0..2 {
        let state = log.state();
        assert_eq!((state.messages, state.subjects, state.bytes), (7, 7, 7 * (30 + 5 + 50)));
        assert!(state.segments <= 3, "{state:?}");
        assert_eq!(all(&log, &mut disk, "key.1").len(), 1);
        (log, _) = opened(&mut disk, &settings);
    }
}

#[test]
fn deletes_trims_and_expires_for_good() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &small());
    for at in 1..=20 {
        let deadline = (at == 15).then_some(100);
        let payload = at.to_string();
        log.append(0, &Append { subject: b"a", payload: payload.as_bytes(), deadline, ..Append::default() }).unwrap();
    }
    drain(&mut log, &mut disk, 0);
    let mut reader = Reader::new(10);
    let record = reader.next(&log, &mut disk).unwrap().unwrap();
    log.delete(1, &record);
    log.trim(1, 5);
    drain(&mut log, &mut disk, 1);
    assert_eq!(log.deadline(), Some(100));
    let wanted: Vec<Seq> = (5..=20).filter(|seq| *seq != 10).collect();
    for _ in 0..2 {
        assert_eq!(log.state().messages, 15);
        assert!(all(&log, &mut disk, "").iter().map(|(seq, _)| *seq).eq(wanted.iter().copied()));
        (log, _) = opened(&mut disk, &small());
    }
    log.tick(100);
    assert!(!log.is_there(15));
    assert_eq!(log.state().messages, 14);
}

#[test]
fn finds_duplicates_also_after_opening_again() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { dedupe_window: 100, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    let message = Append { subject: b"a", msg_id: b"one", ..Append::default() };
    let first = log.append(10, &message).unwrap();
    let again = log.append(20, &message).unwrap();
    assert!(again.duplicate && again.seq == first.seq);
    assert!(!log.is_committed(again.commit), "what is not synced is not acknowledged to the second either");
    drain(&mut log, &mut disk, 20);
    assert!(log.is_committed(again.commit));
    let (mut log, _) = Log::open(&mut disk, settings, 30, 7, None).unwrap();
    assert!(log.append(50, &message).unwrap().duplicate);
    assert!(!log.append(111, &message).unwrap().duplicate);
}

/// What was written counts on after opening again, to within a segment.
#[test]
fn counts_what_was_written_for_ever() {
    let mut disk = SimDisk::new(1);
    let (mut log, mut written) = (opened(&mut disk, &small()).0, 0);
    for _ in 0..5 {
        for at in 0..200 {
            put(&mut log, 0, "a", &format!("{at:0>100}"));
            drain(&mut log, &mut disk, 0);
        }
        written += log.state().written_bytes;
        let (worn, slack) = (log.state().worn_bytes, 5 * SMALL);
        assert!((written - slack..=written + slack).contains(&worn), "{worn}, {written} were written");
        log = opened(&mut disk, &small()).0;
    }
}

#[test]
fn carries_what_is_kept_along() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &Settings { msgs_max: 10, ..small() });
    log.keep(0, b"cursor", Some(b"1")).unwrap();
    log.keep(0, b"cursor", Some(b"2")).unwrap();
    log.keep(0, b"gone", Some(b"x")).unwrap();
    log.keep(0, b"gone", None).unwrap();
    for _ in 0..1000 {
        put(&mut log, 0, "a", &"x".repeat(100));
        drain(&mut log, &mut disk, 0);
    }
    let (mut log, _) = opened(&mut disk, &small());
    assert_eq!((log.kept(b"cursor"), log.kept(b"gone")), (Some(&b"2"[..]), None));
    assert_eq!(log.keep(0, b"big", Some(&vec![0; 2 << 20])), Err(Refused::Full));
}

/// A full disk stops the log, not for good: the oldest give way, or it goes on when there is room.
#[test]
fn survives_a_full_disk() {
    for discard in [Discard::Old, Discard::New] {
        let mut disk = SimDisk::new(1);
        disk.capacity_bytes = 4 * SMALL + 5000;
        let settings = Settings { discard, ..small() };
        let (mut log, _) = opened(&mut disk, &settings);
        let mut refused = 0;
        for at in 0..2000 {
            let message = Append { subject: b"a", payload: &[b'x'; 100], ..Append::default() };
            match log.append(at, &message) {
                Ok(_) => {}
                Err(Refused::DiskFull) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            drain(&mut log, &mut disk, at);
        }
        match discard {
            Discard::Old => assert_eq!((refused, log.committed(), log.state().discarded > 1000), (0, 2000, true)),
            Discard::New => {
                assert!(refused > 1000);
                let (again, _) = Log::open(&mut disk, settings, 1, 7, None).unwrap();
                assert!(again.state().messages >= log.committed());
                disk.capacity_bytes = u64::MAX;
                drain(&mut log, &mut disk, 2 * 1_000_000_000);
                assert_eq!(log.append(2_000_000_000, &Append::default()).unwrap().seq, log.state().last_seq);
            }
        }
    }
}

/// Single bits of a log of 1,000 records, one at a time: exactly the record that was hit is lost, and it is reported.
fn flip_bits(settings: &Settings, every: u64) {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, settings);
    for at in 1..=1000u64 {
        put(&mut log, 0, "a.b", &format!("{at:0>20}"));
        if at % 10 == 0 {
            drain(&mut log, &mut disk, 0);
        }
    }
    drain(&mut log, &mut disk, 0);
    drop(log);
    let files = disk.list().unwrap();
    let keys = settings.keys.as_deref();
    let mut hit = 0;
    for file in files {
        let whole = verify::inspect(&mut disk, keys, file, &mut |_| {}).unwrap();
        let locked = verify::inspect(&mut disk, None, file, &mut |_| {}).unwrap();
        for bit in (0..disk.len(file) * 8).step_by(every as usize) {
            disk.flip(file, bit);
            let found = verify::inspect(&mut disk, keys, file, &mut |_| {}).unwrap();
            let lost = whole.messages - found.messages;
            assert!(!found.headless && lost <= 1, "{file}, bit {bit}: {lost} lost");
            assert!(lost == 0 || found.damage.len() == 1, "{file}, bit {bit}: not reported");
            if keys.is_some() && lost > 0 && bit % 7 == 0 {
                // Without the key the same damage is found.
                let found_locked = verify::inspect(&mut disk, None, file, &mut |_| {}).unwrap();
                assert_eq!(
                    (found_locked.others + 1, found_locked.damage.len()),
                    (locked.others, 1),
                    "{file}, bit {bit}"
                );
            }
            disk.flip(file, bit);
            hit += lost;
        }
    }
    assert!(hit > 200_000 / every, "{hit}");
    let (log, report) = opened(&mut disk, settings);
    assert!(report.is_clean() && log.state().messages == 1000);
}

#[test]
fn a_flipped_bit_costs_one_record() {
    flip_bits(&Settings { segment_bytes: 32 * 1024, ..small() }, 73);
}

#[test]
#[ignore = "takes a minute with --release, many without"]
fn every_flipped_bit_costs_one_record() {
    flip_bits(&Settings { segment_bytes: 32 * 1024, ..small() }, 1);
}

/// Nothing is written where no space was reserved, footers apart, also not of a record that is longer than a segment: a full
/// disk is found before the record counts.
#[test]
fn a_long_record_has_its_space_reserved() {
    let mut disk = SimDisk::new(1);
    let (mut log, _) = opened(&mut disk, &small());
    let payload = "x".repeat(5 * SMALL as usize);
    for _ in 0..3 {
        put(&mut log, 0, "a", "short");
        put(&mut log, 0, "a", &payload);
    }
    while let Some(batch) = log.poll_batch(0) {
        let begun = batch.ops.iter().any(|op| matches!(op, Op::Create(..)));
        for op in &batch.ops {
            if let Op::Write(file, offset, bytes) = op
                && !begun
            {
                assert!(offset + bytes.len() as u64 <= disk.len(*file), "{file}: {offset} and {} bytes", bytes.len());
            }
        }
        let result = batch.carry_out(&mut disk);
        log.batch_done(0, result);
    }
    disk.capacity_bytes = disk.used_bytes() + 2 * SMALL;
    put(&mut log, 0, "a", &payload);
    drain(&mut log, &mut disk, 0);
    assert_eq!(log.failed(), None);
    let (log, report) = opened(&mut disk, &small());
    assert!(report.is_clean() && log.state().last_seq >= 6, "{report:?}");
}

/// The end of a batch was torn off, its records are whole: they count, and what is written next, the footer, must not share
/// a sector with them.
#[test]
fn a_footer_keeps_off_the_sector_of_a_torn_end() {
    for seed in 0..50 {
        let mut disk = SimDisk::new(seed);
        let (mut log, _) = opened(&mut disk, &small());
        put(&mut log, 1, "a", "one");
        drain(&mut log, &mut disk, 1);
        put(&mut log, 2, "a", "two");
        let batch = log.poll_batch(2).unwrap();
        let Op::Write(file, offset, bytes) = &batch.ops[0] else { panic!("{batch:?}") };
        disk.perform(&Op::Write(*file, *offset, bytes[..40].to_vec())).unwrap();
        disk.perform(&Op::Sync(*file)).unwrap();
        let (mut log, _) = opened(&mut disk, &small());
        let there = all(&log, &mut disk, "");
        assert_eq!(there.last().unwrap(), &(2, "two".to_owned()));
        drain(&mut log, &mut disk, 3);
        disk.crash();
        let (log, _) = opened(&mut disk, &small());
        assert_eq!(all(&log, &mut disk, ""), there, "seed {seed}");
    }
}
