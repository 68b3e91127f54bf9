//! The demo: the page, served by the real payment server, which is started again whenever a
//! visitor lets it crash.

use std::env;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::process::{Failure, on_path};
use crate::site;
use crate::stopwatch::{self, Elapsed, Stopwatch};
use crate::workspace::{LEDGER, Workspace};

/// Where the server listens unless somebody wants it elsewhere.
pub(crate) const ADDRESS: &str = "127.0.0.1:8787";

/// The example of the ledger that is the server.
const SERVER: &str = "payment_server";

/// A server that lives for less did not crash because a visitor wanted it to.
const LIFE_MIN: Duration = Duration::from_millis(400);

/// So many such lives in a row mean that it cannot start at all.
const SHORT_LIVES_MAX: u32 = 8;

/// How long a server may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// Whether a browser is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    InBrowser,
    Printed,
}

/// Builds everything and serves until it is interrupted.
pub(crate) fn run(
    workspace: &Workspace,
    address: SocketAddr,
    allow_host: Vec<String>,
    opening: Opening,
) -> Result<(), Failure> {
    check_free(address)?;
    let folder = site::folder(workspace);
    println!("==> 1 of 2: the page and its WebAssembly; the first time this takes minutes");
    site::write(workspace, &folder)?;
    println!("\n==> 2 of 2: the payment server");
    let program = build_server(workspace)?;
    let ledger = tempfile::tempdir()
        .map_err(|error| Failure::new(format!("no folder for the ledger: {error}")))?;
    let server = Server {
        program,
        address,
        allow_host,
        ledger: ledger.path().join("demo.redb"),
        site: folder,
    };
    let is_over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&is_over))
            .map_err(|error| Failure::new(format!("Ctrl-C cannot be heard: {error}")))?;
    }
    server.serve(&is_over, opening)
}

/// Said before a build of minutes, and before another's page is taken for this one.
fn check_free(address: SocketAddr) -> Result<(), Failure> {
    let taken = |error| {
        let remedy = "end what listens there, or choose another with `--addr 127.0.0.1:8788`";
        Failure::new(format!(
            "{address} cannot be listened on: {error}; {remedy}"
        ))
    };
    TcpListener::bind(address).map(drop).map_err(taken)
}

/// How the server is started.
#[derive(Debug)]
struct Server {
    program: PathBuf,
    address: SocketAddr,
    allow_host: Vec<String>,
    ledger: PathBuf,
    site: PathBuf,
}

impl Server {
    /// Starts it again and again, until the end.
    fn serve(&self, is_over: &AtomicBool, opening: Opening) -> Result<(), Failure> {
        let mut short_lives = 0;
        let mut is_first = true;
        while !is_over.load(Ordering::SeqCst) {
            let life = Stopwatch::start();
            let mut child = self.start()?;
            let ended = self.watch(&mut child, is_over, is_first.then_some(opening));
            // Its own child, and ended already or ended now: no other program is touched.
            let _ = child.kill();
            let _ = child.wait();
            ended?;
            is_first = false;
            let was_short = life.elapsed() < Elapsed(LIFE_MIN);
            short_lives = if was_short { short_lives + 1 } else { 0 };
            if short_lives >= SHORT_LIVES_MAX {
                let address = self.address;
                return Err(Failure::new(format!(
                    "{SERVER} ends again and again; is {address} taken?"
                )));
            }
            if !is_over.load(Ordering::SeqCst) {
                println!("    the bank has crashed, and is started again");
            }
        }
        println!("\n    the demo has ended, and its ledger is removed");
        Ok(())
    }

    fn start(&self) -> Result<Child, Failure> {
        let mut command = Command::new(&self.program);
        command.arg("--addr").arg(self.address.to_string());
        command.arg("--ledger").arg(&self.ledger);
        command.arg("--www").arg(&self.site).arg("--faults");
        for name in &self.allow_host {
            command.args(["--allow-host", name]);
        }
        command.stdin(Stdio::null()).spawn().map_err(|error| {
            let program = self.program.display();
            Failure::new(format!("{program} could not be started: {error}"))
        })
    }

