//! The program itself, on an X server of its own: clicked with a mouse, photographed, and killed
//! in the middle of a payment.
//!
//! The window announces what it shows and where its buttons are, so nothing here waits for a
//! time. The photographs are left in the folder that `DESKTOP_SCREENSHOTS` names.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

/// Longer than any step takes on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(60);

/// So far above its middle a button has its color and no letters.
const ABOVE_THE_LETTERS: i32 = 17;

/// A program that runs beside the test, until it is dropped.
struct Beside {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Beside {
    fn start(command: &mut Command) -> Self {
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("it is a pipe");
        let (says, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if says.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            heard: Vec::new(),
        }
    }

    /// The next line that starts like this; what comes before it is passed over.
    #[track_caller]
    fn hear(&mut self, start: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                panic!("it did not say {start:?}, only {:?}", self.heard);
            };
            self.heard.push(line.clone());
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Lines that start like these, in any order: two threads print them.
    #[track_caller]
    fn hear_both(&mut self, one: &str, other: &str) {
        let from = self.heard.len();
        self.hear(one);
        let is_heard = |line: &String| line.starts_with(other);
        if !self.heard[from..].iter().any(is_heard) {
            self.hear(other);
        }
    }

    /// Kills it by its own id with SIGKILL. Nothing of it runs when this returns.
    fn kill(mut self) {
        self.child.kill().expect("it was started");
        self.child.wait().expect("it was started");
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An X server as large as the window.
struct Desk {
    _server: Beside,
    display: String,
    photographs: PathBuf,
}

impl Desk {
    fn start() -> Self {
        let photographs = std::env::var_os("DESKTOP_SCREENSHOTS");
        let photographs = photographs.expect("`cargo xtask test --only desktop` says where");
        fs::create_dir_all(&photographs).expect("a folder");
        let mut server = Beside::start(
            Command::new("Xvfb")
                .args(["-displayfd", "1", "-screen", "0", "440x400x24"])
                .args(["-nolisten", "tcp"]),
        );
        Self {
            display: format!(":{}", server.hear("")),
            _server: server,
            photographs: photographs.into(),
        }
    }

    /// The window, and the first screen behind the opening.
    fn open(&self, folder: &Path, arguments: &[&str], screen: &str) -> (Beside, Buttons) {
        let mut window = Beside::start(
            Command::new(env!("CARGO_BIN_EXE_idempotency-desktop-example"))
                .arg(folder)
                .arg("--announce")
                .args(arguments)
                .env("DISPLAY", &self.display)
                .env_remove("WAYLAND_DISPLAY")
                // The server has no graphics card, whatever the machine has.
                .env("LIBGL_ALWAYS_SOFTWARE", "1")
                .env("WINIT_X11_SCALE_FACTOR", "1"),
        );
        let buttons = Buttons(window.hear(&format!("shows {screen}")));
        (window, buttons)
    }

    fn click(&self, (x, y): (i32, i32), times: u32) {
        let status = Command::new("xdotool")
            .args(["mousemove".into(), x.to_string(), y.to_string()])
            .args(["click", "--repeat"])
            .args([times.to_string(), "1".into()])
            .env("DISPLAY", &self.display)
            .status()
            .expect("xdotool starts");
        assert!(status.success(), "xdotool: {status}");
    }

    /// Takes a photograph of the whole screen, which is not blank.
    fn photograph(&self, name: &str) -> PathBuf {
        let path = self.photographs.join(name).with_extension("png");
        let status = Command::new("import")
            .args(["-window", "root"])
            .arg(&path)
            .env("DISPLAY", &self.display)
            .status()
            .expect("import starts");
        assert!(status.success(), "import: {status}");
        let seen = identify("%w %h %k", &path);
        let numbers: Vec<u32> = seen.split(' ').flat_map(str::parse).collect();
        let [width, height, colors] = numbers[..] else {
            panic!("identify says {seen:?}");
        };
        assert_eq!((width, height), (440, 400), "{name}");
        assert!(
            colors > 100,
            "{name} has {colors} colors, so there is no text on it"
        );
        path
    }
}

/// What `identify` says about an image.
fn identify(format: &str, image: &Path) -> String {
    let output = Command::new("identify")
        .args(["-format", format])
        .arg(image)
        .output()
        .expect("identify starts");
    assert!(output.status.success(), "identify: {output:?}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// An announcement, with where the buttons are.
struct Buttons(String);

impl Buttons {
    #[track_caller]
    fn place(&self, name: &str) -> (i32, i32) {
        let start = format!("{name} at ");
        let mut parts = self
            .0
            .split("; ")
            .filter_map(|part| part.strip_prefix(&start));
        let place = parts.next().and_then(|place| place.split_once(' '));
        let place = place.and_then(|(x, y)| Some((x.parse().ok()?, y.parse().ok()?)));
        place.unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }
}

/// The bank's book.
fn charges(folder: &Path) -> Vec<String> {
    let book = fs::read_to_string(folder.join("bank.txt")).expect("a book");
    book.lines().map(str::to_owned).collect()
}

#[test]
fn a_window_that_is_killed_while_it_pays_charges_once() {
    let desk = Desk::start();
    let files = tempfile::tempdir().expect("a folder");
    let folder = files.path();

    let (mut window, buttons) = desk.open(folder, &["--pause-at", "charged"], "unpaid");
    let unpaid = desk.photograph("1-unpaid");
    let (x, y) = buttons.place("pay");
    let format = format!("%[pixel:p{{{x},{}}}]", y - ABOVE_THE_LETTERS);
    let color = identify(&format, &unpaid);
    assert!(color.contains("29,78,216"), "the button is {color}");
    desk.click((x, y), 2);
    window.hear_both("shows paying", "paused at charged");
    desk.photograph("2-paying");
    desk.click((x, y), 3);
    assert_eq!(charges(folder).len(), 1);
    window.kill();

    let (mut window, buttons) = desk.open(folder, &[], "interrupted");
    desk.photograph("3-interrupted");
    assert_eq!(charges(folder).len(), 1);
    desk.click(buttons.place("ask-the-bank"), 1);
    window.hear("shows paid");
    let paid = desk.photograph("4-paid");
    assert_eq!(charges(folder).len(), 1);
    let differ = fs::read(&unpaid).expect("a file") != fs::read(&paid).expect("a file");
    assert!(differ, "the window looks the same before and after");
    window.kill();

    let (mut window, buttons) = desk.open(folder, &[], "paid");
    desk.click(buttons.place("buy-another"), 1);
    let second = Buttons(window.hear("shows unpaid"));
    assert_eq!(charges(folder).len(), 1);
    // More clicks than it takes: those behind the last one that counts fall on nothing.
    desk.click(second.place("pay"), 10);
    window.hear("shows paid");
    desk.click(second.place("pay"), 10);
    desk.photograph("5-paid-for-another");
    window.kill();
    let [first, second] = &charges(folder)[..] else {
        panic!("not two charges but {:?}", charges(folder));
    };
    assert_ne!(
        first, second,
        "the second was meant, under a key of its own"
    );
}
