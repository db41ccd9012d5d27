//! Encryption in the simulation: which keys a log has when it is opened, what somebody with the card may try, and an eye on
//! every write that no nonce is used for two records.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::super::super::record::{checksum, u32_at};
use super::super::super::segment::{DATA_OFFSET, Head};
use super::super::super::sim::{Dice, SimDisk};
use super::super::super::walk::{Move, Walk};
use super::super::super::*;

/// How far a log's owner has come: no key, one, another.
const STAGES: u8 = 3;

/// The keys of one run.
pub(super) struct Secrets {
    dice: Dice,
    /// 0: nothing is encrypted (yet).
    stage: u8,
    /// Whether there will ever be keys.
    on: bool,
    watch: Watch,
}

fn key(stage: u8) -> Key {
    Key::new(Zeroizing::new([stage; KEY_BYTES]), "simulated")
}

impl Secrets {
    /// Two runs of five have keys, half of them from the start. Not drawn from the run's own dice.
    pub(super) fn new(seed: u64) -> Self {
        let dice = Dice::new(!seed);
        Self { dice, stage: u8::from(seed.is_multiple_of(5)), on: seed % 5 < 2, watch: Watch::default() }
    }

    /// Those for opening the log now: sometimes others than before, always with noise of their own.
    pub(super) fn next(&mut self) -> Option<Arc<Keys>> {
        if self.on && self.stage + 1 < STAGES && self.dice.one_in(6) {
            self.stage += 1;
        }
        self.keys()
    }

    fn keys(&mut self) -> Option<Arc<Keys>> {
        let mut noise = Zeroizing::new([0; 32]);
        noise.fill_with(|| self.dice.draw() as u8);
        let previous = (self.stage > 1).then(|| key(self.stage - 1));
        (self.stage > 0).then(|| Arc::new(Keys::new(key(self.stage), previous, &noise)))
    }

    /// With a wrong key or none an encrypted log is not opened, and nothing is done to it.
    pub(super) fn try_others(&mut self, disk: &mut SimDisk, settings: &Settings) -> Result<(), String> {
        let encrypted = disk.list().is_ok_and(|files| {
            let sealed = |&file: &FileId| head(disk, file).is_some_and(|head| head.frame.sealed().is_some());
            files.iter().any(sealed)
        });
        let wrong = Keys::new(key(0xEE), None, &Zeroizing::new([1; 32]));
        for keys in [None, Some(Arc::new(wrong))] {
            let settings = Settings { keys, ..settings.clone() };
            match Log::open(&mut ReadOnly(disk), settings, 0, 5, None) {
                Err(OpenError::Locked(..)) if encrypted => {}
                Ok(_) | Err(OpenError::Disk(_)) if !encrypted => {}
                other => return Err(format!("with other keys: {:?}", other.map(|(_, report)| report))),
            }
        }
        Ok(())
    }

    /// Looks at what is about to be done. A nonce may not be used for two records.
    pub(super) fn watch(&mut self, op: &Op) -> Result<(), String> {
        self.watch.see(op, self.stage > 0)
    }

    /// Somebody flips a bit of an encrypted record and has its checksum right; `false` if there is none.
    pub(super) fn forge(&mut self, disk: &mut SimDisk) -> bool {
        let mut places = Vec::new();
        for file in disk.list().unwrap() {
            let Some(head) = head(disk, file).filter(|head| head.frame.sealed().is_some()) else { continue };
            let mut walk = Walk::new(file, &head.frame, DATA_OFFSET, None);
            loop {
                match walk.advance() {
                    Move::Want(want) => walk.fill(want, &want.read(disk).unwrap()),
                    Move::Record(at) => places.push((file, at, head.frame.salt)),
                    Move::Damage(..) => {}
                    Move::End => break,
                }
            }
        }
        if places.is_empty() {
            return false;
        }
        let (file, at, salt) = places[self.dice.below(places.len() as u64) as usize];
        let length = u32_at(&Want { file, offset: at, len: 4 }.read(disk).unwrap(), 0) as usize;
        let mut record = Want { file, offset: at, len: length }.read(disk).unwrap();
        record[18 + self.dice.below(length as u64 - 18) as usize] ^= 1 << self.dice.below(8);
        let crc = checksum(salt, &record).to_le_bytes();
        record[4..8].copy_from_slice(&crc);
        for op in [Op::Write(file, at, record), Op::Sync(file)] {
            disk.perform(&op).unwrap();
        }
        true
    }
}

