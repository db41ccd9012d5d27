//! What the durable log costs, beside JetStream of a nats-server on the same disk in the same run.
//!
//! `cargo bench -p petiole-leaf --bench store [-- --quick] [-- --dir DIR] [-- --encryption]`; a nats-server is taken from the PATH.
//! Prints a table; with `--encryption` only what encryption costs.

#![allow(clippy::disallowed_methods, reason = "a benchmark reads clocks and files")]
#![allow(clippy::unwrap_used, reason = "a benchmark may fail")]
#![allow(missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use leaf::shell::disk::{Directory, Disks};
use leaf::store::{Answer, Append, Key, Keys, Log, LogId, Order, Reader, Settings};

mod jetstream;
mod proc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const ID: LogId = LogId(1);
const NO_READER: &str = "the thread is gone";

/// A log whose disk is worked by the threads, as in a server.
struct Running {
    log: Log,
    disks: Disks,
    answers: Receiver<Answer>,
}

impl Running {
    fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, Settings::default())
    }

    fn open_with(directory: &Path, settings: Settings) -> Result<Self> {
        let (tell, answers) = channel();
        let mut disks = Disks::start(move |answer| drop(tell.send(answer)))?;
        let directory = directory.to_owned();
        disks.order(Order::Open { log: ID, directory, settings, now: 0, seed: 1, trusted: None });
        match answers.recv()? {
            Answer::Opened { result, .. } => Ok(Self { log: result.map_err(|e| e.to_string())?.0, disks, answers }),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Hands the next batch over, if none is out.
    fn order(&mut self) -> bool {
        let Some(batch) = self.log.poll_batch(0) else { return false };
        self.disks.order(Order::Batch { log: ID, batch });
        true
    }

    fn wait(&mut self) {
        if let Answer::Batch { result, .. } = self.answers.recv().expect(NO_READER) {
            self.log.batch_done(0, result);
        }
    }

    /// Everything is on disk.
    fn drain(&mut self) {
        while self.order() {
            self.wait();
        }
    }

    fn append(&mut self, subject: &[u8], payload: &[u8]) {
        self.log.append(0, &Append { subject, payload, ..Append::default() }).expect("a limit");
    }
}

/// What acknowledged appends cost.
struct Cost {
    per_second: f64,
    cpu: Duration,
    /// Bytes to the device for each byte of payload.
    written: f64,
}

/// Appends with so many outstanding, for a while.
fn appends(directory: &Path, outstanding: u64, size: usize, lasting: Duration) -> Result<Cost> {
    appends_with(directory, Settings::default(), outstanding, size, lasting)
}

fn appends_with(
    directory: &Path,
    settings: Settings,
    outstanding: u64,
    size: usize,
    lasting: Duration,
) -> Result<Cost> {
    let mut running = Running::open_with(directory, settings)?;
    running.drain();
    let payload = vec![b'x'; size];
    let (cpu, io, start) = (proc::cpu_time(std::process::id())?, proc::written(std::process::id())?, Instant::now());
    while start.elapsed() < lasting {
        while running.log.state().last_seq - running.log.committed() < outstanding {
            running.append(b"bench.a", &payload);
        }
        if running.order() {
            running.wait();
        }
    }
    running.drain();
    let count = running.log.committed();
    let cpu = (proc::cpu_time(std::process::id())? - cpu) / count.max(1) as u32;
    let io = proc::written(std::process::id())? - io;
    let per_second = count as f64 / start.elapsed().as_secs_f64();
    Ok(Cost { per_second, cpu, written: io as f64 / (count as f64 * size as f64) })
}

/// Bare writes of a sector into reserved space, each synced: the least that one append can take.
fn bare_syncs(directory: &Path, lasting: Duration) -> Result<f64> {
    fs::create_dir_all(directory)?;
    let file = File::create(directory.join("bare"))?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 64 << 20)?;
    file.sync_all()?;
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < lasting {
        file.write_all_at(&[1; 512], count * 512)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

/// Batches of 100 records of 200 bytes.
fn batches(directory: &Path, count: u64) -> Result<f64> {
    let mut running = Running::open(directory)?;
    running.drain();
    let io = proc::written(std::process::id())?;
    for _ in 0..count {
        for _ in 0..100 {
            running.append(b"bench.a", &[b'x'; 200]);
        }
        running.drain();
    }
    Ok((proc::written(std::process::id())? - io) as f64 / (count * 100 * 200) as f64)
}

fn encrypted() -> Settings {
    let noise = std::process::id().to_le_bytes().repeat(8);
    let noise: [u8; 32] = noise.try_into().unwrap();
    let key = Key::parse("42".repeat(32).as_bytes(), "").unwrap();
    Settings { keys: Some(Arc::new(Keys::new(key, None, &noise.into()))), ..Settings::default() }
}

/// What encryption costs: appends and reading, with and without, in turn.
fn encryption(directory: &Path, lasting: Duration) -> Result<()> {
    println!("| figure | plain | encrypted | | |\n|---|--:|--:|--:|---|");
    for size in [128, 1024] {
        let (mut cpu, mut written) = (Vec::new(), Vec::new());
        for (name, settings) in [("plain", Settings::default()), ("encrypted", encrypted())] {
            let cost = appends_with(&directory.join(format!("{name}-{size}")), settings, 256, size, lasting)?;
            cpu.push(format!("{:.2} us", cost.cpu.as_secs_f64() * 1e6));
            written.push(format!("{:.2}", cost.written));
        }
        row(&format!("CPU of a synced append, {size} B, 256 outstanding"), cpu.remove(0), cpu.remove(0), None, "");
        row(&format!("device bytes of it for each byte, {size} B"), written.remove(0), written.remove(0), None, "");
    }
    let mut rates = Vec::new();
    for (name, settings) in [("plain-128", Settings::default()), ("encrypted-128", encrypted())] {
        let mut disk = Directory::open(&directory.join(name))?;
        let (log, _) = Log::open(&mut disk, settings, 0, 1, None).map_err(|e| e.to_string())?;
        let (start, mut reader, mut count) = (Instant::now(), Reader::new(1), 0u64);
        while let Some(record) = reader.next(&log, &mut disk).map_err(|e| e.to_string())? {
            count += u64::from(record.payload.len() == 128);
        }
        assert_eq!(count, log.state().messages);
        rates.push(format!("{:.2} M/s", count as f64 / start.elapsed().as_secs_f64() / 1e6));
    }
    row("sequential read, 128 B", rates.remove(0), rates.remove(0), None, "");
    Ok(())
}

/// A large log, written by a process of its own, which says how much memory it has then.
fn grow(directory: &Path, messages: u64, subjects: u64) -> Result<()> {
    let mut running = Running::open(directory)?;
    let payload = [b'x'; 100];
    let start = Instant::now();
    for at in 0..messages {
        let subject = format!("plant.line{:02}.device{:07}", at % 16, at % subjects);
        running.append(subject.as_bytes(), &payload);
        if at % 5000 == 0 {
            running.drain();
        }
    }
    running.drain();
    let resident = proc::resident(std::process::id())?;
    println!("{resident} {:.1}", start.elapsed().as_secs_f64());
    Ok(())
}

/// Opens a log and reads it all; a process of its own.
fn reopen(directory: &Path) -> Result<()> {
    let mut disk = Directory::open(directory)?;
    let start = Instant::now();
    let (log, report) = Log::open(&mut disk, Settings::default(), 0, 1, None).map_err(|e| e.to_string())?;
    let opened = start.elapsed();
    let resident = proc::resident(std::process::id())?;
    let start = Instant::now();
    let mut reader = Reader::new(1);
    let mut count = 0u64;
    while let Some(record) = reader.next(&log, &mut disk).map_err(|e| e.to_string())? {
        count += u64::from(record.payload.len() == 100);
    }
    assert_eq!(count, log.state().messages);
    println!(
        "{resident} {:.3} {} {:.0}",
        opened.as_secs_f64(),
        report.scanned,
        count as f64 / start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Runs one of the two in a process of its own.
fn apart(arguments: &[&str]) -> Result<Vec<f64>> {
    let output = std::process::Command::new(std::env::current_exe()?).args(arguments).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().map(|word| word.parse().unwrap()).collect())
}

/// A line of the table: two figures, what the one is of the other, and what is wanted.
fn row(figure: &str, ours: String, theirs: String, ratio: Option<f64>, wanted: &str) {
    let ratio = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
    println!("| {figure} | {ours} | {theirs} | {ratio} | {wanted} |");
}

/// A figure of ours alone.
fn ours(figure: &str, value: String, wanted: &str) {
    row(figure, value, String::new(), None, wanted);
}

fn measure(directory: &Path, quick: bool) -> Result<()> {
    let lasting = Duration::from_secs(if quick { 2 } else { 5 });
    let fresh = |name: &str| directory.join(name);
    println!("| figure | petiole | nats-server | ratio | wanted |\n|---|--:|--:|--:|---|");
    let many = appends(&fresh("many"), 256, 128, lasting)?;
    let always = jetstream::appends(&fresh("always"), true, 256, 128, lasting)?;
    let lazy = jetstream::appends(&fresh("lazy"), false, 256, 128, lasting)?;
    let rate = |cost: &Cost| format!("{:.0}/s", cost.per_second);
    let of = |cost: &Option<Cost>, show: &dyn Fn(&Cost) -> String| cost.as_ref().map_or("not found".to_owned(), show);
    let against = |ours: &Cost, theirs: &Option<Cost>, figure: &dyn Fn(&Cost) -> f64| {
        theirs.as_ref().map(|theirs| figure(ours) / figure(theirs))
    };
    let per_second = |cost: &Cost| cost.per_second;
    let text = "synced appends, 128 B, 256 outstanding; nats-server with `sync_interval: always`";
    row(text, rate(&many), of(&always, &rate), against(&many, &always, &per_second), "50 x");
    let text = "the same; nats-server with its default, lazy sync";
    row(text, rate(&many), of(&lazy, &rate), against(&many, &lazy, &per_second), "1 x");
    let cpu = |cost: &Cost| format!("{:.2} us", cost.cpu.as_secs_f64() * 1e6);
    let seconds = |cost: &Cost| cost.cpu.as_secs_f64();
    row("CPU for each of these appends", cpu(&many), of(&always, &cpu), against(&many, &always, &seconds), "2 us");
    let written = |cost: &Cost| format!("{:.2}", cost.written);
    let bytes = |cost: &Cost| cost.written;
    let text = "device bytes for each byte of payload, of these";
    row(text, written(&many), of(&always, &written), against(&many, &always, &bytes), "");
    let before = bare_syncs(&fresh("bare"), lasting / 2)?;
    let one = appends(&fresh("one"), 1, 128, lasting)?;
    let after = bare_syncs(&fresh("bare"), lasting / 2)?;
    let their_one = jetstream::appends(&fresh("one-always"), true, 1, 128, lasting)?;
    row("one outstanding", rate(&one), of(&their_one, &rate), against(&one, &their_one, &per_second), "");
    let bare = f64::midpoint(before, after);
    let text = format!("its time by that of a bare fdatasync ({bare:.0}/s)");
    ours(&text, format!("{:.2}", bare / one.per_second), "1.2");
    let wear = batches(&fresh("wear"), 500)?;
    ours("device bytes for each byte, 200 B in batches of 100", format!("{wear:.2}"), "1.5");
    let scale = if quick { 10 } else { 1 };
    for (name, messages, subjects, resident) in
        [("10 M", 10_000_000, 1000, "16 MiB"), ("1 M subjects", 1_000_000, 1_000_000, "64 MiB")]
    {
        let (path, messages, subjects) = (fresh(name), messages / scale, subjects.min(1_000_000 / scale));
        let text = path.to_str().ok_or("a path that is no text")?;
        let grown = apart(&["--grow", text, &messages.to_string(), &subjects.to_string()])?;
        let opened = apart(&["--reopen", text])?;
        let what = format!("{messages} records of 100 B, {subjects} subjects");
        let mib = |kib: f64| format!("{:.1} MiB", kib / 1024.0);
        ours(&format!("{what}: resident while writing"), mib(grown[0]), resident);
        ours(&format!("{what}: resident after opening"), mib(opened[0]), resident);
        let scanned = format!("{:.3} s, {} segments read", opened[1], opened[2]);
        ours(&format!("{what}: open"), scanned, "1 s");
        ours(&format!("{what}: sequential read"), format!("{:.2} M/s", opened[3] / 1e6), "2 M/s");
        fs::remove_dir_all(&path)?;
    }
    encryption(&fresh("encryption"), lasting)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--grow", dir, messages, subjects] => return grow(Path::new(dir), messages.parse()?, subjects.parse()?),
        ["--reopen", dir] => return reopen(Path::new(dir)),
        _ => {}
    }
    let at = words.iter().position(|word| *word == "--dir").and_then(|at| words.get(at + 1));
    let directory =
        at.map_or_else(std::env::temp_dir, PathBuf::from).join(format!("petiole-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let quick = words.contains(&"--quick");
    let lasting = Duration::from_secs(if quick { 2 } else { 5 });
    let result = match words.contains(&"--encryption") {
        true => encryption(&directory, lasting),
        false => measure(&directory, quick),
    };
    fs::remove_dir_all(&directory)?;
    result
}
