//! Where the repository lies, and how cargo is started in it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::{Failure, Program};

/// The package that is published, and that most steps are about.
pub(crate) const LEDGER: &str = "idempotency-ledger";

/// The checkout that this tool was started for.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    cargo: OsString,
}

impl Workspace {
    /// Asks cargo's environment, not the compiled-in path: a built tool may be moved.
    pub(crate) fn find() -> Result<Self, Failure> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = manifest_dir
            .as_deref()
            .and_then(Path::parent)
            .ok_or_else(|| {
                Failure::new("the repository was not found: start this tool as `cargo xtask`")
            })?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Ok(Self {
            root: root.to_owned(),
            cargo,
        })
    }

    /// The top-level directory of the checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The cargo that started this tool, so that one toolchain does all ordinary steps.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Program {
        Program::new(&self.cargo)
            .named("cargo")
            .args(arguments)
            .in_dir(&self.root)
    }

    /// A target directory of its own for builds by another toolchain or for another
    /// platform, so that they do not throw away the caches of everyday builds. Relative to
    /// the root, where every cargo is started.
    pub(crate) fn target_dir(name: &str) -> PathBuf {
        let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        Path::new(&target).join(name)
    }
}
