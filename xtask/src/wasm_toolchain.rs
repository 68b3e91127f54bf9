//! A compiler for the browser: which of the ways to one works on this machine.
//!
//! In order: the active toolchain already has the target; rustup adds it, unless it is
//! switched off; Debian's toolchain builds std from source, and is installed if it must
//! be. [`FORCE`] names one way and takes no other.

use std::env;
use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::debian::DebianToolchain;
use crate::process::{Failure, Program, on_path};
use crate::workspace::{LEDGER, Workspace};

/// The browser, as the compiler calls it.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// The variable that forces one way: `sysroot`, `rustup` or `debian`.
const FORCE: &str = "IDEMPOTENCY_WASM_TOOLCHAIN";

/// A download that stalls must not hold up the ways that need none.
const RUSTUP_LIMIT: Duration = Duration::from_secs(300);

/// A way to a toolchain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Sysroot,
    Rustup,
    Debian,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sysroot => "sysroot",
            Self::Rustup => "rustup",
            Self::Debian => "debian",
        })
    }
}

/// A toolchain that was found to build for the browser.
#[derive(Debug)]
pub(crate) enum WasmToolchain {
    /// The cargo that started this tool; its toolchain has the target.
    Active,
    /// Debian's, which builds std along with the product.
    Debian(DebianToolchain),
}

impl WasmToolchain {
    /// Tries the ways in order, and says which one it takes and why the ones before
    /// it were passed over.
    pub(crate) fn find(workspace: &Workspace) -> Result<Self, Failure> {
        let forced = env::var(FORCE).ok();
        let mut reasons = Vec::new();
        for way in ways(forced.as_deref())? {
            match take(way, workspace, forced.is_some()) {
                Ok(toolchain) => {
                    println!("    wasm toolchain: {way}");
                    return Ok(toolchain);
                }
                Err(reason) => reasons.push(format!("{way}: {reason}")),
            }
        }
        Err(Failure::new(format!(
            "no toolchain builds for {TARGET} ({})\n  either: `rustup target add {TARGET}`\n  \
             or: {}",
            reasons.join("; "),
            DebianToolchain::remedy(),
        )))
    }

    /// A cargo that runs `subcommand` for the browser. Name packages with `-p`: a build
    /// of the whole workspace unifies features and pulls storage into the browser.
    pub(crate) fn cargo(&self, workspace: &Workspace, subcommand: &str) -> Program {
        let program = match self {
            Self::Active => workspace.cargo([subcommand, "--target", TARGET]),
            Self::Debian(debian) => debian.cargo(subcommand, TARGET).in_dir(workspace.root()),
        };
        program.args([Path::new("--target-dir"), &Workspace::target_dir("wasm")])
    }

    /// Builds the ledger without any feature: what remains is what the browser shares.
    pub(crate) fn build_decision_core(&self, workspace: &Workspace) -> Result<(), Failure> {
        let core = ["-p", LEDGER, "--lib", "--no-default-features"];
        self.cargo(workspace, "build").args(core).run()
    }
}

/// The ways to try, in order.
fn ways(forced: Option<&str>) -> Result<Vec<Way>, Failure> {
    let all = [Way::Sysroot, Way::Rustup, Way::Debian];
    let Some(name) = forced else {
        return Ok(all.to_vec());
    };
    match all.into_iter().find(|way| way.to_string() == name) {
        Some(way) => Ok(vec![way]),
        None => Err(Failure::new(format!(
            "{FORCE} is `{name}`, not sysroot, rustup or debian"
        ))),
    }
}

/// One way, gone to its end; the error is the reason why it leads nowhere.
fn take(way: Way, workspace: &Workspace, forced: bool) -> Result<WasmToolchain, String> {
    match way {
        Way::Sysroot => sysroot(),
        Way::Rustup => rustup(workspace, forced),
        Way::Debian => debian(),
    }
}

fn sysroot() -> Result<WasmToolchain, String> {
    if !sysroot_has(TARGET) {
        return Err("the active toolchain lacks the target".into());
    }
    Ok(WasmToolchain::Active)
}

