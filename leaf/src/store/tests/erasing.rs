//! Messages that are overwritten.

use super::super::sim::SimDisk;
use super::super::*;
use super::encrypted::with;
use super::{all, drain, opened, put, small};

fn filled(disk: &mut SimDisk, settings: &Settings) -> Log {
    let (mut log, _) = opened(disk, settings);
    for at in 1..=300u64 {
        put(&mut log, 0, "a", &format!("secret{at:0>60}"));
        if at % 30 == 0 {
            drain(&mut log, disk, 0);
        }
    }
    log
}

/// Old, new and not even written: nothing of it is left, everything else is.
#[test]
fn nothing_is_left() {
    let mut disk = SimDisk::new(1);
    let mut log = filled(&mut disk, &small());
    put(&mut log, 0, "a", &format!("secret{:0>60}", 301));
    let chosen = [1, 2, 150, 299, 300, 301];
    let last = chosen.map(|seq| log.erase(seq).unwrap().unwrap())[5];
    assert!(!log.is_erased(last) && disk.contains(format!("secret{:0>60}", 150).as_bytes()));
    drain(&mut log, &mut disk, 0);
    assert!(log.is_erased(last) && log.erase(150).unwrap().is_none());
    disk.crash();
    for _ in 0..2 {
        for seq in chosen {
            assert!(!disk.contains(format!("secret{seq:0>60}").as_bytes()), "{seq}");
        }
        let found: Vec<Seq> = all(&log, &mut disk, "").iter().map(|(seq, _)| *seq).collect();
        assert!(found.iter().copied().eq((1..=301).filter(|seq| !chosen.contains(seq))));
        assert_eq!(log.state().messages, 295);
        let inspections = verify::inspect_all(&mut disk, None, &mut |_, _| {}).unwrap();
        assert!(inspections.iter().all(|(_, inspection)| inspection.damage.is_empty()));
        let report;
        (log, report) = opened(&mut disk, &small());
        assert!(report.is_clean(), "{report:?}");
    }
}

/// The power goes while the sectors are overwritten: what shares them with the message is there after opening, and after a
/// repair before that.
#[test]
fn its_neighbours_survive_a_crash() {
    for seed in 0..120 {
        let (repaired, encrypted) = (seed % 2 == 0, seed % 4 > 1);
        // Each time with other noise, as in each process.
        let settings = |noise| if encrypted { with(1, None, noise) } else { small() };
        let mut disk = SimDisk::new(seed);
        let mut log = filled(&mut disk, &settings(1));
        drain(&mut log, &mut disk, 0);
        log.erase(150).unwrap();
        loop {
            let batch = log.poll_batch(0).unwrap();
            if let [overwrite @ Op::Write(file, ..), Op::Sync(_)] = &batch.ops[..]
                && (1..4).contains(&file.segment)
            {
                disk.perform(overwrite).unwrap();
                break;
            }
            let result = batch.carry_out(&mut disk);
            log.batch_done(0, result);
        }
        disk.crash();
        if repaired {
            let settings = settings(2);
            repair::repair(&mut disk, settings.keys.as_deref(), 0, 5, &mut |_, damage, _| panic!("{damage:?}"))
                .unwrap();
        }
        for noise in 3..5 {
            let (log, report) = opened(&mut disk, &settings(noise));
            assert!(report.is_clean(), "seed {seed}: {report:?}");
            let found: Vec<Seq> = all(&log, &mut disk, "").iter().map(|(seq, _)| *seq).collect();
            assert!(found.iter().copied().eq((1..=300).filter(|seq| *seq != 150)), "seed {seed}");
            assert!(!disk.contains(format!("secret{:0>60}", 150).as_bytes()), "seed {seed}");
        }
    }
}

/// The last message of a segment goes with its file, but not before it is overwritten.
#[test]
fn is_overwritten_before_its_file_goes() {
    let mut disk = SimDisk::new(1);
    let mut log = filled(&mut disk, &small());
    drain(&mut log, &mut disk, 0);
    let (mut number, first) = (0, FileId { segment: 1, generation: 0 });
    let mut wrote = 0;
    for seq in 1..=300 {
        number = log.erase(seq).unwrap().unwrap();
        while let Some(batch) = log.poll_batch(0) {
            wrote += batch.ops.iter().filter(|op| matches!(op, Op::Write(file, ..) if *file == first)).count();
            let result = batch.carry_out(&mut disk);
            log.batch_done(0, result);
        }
    }
    assert!(log.is_erased(number) && log.state().messages == 0 && disk.len(first) == 0);
    assert!(wrote > 50, "{wrote}");
}
