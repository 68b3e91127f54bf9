//! New files appear whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::file::platform::{self, Access};

/// Makes a file under a name of its own, fills it, and gives it the name `path` only then. Where
/// `path` exists by then, that file stays and the new one goes.
pub(crate) fn publish_new(
    path: &Path,
    access: Access,
    write: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let draft = draft_name(path)?;
    let file = platform::create_new(&draft, access)?;
    let published = write(&file)
        .and_then(|()| file.sync_all())
        .and_then(|()| link(&draft, path));
    drop(file);
    // A draft that cannot be removed is litter, not damage.
    let _ = fs::remove_file(&draft);
    published?;
    platform::sync_folder_of(path)
}

/// A link fails where the name exists; a rename would replace a file that somebody has open.
fn link(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if has_no_links(&error) && !path.exists() => fs::rename(draft, path),
        result => result,
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