fn rustup(workspace: &Workspace, forced: bool) -> Result<WasmToolchain, String> {
    if !on_path("rustup") {
        return Err("rustup is not installed".into());
    }
    if !forced && let Some(switch) = downloads_switched_off(|name| env::var(name).ok()) {
        return Err(format!("{switch} switches downloads off"));
    }
    Program::new("rustup")
        .args(["target", "add", TARGET])
        .in_dir(workspace.root())
        .run_within(RUSTUP_LIMIT)
        .map_err(|failure| failure.to_string())?;
    // rustup serves its own toolchain, which need not be the one in use.
    sysroot()
}

fn debian() -> Result<WasmToolchain, String> {
    let complete = DebianToolchain::installed().and_then(|toolchain| {
        let lack = "there is no linker that knows wasm";
        toolchain
            .links_wasm()
            .then_some(toolchain)
            .ok_or_else(|| lack.into())
    });
    let toolchain = complete.or_else(|lack: String| {
        println!("    wasm toolchain: Debian's must be installed first: {lack}");
        DebianToolchain::install().map_err(|reason| format!("{lack}, and {reason}"))
    })?;
    Ok(WasmToolchain::Debian(toolchain))
}

/// The setting that forbids rustup to download, if there is one. Asking rustup all the
/// same would cost a time-out on a machine without a network.
fn downloads_switched_off(variable: impl Fn(&str) -> Option<String>) -> Option<&'static str> {
    if variable("RUSTUP_AUTO_INSTALL").is_some_and(|value| value == "0") {
        return Some("RUSTUP_AUTO_INSTALL=0");
    }
    if variable("CARGO_NET_OFFLINE").is_some_and(|value| value == "true") {
        return Some("CARGO_NET_OFFLINE=true");
    }
    None
}

/// Whether the active toolchain has a compiled std for `target`.
pub(crate) fn sysroot_has(target: &str) -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let library = Program::new(rustc).args(["--print", "target-libdir", "--target", target]);
    library
        .answer()
        .is_some_and(|dir| holds_std(Path::new(&dir)))
}

/// The directory alone proves nothing: a removed target leaves it behind.
fn holds_std(dir: &Path) -> bool {
    let Ok(entries) = fs::read_dir(dir) else {
        return false;
    };
    entries
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_forced_tries_the_cheapest_way_first() {
        let all = ways(None).expect("the order is fixed");
        assert_eq!(all, [Way::Sysroot, Way::Rustup, Way::Debian]);
    }

    #[test]
    fn a_forced_way_is_the_only_one() {
        assert_eq!(ways(Some("sysroot")).expect("known"), [Way::Sysroot]);
        assert_eq!(ways(Some("rustup")).expect("known"), [Way::Rustup]);
        assert_eq!(ways(Some("debian")).expect("known"), [Way::Debian]);
        let failure = ways(Some("emscripten")).expect_err("unknown");
        assert!(failure.to_string().contains("`emscripten`"), "{failure}");
    }

    #[test]
    fn rustup_is_off_only_where_a_setting_says_so() {
        let with = |name: &'static str, value: &'static str| {
            downloads_switched_off(move |asked| (asked == name).then(|| value.to_owned()))
        };
        assert_eq!(
            with("RUSTUP_AUTO_INSTALL", "0"),
            Some("RUSTUP_AUTO_INSTALL=0")
        );
        assert_eq!(with("RUSTUP_AUTO_INSTALL", "1"), None);
        assert_eq!(
            with("CARGO_NET_OFFLINE", "true"),
            Some("CARGO_NET_OFFLINE=true")
        );
        assert_eq!(with("CARGO_NET_OFFLINE", "false"), None);
        assert_eq!(with("SOMETHING", "0"), None);
    }

    #[test]
    fn an_empty_library_directory_holds_no_std() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!holds_std(dir.path()));
        assert!(!holds_std(&dir.path().join("missing")));
        fs::write(dir.path().join("libstd-0123.rlib"), "").expect("a file");
        assert!(holds_std(dir.path()));
    }
}
