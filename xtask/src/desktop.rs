//! The desktop example on a real X server: installed, clicked, photographed and killed.
//!
//! What happens on the screen is in the example's own test; what it needs is here.

use crate::apt;
use crate::process::{Failure, on_path};
use crate::suite::Ending;
use crate::workspace::Workspace;

/// The test, which the manifest keeps out of `cargo test`, and so out of the lints as well.
const SCREEN_TEST: [&str; 4] = ["-p", "idempotency-desktop-example", "--test", "on_screen"];

/// What the test starts.
const PROGRAMS: [&str; 4] = ["Xvfb", "xdotool", "import", "identify"];

/// Where those come from, and the libraries that a window loads while it starts.
const PACKAGES: [&str; 12] = [
    "xvfb",
    "xdotool",
    "imagemagick",
    "libegl1",
    "libgl1",
    "libgl1-mesa-dri",
    "libx11-6",
    "libx11-xcb1",
    "libxcursor1",
    "libxi6",
    "libxkbcommon-x11-0",
    "libxrandr2",
];

/// The step. It leaves photographs of each screen below the target directory.
pub(crate) fn step(workspace: &Workspace) -> Result<Ending, Failure> {
    if let Err(why) = prepare() {
        return Ok(Ending::Unavailable(why));
    }
    let lints = workspace.cargo(["clippy"]).args(SCREEN_TEST);
    lints.args(["--", "-D", "warnings"]).run()?;
    let folder = workspace.root().join(Workspace::target_dir("desktop"));
    workspace
        .cargo(["test"])
        .args(SCREEN_TEST)
        .env("DESKTOP_SCREENSHOTS", &folder)
        .run()
        .map_err(|failure| {
            let remedy = apt::remedy(&PACKAGES);
            Failure::new(format!("{failure}; if a library was missing: {remedy}"))
        })?;
    println!("    {}", folder.display());
    Ok(Ending::Passed)
}

/// Installs what is missing, where that may be.
fn prepare() -> Result<(), String> {
    if !cfg!(target_os = "linux") {
        return Err("the X server that it needs is started on Linux only".into());
    }
    let is_ready = || PROGRAMS.into_iter().all(on_path);
    if is_ready() && apt::has(&PACKAGES) != Some(false) {
        return Ok(());
    }
    let installed = apt::install(&PACKAGES);
    if is_ready() {
        return Ok(());
    }
    let why = installed.err().unwrap_or_default();
    let remedy = apt::remedy(&PACKAGES);
    Err(format!("no X server for it ({why}): {remedy}"))
}
