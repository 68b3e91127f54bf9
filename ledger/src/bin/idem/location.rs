//! Where the ledger is, and the three ways in which `idem` opens it.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use idempotency_ledger::{Builder, Error, Ledger, Verify};

use crate::arguments::{VerifyArgument, VerifyWhen};
use crate::exit::Failure;
use crate::progress::spinning;

/// The ledger's path, and whether the user named it.
#[derive(Debug)]
pub(crate) struct Location {
    path: PathBuf,
    source: Source,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    /// `--ledger` or `IDEM_LEDGER`.
    Given,
    /// The user's state directory.
    Default,
}

impl Location {
    /// Looks at the option, then at the environment. An empty variable counts as unset, and a
    /// relative `XDG_STATE_HOME` is ignored, as its specification says.
    pub(crate) fn find(
        option: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Failure> {
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        if option
            .as_ref()
            .is_some_and(|path| path.as_os_str().is_empty())
        {
            return Err(Failure::usage(
                "--ledger is empty; give the path of the ledger's file",
            ));
        }
        if let Some(path) = option.or_else(|| variable("IDEM_LEDGER").map(PathBuf::from)) {
            return Ok(Self {
                path,
                source: Source::Given,
            });
        }
        let state_home = variable("XDG_STATE_HOME").map(PathBuf::from);
        let state_home = state_home.filter(|path| path.is_absolute());
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        match state_home.or_else(home) {
            Some(folder) => Ok(Self {
                path: folder.join("idem/ledger.redb"),
                source: Source::Default,
            }),
            None => Err(Failure::usage(
                "no place for the ledger: give --ledger PATH, or set IDEM_LEDGER, XDG_STATE_HOME \
                 or HOME",
            )),
        }
    }

    /// The path that another call must be given to find the same file from anywhere.
    pub(crate) fn given_path(&self) -> Option<PathBuf> {
        match self.source {
            Source::Given => {
                Some(std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone()))
            }
            Source::Default => None,
        }
    }

    /// The path for people.
    pub(crate) fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether there is a ledger, or was one: its side file stays where it is deleted, and opening
    /// then says so.
    pub(crate) fn exists(&self) -> bool {
        let mut side_file = self.path.clone().into_os_string();
        side_file.push(".locks");
        // Where the question itself fails, opening says why.
        self.path.try_exists().unwrap_or(true) || PathBuf::from(side_file).exists()
    }

    pub(crate) fn missing(&self) -> String {
        format!(
            "there is no ledger at {}; `idem exec` creates it",
            self.path.display()
        )
    }

    /// Opens for a run, and creates what is missing. The folder of a path that the user named is
    /// not created: where a file system is not mounted, an empty ledger would run all again.
    pub(crate) fn open_or_create(&self, verify: VerifyArgument) -> Result<Ledger, Failure> {
        if self.source == Source::Default
            && let Some(folder) = self.path.parent()
        {
            let created = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            created.map_err(|error| self.explain(&format!("its folder: {error}")))?;
        }
        self.open(builder(verify))
    }

    /// Opens for a change to what is there.
    pub(crate) fn open_existing(&self, verify: Verify) -> Result<Ledger, Failure> {
        self.require()?;
        self.open(writing().verify(verify).existing_only())
    }

    /// Opens for reading. Where redb asks for repair after a crash, which only a writer can do,
    /// it is opened once for writing.
    pub(crate) fn open_reading(&self) -> Result<Ledger, Failure> {
        self.require()?;
        match reading().open(&self.path) {
            Err(Error::NeedsRepair) => {
                self.open_existing(Verify::Never)?.close()?;
                self.open(reading())
            }
            Err(error) => Err(self.failure(error)),
            Ok(ledger) => Ok(ledger),
        }
    }

    /// Accepts a file that is older than what was seen, or gone.
    pub(crate) fn open_rolled_back(&self) -> Result<Ledger, Failure> {
        self.require()?;
        self.open(writing().verify(Verify::Never).accept_rollback())
    }

    fn require(&self) -> Result<(), Failure> {
        if self.exists() {
            Ok(())
        } else {
            Err(Failure::storage(self.missing()))
        }
    }

    fn open(&self, builder: Builder) -> Result<Ledger, Failure> {
        // Verifying and repairing take as long as reading the file does.
        spinning("opening the ledger", || builder.open(&self.path))
            .map_err(|error| self.failure(error))
    }

    fn failure(&self, error: Error) -> Failure {
        let failure = Failure::from(error);
        Failure::new(failure.exit, format!("{}: {failure}", self.path.display()))
    }

    fn explain(&self, problem: &str) -> Failure {
        Failure::storage(format!("{}: {problem}", self.path.display()))
    }
}

/// The choice of the user, or the library's default of verifying files up to 64 MiB.
pub(crate) fn verify_of(argument: VerifyArgument) -> Verify {
    match argument.verify {
        None => Verify::UpTo(64 * 1024 * 1024),
        Some(VerifyWhen::Always) => Verify::Always,
        Some(VerifyWhen::Never) => Verify::Never,
    }
}

fn builder(verify: VerifyArgument) -> Builder {
    writing().verify(verify_of(verify))
}

fn writing() -> Builder {
    Ledger::builder().shared()
}

fn reading() -> Builder {
    Ledger::builder().shared().read_only().verify(Verify::Never)
}

#[cfg(test)]
impl Location {
    pub(crate) fn default_for_test(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            source: Source::Default,
        }
    }

    pub(crate) fn given_for_test(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            source: Source::Given,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use std::path::Path;

    fn find(option: Option<&str>, variables: &[(&str, &str)]) -> Result<Location, Failure> {
        Location::find(option.map(PathBuf::from), |name| {
            let set = variables.iter().find(|(set, _)| *set == name);
            set.map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_order_of_places() {
        let all = [
            ("IDEM_LEDGER", "/e"),
            ("XDG_STATE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(find(Some("/o"), &all).unwrap().path, Path::new("/o"));
        assert_eq!(find(None, &all).unwrap().path, Path::new("/e"));
        assert_eq!(
            find(None, &all[1..]).unwrap().path,
            Path::new("/x/idem/ledger.redb")
        );
        let home = Path::new("/h/.local/state/idem/ledger.redb");
        assert_eq!(find(None, &all[2..]).unwrap().path, home);
        let unusable = [
            ("IDEM_LEDGER", ""),
            ("XDG_STATE_HOME", "relative"),
            ("HOME", "/h"),
        ];
        assert_eq!(find(None, &unusable).unwrap().path, home);
    }

    #[test]
    fn no_place_is_a_wrong_call() {
        assert_eq!(find(None, &[("HOME", "")]).unwrap_err().exit, Exit::Usage);
        assert_eq!(
            find(Some(""), &[("HOME", "/h")]).unwrap_err().exit,
            Exit::Usage
        );
    }

    #[test]
    fn only_a_place_that_was_named_is_named_again() {
        assert_eq!(find(None, &[("HOME", "/h")]).unwrap().given_path(), None);
        let given = find(Some("a.redb"), &[]).unwrap().given_path().unwrap();
        assert!(given.is_absolute() && given.ends_with("a.redb"));
    }
}
