//! Any bytes as the only segment of a log: opened, read and looked at without harm.

#![no_main]

use leaf::store::sim::SimDisk;
use leaf::store::{Disk, FileId, Log, Op, Reader, Settings, verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = FileId { segment: 1, generation: 0 };
    // A valid head in front of the bytes, or nothing but them.
    let mut disk = SimDisk::new(1);
    let settings = Settings { segment_bytes: 4096, ..Settings::default() };
    let Ok((mut log, _)) = Log::open(&mut disk, settings.clone(), 0, 1, None) else { return };
    while let Some(batch) = log.poll_batch(0) {
        let result = batch.ops.iter().try_for_each(|op| disk.perform(op));
        log.batch_done(0, result);
    }
    let at = if data.first().is_some_and(|byte| byte % 4 == 0) { 0 } else { 1024 };
    disk.perform(&Op::Write(file, at, data.to_vec())).ok();
    let _ = verify::inspect(&mut disk, None, file, &mut |_| {});
    let Ok((log, _)) = Log::open(&mut disk, settings, 0, 1, None) else { return };
    let mut reader = Reader::new(0);
    while let Ok(Some(_)) = reader.next(&log, &mut disk) {}
});
