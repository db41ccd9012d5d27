//! The log on a real directory, by the way of the threads.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::{Append, Log, Next, Reader, Settings};

/// A directory of its own for each test, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("petiole-disk-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn open(disks: &mut Disks, answers: &Receiver<Answer>, id: LogId, directory: &Path) -> Log {
    let directory = directory.to_owned();
    let settings = Settings { segment_bytes: 64 * 1024, msgs_max: 2000, ..Settings::default() };
    disks.order(Order::Open { log: id, directory, settings, now: 0, seed: 5, trusted: None });
    match answers.recv().unwrap() {
        Answer::Opened { log, result } if log == id => result.unwrap().0,
        other => panic!("{other:?}"),
    }
}

/// Two logs of one owner: what is acknowledged by either is read back, also after both were opened again.
#[test]
fn runs_batches_and_reads_of_several_logs() {
    let scratch = Scratch::new("several");
    let (tell, answers) = channel();
    let mut disks = Disks::start(move |answer| drop(tell.send(answer))).unwrap();
    let ids = [LogId(1), LogId(2)];
    let paths = ids.map(|id| scratch.0.join(format!("deep/{}", id.0)));
    let mut logs = [0, 1].map(|at| open(&mut disks, &answers, ids[at], &paths[at]));
    for at in 1..=3000u64 {
        let log = &mut logs[at as usize % 2];
        let appended =
            log.append(0, &Append { subject: b"a", payload: &at.to_le_bytes(), ..Append::default() }).unwrap();
        if at % 100 > 1 {
            continue;
        }
        while let Some(batch) = log.poll_batch(0) {
            disks.order(Order::Batch { log: ids[at as usize % 2], batch });
            let Answer::Batch { result, .. } = answers.recv().unwrap() else { panic!() };
            log.batch_done(0, result);
        }
        assert!(log.is_committed(appended.commit));
    }
    for _ in 0..2 {
        for at in 0..2 {
            let mut reader = Reader::new(1);
            let mut found = 0;
            loop {
                match reader.poll(&logs[at]).unwrap() {
                    Next::Message(record) => {
                        found += 1;
                        let number = u64::from_le_bytes(record.payload.try_into().unwrap());
                        assert_eq!(record.seq, number.div_ceil(2));
                    }
                    Next::Want(want) => {
                        disks.order(Order::Read { log: ids[at], ticket: 9, want });
                        let Answer::Read { ticket: 9, want, result, .. } = answers.recv().unwrap() else { panic!() };
                        reader.filled(want, Ok(&result.unwrap()));
                    }
                    Next::Waiting => panic!("it was answered"),
                    Next::End => break,
                }
            }
            assert_eq!(found, logs[at].committed());
        }
        logs = [0, 1].map(|at| open(&mut disks, &answers, ids[at], &paths[at]));
    }
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&paths[0]), 0o700);
    for entry in std::fs::read_dir(&paths[0]).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[test]
fn a_second_process_is_refused() {
    let scratch = Scratch::new("lock");
    let first = Directory::open(&scratch.0).unwrap();
    let text = Directory::open(&scratch.0).unwrap_err();
    assert!(text.contains("in use by another process"), "{text}");
    drop(first);
    Directory::open(&scratch.0).unwrap();
}

/// More than any disk has: nothing is left behind.
#[test]
fn a_full_disk_is_told_apart() {
    let scratch = Scratch::new("full");
    let mut directory = Directory::open(&scratch.0).unwrap();
    let id = FileId { segment: 1, generation: 0 };
    assert_eq!(directory.perform(&Op::Create(id, 1 << 46)), Err(DiskError::Full));
    assert!(directory.list().unwrap().is_empty());
    assert!(matches!(directory.perform(&Op::Sync(id)), Err(DiskError::Failed(text)) if text.contains("cannot sync")));
    assert_eq!(directory.perform(&Op::Remove(id)), Ok(()));
}
