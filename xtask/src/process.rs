//! Other programs: how they are started, shown, limited in time, and how they fail.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::stopwatch::{self, Elapsed, Stopwatch};

/// Why a step could not end well, in words for the person at the terminal.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One program with its arguments and the changes to its environment.
#[derive(Debug)]
#[must_use = "a program does nothing until it is run"]
pub(crate) struct Program {
    command: Command,
    name: String,
}

impl Program {
    /// A program by its path, or by a name to look up.
    pub(crate) fn new(path: impl AsRef<OsStr>) -> Self {
        let path = path.as_ref();
        Self {
            command: Command::new(path),
            name: path.to_string_lossy().into_owned(),
        }
    }

    /// How the program is shown, where its full path would say less.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Appends arguments.
    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets the working directory.
    pub(crate) fn in_dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets a variable of the environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Takes variables out of the environment that the program inherits.
    pub(crate) fn without_env(mut self, names: &[&str]) -> Self {
        for name in names {
            self.command.env_remove(name);
        }
        self
    }

    /// Shows the command line, runs it with the terminal, and demands success.
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        println!("    $ {self}");
        let status = self
            .command
            .status()
            .map_err(|error| self.not_started(&error))?;
        self.demand_success(status)
    }

    /// As [`run`](Self::run), without a keyboard, and ended after `limit`: for programs
    /// that may ask a question or wait for a network that never answers.
    pub(crate) fn run_within(mut self, limit: Duration) -> Result<(), Failure> {
        println!("    $ {self}");
        self.command.stdin(Stdio::null());
        let mut child = self
            .command
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        match wait_within(&mut child, limit) {
            Ok(Some(status)) => self.demand_success(status),
            Ok(None) => {
                let limit = Elapsed(limit);
                Err(Failure::new(format!(
                    "`{self}` was ended: no result after {limit}"
                )))
            }
            Err(error) => Err(Failure::new(format!("`{self}` was lost: {error}"))),
        }
    }

    /// Runs quietly and returns what it prints; `None` if it cannot start or fails.
    pub(crate) fn answer(mut self) -> Option<String> {
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    /// Shows the command line, runs it, demands success, and returns what it prints; what it
    /// says besides goes to the terminal.
    pub(crate) fn capture(mut self) -> Result<String, Failure> {
        println!("    $ {self}");
        let output = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| self.not_started(&error))?;
        self.demand_success(output.status)?;
        String::from_utf8(output.stdout)
            .map_err(|_| Failure::new(format!("`{self}` did not print text")))
    }

    fn not_started(&self, error: &std::io::Error) -> Failure {
        Failure::new(format!("`{self}` could not be started: {error}"))
    }

    fn demand_success(&self, status: ExitStatus) -> Result<(), Failure> {
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(format!("`{self}` failed ({status})")))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                write!(f, "{}={} ", name.display(), value.display())?;
            }
        }
        f.write_str(&self.name)?;
        for argument in self.command.get_args() {
            write!(f, " {}", argument.display())?;
        }
        Ok(())
    }
}

/// `None` when the time was over first; the child is then ended and reaped.
fn wait_within(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let stopwatch = Stopwatch::start();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if stopwatch.elapsed() >= Elapsed(limit) {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        stopwatch::pause();
    }
}

/// Whether a program of this name can be started from `PATH`.
pub(crate) fn on_path(name: &str) -> bool {
    find_on_path(name).is_some()
}

/// The program of this name that `PATH` leads to.
pub(crate) fn find_on_path(name: &str) -> Option<PathBuf> {
    let file: OsString = format!("{name}{}", env::consts::EXE_SUFFIX).into();
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates = env::split_paths(&path).map(|dir| dir.join(&file));
    candidates.find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_shows_its_environment_and_arguments() {
        let program = Program::new("/opt/bin/tool")
            .named("tool")
            .args(["build", "--lib"])
            .env("MODE", "fast")
            .without_env(&["NOISE"]);
        assert_eq!(program.to_string(), "MODE=fast tool build --lib");
    }

    #[test]
    fn a_program_that_does_not_exist_says_so() {
        let failure = Program::new("no-such-program")
            .run()
            .expect_err("it cannot start");
        assert!(
            failure
                .to_string()
                .starts_with("`no-such-program` could not be started: ")
        );
        assert_eq!(Program::new("no-such-program").answer(), None);
        assert!(!on_path("no-such-program"));
    }

    #[cfg(unix)]
    #[test]
    fn a_failing_program_is_a_failure_with_its_status() {
        let failure = Program::new("sh")
            .args(["-c", "exit 3"])
            .run()
            .expect_err("it fails");
        assert!(failure.to_string().contains("exit status: 3"), "{failure}");
        Program::new("sh")
            .args(["-c", "exit 0"])
            .run()
            .expect("it succeeds");
    }

    #[cfg(unix)]
    #[test]
    fn what_a_program_prints_is_returned_whole() {
        let prints = Program::new("sh").args(["-c", "echo one; echo two >&2"]);
        assert_eq!(prints.capture().expect("it succeeds"), "one\n");
        let fails = Program::new("sh").args(["-c", "echo one; exit 3"]);
        let failure = fails.capture().expect_err("it fails");
        assert!(failure.to_string().contains("exit status: 3"), "{failure}");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_never_ends_is_ended() {
        let hangs = Program::new("sh").args(["-c", "exec sleep 600"]);
        let failure = hangs
            .run_within(Duration::from_millis(300))
            .expect_err("it is ended");
        assert!(
            failure.to_string().contains("no result after 0.3 s"),
            "{failure}"
        );
        let ends = Program::new("sh").args(["-c", "exit 0"]);
        ends.run_within(Duration::from_secs(60))
            .expect("it ends by itself");
    }
}