/// A file's head, without its key.
fn head(disk: &mut SimDisk, file: FileId) -> Option<Head> {
    let bytes = Want { file, offset: 0, len: DATA_OFFSET as usize }.read(disk).ok()?;
    Head::decode(file, &bytes, None).ok()
}

/// A disk that fails when anything is to be changed.
struct ReadOnly<'a>(&'a mut SimDisk);

impl Disk for ReadOnly<'_> {
    fn perform(&mut self, _: &Op) -> Result<(), DiskError> {
        Err(DiskError::Failed("changed".to_owned()))
    }

    fn list(&mut self) -> std::io::Result<Vec<FileId>> {
        self.0.list()
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(file, offset, bytes)
    }
}

/// Every nonce there was.
#[derive(Default)]
struct Watch {
    /// Which file of that name this is; those that are encrypted.
    files: HashMap<FileId, u64>,
    made: u64,
    /// Of which file, in which epoch and where: what was encrypted there.
    seen: HashMap<(u64, [u8; 8], u64), Vec<u8>>,
    randoms: HashSet<[u8; 16]>,
    /// Of which file and where: records.
    places: BTreeSet<(u64, u64)>,
    /// Of which file: where its checksums start from.
    salts: HashMap<u64, u32>,
}

impl Watch {
    fn see(&mut self, op: &Op, encrypted: bool) -> Result<(), String> {
        match op {
            Op::Create(file, _) => {
                self.files.remove(file);
                if encrypted {
                    self.made += 1;
                    self.files.insert(*file, self.made);
                }
                Ok(())
            }
            Op::Write(file, offset, bytes) => self.see_write(*file, *offset, bytes),
            Op::Sync(_) | Op::SyncDir | Op::Remove(_) => Ok(()),
        }
    }

    fn see_write(&mut self, file: FileId, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let Some(&made) = self.files.get(&file) else { return Ok(()) };
        let is_draft = file.segment == 0;
        if is_draft && bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let mut at = 0;
        if offset == 0 && !is_draft {
            let head = Head::decode(file, bytes, None).map_err(|error| format!("{file}: {error:?}"))?;
            let sealed = head.frame.sealed().ok_or(format!("{file} is not encrypted"))?;
            // A rotation is tried again on a full disk, byte by byte the same: its file was not made then.
            self.randoms.insert(sealed.random).then_some(()).ok_or(format!("{file} has the key of another"))?;
            self.salts.insert(made, head.frame.salt);
            at = DATA_OFFSET as usize;
        }
        let mut records = Vec::new();
        while at + 4 <= bytes.len() {
            let length = u32_at(bytes, at) as usize;
            let Some(record) = bytes.get(at..at + length).filter(|record| record.len() >= 56) else {
                // Sectors that are written again begin and end anywhere in a record.
                let range = (made, offset)..(made, offset + bytes.len() as u64);
                return match self.places.range(range).next() {
                    Some(_) if offset > 0 && !is_draft => self.see_again(file, made, offset, bytes),
                    _ => Err(format!("{file}: no record at {}", offset + at as u64)),
                };
            };
            records.push((offset + at as u64, record));
            at += length.next_multiple_of(8);
        }
        records.into_iter().try_for_each(|(place, record)| self.see_record(file, made, place, record))
    }

    /// What is written over records that were there: those that are in it as a whole.
    fn see_again(&mut self, file: FileId, made: u64, offset: u64, bytes: &[u8]) -> Result<(), String> {
        let range = (made, offset)..(made, offset + bytes.len() as u64);
        let places: Vec<u64> = self.places.range(range).map(|(_, place)| *place).collect();
        for place in places {
            let rest = &bytes[(place - offset) as usize..];
            if let Some(length) = rest.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
                && let Some(record) = rest.get(..length).filter(|record| record.len() >= 56)
            {
                self.see_record(file, made, place, record)?;
            }
        }
        Ok(())
    }

    fn see_record(&mut self, file: FileId, made: u64, place: u64, record: &[u8]) -> Result<(), String> {
        // What a crash garbled may be copied with the sector that it stands in; nobody encrypted that.
        if self.salts.get(&made).is_some_and(|&salt| checksum(salt, record) != u32_at(record, 4)) {
            return Ok(());
        }
        let nonce = (made, *record[8..].first_chunk().unwrap(), place);
        self.places.insert((made, place));
        let before = self.seen.entry(nonce).or_insert_with(|| record.to_vec());
        if before != record {
            return Err(format!("{file}: two records have the nonce {nonce:?}"));
        }
        Ok(())
    }
}
