//! Segments that are written again while the log is open.

use super::super::sim::SimDisk;
use super::super::*;
use super::{SMALL, all, drain, opened, put, small};

fn delete(log: &mut Log, disk: &mut SimDisk, seq: Seq) {
    let mut reader = Reader::one(seq);
    let record = reader.next(log, disk).unwrap().unwrap();
    assert!(log.delete(0, &record));
}

/// 500 messages of which every tenth stays.
fn thinned(disk: &mut SimDisk) -> Log {
    let (mut log, _) = opened(disk, &small());
    for at in 1..=500u64 {
        put(&mut log, 0, &format!("s.{}", at % 7), &format!("{at:0>100}"));
        if at % 20 == 0 {
            drain(&mut log, disk, 0);
        }
    }
    drain(&mut log, disk, 0);
    for seq in (1..=500).filter(|seq| seq % 10 != 1) {
        delete(&mut log, disk, seq);
    }
    log
}

/// One old message keeps its segment; all that is gone gives its space back nevertheless, and stays gone.
#[test]
fn space_comes_back_behind_a_message_that_stays() {
    let mut disk = SimDisk::new(1);
    let mut log = thinned(&mut disk);
    drain(&mut log, &mut disk, 0);
    let (state, used) = (log.state(), disk.used_bytes());
    assert!(state.compacted >= 3, "{state:?}");
    // The deletions take a segment or two of their own.
    assert!(used < 6 * SMALL, "{used} bytes of {} segments", state.segments);
    let wanted: Vec<Seq> = (1..=500).step_by(10).collect();
    for _ in 0..2 {
        let found = all(&log, &mut disk, "");
        assert!(found.iter().map(|(seq, _)| *seq).eq(wanted.iter().copied()));
        assert!(found.iter().all(|(seq, payload)| *payload == format!("{seq:0>100}")));
        assert_eq!((log.state().messages, log.state().bytes), (50, 50 * (30 + 3 + 100)));
        assert_eq!(log.count(b"s.1"), wanted.iter().filter(|&&seq| seq % 7 == 1).count() as u64);
        let report;
        (log, report) = opened(&mut disk, &small());
        assert!(report.is_clean() && report.scanned == 2, "{report:?}");
    }
    let sound = verify::inspect_all(&mut disk, None, &mut |_, _| {}).unwrap();
    assert!(sound.iter().all(|(_, inspection)| inspection.damage.is_empty()));
}

/// Segments from which everything is gone do not stay as empty files behind one message for ever.
#[test]
fn empty_segments_go() {
    let mut disk = SimDisk::new(1);
    let settings = Settings { msgs_per_subject_max: 1, ..small() };
    let (mut log, _) = opened(&mut disk, &settings);
    put(&mut log, 0, "pinned", "stays");
    for at in 0..5000 {
        put(&mut log, 0, &format!("key.{}", at % 5), &format!("{at:0>100}"));
        drain(&mut log, &mut disk, 0);
    }
    let state = log.state();
    assert!(state.segments <= 8 && disk.used_bytes() < 6 * SMALL, "{state:?}, {} bytes", disk.used_bytes());
    // What was written again is less than what was freed by it.
    assert!(state.written_bytes < 5000 * 1100, "{state:?}");
    for _ in 0..2 {
        assert_eq!((log.state().messages, all(&log, &mut disk, "pinned").len()), (6, 1));
        (log, _) = opened(&mut disk, &settings);
    }
}

/// Appends wait for one step at most, and a step is small.
#[test]
fn appends_go_on_between_the_steps() {
    let mut disk = SimDisk::new(1);
    let mut log = thinned(&mut disk);
    let (mut steps_in_a_row, mut rounds) = (0, 0);
    loop {
        let appended = put(&mut log, 0, "a", "x");
        while !log.is_committed(appended.commit) {
            let batch = log.poll_batch(0).expect("a batch");
            let is_step = batch.want.is_some()
                || batch.ops.iter().any(|op| matches!(op, Op::Write(file, ..) if file.generation > 0));
            steps_in_a_row = if is_step { steps_in_a_row + 1 } else { 0 };
            assert!(steps_in_a_row <= 1, "two steps while a message waits");
            assert!(batch.want.is_none_or(|want| want.len <= WINDOW_BYTES));
            let result = batch.carry_out(&mut disk);
            log.batch_done(0, result);
        }
        rounds += 1;
        if log.state().compacted >= 2 {
            break;
        }
        assert!(rounds < 1000, "nothing was written again");
    }
}

/// A reader in the middle of a segment that is written again goes on with the next message.
#[test]
fn a_reader_goes_on_in_the_new_file() {
    let mut disk = SimDisk::new(1);
    let mut log = thinned(&mut disk);
    let mut reader = Reader::new(1);
    let mut found = Vec::new();
    while let Some(record) = reader.next(&log, &mut disk).unwrap() {
        found.push(record.seq);
        for _ in 0..3 {
            let Some(batch) = log.poll_batch(0) else { break };
            let result = batch.carry_out(&mut disk);
            log.batch_done(0, result);
        }
    }
    assert!(found.into_iter().eq((1..=500).step_by(10)));
    assert!(log.state().compacted > 0);
}

/// A segment that is damaged is left as it is: what was lost is for `store repair` to say.
#[test]
fn what_is_damaged_is_left_alone() {
    let mut disk = SimDisk::new(1);
    let mut log = thinned(&mut disk);
    let first = FileId { segment: 1, generation: 0 };
    disk.flip(first, 8 * 5000);
    drain(&mut log, &mut disk, 0);
    assert!(disk.len(first) == SMALL && log.state().compacted > 0);
}

/// On a full disk nothing is lost, and it is tried again later.
#[test]
fn a_full_disk_puts_it_off() {
    let mut disk = SimDisk::new(1);
    let mut log = thinned(&mut disk);
    drain_appends(&mut log, &mut disk);
    let before = all(&log, &mut disk, "").len();
    disk.capacity_bytes = 0;
    drain(&mut log, &mut disk, 0);
    let done = log.state().compacted;
    assert_eq!((log.failed(), all(&log, &mut disk, "").len()), (None, before));
    let later = log.deadline().unwrap();
    assert!(later > 0, "{later}");
    disk.capacity_bytes = u64::MAX;
    drain(&mut log, &mut disk, later);
    assert!(log.state().compacted > done);
}

/// Everything that is appended is down; what else could be done is not.
fn drain_appends(log: &mut Log, disk: &mut SimDisk) {
    let commit = log.commit_number();
    while !log.is_committed(commit) {
        let batch = log.poll_batch(0).unwrap();
        let result = batch.carry_out(disk);
        log.batch_done(0, result);
    }
}
