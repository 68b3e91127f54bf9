//! Chromium with a profile of its own, or a private window of `WebKit`, and their tabs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::webdriver::{DriverError, Screen, Session};

/// A browser, ended when dropped. Its profile outlives it where a test holds it.
#[derive(Debug)]
pub(crate) struct Browser {
    session: Session,
    /// Behind the session, so that it is removed after the browser has ended.
    _own_profile: Option<TempDir>,
    /// Ended last as well, where there is one.
    _screen: Option<Screen>,
}

impl Browser {
    /// A browser that has never been used.
    pub(crate) fn start() -> Self {
        let profile = profile();
        let session = Session::start(&arguments(profile.path(), &[]));
        Self {
            session,
            _own_profile: Some(profile),
            _screen: None,
        }
    }

    /// `WebKit` in a private window. Commands of the developer tools' protocol are not for it.
    pub(crate) fn start_webkit() -> Self {
        let screen = Screen::start();
        Self {
            session: Session::start_webkit(&screen),
            _own_profile: None,
            _screen: Some(screen),
        }
    }

    /// A browser with a profile that a test keeps over restarts.
    pub(crate) fn start_in(profile: &Path) -> Self {
        Self {
            session: Session::start(&arguments(profile, &[])),
            _own_profile: None,
            _screen: None,
        }
    }

    /// The tab that is there from the start.
    pub(crate) fn first_tab(&self) -> Tab<'_> {
        let handles = self
            .session
            .get("window/handles")
            .expect("a browser has windows");
        self.tab(handles[0].as_str().expect("a handle is text"))
    }

    /// A further tab, in a window of its own: it is visible, and its timers run.
    pub(crate) fn new_tab(&self) -> Tab<'_> {
        let made = self.session.post("window/new", &json!({"type": "window"}));
        let made = made.expect("a browser opens windows");
        self.tab(made["handle"].as_str().expect("a handle is text"))
    }

    fn tab(&self, handle: &str) -> Tab<'_> {
        Tab {
            browser: self,
            handle: handle.to_owned(),
        }
    }

    /// Ends the whole browser as a power cut would: SIGKILL for every process of it.
    pub(crate) fn kill(self) {
        kill(self.session.process);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if self.session.delete("").is_err() {
            // The browser is gone already, or hangs: then it is ended by its process.
            kill(self.session.process);
        }
    }
}

/// An empty folder for a profile.
pub(crate) fn profile() -> TempDir {
    tempfile::tempdir().expect("the system has a folder for temporary files")
}

/// The processes of Chromium form a tree: the leaves first, so that none outlives its parent.
fn kill(process: Option<u64>) {
    let Some(process) = process else { return };
    let script = "tree() { for child in $(ps -o pid= --ppid \"$1\"); do tree \"$child\"; done; \
                  kill -KILL \"$1\" 2>/dev/null; }; tree \"$1\"";
    let process = process.to_string();
    let ended = Command::new("sh")
        .args(["-c", script, "sh", &process])
        .status();
    ended.expect("there is a shell");
}

fn arguments(profile: &Path, more: &[&str]) -> Vec<String> {
    let fixed = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ];
    let mut all: Vec<String> = fixed.iter().chain(more).map(ToString::to_string).collect();
    all.push(format!("--user-data-dir={}", profile.display()));
    all
}

/// One page after the other, in one window.
#[derive(Debug)]
pub(crate) struct Tab<'b> {
    browser: &'b Browser,
    handle: String,
}

/// What a script threw: `name`, `code`, `message` and whatever else the test pages describe.
#[derive(Clone, Debug)]
pub(crate) struct Thrown(pub(crate) Value);

