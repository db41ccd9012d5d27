//! The durable log on real disks: a directory of files, and the threads that wait for the flash.

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, fstatvfs};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{Builder, JoinHandle};
use tokio::sync::oneshot;

use crate::store::{Answer, Disk, DiskError, FileId, LogId, Op, OpenError, Order, ReadError, Want};

/// Files that a directory keeps open for writing.
const OPEN_FILES_MAX: usize = 8;
/// Messages are for their owner alone.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Locked as long as a process has the log open.
const LOCK_NAME: &str = "lock";
/// Written, synced and removed to see whether that can be done.
const PROBE_NAME: &str = "probe";
/// What a probe writes.
const PROBE_BYTES: usize = 512;

/// A directory that holds one log, locked against other processes.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    handle: File,
    /// Holds the lock.
    _lock: File,
    /// Those used last at the end.
    open: VecDeque<(FileId, File)>,
}

impl Directory {
    /// Takes a directory, made (with those above it) if it is not there.
    ///
    /// # Errors
    /// What is wrong with it, naming it.
    pub fn open(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot use the log's directory {}: {error}", path.display());
        make(path).map_err(failed)?;
        let lock = path.join(LOCK_NAME);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(FILE_MODE).open(lock);
        let lock = lock.map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(format!("the log in {} is in use by another process", path.display()));
            }
            Err(error) => return Err(failed(error.into())),
        }
        let handle = File::open(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), handle, _lock: lock, open: VecDeque::new() })
    }

    /// Takes a directory that is there, for tools: nothing is made, also where nothing can be written.
    ///
    /// # Errors
    /// What is wrong with it, naming it.
    pub fn open_existing(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot use {}: {error}", path.display());
        let handle = File::open(path).map_err(failed)?;
        if let Ok(lock) = File::open(path.join(LOCK_NAME)) {
            return match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Self { path: path.to_owned(), handle, _lock: lock, open: VecDeque::new() }),
                Err(_) => Err(format!("the log in {} is in use by another process", path.display())),
            };
        }
        let lock = handle.try_clone().map_err(failed)?;
        Ok(Self { path: path.to_owned(), handle, _lock: lock, open: VecDeque::new() })
    }

    /// Writes a small file of no meaning and has it synced: what the next segment will need.
    fn probe(&self) -> Result<(), String> {
        let path = self.path.join(PROBE_NAME);
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&path)?;
            file.write_all(&[0; PROBE_BYTES])?;
            file.sync_all()
        };
        let written = write();
        let removed = std::fs::remove_file(&path);
        written.and(removed).map_err(|error| format!("cannot write to {}: {error}", self.path.display()))
    }

    fn name(&self, id: FileId) -> PathBuf {
        self.path.join(id.to_string())
    }

    /// The file, opened if it is not.
    fn file(&mut self, id: FileId) -> io::Result<&File> {
        let at = match self.open.iter().position(|(open, _)| *open == id) {
            Some(at) => at,
            None => {
                let file = OpenOptions::new().read(true).write(true).open(self.name(id));
                // A card may be there to be read only.
                let file = file.or_else(|_| File::open(self.name(id)))?;
                self.keep_open(id, file);
                self.open.len() - 1
            }
        };
        Ok(&self.open[at].1)
    }

    fn keep_open(&mut self, id: FileId, file: File) {
        if self.open.len() >= OPEN_FILES_MAX {
            self.open.pop_front();
        }
        self.open.push_back((id, file));
    }

    fn create(&mut self, id: FileId, bytes: u64) -> Result<(), DiskError> {
        let name = self.name(id);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&name);
        let made = file.and_then(|file| reserve(&file, bytes).map(|()| file));
        match made {
            Ok(file) => {
                self.keep_open(id, file);
                Ok(())
            }
            Err(error) => Err(self.not_created(id, &error)),
        }
    }

    /// What did not become a file is of no use to anybody: unless it was there before, nothing of it stays.
    fn not_created(&self, id: FileId, error: &io::Error) -> DiskError {
        let gone = match error.kind() {
            ErrorKind::AlreadyExists => return failed(id, "create", error),
            _ => {
                std::fs::remove_file(self.name(id)).map_or_else(|error| error.kind() == ErrorKind::NotFound, |()| true)
            }
        };
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded if gone => DiskError::Full,
            _ => failed(id, "create", error),
        }
    }
}

/// The directory and those above it, each certain to survive a power failure.
fn make(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make(above)?;
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

/// Gives a file its space, so that a write into it does not find the disk full.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    // Asked first, for trying would take everything there is from others for a moment.
    let room = fstatvfs(file)?;
    if bytes > room.f_bavail.saturating_mul(room.f_frsize) {
        return Err(ErrorKind::StorageFull.into());
    }
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(file, bytes),
        Err(error) => Err(error.into()),
    }
}

/// For file systems that cannot reserve.
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut at = 0;
    while at < bytes {
        let count = zeros.len().min((bytes - at) as usize);
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    file.sync_all()
}

fn failed(id: FileId, what: &str, error: &io::Error) -> DiskError {
    DiskError::Failed(format!("{id}: cannot {what}: {error}"))
}

