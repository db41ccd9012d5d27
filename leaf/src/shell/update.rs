//! `update <bundle> …`: checks a signed update, and writes it to the slot that is not in use. Which slot boots is not its
//! business: the image's scripts decide that around it.

use rustix::fs::{Advice, fadvise};
use sha2::{Digest as _, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::bundle::{HEAD_BYTES_MAX, Key, Manifest, Refused, Version};

/// Bytes moved at once.
const PIECE_BYTES: usize = 256 * 1024;

const HELP: &str = "\
Usage: update <bundle> --key <file> --board <name> [--installed <version>] [--to <slot>]

Checks a signed update: that it was signed by the owner of the public key in the file (64 hexadecimal digits), is for this
board, is whole, and is newer than what is installed (without --installed, any version will do).
With --to it is then written to this device or file, synced, and read back. Nothing is written if anything is wrong with its
head or length; a payload that is not the one that was signed is found while it is written, and then the slot must not boot.

Exit code 0 if all of it is right.";

/// What the command line asks for.
#[derive(Debug)]
struct Asked {
    bundle: PathBuf,
    key: Key,
    board: String,
    installed: Option<Version>,
    to: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(name: &str, arguments: &[String]) -> ExitCode {
    if arguments.iter().any(|word| ["help", "-h", "-help", "--help"].contains(&word.as_str())) {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match Asked::parse(arguments).and_then(|asked| update(&asked)) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{name}: {text}");
            ExitCode::FAILURE
        }
    }
}

impl Asked {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut bundle, mut key, mut board, mut installed, mut to) = (None, None, None, None, None);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().cloned().ok_or_else(|| format!("{word} needs an argument"));
            match word.as_str() {
                "-key" | "--key" => key = Some(read_key(Path::new(&value()?))?),
                "-board" | "--board" => board = Some(value()?),
                "-installed" | "--installed" => {
                    let text = value()?;
                    let version = Version::parse(&text).ok_or_else(|| format!("not a version: {text}"))?;
                    installed = Some(version);
                }
                "-to" | "--to" => to = Some(value()?.into()),
                _ if word.starts_with('-') || bundle.is_some() => {
                    return Err(format!("what is {word}? See update help"));
                }
                _ => bundle = Some(word.into()),
            }
        }
        let (Some(bundle), Some(key), Some(board)) = (bundle, key, board) else {
            return Err("it takes a bundle, --key and --board: see update help".to_owned());
        };
        Ok(Self { bundle, key, board, installed, to })
    }
}

fn read_key(path: &Path) -> Result<Key, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Key::parse(&text).ok_or_else(|| format!("no public key in {}: it takes 64 hexadecimal digits", path.display()))
}

/// Says what was done.
fn update(asked: &Asked) -> Result<String, String> {
    let unreadable = |error: io::Error| format!("cannot read {}: {error}", asked.bundle.display());
    let refused = |why: Refused| format!("update refused: {why}");
    let mut bundle = File::open(&asked.bundle).map_err(unreadable)?;
    let length =
        bundle.seek(SeekFrom::End(0)).and_then(|length| bundle.rewind().map(|()| length)).map_err(unreadable)?;
    let mut head = Vec::new();
    Read::by_ref(&mut bundle).take(HEAD_BYTES_MAX as u64).read_to_end(&mut head).map_err(unreadable)?;
    let manifest = Manifest::open(&head, &asked.key).map_err(refused)?;
    manifest.check(&asked.board, asked.installed.as_ref(), length).map_err(refused)?;
    bundle.seek(SeekFrom::Start(manifest.payload_at as u64)).map_err(unreadable)?;
    let (version, bytes) = (&manifest.version, manifest.bytes);
    let Some(to) = &asked.to else {
        let found = copy(&mut bundle, &mut io::sink(), bytes).map_err(unreadable)?;
        return if found == manifest.sha256 {
            Ok(format!("version {version} is right"))
        } else {
            Err(refused(Refused::Payload))
        };
    };
    let unwritable = |error: io::Error| format!("cannot write {}: {error}", to.display());
    let mut slot = OpenOptions::new().read(true).write(true).open(to).map_err(unwritable)?;
    let room = slot.seek(SeekFrom::End(0)).map_err(unwritable)?;
    if room < bytes {
        return Err(format!("no room: {bytes} bytes do not fit into {room} of {}", to.display()));
    }
    slot.rewind().map_err(unwritable)?;
    let written = copy(&mut bundle, &mut slot, bytes).map_err(unwritable)?;
    slot.sync_all().map_err(unwritable)?;
    if written != manifest.sha256 {
        return Err(refused(Refused::Payload));
    }
    // Not what the memory still has of it.
    fadvise(&slot, 0, None, Advice::DontNeed).map_err(|error| unwritable(error.into()))?;
    slot.rewind().map_err(unwritable)?;
    let kept = copy(&mut slot, &mut io::sink(), bytes).map_err(unwritable)?;
    if kept != manifest.sha256 {
        return Err(format!("{} did not keep what was written: the medium is failing", to.display()));
    }
    Ok(format!("version {version} is in {}: {bytes} bytes, written, synced and read back", to.display()))
}

/// Copies so many bytes; gives their digest.
fn copy(from: &mut impl Read, to: &mut impl Write, bytes: u64) -> io::Result<[u8; 32]> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut left = bytes;
    let mut digest = Sha256::new();
    while left > 0 {
        let count = left.min(PIECE_BYTES as u64) as usize;
        from.read_exact(&mut piece[..count])?;
        digest.update(&piece[..count]);
        to.write_all(&piece[..count])?;
        left -= count as u64;
    }
    Ok(digest.finalize().into())
}