impl Tab<'_> {
    fn session(&self) -> &Session {
        let session = &self.browser.session;
        session
            .switch_to(&self.handle)
            .expect("the tab is still there");
        session
    }

    /// Loads a page and waits for its load event.
    pub(crate) fn load(&self, url: &str) {
        let loaded = self.session().post("url", &json!({"url": url}));
        loaded.expect("the page loads");
    }

    pub(crate) fn reload(&self) {
        self.session()
            .post("refresh", &json!({}))
            .expect("the page loads again");
    }

    pub(crate) fn back(&self) {
        self.session()
            .post("back", &json!({}))
            .expect("there is a page before");
    }

    /// Runs the body of an async function with `args`, and gives what it returns or throws.
    #[track_caller]
    pub(crate) fn try_run(&self, body: &str, args: impl Into<Value>) -> Result<Value, Thrown> {
        let script = format!(
            "const args = arguments[0]; const done = arguments[1];\n\
             (async () => {{\n{body}\n}})().then(\n\
             (value) => done({{ok: value === undefined ? null : value}}),\n\
             (error) => done({{thrown: window.describe ? describe(error)\n\
             : {{name: error.name, message: String(error.message ?? error)}}}}));"
        );
        let wanted = json!({"script": script, "args": [args.into()]});
        let mut answer = match self.session().post("execute/async", &wanted) {
            Ok(answer) => answer,
            Err(error) => panic!("{error:?}\n{body}"),
        };
        match answer.get("thrown") {
            Some(thrown) => Err(Thrown(thrown.clone())),
            None => Ok(answer["ok"].take()),
        }
    }

    /// What a script returns; nothing where the page goes away under it.
    pub(crate) fn survives(&self, body: &str) -> Option<Value> {
        let script =
            format!("const done = arguments[0];\n(async () => {{\n{body}\n}})().then(done);");
        let wanted = json!({"script": script, "args": []});
        self.session().post("execute/async", &wanted).ok()
    }

    /// Runs a script that has to return.
    #[track_caller]
    pub(crate) fn run(&self, body: &str) -> Value {
        self.run_with(body, Value::Null)
    }

    #[track_caller]
    pub(crate) fn run_with(&self, body: &str, args: impl Into<Value>) -> Value {
        match self.try_run(body, args) {
            Ok(value) => value,
            Err(thrown) => panic!("{thrown:?}\n{body}"),
        }
    }

    /// Starts a script without waiting for its end; [`Tab::finish`] does that.
    #[track_caller]
    pub(crate) fn start(&self, job: &str, body: &str) {
        let script = format!("startJob(args, async () => {{\n{body}\n}});");
        self.run_with(&script, json!(job));
    }

    /// Waits for the end of a script that was started.
    #[track_caller]
    pub(crate) fn finish(&self, job: &str) -> Result<Value, Thrown> {
        self.try_run("return await endOfJob(args);", json!(job))
    }

    /// A command of the developer tools' protocol.
    pub(crate) fn cdp(
        &self,
        command: &str,
        parameters: impl Into<Value>,
    ) -> Result<Value, DriverError> {
        let wanted = json!({"cmd": command, "params": parameters.into()});
        self.session().post("goog/cdp/execute", &wanted)
    }

    /// Runs a script in every page of this tab before any of the page's own.
    pub(crate) fn before_load(&self, script: &str) {
        let wanted = json!({"source": script});
        let added = self.cdp("Page.addScriptToEvaluateOnNewDocument", wanted);
        added.expect("the browser takes scripts");
    }

    /// Presses and releases the mouse on an element, as a person would, so many times.
    pub(crate) fn click(&self, selector: &str, times: u32) {
        let middle = self.middle_of(selector);
        for count in 1..=times {
            self.press(&middle, count);
        }
    }

    /// Presses twice at one place, as a person does: whatever the page has put there meanwhile.
    pub(crate) fn click_twice(&self, selector: &str, gap_ms: u64) {
        let middle = self.middle_of(selector);
        self.press(&middle, 1);
        self.run_with(
            "await new Promise((go) => setTimeout(go, args));",
            json!(gap_ms),
        );
        self.press(&middle, 2);
    }

    fn middle_of(&self, selector: &str) -> Value {
        self.run_with(
            "const box = document.querySelector(args).getBoundingClientRect();\n\
             return [box.x + box.width / 2, box.y + box.height / 2];",
            json!(selector),
        )
    }

    fn press(&self, place: &Value, count: u32) {
        for event in ["mousePressed", "mouseReleased"] {
            let wanted = json!({"type": event, "x": place[0], "y": place[1],
                "button": "left", "clickCount": count});
            let sent = self.cdp("Input.dispatchMouseEvent", wanted);
            sent.expect("a tab has a mouse");
        }
    }

    /// Ends the tab's process in the middle of whatever it does.
    pub(crate) fn crash(&self) {
        // The command's own answer dies with the tab.
        let _ = self.cdp("Page.crash", json!({}));
        self.browser.session.forget_window();
    }

    pub(crate) fn close(self) {
        self.session().delete("/window").expect("a tab closes");
        self.browser.session.forget_window();
    }

    /// What the page wrote to its console; for a test that failed.
    pub(crate) fn console(&self) -> Vec<String> {
        let log = self.session().post("se/log", &json!({"type": "browser"}));
        let entries = log.map(|log| log.as_array().cloned().unwrap_or_default());
        let entries = entries.unwrap_or_default();
        entries
            .iter()
            .map(|entry| entry["message"].to_string())
            .collect()
    }
}
