//! What a benchmark is told: a folder for its files, and a number.

use std::num::ParseIntError;
use std::path::PathBuf;

/// The folder (default: the system's temporary one), and the number behind it.
pub(crate) fn folder_and(default: u64) -> Result<(PathBuf, u64), ParseIntError> {
    // What cargo adds is no argument of ours.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"));
    let folder = arguments
        .next()
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let number = arguments.next().map_or(Ok(default), |text| text.parse())?;
    Ok((folder, number))
}
