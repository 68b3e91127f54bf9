//! The real payment server, which is started again whenever a page lets it crash.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use tempfile::TempDir;

/// Where `cargo xtask test` has built it.
const SERVER: &str = "IDEMPOTENCY_SERVER";

/// Serves on a port of its own until it is dropped.
#[derive(Debug)]
pub(crate) struct BankServer {
    port: u16,
    is_over: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
    /// Behind the thread, so that it is removed after the server has ended.
    _folder: TempDir,
}

impl BankServer {
    /// A server with a new ledger, that serves this folder as well.
    pub(crate) fn start(site: &Path) -> Self {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let port = free_port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (for_thread, ledger) = (Arc::clone(&is_over), folder.path().join("bank.redb"));
        let site = site.to_owned();
        let start = move || spawn(port, &ledger, &site);
        let child = start();
        let watching = thread::spawn(move || watch(child, &for_thread, start));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let is_lost = watching.is_finished();
            assert!(!is_lost, "the server ends instead of serving");
            thread::yield_now();
        }
        Self {
            port,
            is_over,
            watching: Some(watching),
            _folder: folder,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }
}

impl Drop for BankServer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(watching) = self.watching.take() {
            // A thread that panicked has said why.
            let _ = watching.join();
        }
    }
}

/// A port that was free a moment ago: a server that is started again has to find it again.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

fn program() -> PathBuf {
    std::env::var_os(SERVER).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/examples/payment_server"),
        PathBuf::from,
    )
}

fn spawn(port: u16, ledger: &Path, site: &Path) -> Child {
    Command::new(program())
        .args(["--addr", &format!("127.0.0.1:{port}"), "--faults"])
        .args(["--ledger".as_ref(), ledger.as_os_str()])
        .args(["--www".as_ref(), site.as_os_str()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the server is built: run `cargo xtask test --only browser`")
}

fn watch(mut child: Child, is_over: &AtomicBool, start: impl Fn() -> Child) {
    while !is_over.load(Ordering::SeqCst) {
        if child.try_wait().expect("it is a child of ours").is_some() {
            child = start();
        }
        // Another process offers nothing to wait on.
        thread::park_timeout(std::time::Duration::from_millis(20));
    }
    // It may have ended by itself; then there is nothing to end.
    let _ = child.kill();
    let _ = child.wait();
}
