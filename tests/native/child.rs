//! Other processes: this test binary, started again to do what it is told line by line.
//!
//! A child answers each line with one line. It dies when its `Child` is dropped, and by itself
//! when the test that started it is gone.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Lines, Read, Write, stdin};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use idempotency_ledger::{
    Begin, Claim, CommitProfile, Error, Key, Ledger, ManualClock, Namespace, OnInterrupted, Policy,
    Refusal, RunLock,
};
use idempotency_tests::storage::{Fate, Step, Watched};
use idempotency_tests::workload::{Bench, Work};
use idempotency_tests::{Expect, PAYMENTS, asked, clock, key, seconds};
use redb::backends::FileBackend;

use crate::outbox::{drain_telling, push_all};
use crate::steps::order_telling;

/// Says that this process is a child: `lines` or the address to linger at.
const ROLE: &str = "IDEMPOTENCY_TESTS_CHILD";
/// Starts each line that is meant for the parent.
const MARK: &str = "@@ ";

/// A namespace whose operations are safe to repeat.
pub(crate) const REPEATABLE: Namespace =
    Namespace::new("repeatable").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));

/// A child process that waits for the next line.
pub(crate) struct Child {
    process: process::Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a child.
    pub(crate) fn start() -> Self {
        Self::spawned(&mut this_binary("lines"))
    }

    fn spawned(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
        let stdin = process.stdin.take().expect("it is a pipe");
        let stdout = process.stdout.take().expect("it is a pipe");
        Self {
            process,
            stdin,
            stdout: BufReader::new(stdout).lines(),
        }
    }

    /// Starts a child under another program, which gets the child's command as its last arguments.
    #[cfg(target_os = "linux")]
    pub(crate) fn under(program: &[&str]) -> Self {
        let child = this_binary("lines");
        let mut command = Command::new(program[0]);
        command
            .args(&program[1..])
            .arg(child.get_program())
            .args(child.get_args())
            .env(ROLE, "lines");
        Self::spawned(&mut command)
    }

    /// Starts a child that has the ledger open.
    pub(crate) fn with_open(mode: &str, path: &Path) -> Self {
        let mut child = Self::start();
        assert_eq!(
            child.ask(&format!("open {mode} {}", path.display())),
            "opened"
        );
        child
    }

    /// Says a line.
    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("the child listens");
    }

    /// The next line; `None` when nobody is left who could say one.
    pub(crate) fn hear(&mut self) -> Option<String> {
        let lines = self.stdout.by_ref().map_while(Result::ok);
        let mut meant = lines.filter_map(|line| line.split_once(MARK).map(|it| it.1.to_owned()));
        meant.next()
    }

    /// Says a line and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.hear()
            .unwrap_or_else(|| panic!("{line}: the child died"))
    }

    /// Kills the child with SIGKILL. What it had locked is free when this returns.
    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("it was started");
        self.process.wait().expect("it was started");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A process that a child started and that holds a run lock, until this is dropped.
pub(crate) struct Lingering {
    _end: TcpStream,
}

impl Lingering {
    /// Lets the child start one for a claim.
    pub(crate) fn of(child: &mut Child, text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        assert_eq!(child.ask(&format!("linger {text} {address}")), "ok");
        let (mut stream, _) = listener.accept().expect("it calls");
        let mut started = [0];
        stream.read_exact(&mut started).expect("it has started");
        Self { _end: stream }
    }
}

fn this_binary(role: &str) -> Command {
    let path = std::env::current_exe().expect("this binary has a path");
    let mut command = Command::new(path);
    command
        .args(["--exact", "child::entry", "--nocapture"])
        .env(ROLE, role);
    command
}

/// What a child process runs; in the test run itself it does nothing.
#[test]
fn entry() {
    match std::env::var(ROLE).as_deref() {
        Err(_) => {}
        Ok("lines") => {
            let mut session = Session::default();
            for line in stdin().lines() {
                let line = line.expect("the parent lives");
                let words: Vec<&str> = line.split(' ').collect();
                let answer = session.obey(&words);
                tell(&answer);
            }
        }
        Ok(address) => {
            let mut parent = TcpStream::connect(address).expect("the test listens");
            parent.write_all(&[1]).expect("the test listens");
            let _ = parent.read(&mut [0]);
        }
    }
}

fn tell(text: &str) {
    println!("{MARK}{text}");
}

/// What a child holds between two lines.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) ledger: Option<Ledger>,
    clock: Option<ManualClock>,
    pub(crate) claims: HashMap<String, Claim>,
    locks: Vec<RunLock>,
    /// Never waited for: they are to outlive this process.
    lingering: Vec<process::Child>,
}

