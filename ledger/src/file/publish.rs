//! New files appear whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::file::platform;

/// Whose file lies under the name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Published {
    New,
    /// Somebody else's, which stays.
    WasThere,
}

/// Makes a file under a name of its own, fills it, and gives it the name `path` only then. Where
/// `path` exists by then, that file stays and the new one goes.
pub(crate) fn publish_new<E>(
    path: &Path,
    failed: fn(io::Error) -> E,
    write: impl FnOnce(&File) -> Result<(), E>,
) -> Result<Published, E> {
    let draft = draft_name(path).map_err(failed)?;
    let file = platform::create_new(&draft).map_err(failed)?;
    let published = write(&file).and_then(|()| {
        file.sync_all()
            .and_then(|()| link(&draft, path))
            .map_err(failed)
    });
    drop(file);
    // A draft that cannot be removed is litter, not damage.
    let _ = fs::remove_file(&draft);
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

fn draft_name(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:016x}.draft", u64::from_le_bytes(random)));
    Ok(PathBuf::from(name))
}
