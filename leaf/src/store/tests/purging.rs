//! Purges.

use super::super::sim::SimDisk;
use super::super::*;
use super::{all, drain, opened, put, small};

/// Runs a purge to its end; how many went.
fn purge(log: &mut Log, disk: &mut SimDisk, filter: &str, below: Seq, keep: u64) -> u64 {
    let filters: &[&[u8]] = if filter.is_empty() { &[] } else { &[filter.as_bytes()] };
    let mut purge = Purge::new(log, filters, below, keep).unwrap();
    loop {
        match purge.poll(log, 0).unwrap() {
            Purged::Want(want) => purge.filled(want, Ok(&want.read(disk).unwrap())),
            Purged::Waiting => drain(log, disk, 0),
            Purged::Done { removed, commit } => {
                drain(log, disk, 0);
                assert!(log.is_committed(commit));
                return removed;
            }
        }
    }
}

fn filled(disk: &mut SimDisk) -> Log {
    let (mut log, _) = opened(disk, &small());
    for at in 1..=600u64 {
        put(&mut log, 0, &format!("s.{}", at % 3), &format!("{at:0>60}"));
        if at % 50 == 0 {
            drain(&mut log, disk, 0);
        }
    }
    // The last are not on disk yet: a purge waits for them.
    put(&mut log, 0, "s.0", "last");
    log
}

#[test]
fn takes_what_it_is_told_to_and_no_more() {
    for (filter, below, keep, left) in [
        ("", 1000, 0, Vec::new()),
        ("", 1000, 3, vec![599, 600, 601]),
        ("", 599, 0, vec![599, 600, 601]),
        ("s.*", 1000, 2, vec![600, 601]),
        ("s.1", 1000, 200, (1..=601).collect()),
        ("s.1", 1000, 199, (2..=601).collect()),
        ("s.1", 598, 1, (1..=601).filter(|seq| seq % 3 != 1 || *seq == 595 || *seq >= 598).collect()),
        ("none", 1000, 0, (1..=601).collect()),
    ] {
        let mut disk = SimDisk::new(1);
        let mut log = filled(&mut disk);
        let removed = purge(&mut log, &mut disk, filter, below, keep);
        assert_eq!(removed, 601 - left.len() as u64, "{filter} {below} {keep}");
        disk.crash();
        let (log, report) = opened(&mut disk, &small());
        assert!(report.is_clean());
        let found: Vec<Seq> = all(&log, &mut disk, "").iter().map(|(seq, _)| *seq).collect();
        assert_eq!(found, left, "{filter} {below} {keep}");
        assert_eq!(log.state().last_seq, 601);
    }
}

/// What comes while a purge goes on is not touched, and what others delete meanwhile is not counted as kept.
#[test]
fn leaves_what_comes_meanwhile() {
    let mut disk = SimDisk::new(1);
    let mut log = filled(&mut disk);
    drain(&mut log, &mut disk, 0);
    let mut purge = Purge::new(&log, &[b"s.2"], Seq::MAX, 2).unwrap();
    let Purged::Want(want) = purge.poll(&mut log, 0).unwrap() else { panic!() };
    let new = put(&mut log, 0, "s.2", "new").seq;
    for seq in [596, 599] {
        let mut reader = Reader::one(seq);
        let record = reader.next(&log, &mut disk).unwrap().unwrap();
        log.delete(0, &record);
    }
    purge.filled(want, Ok(&want.read(&mut disk).unwrap()));
    loop {
        match purge.poll(&mut log, 0).unwrap() {
            Purged::Want(want) => purge.filled(want, Ok(&want.read(&mut disk).unwrap())),
            Purged::Waiting => drain(&mut log, &mut disk, 0),
            Purged::Done { removed, .. } => break assert_eq!(removed, 196),
        }
    }
    drain(&mut log, &mut disk, 0);
    let found: Vec<Seq> = all(&log, &mut disk, "s.2").iter().map(|(seq, _)| *seq).collect();
    assert_eq!(found, [590, 593, new]);
}

#[test]
fn keeping_has_a_bound() {
    let mut disk = SimDisk::new(1);
    let (log, _) = opened(&mut disk, &small());
    assert_eq!(Purge::new(&log, &[], 1, PURGE_KEEP_MAX + 1).unwrap_err(), Refused::TooLarge);
}
