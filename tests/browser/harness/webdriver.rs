//! A blocking client of the `WebDriver` protocol: one driver, one session, commands as JSON.
//!
//! Chromium is what most tests use; `WebKit` needs a screen of its own and a driver that is told
//! its port.

use std::cell::RefCell;
use std::fmt;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use super::bank_server::free_port;

/// Longer than the longest script, so that the driver's own words arrive.
const ANSWER_LIMIT: Duration = Duration::from_secs(180);

/// How long a script of a test may take.
pub(crate) const SCRIPT_LIMIT: Duration = Duration::from_secs(120);

/// How often a driver is started, before something else must be wrong.
const STARTS_MAX: u32 = 5;

/// Between two looks at a driver that says nothing when it is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running driver, ended when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    child: Child,
    /// Held open: a driver that cannot print dies.
    _output: BufReader<ChildStdout>,
    address: String,
    agent: Agent,
}

impl Driver {
    /// Another program may take the port that a driver has found before the driver does.
    pub(crate) fn start() -> Self {
        let mut tries = (0..STARTS_MAX).filter_map(|_| Self::try_start());
        tries
            .next()
            .expect("one of several chromedrivers finds a port")
    }

    fn try_start() -> Option<Self> {
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!("chromedriver: {error}; `apt-get install chromium chromium-driver`")
        });
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let Some(port) = port(&mut output) else {
            // It may have ended by itself; then there is nothing to end.
            let _ = child.kill();
            let _ = child.wait();
            return None;
        };
        Some(Self::at(port, child, output))
    }

    fn at(port: u16, child: Child, output: BufReader<ChildStdout>) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(ANSWER_LIMIT))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self {
            child,
            _output: output,
            address: format!("http://127.0.0.1:{port}"),
            agent: config.into(),
        }
    }

    /// The driver of `WebKit`, whose windows appear on this screen.
    fn start_webkit(screen: &Screen) -> Self {
        let port = free_port();
        let started = Command::new("WebKitWebDriver")
            .arg(format!("--port={port}"))
            .env("DISPLAY", &screen.display)
            .env_remove("WAYLAND_DISPLAY")
            // The screen has no graphics card, whatever the machine has.
            .env("LIBGL_ALWAYS_SOFTWARE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!("WebKitWebDriver: {error}; `apt-get install webkit2gtk-driver xvfb`")
        });
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().expect("it is a child of ours");
            assert!(ended.is_none(), "WebKitWebDriver ends instead of serving");
            // Another process offers nothing to wait on.
            thread::park_timeout(LOOK_EVERY);
        }
        Self::at(port, child, output)
    }

    /// Sends a command; the error is the driver's own.
    fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, DriverError> {
        let address = format!("{}{path}", self.address);
        let sent = match method {
            "POST" => self.agent.post(&address).send(body.to_string()),
            "DELETE" => self.agent.delete(&address).call(),
            _ => self.agent.get(&address).call(),
        };
        let text = sent.and_then(|mut response| response.body_mut().read_to_string());
        let text = text.map_err(|error| DriverError(format!("{method} {path}: {error}")))?;
        let mut answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(code) => Err(DriverError(format!("{code}: {}", value["message"]))),
            None => Ok(value),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An X server without a screen that anybody could see, ended when dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    child: Child,
    display: String,
}

impl Screen {
    pub(crate) fn start() -> Self {
        let started = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24"])
            .args(["-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.unwrap_or_else(|error| {
            panic!("Xvfb: {error}; `apt-get install webkit2gtk-driver xvfb`")
        });
        let mut number = String::new();
        let said = child.stdout.as_mut().expect("it is piped");
        BufReader::new(said)
            .read_line(&mut number)
            .expect("it says which display it is");
        let display = format!(":{}", number.trim());
        Self { child, display }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the port that the driver found for itself, if it did.
fn port(output: &mut impl BufRead) -> Option<u16> {
    let mut lines = output.lines().map_while(Result::ok).take(20);
    let end = lines.find_map(|line| {
        let (_, end) = line.split_once("started successfully on port ")?;
        Some(end.to_owned())
    })?;
    end.trim().trim_end_matches('.').parse().ok()
}

/// What went wrong, in the driver's words.
#[derive(Clone)]
pub(crate) struct DriverError(String);

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A browser under a driver. The handle of the window that commands go to is remembered.
#[derive(Debug)]
pub(crate) struct Session {
    driver: Driver,
    id: String,
    /// The browser's main process, where its driver says which that is.
    pub(crate) process: Option<u64>,
    current: RefCell<Option<String>>,
}

impl Session {
    pub(crate) fn start(arguments: &[String]) -> Self {
        let driver = Driver::start();
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
            "timeouts": {"script": SCRIPT_LIMIT.as_millis(), "pageLoad": 60_000},
            "unhandledPromptBehavior": "accept",
        }}});
        let session = driver.command("POST", "/session", &wanted);
        let session = session.unwrap_or_else(|error| {
            panic!("no browser: {error:?}; `apt-get install chromium chromium-driver`")
        });
        let id = session["sessionId"]
            .as_str()
            .expect("a session has an id")
            .to_owned();
        let process = session["capabilities"]["goog:processID"].as_u64();
        assert!(
            process.is_some(),
            "the driver says which process it started"
        );
        Self {
            driver,
            id,
            process,
            current: RefCell::new(None),
        }
    }

    /// A private window of `WebKit`: the driver gives no other.
    pub(crate) fn start_webkit(screen: &Screen) -> Self {
        let driver = Driver::start_webkit(screen);
        let limits = json!({"script": SCRIPT_LIMIT.as_millis(), "pageLoad": 60_000});
        let wanted = json!({"capabilities": {"alwaysMatch": {"timeouts": limits}}});
        let session = driver.command("POST", "/session", &wanted);
        let session = session.unwrap_or_else(|error| {
            panic!("no browser: {error:?}; `apt-get install webkit2gtk-driver xvfb`")
        });
        let id = session["sessionId"].as_str().expect("a session has an id");
        Self {
            id: id.to_owned(),
            driver,
            process: None,
            current: RefCell::new(None),
        }
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, DriverError> {
        let path = format!("/session/{}/{path}", self.id);
        self.driver.command("POST", &path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, DriverError> {
        let path = format!("/session/{}/{path}", self.id);
        self.driver.command("GET", &path, &Value::Null)
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Value, DriverError> {
        let path = format!("/session/{}{path}", self.id);
        self.driver.command("DELETE", &path, &Value::Null)
    }

    /// Makes a window the one that commands go to.
    pub(crate) fn switch_to(&self, handle: &str) -> Result<(), DriverError> {
        let is_current = self.current.borrow().as_deref() == Some(handle);
        if !is_current {
            self.post("window", &json!({"handle": handle}))?;
        }
        self.current.replace(Some(handle.to_owned()));
        Ok(())
    }

    /// The next command has to name its window again: the one in use is gone.
    pub(crate) fn forget_window(&self) {
        self.current.replace(None);
    }
}
