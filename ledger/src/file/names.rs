//! What a ledger's file is called: the name that was given, and that of the file itself.

use std::io;
use std::path::{Path, PathBuf};

use crate::holder::side_file;

/// The names of a file, taken when it is opened: both are absolute, so that they go on leading to
/// it where the process changes its folder.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// The name as given. What lies under it has to stay the opened file.
    pub(crate) given: PathBuf,
    /// The name without links: every link to the file leads to the same one, and to the same side
    /// file.
    pub(crate) itself: PathBuf,
}

impl Names {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let given = std::path::absolute(path)?;
        let itself = match given.canonicalize() {
            Ok(itself) => itself,
            // A file that is not there yet has no links to follow, but its folder may.
            Err(error) if error.kind() == io::ErrorKind::NotFound => in_real_folder(&given),
            Err(error) => return Err(error),
        };
        Ok(Self { given, itself })
    }

    /// Where the side file lies.
    pub(crate) fn side_file(&self) -> PathBuf {
        side_file::path_beside(&self.itself)
    }
}

fn in_real_folder(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        // Opening says what is wrong with it.
        _ => path.to_owned(),
    }
}