impl Disk for Directory {
    fn perform(&mut self, op: &Op) -> Result<(), DiskError> {
        match op {
            Op::Create(id, bytes) => self.create(*id, *bytes),
            Op::Write(id, offset, bytes) => self
                .file(*id)
                .and_then(|file| file.write_all_at(bytes, *offset))
                .map_err(|error| failed(*id, "write", &error)),
            Op::Sync(id) => self.file(*id).and_then(File::sync_data).map_err(|error| failed(*id, "sync", &error)),
            Op::SyncDir => self
                .handle
                .sync_all()
                .map_err(|error| DiskError::Failed(format!("cannot sync {}: {error}", self.path.display()))),
            Op::Remove(id) => {
                self.open.retain(|(open, _)| open != id);
                match std::fs::remove_file(self.name(*id)) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(*id, "remove", &error)),
                    _ => Ok(()),
                }
            }
        }
    }

    fn list(&mut self) -> io::Result<Vec<FileId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            found.extend(entry?.file_name().to_str().and_then(FileId::parse));
        }
        Ok(found)
    }

    fn read(&mut self, file: FileId, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        self.file(file)?.read_at(bytes, offset)
    }
}

/// What the thread of the batches does.
enum Work {
    Order(Order),
    /// Whoever asks is told whether the log's directory can be written.
    Probe(LogId, oneshot::Sender<Result<(), String>>),
}

/// Where orders go. Batches are done by one thread, one after the other; reads by another, so that they do not wait
/// for a sync. Both end when this is dropped, after what was ordered before.
#[derive(Debug)]
pub struct Disks {
    batches: Option<Sender<Work>>,
    reads: Option<Sender<(LogId, PathBuf, u64, Want)>>,
    directories: HashMap<LogId, PathBuf>,
    threads: Vec<JoinHandle<()>>,
}

impl Disks {
    /// Starts the threads, which hand their answers to `answer`. How much may wait is bounded by who orders: one batch
    /// for each log and one read for each reader.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(answer: impl Fn(Answer) + Clone + Send + 'static) -> io::Result<Self> {
        let (batches, orders) = channel();
        let (reads, wants) = channel();
        let told = answer.clone();
        let threads = vec![
            Builder::new().name("disk".to_owned()).spawn(move || work(&orders, &told))?,
            Builder::new().name("disk-read".to_owned()).spawn(move || read(&wants, &answer))?,
        ];
        Ok(Self { batches: Some(batches), reads: Some(reads), directories: HashMap::new(), threads })
    }

    /// Has something done. Every order is answered, one for a log that is not open with an error.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Read { log, ticket, want } => {
                let path = self.directories.get(&log).cloned().unwrap_or_default();
                drop(self.reads.as_ref().map(|reads| reads.send((log, path, ticket, want))));
            }
            order => {
                if let Order::Open { log, directory, .. } = &order {
                    self.directories.insert(*log, directory.clone());
                }
                if let Some(batches) = &self.batches {
                    drop(batches.send(Work::Order(order)));
                }
            }
        }
    }

    /// Has a little written to the directory of a log, behind what was ordered before, and synced. An error of the receiver
    /// is that of a thread that has ended.
    pub fn probe(&self, log: LogId) -> oneshot::Receiver<Result<(), String>> {
        let (tell, told) = oneshot::channel();
        if let Some(batches) = &self.batches {
            drop(batches.send(Work::Probe(log, tell)));
        }
        told
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        (self.batches, self.reads) = (None, None);
        for thread in self.threads.drain(..) {
            // It panicked, and said so.
            drop(thread.join());
        }
    }
}

fn work(orders: &Receiver<Work>, answer: &impl Fn(Answer)) {
    let mut directories: HashMap<LogId, Directory> = HashMap::new();
    while let Ok(work) = orders.recv() {
        let order = match work {
            Work::Order(order) => order,
            Work::Probe(log, tell) => {
                let probed =
                    directories.get(&log).map_or_else(|| Err("the log is not open".to_owned()), Directory::probe);
                // Who asked may have gone.
                let _ = tell.send(probed);
                continue;
            }
        };
        let log = order.log();
        if let Order::Open { directory, .. } = &order {
            // The lock of the one before goes first.
            directories.remove(&log);
            match Directory::open(directory) {
                Ok(opened) => drop(directories.insert(log, opened)),
                Err(text) => {
                    answer(Answer::Opened { log, result: Err(OpenError::Disk(text)) });
                    continue;
                }
            }
        }
        let closes = matches!(order, Order::Close { .. });
        let done = match directories.get_mut(&log) {
            Some(directory) => order.carry_out(directory),
            None if closes => Answer::Closed { log },
            None => Answer::Batch { log, result: Err(DiskError::Failed("the log is not open".to_owned())) },
        };
        if closes || matches!(done, Answer::Opened { result: Err(_), .. }) {
            directories.remove(&log);
        }
        answer(done);
    }
}

fn read(wants: &Receiver<(LogId, PathBuf, u64, Want)>, answer: &impl Fn(Answer)) {
    while let Ok((log, path, ticket, want)) = wants.recv() {
        answer(Answer::Read { log, ticket, want, result: read_one(&path, want) });
    }
}

/// The file is opened for each window of 64 KiB, so that one that was removed meanwhile gives its space back.
fn read_one(directory: &Path, want: Want) -> Result<Vec<u8>, ReadError> {
    let error = |offset, error: io::Error| ReadError { file: want.file, offset, text: error.to_string() };
    let file = File::open(directory.join(want.file.to_string())).map_err(|e| error(want.offset, e))?;
    let mut bytes = vec![0; want.len];
    let mut filled = 0;
    while filled < want.len {
        let offset = want.offset + filled as u64;
        match file.read_at(&mut bytes[filled..], offset) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(error(offset, e)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests;
