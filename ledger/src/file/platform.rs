//! What differs between operating systems; nothing outside this module is Unix-only.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::time::Duration;

#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::decision::BootId;
use crate::decision::BootTime;

/// Creates a file that must not exist yet, for its owner alone (mode 0600): answers are in it.
/// Elsewhere than on Unix the folder decides.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives a file the owner and the rights of another one: where a ledger was opened to other
/// users, or an administrator looks at a user's, all of them have to be able to open what belongs
/// to it. Only an administrator can give a file away; otherwise it stays with its maker.
#[cfg(unix)]
pub(crate) fn give_like(file: &File, other: &std::fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, fchown};
    let _ = fchown(file, Some(other.uid()), Some(other.gid()));
    file.set_permissions(other.permissions())
}

#[cfg(not(unix))]
pub(crate) fn give_like(_file: &File, _other: &std::fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Whether a file has, or may have, other names than the one it was found under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OtherNames {
    /// It has more than one link.
    pub(crate) is_linked: bool,
    /// It is mounted by itself, as into a container, so that its folder is another one elsewhere.
    pub(crate) is_mounted: bool,
}

#[cfg(target_os = "linux")]
pub(crate) fn other_names(path: &Path) -> io::Result<OtherNames> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    match statx(CWD, path, AtFlags::empty(), StatxFlags::NLINK) {
        Ok(found) => Ok(OtherNames {
            is_linked: found.stx_nlink > 1,
            is_mounted: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }),
        Err(rustix::io::Errno::NOSYS) => {
            use std::os::unix::fs::MetadataExt;
            Ok(OtherNames {
                is_linked: std::fs::metadata(path)?.nlink() > 1,
                is_mounted: false,
            })
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn other_names(path: &Path) -> io::Result<OtherNames> {
    use std::os::unix::fs::MetadataExt;
    Ok(OtherNames {
        is_linked: std::fs::metadata(path)?.nlink() > 1,
        is_mounted: false,
    })
}

#[cfg(not(unix))]
pub(crate) fn other_names(_path: &Path) -> io::Result<OtherNames> {
    Ok(OtherNames::default())
}

/// What tells one file from another, whatever it is called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileIdentity(IdentityParts);

#[cfg(unix)]
type IdentityParts = (u64, u64);
#[cfg(not(unix))]
type IdentityParts = std::path::PathBuf;

/// The identity of whatever lies under `path` now; `None` when nothing does.
pub(crate) fn identity_at(path: &Path) -> io::Result<Option<FileIdentity>> {
    match parts_at(path) {
        Ok(parts) => Ok(Some(FileIdentity(parts))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identity of an open file that was opened under `path`.
#[cfg(unix)]
pub(crate) fn identity_of(file: &File, _path: &Path) -> io::Result<FileIdentity> {
    Ok(FileIdentity(parts_of(&file.metadata()?)))
}

/// Asked before every commit, and so without the times: a file whose times were looked at gets new
/// ones with its next write (`filesystems/multigrain-ts` of the kernel's documents, since 6.13),
/// and the sync behind it was measured to take a lone caller a fifth longer.
#[cfg(target_os = "linux")]
fn parts_at(path: &Path) -> io::Result<IdentityParts> {
    use rustix::fs::{AtFlags, CWD, StatxFlags, makedev, statx};
    match statx(CWD, path, AtFlags::empty(), StatxFlags::INO) {
        Ok(found) => {
            let device = makedev(found.stx_dev_major, found.stx_dev_minor);
            Ok((device, found.stx_ino))
        }
        Err(rustix::io::Errno::NOSYS) => Ok(parts_of(&std::fs::metadata(path)?)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn parts_at(path: &Path) -> io::Result<IdentityParts> {
    Ok(parts_of(&std::fs::metadata(path)?))
}

#[cfg(unix)]
fn parts_of(metadata: &std::fs::Metadata) -> IdentityParts {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}

/// Elsewhere an open file cannot be replaced under its name, so the full name is the identity.
#[cfg(not(unix))]
pub(crate) fn identity_of(_file: &File, path: &Path) -> io::Result<FileIdentity> {
    parts_at(path).map(FileIdentity)
}

#[cfg(not(unix))]
fn parts_at(path: &Path) -> io::Result<IdentityParts> {
    path.canonicalize()
}

/// Makes a new name in a folder durable. A file's own sync does not cover its name.
#[cfg(unix)]
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
pub(crate) fn sync_folder_of(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// The process that something belongs to. A fork copies what is in memory and shares what is
/// open: its copy may neither write nor unlock, nor wait for threads that exist in the parent
/// alone, nor for locks that these held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process(u32);

impl Process {
    /// This one.
    pub(crate) fn current() -> Self {
        // There is one process and no number where there are no processes.
        if cfg!(target_family = "wasm") {
            Self(0)
        } else {
            Self(std::process::id())
        }
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// What a fork of it is, for tests of what a fork may do.
    #[cfg(test)]
    pub(crate) const fn another(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// The boot clock: which boot it is, and how long the machine has run or slept since. `None` where
/// the system does not say both.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn boot_time() -> Option<BootTime> {
    use rustix::time::{DynamicClockId, clock_gettime_dynamic};
    use std::sync::OnceLock;

    static BOOT: OnceLock<Option<BootId>> = OnceLock::new();
    let boot = (*BOOT.get_or_init(read_boot_id))?;
    // rustix asks the kernel by itself: what is put before libc, as faketime does, is not asked.
    let shown = clock_gettime_dynamic(DynamicClockId::Boottime).ok()?;
    let seconds = u64::try_from(shown.tv_sec).ok()?;
    let nanos = u32::try_from(shown.tv_nsec).ok()?;
    let since_start = Duration::new(seconds, nanos);
    Some(BootTime { boot, since_start })
}

/// In a time namespace of its own a process sees another boot clock under the same identity, so
/// there it is none. A kernel without such namespaces has no link to say so.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_boot_id() -> Option<BootId> {
    const FIRST_NAMESPACE: &str = "time:[4026531834]";
    if let Ok(namespace) = std::fs::read_link("/proc/self/ns/time")
        && namespace.as_os_str() != FIRST_NAMESPACE
    {
        return None;
    }
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = uuid::Uuid::try_parse(text.trim()).ok()?;
    Some(BootId::from_bytes(boot.into_bytes()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn boot_time() -> Option<BootTime> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_open_file_have_one_identity_until_it_is_replaced() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        assert_eq!(identity_at(&path).expect("it is looked for"), None);
        let file = File::create(&path).expect("a file");
        let identity = identity_of(&file, &path).expect("it is open");
        let found = identity_at(&path).expect("it is there");
        assert_eq!(found.as_ref(), Some(&identity));
        #[cfg(unix)]
        {
            std::fs::rename(&path, dir.path().join("old")).expect("it is renamed");
            File::create(&path).expect("another file");
            let other = identity_at(&path).expect("it is there");
            assert!(other.is_some() && other != Some(identity));
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&path, &link).expect("a link");
            assert_eq!(identity_at(&link).expect("it leads there"), other);
        }
    }
    #[cfg(target_os = "linux")]
    #[test]
    fn the_boot_clock_is_the_uptime() {
        let uptime = std::fs::read_to_string("/proc/uptime").expect("procfs");
        let before = uptime.split('.').next().and_then(|text| text.parse().ok());
        let Some(at) = boot_time() else {
            // A kernel that hides the identity of its boot: nothing is measured there.
            assert!(read_boot_id().is_none());
            return;
        };
        assert!(before.is_some_and(|seconds| at.since_start >= Duration::from_secs(seconds)));
        let later = boot_time().expect("said before");
        assert!(later.boot == at.boot && later.since_start >= at.since_start);
    }
}
