//! The demo page as static files: what is hand-written in `www`, the built client package, and
//! the wasm of the bank that a Service Worker runs where no server answers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::client::{self, SHIPPED};
use crate::process::Failure;
use crate::suite::Ending;
use crate::wasm_toolchain::WasmToolchain;
use crate::workspace::Workspace;

/// The package of the bank, and the file that cargo leaves.
const BANK: &str = "idempotency-www-bank";
const BANK_FILE: &str = "idempotency_www_bank.wasm";

/// In `www`, but a crate and not a part of the page.
const NOT_PAGE: &str = "bank";

/// Where the step and the demo put it.
const FOLDER: &str = "site";

/// What a page loads of the client package: modules and the licences, no types.
const PACKAGE_ENDINGS: [&str; 2] = ["js", "wasm"];
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Writes the whole site, as it is in the sources now, to `folder`, which is created where it is
/// missing. Files of an earlier site are replaced; others are left alone.
pub(crate) fn write(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    // Other programs run in the repository, wherever this one was started.
    let folder = std::path::absolute(folder)
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    client::package_unmeasured(workspace)?;
    lay_out(workspace, &folder)
}

/// The task: as [`write()`], with a word on how the files become a page.
pub(crate) fn run(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    write(workspace, folder)?;
    let folder = folder.display();
    println!(
        "\n    The page is written. Any static host will do, over https or from localhost:\n    \
         python3 -m http.server --bind 127.0.0.1 --directory {folder} 8000\n    \
         then open http://127.0.0.1:8000/\n"
    );
    Ok(())
}

fn lay_out(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    let package = client::built_package(workspace)?;
    bank(workspace, &folder.join(NOT_PAGE))?;
    let www = workspace.root().join("www");
    let failed = |error: io::Error| {
        let folder = folder.display();
        Failure::new(format!("the site cannot be written to {folder}: {error}"))
    };
    copy(&www, folder, &|path| path != Path::new(NOT_PAGE)).map_err(failed)?;
    copy(&package, &folder.join("client"), &is_loaded).map_err(failed)?;
    println!("    {}", folder.display());
    Ok(())
}

/// The step: the site that the tests of its pages load, with the package of the steps before.
pub(crate) fn step(workspace: &Workspace) -> Result<Ending, Failure> {
    let folder = folder(workspace);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let folder = folder.display();
            return Err(Failure::new(format!("{folder} is in the way: {error}")));
        }
        _ => {}
    }
    lay_out(workspace, &folder).map(|()| Ending::Passed)
}

/// Where the step and the demo put it.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join(Workspace::target_dir(FOLDER))
}

/// The site that the step wrote.
pub(crate) fn built(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let folder = folder(workspace);
    if !folder.join("index.html").is_file() {
        return Err(Failure::new(
            "the site is not built: `cargo xtask test --only site`",
        ));
    }
    Ok(folder)
}

/// One crate type alone, and with `-p`, for the same reasons as the client.
fn bank(workspace: &Workspace, folder: &Path) -> Result<(), Failure> {
    let toolchain = WasmToolchain::find(workspace)?;
    toolchain
        .cargo(workspace, "rustc")
        .args(["-p", BANK, "--lib", "--crate-type", "cdylib"])
        .args(["--profile", SHIPPED])
        .run()?;
    let compiled = client::compiled(workspace, SHIPPED, BANK_FILE);
    let mut program = client::tool(workspace).args(["bank"]);
    program = program.args(["--wasm".into(), compiled]);
    if let Some(path) = client::wasm_opt() {
        program = program.args(["--wasm-opt".into(), path]);
    }
    program.args([Path::new("--out"), folder]).run()
}

fn is_loaded(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| PACKAGE_ENDINGS.contains(&ending))
        || LICENCES.iter().any(|name| path == Path::new(name))
}

/// Copies the files below `from` whose path there is wanted; a folder that is not wanted is not
/// entered.
fn copy(from: &Path, to: &Path, is_wanted: &dyn Fn(&Path) -> bool) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_hidden = name.to_string_lossy().starts_with('.');
        if is_hidden || !is_wanted(Path::new(&name)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to.join(&name), &|_| true)?;
        } else {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_copied_without_the_crate_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let (from, to) = (dir.path().join("www"), dir.path().join("site"));
        for path in ["index.html", "page/bank.js", "bank/src/lib.rs", ".hidden"] {
            let path = from.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, "").expect("a file");
        }
        copy(&from, &to, &|path| path != Path::new(NOT_PAGE)).expect("it is copied");
        assert!(to.join("index.html").is_file());
        assert!(to.join("page/bank.js").is_file());
        assert!(!to.join("bank").exists());
        assert!(!to.join(".hidden").exists());
    }

    #[test]
    fn what_a_page_loads_of_the_package_is_no_type_and_no_document() {
        let is_loaded = |path: &str| is_loaded(Path::new(path));
        assert!(is_loaded("index.js") && is_loaded("idempotency_client_bg.wasm"));
        assert!(is_loaded("LICENSE-MIT"));
        assert!(!is_loaded("index.d.ts") && !is_loaded("README.md"));
    }
}
