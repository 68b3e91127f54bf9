//! The example `payment_server` as a process.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use tempfile::TempDir;

use crate::client::{Answer, Call};

/// The built example, which is built if it is not there, or older than its sources.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let name = format!("payment_server{}", std::env::consts::EXE_SUFFIX);
        let binary = profile.join("examples").join(name);
        // `cargo test --test http` builds no examples.
        if !is_current(&binary) {
            let target = profile.parent().unwrap();
            let built = Command::new(env!("CARGO"))
                .args(["build", "--quiet", "--example", "payment_server"])
                .args(["--features", "tower", "--target-dir"])
                .arg(target)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(built.unwrap().success(), "payment_server does not build");
        }
        binary
    })
}

/// Whether it is at least as new as everything that it was made of.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    let Some(built) = changed(binary) else {
        return false;
    };
    let made_of = fs::read_to_string(binary.with_extension("d")).unwrap_or_default();
    let Some((_, sources)) = made_of.split_once(": ") else {
        return false;
    };
    let mut sources = sources.split_whitespace().map(Path::new);
    sources.all(|source| changed(source).is_some_and(|changed| changed <= built))
}

/// A folder with a ledger and a card network, on which one server after the other is started.
#[derive(Debug)]
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn start(&self, options: &[&str]) -> Server {
        let mut child = Command::new(binary())
            .args(["--addr", "127.0.0.1:0", "--ledger"])
            .arg(self.path("shop.redb"))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let addr = line.trim_end().strip_prefix("listening on http://");
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else {
            panic!("it does not listen: {line:?}, {:?}", child.wait());
        };
        Server { child, addr }
    }

    /// What the network was really asked to do: principal, key, amount.
    pub(crate) fn charges(&self) -> Vec<(String, String, u64)> {
        let text = fs::read_to_string(self.path("shop.redb.network")).unwrap();
        text.lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                (
                    text("principal"),
                    text("key"),
                    line["amount"].as_u64().unwrap(),
                )
            })
            .collect()
    }
}

/// A running server. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
}

impl Server {
    #[track_caller]
    pub(crate) fn send(&self, call: &Call) -> Answer {
        call.send(self.addr)
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> serde_json::Value {
        let answer = Call::get(path).send(self.addr);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// As `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Asks it to end, as a service manager does.
    pub(crate) fn stop(self) -> ExitStatus {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.unwrap().success());
        self.ended()
    }

    /// The balance and the version of an account.
    pub(crate) fn account(&self, id: &str) -> (i64, u64) {
        let accounts = self.get("/api/accounts");
        let mut accounts = accounts.as_array().unwrap().iter();
        let account = accounts.find(|account| account["id"] == id).unwrap();
        (
            account["balance"].as_i64().unwrap(),
            account["version"].as_u64().unwrap(),
        )
    }

    pub(crate) fn metrics(&self) -> String {
        let answer = Call::get("/metrics").send(self.addr);
        assert_eq!(answer.status, 200);
        let content_type = answer.header("content-type").unwrap();
        assert!(content_type.starts_with("text/plain; version=0.0.4"));
        answer.text().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn charge(key: &str, amount: u64) -> Call {
    let body = format!("{{\"customer\":\"ann\",\"amount\":{amount},\"currency\":\"EUR\"}}");
    Call::post("/api/charges").key(key).json(&body)
}

pub(crate) fn transfer(key: &str, amount: u64) -> Call {
    unkeyed_transfer(amount).key(key)
}

pub(crate) fn unkeyed_transfer(amount: u64) -> Call {
    let body = format!("{{\"from\":\"alice\",\"to\":\"shop\",\"amount\":{amount}}}");
    Call::post("/api/transfers").json(&body)
}
