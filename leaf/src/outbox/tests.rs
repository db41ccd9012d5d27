//! The outbox with a disk, a link and a hub that fail.

use super::engine::log_settings;
use super::*;
use crate::config::Forward;
use crate::store::Log;
use crate::store::sim::SimDisk;

mod simulation;

/// The simulator's: what was sent under a name that a crash took away was sent again under another, and came twice.
#[test]
fn nothing_goes_up_before_the_name_is_on_disk() {
    let mut disk = SimDisk::new(1);
    let forward = Forward { name: "t".to_owned(), ..Forward::default() };
    let (log, _) = Log::open(&mut disk, log_settings(&forward), 0, 7, None).unwrap();
    let mut outbox = Outbox::new(forward, log, 0, "first").unwrap();
    outbox.link_up(0);
    let message = crate::message::Message { subject: b"a", reply: b"", header_len: 0, body: b"", framed: b"" };
    outbox.capture(0, &message).unwrap();
    let mut commits = 0;
    while let Some(batch) = outbox.poll_batch(0) {
        assert!(matches!(outbox.poll_up(0, &mut |_| true), Up::Nothing));
        let result = batch.carry_out(&mut disk);
        outbox.batch_done(0, result);
        commits += 1;
    }
    assert!(commits > 0 && matches!(outbox.poll_up(0, &mut |_| true), Up::Want(_)));
}
