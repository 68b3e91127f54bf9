//! New files appear whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::file::platform;

/// Whose file lies under the name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    New,
    /// Somebody else's, which stays.
    WasThere,
}

/// The names of drafts: `PATH.0123456789abcdef.draft`, and `.backup` for what takes long to write,
/// and so is found half done where its writer was killed.
const BRIEF: &str = "draft";
const LONG: &str = "backup";
const RANDOM_DIGITS: usize = 16;

/// Makes a file under a name of its own, fills it, and gives it the name `path` only then. Where
/// `path` exists by then, that file stays and the new one goes.
pub(crate) fn publish_new<E>(
    path: &Path,
    failed: fn(io::Error) -> E,
    write: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Published, E> {
    let draft = draft_name(path, BRIEF).map_err(failed)?;
    let file = platform::create_new(&draft).map_err(failed)?;
    publish(path, &draft, file, failed, write)
}

/// The same for a file that takes long to write. It is locked as long as it is written, so the
/// drafts of killed writers in the folder are known by being free, and removed.
///
/// The lock is of the file as a whole and ends with the last handle of it: `write` may lend the
/// file to others, who may lock it again but not unlock it.
pub(crate) fn publish_slowly<E>(
    path: &Path,
    failed: fn(io::Error) -> E,
    write: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Published, E> {
    remove_left_drafts(path);
    let (draft, file) = loop {
        let draft = draft_name(path, LONG).map_err(failed)?;
        let file = platform::create_new(&draft).map_err(failed)?;
        // Between the two a remover may have taken it for a left one, which it then has locked or
        // removed already. A file system without locks shows none to removers either.
        let is_taken = matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock));
        if !is_taken && is_still_at(&file, &draft) {
            break (draft, file);
        }
    };
    publish(path, &draft, file, failed, write)
}

fn publish<E>(
    path: &Path,
    draft: &Path,
    file: File,
    failed: fn(io::Error) -> E,
    write: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Published, E> {
    let published = write(&file).and_then(|()| {
        file.sync_all()
            .and_then(|()| link(draft, path))
            .map_err(failed)
    });
    drop(file);
    // A draft that cannot be removed is litter, not damage.
    let _ = fs::remove_file(draft);
    let published = published?;
    platform::sync_folder_of(path).map_err(failed)?;
    Ok(published)
}

/// A link fails where the name exists; a rename would replace a file that somebody has open.
fn link(draft: &Path, path: &Path) -> io::Result<Published> {
    match fs::hard_link(draft, path) {
        Ok(()) => Ok(Published::New),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Published::WasThere),
        Err(error) if has_no_links(&error) && !path.exists() => {
            fs::rename(draft, path).map(|()| Published::New)
        }
        Err(error) => Err(error),
    }
}

fn has_no_links(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
    )
}

fn draft_name(path: &Path, kind: &str) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.{kind}", u64::from_le_bytes(random)));
    Ok(PathBuf::from(name))
}

/// Removes the drafts of killed writers from the folder of `path`. What cannot be looked at stays:
/// it is litter.
fn remove_left_drafts(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && is_draft_name(&entry.file_name()) {
            let _ = remove_if_left(&entry.path());
        }
    }
}

fn is_draft_name(name: &OsStr) -> bool {
    let name = Path::new(name);
    let random = name
        .file_stem()
        .and_then(|stem| Path::new(stem).extension());
    let is_random = |digits: &str| {
        digits.len() == RANDOM_DIGITS
            && digits
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    name.extension() == Some(OsStr::new(LONG))
        && random.and_then(OsStr::to_str).is_some_and(is_random)
}

/// The lock is held until the name is gone, so that a writer which has just made the file sees that
/// it was taken from it.
fn remove_if_left(draft: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(draft)?;
    let is_left =
        file.try_lock().is_ok() && is_still_at(&file, draft) && is_part_of_a_database(&mut file)?;
    if is_left {
        fs::remove_file(draft)?;
    }
    Ok(())
}

/// Nothing, or the beginning of a database: other programs' files of such names stay.
fn is_part_of_a_database(file: &mut File) -> io::Result<bool> {
    const MAGIC: &[u8] = b"redb";
    let mut start = Vec::new();
    file.take(MAGIC.len() as u64).read_to_end(&mut start)?;
    let is_blank = start.iter().all(|&byte| byte == 0);
    Ok(is_blank || start == MAGIC)
}

fn is_still_at(file: &File, path: &Path) -> bool {
    let opened = platform::identity_of(file, path).ok();
    opened.is_some() && platform::identity_at(path).ok().flatten() == opened
}