impl Session {
    fn obey(&mut self, words: &[&str]) -> String {
        match words {
            ["open", mode, path] => self.open(mode, path),
            ["folder", path] => {
                std::env::set_current_dir(path).expect("it is a folder");
                "ok".into()
            }
            ["advance", count] => {
                let clock = self.clock.as_ref().expect("opened");
                clock.advance(seconds(count.parse().expect("a number")));
                "ok".into()
            }
            ["end"] => process::exit(0),
            ["begin", text] => self.begin(&PAYMENTS, text),
            ["begin-repeatable", text] => self.begin(&REPEATABLE, text),
            ["checkpoint", text, name] => {
                let claim = &self.claims[*text];
                said(
                    claim
                        .checkpoint(name, b"bytes")
                        .map_err(|it| it.to_string()),
                )
            }
            ["complete", text, bytes] => {
                let claim = self.claims.remove(*text).expect("claimed");
                said(claim.complete(*bytes).map_err(|it| it.to_string()))
            }
            ["drop", text] => {
                drop(self.claims.remove(*text).expect("claimed"));
                "ok".into()
            }
            ["transact", text] => self.transact(text),
            #[cfg(unix)]
            ["fork", what] => crate::forks::fork_and(what, self),
            ["linger", text, address] => self.linger(text, address),
            ["race", text, threads] => self.race(text, threads.parse().expect("a number")),
            ["write", prefix] => self.write(prefix),
            ["stop-at", work, profile, step, path] => stop_at(work, profile, step, path),
            ["steps-stop-at", step, path] => steps_stop_at(step, path),
            ["drain-stop-at", step, path] => drain_stop_at(step, path),
            ["stop-in-backup", path, copy] => stop_in_backup(path, copy),
            other => panic!("unknown line {other:?}"),
        }
    }

    fn open(&mut self, mode: &str, path: &str) -> String {
        let clock = clock();
        self.clock = Some(clock.clone());
        let builder = Ledger::builder().clock(clock);
        let builder = match mode {
            "exclusive" => builder,
            "shared" => builder.shared(),
            other => panic!("unknown mode {other}"),
        };
        match builder.open(path) {
            Ok(ledger) => {
                self.ledger = Some(ledger);
                "opened".into()
            }
            Err(error) => format!("{error:?}"),
        }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("opened")
    }

    fn begin(&mut self, namespace: &Namespace, text: &str) -> String {
        let request = self
            .ledger()
            .operation(namespace.clone(), &key(text), asked());
        match request.begin() {
            Ok(Begin::Fresh(claim)) => {
                self.claims.insert(text.to_owned(), claim);
                "fresh".into()
            }
            Ok(Begin::Replay(replay)) => {
                format!(
                    "replay {}",
                    String::from_utf8_lossy(replay.response().bytes())
                )
            }
            Ok(Begin::Interrupted(ticket)) if ticket.is_overdue() => "overdue".into(),
            Ok(Begin::Interrupted(_)) => "interrupted".into(),
            Ok(Begin::Refused(Refusal::InProgress { .. })) => "in progress".into(),
            Ok(Begin::Refused(refusal)) => refusal.to_string(),
            Err(error) => format!("{error:?}"),
        }
    }

    /// Stops inside the transaction, for ever.
    fn transact(&self, text: &str) -> String {
        let request = self.ledger().operation(PAYMENTS, &key(text), asked());
        let done = request.transact_bytes(|_, txn| -> Result<&str, Infallible> {
            let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("own");
            let mut table = txn.open_table(table).expect("opens");
            table.insert(1, 1).expect("inserts");
            tell("inside");
            stop()
        });
        said(done.map_err(|error| error.to_string()))
    }

    /// Starts a process that inherits the run lock of a claim.
    fn linger(&mut self, text: &str, address: &str) -> String {
        let lock = self.claims[text].run_lock().expect("a run lock");
        let inherited = lock.file().try_clone().expect("another handle");
        let started = this_binary(address).stdin(inherited).spawn();
        self.lingering
            .push(started.expect("the test binary starts again"));
        self.locks.push(lock);
        "ok".into()
    }

