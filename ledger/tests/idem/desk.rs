//! A folder of its own for each test, and `idem` in it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

/// How often something that another process does on its way out is looked for. Each look is a
/// process of its own, so this is seconds.
const LOOKS_MAX: usize = 2_000;

/// A home without a ledger.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("ledger.redb")
    }

    /// `idem` on the ledger of this desk, without standard input, in the desk's folder.
    pub(crate) fn idem(&self, words: &[&str]) -> Command {
        self.command(env!("CARGO_BIN_EXE_idem"), words)
    }

    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("IDEM_LEDGER", self.ledger())
            .env_remove("XDG_STATE_HOME")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Answer {
        Answer::of(self.idem(words).output().unwrap())
    }

    /// `idem exec --key KEY OPTIONS -- sh -c SCRIPT`
    pub(crate) fn exec_command(&self, key: &str, options: &[&str], script: &str) -> Command {
        let head = ["exec", "--key", key];
        self.idem(&[&head, options, &["--", "sh", "-c", script]].concat())
    }

    pub(crate) fn exec(&self, key: &str, options: &[&str], script: &str) -> Answer {
        Answer::of(self.exec_command(key, options, script).output().unwrap())
    }

    /// A script on this desk, for what people type.
    pub(crate) fn sh(&self, script: &str) -> Command {
        self.command("sh", &["-c", script])
    }

    /// Starts a run and returns once the script has printed its first line.
    pub(crate) fn start(&self, key: &str, options: &[&str], script: &str) -> Started {
        Started::new(&mut self.exec_command(key, options, script))
    }

    /// A named pipe: whoever opens one end waits for the other.
    pub(crate) fn pipe(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(
            Command::new("mkfifo")
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    /// How many lines the scripts have added to the file `effects`.
    pub(crate) fn effects(&self) -> usize {
        fs::read_to_string(self.path("effects")).map_or(0, |text| text.lines().count())
    }

    pub(crate) fn state(&self, key: &str) -> serde_json::Value {
        let shown = self.run(&["show", key, "--json"]);
        assert_eq!(shown.code, 0, "{shown:?}");
        serde_json::from_str(&shown.out).unwrap()
    }
}

/// Lets whoever waits for the named pipe go on.
pub(crate) fn open_gate(path: &Path) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .write_all(b"go\n")
        .unwrap();
}

/// Asks until the answer fits: for what another process does between its last word and its end.
pub(crate) fn until(mut ask: impl FnMut() -> Answer, fits: impl Fn(&Answer) -> bool) -> Answer {
    let mut last = ask();
    for _ in 0..LOOKS_MAX {
        if fits(&last) {
            return last;
        }
        last = ask();
    }
    panic!("never happened; the last answer was {last:?}");
}

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Answer {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("idem itself was killed"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The first line that a message tells people to type.
    pub(crate) fn line_starting(&self, start: &str) -> &str {
        let at = self
            .err
            .find(start)
            .unwrap_or_else(|| panic!("no {start:?} in {self:?}"));
        self.err[at..].lines().next().unwrap()
    }
}

/// A run that is under way.
pub(crate) struct Started {
    pub(crate) child: Child,
    pub(crate) first_line: String,
    out: BufReader<ChildStdout>,
}

impl Started {
    pub(crate) fn new(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first_line = String::new();
        out.read_line(&mut first_line).unwrap();
        Self {
            child,
            first_line,
            out,
        }
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Closes the pipe that the output goes to.
    pub(crate) fn stop_reading(self) -> Child {
        self.child
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end. The output is what came after the lines that were read.
    pub(crate) fn finish(mut self) -> Answer {
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let mut answer = Answer::of(self.child.wait_with_output().unwrap());
        answer.out = rest;
        answer
    }
}
