//! A disk that does what disks do: loses what was not synced, tears it, garbles it, fails, fills up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::{Disk, DiskError, FileId, Op, SECTOR_BYTES};

/// A small generator of draws (splitmix64) for simulations.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A row of draws; each seed gives its own.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next draw.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly in `0..n`; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.draw() % n }
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What reads see.
    cache: Vec<u8>,
    /// What survives.
    durable: Vec<u8>,
    /// Sectors that differ.
    dirty: BTreeSet<usize>,
    /// Its name survives.
    named: bool,
}

/// The disk. Everything it does follows from its seed and what is asked of it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    files: BTreeMap<FileId, File>,
    /// Removed, but the directory was not synced since.
    ghosts: BTreeMap<FileId, File>,
    dice: Dice,
    /// The next write or sync fails.
    pub fail_next: bool,
    /// Bytes that all files together may have.
    pub capacity_bytes: u64,
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> Self {
        Self {
            files: BTreeMap::new(),
            ghosts: BTreeMap::new(),
            dice: Dice::new(seed),
            fail_next: false,
            capacity_bytes: u64::MAX,
        }
    }

    /// The power goes: each unsynced sector is kept, lost or garbled on its own; so are names.
    pub fn crash(&mut self) {
        self.fail_next = false;
        let dice = &mut self.dice;
        for (id, ghost) in std::mem::take(&mut self.ghosts) {
            if ghost.named && dice.one_in(2) {
                self.files.entry(id).or_insert(ghost);
            }
        }
        self.files.retain(|_, file| file.named || dice.one_in(2));
        // Some crashes keep everything that was written, as when only the process dies.
        let harsh = !dice.one_in(4);
        for file in self.files.values_mut() {
            file.named = true;
            let dirty = std::mem::take(&mut file.dirty);
            file.durable.resize(file.cache.len(), 0);
            for sector in dirty {
                let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(file.cache.len());
                match if harsh { dice.below(3) } else { 0 } {
                    0 => file.durable[range.clone()].copy_from_slice(&file.cache[range]),
                    1 => {}
                    _ => file.durable[range].fill_with(|| dice.draw() as u8),
                }
            }
            file.cache.clone_from(&file.durable);
        }
    }

    /// Flips one bit; says in which file and at which byte. `None` without files.
    pub fn rot(&mut self) -> Option<(FileId, u64)> {
        let count = self.files.len() as u64;
        let at = self.dice.below(count) as usize;
        let (&id, file) = self.files.iter_mut().nth(at)?;
        let byte = self.dice.below(file.cache.len() as u64) as usize;
        let bit = 1 << self.dice.below(8);
        *file.cache.get_mut(byte)? ^= bit;
        *file.durable.get_mut(byte)? ^= bit;
        Some((id, byte as u64))
    }

    /// Flips this bit.
    pub fn flip(&mut self, file: FileId, bit: u64) {
        if let Some(file) = self.files.get_mut(&file) {
            file.cache[(bit / 8) as usize] ^= 1 << (bit % 8);
            file.durable[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }

    /// Whether bytes are anywhere in a file, as it is read or as it would be after a power failure.
    pub fn contains(&self, bytes: &[u8]) -> bool {
        let has = |file: &File| {
            [&file.cache, &file.durable].iter().any(|all| all.windows(bytes.len()).any(|found| found == bytes))
        };
        self.files.values().any(has)
    }

    /// Bytes of a file.
    pub fn len(&self, file: FileId) -> u64 {
        self.files.get(&file).map_or(0, |file| file.cache.len() as u64)
    }

    /// Bytes of all files.
    pub fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.cache.len() as u64).sum()
    }

    /// Whether there are no files.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    fn file(&mut self, id: FileId) -> Result<&mut File, DiskError> {
        self.files.get_mut(&id).ok_or_else(|| DiskError::Failed(format!("{id} is not there")))
    }

    fn write(&mut self, id: FileId, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let fails = std::mem::take(&mut self.fail_next);
        let count = if fails { self.dice.below(bytes.len() as u64) as usize } else { bytes.len() };
        let file = self.file(id)?;
        let from = offset as usize;
        if file.cache.len() < from + count {
            file.cache.resize(from + count, 0);
        }
        file.cache[from..from + count].copy_from_slice(&bytes[..count]);
        file.dirty.extend(from / SECTOR_BYTES..(from + count).div_ceil(SECTOR_BYTES));
        if fails { Err(DiskError::Failed("simulated write error".into())) } else { Ok(()) }
    }

    /// A sync that fails forgets what it should have written: the cache shows it, a second sync does not write it.
    fn sync(&mut self, id: FileId) -> Result<(), DiskError> {
        let fails = std::mem::take(&mut self.fail_next);
        let mut dice = self.dice.clone();
        let file = self.file(id)?;
        file.durable.resize(file.cache.len(), 0);
        for sector in std::mem::take(&mut file.dirty) {
            let range = sector * SECTOR_BYTES..((sector + 1) * SECTOR_BYTES).min(file.cache.len());
            if !fails || dice.one_in(2) {
                file.durable[range.clone()].copy_from_slice(&file.cache[range]);
            }
        }
        self.dice = dice;
        if fails { Err(DiskError::Failed("simulated sync error".into())) } else { Ok(()) }
    }
}

impl Disk for SimDisk {
    fn perform(&mut self, op: &Op) -> Result<(), DiskError> {
        match op {
            Op::Create(id, bytes) => {
                if self.used_bytes().saturating_add(*bytes) > self.capacity_bytes {
                    return Err(DiskError::Full);
                }
                let zeros = vec![0; *bytes as usize];
                let file = File { cache: zeros.clone(), durable: zeros, dirty: BTreeSet::new(), named: false };
                self.files.insert(*id, file);
                Ok(())
            }
            Op::Write(id, offset, bytes) => self.write(*id, *offset, bytes),
            Op::Sync(id) => self.sync(*id),
            Op::SyncDir => {
                self.ghosts.clear();
                self.files.values_mut().for_each(|file| file.named = true);
                Ok(())
            }
            Op::Remove(id) => {
                if let Some(file) = self.files.remove(id) {
                    self.ghosts.insert(*id, file);
                }
                Ok(())
            }
        }
    }

    fn list(&mut self) -> io::Result<Vec<FileId>> {
        Ok(self.files.keys().copied().collect())
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let file = self.files.get(&file).ok_or(io::ErrorKind::NotFound)?;
        let rest = file.cache.get(offset as usize..).unwrap_or(&[]);
        let n = rest.len().min(bytes.len());
        bytes[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}