    /// Begins on several threads at once; the answer is how many of them got the claim, which
    /// the session keeps.
    fn race(&mut self, text: &str, threads: usize) -> String {
        let barrier = Barrier::new(threads);
        let ledger = self.ledger().clone();
        let begun = thread::scope(|scope| {
            let racer = || {
                barrier.wait();
                let begun = ledger.operation(PAYMENTS, &key(text), asked()).begin();
                match begun.expect("works") {
                    Begin::Fresh(claim) => Some(claim),
                    Begin::Refused(Refusal::InProgress { .. }) => None,
                    other => panic!("unexpected: {other:?}"),
                }
            };
            let racers: Vec<_> = (0..threads).map(|_| scope.spawn(racer)).collect();
            let ended = racers.into_iter().map(thread::ScopedJoinHandle::join);
            ended
                .filter_map(|claim| claim.expect("no panic"))
                .collect::<Vec<_>>()
        });
        let won = begun.len();
        self.claims
            .extend(begun.into_iter().map(|claim| (text.to_owned(), claim)));
        won.to_string()
    }

    /// Claims and completes one key after the other, for ever, and says what is acknowledged.
    fn write(&self, prefix: &str) -> String {
        for number in 0.. {
            let text = format!("{prefix}-{number}");
            let request = self.ledger().operation(PAYMENTS, &key(&text), asked());
            let claim = match request.begin() {
                Ok(Begin::Fresh(claim)) => claim,
                // Nothing was written; the other writers are many.
                Err(Error::Busy { .. }) => continue,
                other => panic!("expected a claim, got {other:?}"),
            };
            tell(&format!("claimed {text}"));
            claim.complete(text.as_str()).expect("stored");
            tell(&format!("done {text}"));
        }
        unreachable!("it is killed")
    }
}

fn said<T>(done: Result<T, String>) -> String {
    done.map_or_else(|error| error, |_| "ok".into())
}

/// A new file whose storage is watched.
fn watched_file(path: &str) -> Watched {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.open(path).expect("a new file");
    Watched::new(FileBackend::new(file).expect("a backend"))
}

/// Does a work on a new file, and stops for ever at one of its steps.
fn stop_at(work: &str, profile: &str, step: &str, path: &str) -> String {
    let storage = watched_file(path);
    let profile = match profile {
        "OnePhase" => CommitProfile::OnePhase,
        "TwoPhase" => CommitProfile::TwoPhase,
        other => panic!("unknown profile {other}"),
    };
    let clock = clock();
    let builder = Ledger::builder().clock(clock.clone());
    let builder = builder.commit_profile(profile);
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    let mut bench = Bench::new(Work::named(work), ledger, &clock);
    stop_storage_at(&storage, step);
    bench.act().expect("works");
    tell("done");
    stop()
}

/// Lets a storage stop for ever at one of its next steps.
fn stop_storage_at(storage: &Watched, step: &str) {
    let last: u64 = step.parse().expect("a number");
    storage.script(move |at, step| {
        if at == last && step != Step::Read {
            tell("stopped");
            stop();
        }
        Fate::Pass
    });
}

/// Runs an operation of several steps, tells of each call, and stops at a step of the storage.
fn steps_stop_at(step: &str, path: &str) -> String {
    let storage = watched_file(path);
    let builder = Ledger::builder().clock(clock());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    stop_storage_at(&storage, step);
    let call = |name: &str, child_key: &Key| tell(&format!("called {name} {child_key}"));
    order_telling(&ledger, call).expect("works");
    tell("done");
    stop()
}

/// Drains an outbox, tells of each delivery, and stops at a step of the storage.
fn drain_stop_at(step: &str, path: &str) -> String {
    let storage = watched_file(path);
    let builder = Ledger::builder().clock(clock());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    push_all(&ledger);
    stop_storage_at(&storage, step);
    drain_telling(&ledger, |row| {
        tell(&format!("sent {} {}", row.topic(), row.key()));
    });
    tell("done");
    stop()
}

/// Copies a ledger, and stops for ever when half of it is copied.
fn stop_in_backup(path: &str, copy: &str) -> String {
    let storage = watched_file(path);
    let builder = Ledger::builder().clock(clock());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    for text in ["a", "b", "c"] {
        let request = ledger.operation(PAYMENTS, &key(text), asked());
        let claim = request.begin().expect("works").fresh();
        claim.complete(vec![7; 1024 * 1024]).expect("stored");
    }
    let copied = AtomicUsize::new(0);
    storage.script(move |_, step| {
        // The first mebibyte has been written when the second is read.
        if step == Step::Read && copied.fetch_add(1, Ordering::SeqCst) == 1 {
            tell("half");
            stop();
        }
        Fate::Pass
    });
    ledger.backup(copy).expect("copies");
    "whole".into()
}

/// Waits to be killed, and ends with the parent.
fn stop() -> ! {
    for line in stdin().lines() {
        drop(line);
    }
    process::exit(1)
}
