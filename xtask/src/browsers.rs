//! Real browsers with their drivers: found on this machine, or installed where that may be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apt;
use crate::process::{find_on_path, on_path};
use crate::workspace::Workspace;

/// Debian's driver needs and finds Debian's browser; another driver finds its own.
const CHROMIUM_PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];
const FIREFOX_PACKAGES: [&str; 1] = ["firefox-esr"];
const WEBKIT_PACKAGES: [&str; 2] = ["webkit2gtk-driver", "xvfb"];
const FIREFOX_NAMES: [&str; 2] = ["firefox", "firefox-esr"];

/// It is compiled here, which takes minutes, but not for ever.
const GECKODRIVER_LIMIT: Duration = Duration::from_secs(1_200);

/// A driver to test through, and what it is told about its browser.
#[derive(Debug)]
pub(crate) struct Browser {
    /// The variable that wasm-bindgen's test runner takes this driver from.
    pub(crate) driver_variable: &'static str,
    /// The driver.
    pub(crate) driver: PathBuf,
    /// What a session is asked for, in JSON.
    pub(crate) capabilities: &'static str,
}

/// The other drivers' variables would win over the one that is wanted.
pub(crate) const DRIVER_VARIABLES: [&str; 6] = [
    "CHROMEDRIVER",
    "CHROMEDRIVER_REMOTE",
    "GECKODRIVER",
    "GECKODRIVER_REMOTE",
    "SAFARIDRIVER",
    "SAFARIDRIVER_REMOTE",
];

/// Without a sandbox, which root cannot have, and without anything that calls home.
const CHROMIUM_CAPABILITIES: &str = r#"{
  "goog:chromeOptions": {
    "args": [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync"
    ]
  }
}
"#;

/// The runner adds `-headless` itself; these stop the requests of a first start.
const FIREFOX_CAPABILITIES: &str = r#"{
  "moz:firefoxOptions": {
    "prefs": {
      "app.normandy.enabled": false,
      "app.update.disabledForTesting": true,
      "browser.safebrowsing.update.enabled": false,
      "datareporting.policy.dataSubmissionEnabled": false,
      "network.captive-portal-service.enabled": false,
      "network.connectivity-service.enabled": false
    }
  }
}
"#;

/// Chromium; the error says in one line what to install.
pub(crate) fn chromium() -> Result<Browser, String> {
    let driver = find_or_install("chromedriver", &CHROMIUM_PACKAGES)?;
    Ok(Browser {
        driver_variable: "CHROMEDRIVER",
        driver,
        capabilities: CHROMIUM_CAPABILITIES,
    })
}

/// Firefox, whose driver is a cargo package and is built below the target directory.
pub(crate) fn firefox(workspace: &Workspace) -> Result<Browser, String> {
    if !FIREFOX_NAMES.into_iter().any(on_path) {
        find_or_install(FIREFOX_PACKAGES[0], &FIREFOX_PACKAGES)?;
    }
    Ok(Browser {
        driver_variable: "GECKODRIVER",
        driver: geckodriver(workspace)?,
        capabilities: FIREFOX_CAPABILITIES,
    })
}

/// `WebKit`, which is in no other shape on Linux than its own small browser, and the screen that
/// it needs; the error says in one line what to install.
pub(crate) fn webkit() -> Result<(), String> {
    for program in ["WebKitWebDriver", "Xvfb"] {
        find_or_install(program, &WEBKIT_PACKAGES)?;
    }
    Ok(())
}

fn find_or_install(program: &str, packages: &[&str]) -> Result<PathBuf, String> {
    if let Some(path) = find_on_path(program) {
        return Ok(path);
    }
    let lack = match apt::install(packages) {
        Ok(()) => "is not in the packages that were installed".to_owned(),
        Err(reason) => format!("is not on PATH ({reason})"),
    };
    find_on_path(program).ok_or_else(|| format!("`{program}` {lack}: {}", apt::remedy(packages)))
}

/// Without optimizations, since it waits for the browser most of the time and builds in a
/// third of the minutes.
fn geckodriver(workspace: &Workspace) -> Result<PathBuf, String> {
    let tools = Workspace::target_dir("tools");
    let built = workspace.root().join(&tools).join("bin/geckodriver");
    let built = built.with_extension(std::env::consts::EXE_EXTENSION);
    if let Some(path) = find_on_path("geckodriver") {
        return Ok(path);
    }
    if !built.is_file() {
        println!("    geckodriver is built first, which takes some minutes");
        workspace
            .cargo(["install", "--debug", "--root"])
            .args([Path::new(&tools)])
            .args(["geckodriver"])
            .run_within(GECKODRIVER_LIMIT)
            .map_err(|failure| {
                format!("no geckodriver ({failure}): `cargo install geckodriver` installs it")
            })?;
    }
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_on_the_path_is_not_installed() {
        let found = find_or_install("cargo", &["no-such-package"]);
        assert!(found.expect("cargo runs this test").is_file());
    }
}
