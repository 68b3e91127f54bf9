//! Debian's own Rust toolchain: it comes with the source of std, and so builds for
//! targets that a rustup toolchain lacks where rustup cannot download.

use std::path::Path;

use crate::apt;
use crate::process::{Program, on_path};

/// The compiler, its cargo, the source of std, and a linker that knows wasm.
const PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "lld-22"];

const CARGO: &str = "/usr/bin/cargo";
const RUSTC: &str = "/usr/bin/rustc";
const RUSTDOC: &str = "/usr/bin/rustdoc";

/// The first that is installed links. Checks and libraries need none.
const WASM_LINKERS: [&str; 2] = ["wasm-ld-22", "wasm-ld"];

/// What a rustup cargo leaves in the environment, and what would lead Debian's cargo to
/// the other toolchain's compiler and libraries.
const OTHER_TOOLCHAIN: [&str; 6] = [
    "CARGO",
    "CARGO_TARGET_DIR",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "LD_LIBRARY_PATH",
    "RUST_RECURSION_COUNT",
    "RUSTUP_TOOLCHAIN",
];

/// Building std needs its source and the compiler of the same version, side by side.
#[derive(Debug)]
pub(crate) struct DebianToolchain {
    wasm_linker: Option<&'static str>,
}

impl DebianToolchain {
    /// The toolchain, if it is there and new enough; otherwise what it lacks.
    pub(crate) fn installed() -> Result<Self, String> {
        if !Path::new(CARGO).is_file() {
            return Err(format!("there is no {CARGO}"));
        }
        let version = rustc(&["--version"]).ok_or_else(|| format!("there is no {RUSTC}"))?;
        let minimum = env!("CARGO_PKG_RUST_VERSION");
        if minor_version(&version) < minor_version(minimum) {
            return Err(format!("{RUSTC} is {version}, older than {minimum}"));
        }
        let sysroot = rustc(&["--print", "sysroot"]).unwrap_or_default();
        let source = Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml");
        if !source.is_file() {
            return Err(format!("{RUSTC} is there without the source of std"));
        }
        let wasm_linker = WASM_LINKERS.into_iter().find(|linker| on_path(linker));
        Ok(Self { wasm_linker })
    }

    /// Whether it makes programs for the browser, and not only checks and libraries.
    pub(crate) fn links_wasm(&self) -> bool {
        self.wasm_linker.is_some()
    }

    /// Installs the packages where that takes no question.
    pub(crate) fn install() -> Result<Self, String> {
        apt::install(&PACKAGES)?;
        Self::installed()
    }

    /// What a person types to get this toolchain.
    pub(crate) fn remedy() -> String {
        apt::remedy(&PACKAGES)
    }

    /// Debian's cargo, set up to build std for `target` from source.
    ///
    /// `panic_abort` is there because wasm32 needs it; the other targets ignore it.
    pub(crate) fn cargo(&self, subcommand: &str, target: &str) -> Program {
        let program = Program::new(CARGO)
            .args([
                subcommand,
                "--target",
                target,
                "-Zbuild-std=std,panic_abort",
            ])
            .without_env(&OTHER_TOOLCHAIN)
            .env("RUSTC", RUSTC)
            .env("RUSTDOC", RUSTDOC)
            .env("RUSTC_BOOTSTRAP", "1");
        match self.wasm_linker.filter(|_| target.starts_with("wasm32")) {
            Some(linker) => program.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker),
            None => program,
        }
    }
}

fn rustc(arguments: &[&str]) -> Option<String> {
    Program::new(RUSTC)
        .args(arguments)
        .without_env(&OTHER_TOOLCHAIN)
        .answer()
}

/// `(1, 96)` from `rustc 1.96.0 (...)` as well as from `1.96`.
fn minor_version(text: &str) -> Option<(u32, u32)> {
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_numeric()))?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(
            minor_version("rustc 1.96.0 (ac68faa20 2026-05-25)"),
            Some((1, 96))
        );
        assert_eq!(minor_version("1.90"), Some((1, 90)));
        assert_eq!(minor_version("rustc"), None);
        assert!(minor_version("rustc 1.63.0") < minor_version("1.90"));
        assert!(minor_version("rustc 1.100.0") > minor_version("1.90"));
        assert!(minor_version("rustc") < minor_version("1.90"));
    }

    #[test]
    fn the_whole_toolchain_is_named() {
        let toolchain = DebianToolchain {
            wasm_linker: Some("wasm-ld"),
        };
        let program = toolchain
            .cargo("build", "wasm32-unknown-unknown")
            .to_string();
        assert_eq!(
            program,
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld RUSTC=/usr/bin/rustc \
             RUSTC_BOOTSTRAP=1 RUSTDOC=/usr/bin/rustdoc /usr/bin/cargo build \
             --target wasm32-unknown-unknown -Zbuild-std=std,panic_abort"
        );
    }
}