    /// Returns when the server has ended or the demo is over.
    fn watch(
        &self,
        child: &mut Child,
        is_over: &AtomicBool,
        mut greeting: Option<Opening>,
    ) -> Result<(), Failure> {
        let stopwatch = Stopwatch::start();
        loop {
            let status = child
                .try_wait()
                .map_err(|error| Failure::new(format!("{SERVER} was lost: {error}")))?;
            if status.is_some() || is_over.load(Ordering::SeqCst) {
                return Ok(());
            }
            if let Some(opening) = greeting.filter(|_| TcpStream::connect(self.address).is_ok()) {
                self.greet(opening);
                greeting = None;
            }
            if greeting.is_some() && stopwatch.elapsed() > Elapsed(START_MAX) {
                let address = self.address;
                return Err(Failure::new(format!(
                    "{SERVER} does not listen on {address}"
                )));
            }
            stopwatch::pause();
        }
    }

    fn greet(&self, opening: Opening) {
        let page = format!("http://{}/", self.address);
        println!("\n    The demo: {page}\n    Ctrl-C ends it.\n");
        if opening == Opening::InBrowser {
            open_browser(&page);
        }
    }
}

/// Builds the server; where cargo leaves it.
pub(crate) fn build_server(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let example = ["build", "-p", LEDGER, "--example", SERVER];
    let build = workspace.cargo(example);
    build.args(["--features", "tower"]).run()?;
    let examples = workspace.root().join(Workspace::target_dir("debug"));
    let program = examples.join("examples").join(SERVER);
    Ok(program.with_extension(env::consts::EXE_EXTENSION))
}

/// A person without a browser here has the address.
fn open_browser(page: &str) {
    let is_graphical = |name: &str| env::var_os(name).is_some();
    let opener = if cfg!(target_os = "macos") {
        Some("open")
    } else if cfg!(windows) {
        Some("explorer")
    } else if is_graphical("DISPLAY") || is_graphical("WAYLAND_DISPLAY") {
        Some("xdg-open").filter(|name| on_path(name))
    } else {
        None
    };
    let Some(opener) = opener else { return };
    let started = Command::new(opener)
        .arg(Path::new(page))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if started.is_err() {
        println!("    `{opener}` could not be started; open the address by hand");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(program: &str) -> Server {
        Server {
            program: program.into(),
            address: "127.0.0.1:1".parse().expect("an address"),
            allow_host: Vec::new(),
            ledger: "demo.redb".into(),
            site: "site".into(),
        }
    }

    #[test]
    fn a_server_that_cannot_start_ends_the_demo() {
        let is_over = AtomicBool::new(false);
        let missing = server("no-such-server").serve(&is_over, Opening::Printed);
        let missing = missing.expect_err("there is none").to_string();
        assert!(missing.contains("could not be started"), "{missing}");
        if on_path("true") {
            let ends = server("true").serve(&is_over, Opening::Printed);
            let ends = ends.expect_err("it ends at once").to_string();
            assert!(ends.contains("again and again"), "{ends}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_server_that_crashes_is_started_again_until_the_end() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let script = dir.path().join("server.sh");
        // Its fourth argument is the path of the ledger.
        std::fs::write(&script, "#!/bin/sh\necho life >> \"$4\"\nexec sleep 0.5\n")
            .expect("a file");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&script, executable).expect("a mode");
        let ledger = dir.path().join("lives");
        let server = Server {
            ledger: ledger.clone(),
            ..server(script.to_str().expect("the path is text"))
        };
        let lives = || std::fs::read_to_string(&ledger).map_or(0, |text| text.lines().count());
        let is_over = AtomicBool::new(false);
        let ended = std::thread::scope(|scope| {
            let serving = scope.spawn(|| server.serve(&is_over, Opening::Printed));
            let limit = Stopwatch::start();
            while lives() < 3 && limit.elapsed() < Elapsed(START_MAX) {
                stopwatch::pause();
            }
            is_over.store(true, Ordering::SeqCst);
            serving.join().expect("it does not panic")
        });
        assert!(ended.is_ok() && lives() >= 3, "{} lives", lives());
    }

    #[test]
    fn an_address_that_is_taken_is_said_at_once() {
        let other = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = other.local_addr().expect("an address");
        let taken = check_free(address).expect_err("it is taken").to_string();
        assert!(taken.contains("--addr"), "{taken}");
        drop(other);
        assert!(check_free(address).is_ok());
    }

    #[test]
    fn a_demo_that_is_over_starts_nothing() {
        let is_over = AtomicBool::new(true);
        let ended = server("no-such-server").serve(&is_over, Opening::Printed);
        assert!(ended.is_ok());
    }
}
