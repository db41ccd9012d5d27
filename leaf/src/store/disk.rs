//! The seam to the disk: a handful of operations on numbered files.

use std::fmt;
use std::io;

/// A file of the log: a segment, and how often it was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// Segments are numbered from 1 on, in the order of their records.
    pub segment: u64,
    /// 0 for the segment as it was written, one more for each compaction.
    pub generation: u32,
}

impl fmt::Display for FileId {
    /// The file's name: `0000000012.000.seg`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}.{:03}.seg", self.segment, self.generation)
    }
}

impl FileId {
    /// Reads a file's name; `None` if it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (segment, rest) = name.strip_suffix(".seg")?.split_once('.')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(segment) || !digits(rest) {
            return None;
        }
        Some(Self { segment: segment.parse().ok()?, generation: rest.parse().ok()? })
    }
}

/// What is asked of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new file of so many zero bytes, its space reserved.
    Create(FileId, u64),
    /// Bytes at an offset.
    Write(FileId, u64, Vec<u8>),
    /// Everything written to the file so far must survive a power failure.
    Sync(FileId),
    /// Which files there are must survive a power failure.
    SyncDir,
    /// The file goes.
    Remove(FileId),
}

/// Why a disk did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// There is no room for another file. Nothing was changed.
    Full,
    /// Anything else; the text names it. What the disk holds is unknown.
    Failed(String),
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("no space left on the device"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

/// A directory of numbered files. The shell has one of real files, [`super::sim`] one that fails.
pub trait Disk {
    /// Does one operation.
    ///
    /// # Errors
    /// [`DiskError::Full`] only from [`Op::Create`], which then left nothing behind.
    fn perform(&mut self, op: &Op) -> Result<(), DiskError>;

    /// The files there are, in any order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&mut self) -> io::Result<Vec<FileId>>;

    /// Fills as much of `bytes` as the file has from `offset` on; returns how much.
    ///
    /// # Errors
    /// When the file is not there or the medium fails.
    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let id = FileId { segment: 12, generation: 3 };
        assert_eq!(id.to_string(), "0000000012.003.seg");
        assert_eq!(FileId::parse("0000000012.003.seg"), Some(id));
        for other in ["12.seg", "a.000.seg", "0000000012.003.tmp", "+1.000.seg", "1..seg", ""] {
            assert_eq!(FileId::parse(other), None, "{other}");
        }
    }
}
