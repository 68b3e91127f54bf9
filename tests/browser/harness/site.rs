//! Files that a page can load: the test pages, the built package, the vectors.

use std::fs;
use std::path::{Component, Path, PathBuf};

use super::http::Reply;

fn package_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The built package. A test that needs it cannot do without.
pub(crate) fn pkg() -> PathBuf {
    let pkg = package_folder().join("../wasm-client/pkg");
    let is_built = pkg.join("package.json").is_file();
    assert!(
        is_built,
        "wasm-client/pkg is not built: run `cargo xtask wasm`"
    );
    pkg
}

/// What a person reads who uses the package.
pub(crate) fn readme() -> PathBuf {
    package_folder().join("../wasm-client/js/README.md")
}

/// Where `npm install` and what it builds may write.
pub(crate) fn scratch() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or_else(|| package_folder().join("../target"), PathBuf::from);
    target.join("browser-tests")
}

/// Prefixes of paths and the folders behind them.
pub(crate) fn folders() -> Vec<(String, PathBuf)> {
    let package = package_folder();
    vec![
        ("/pages/".to_owned(), package.join("browser/pages")),
        ("/vectors/".to_owned(), package.join("vectors")),
        ("/pkg/".to_owned(), package.join("../wasm-client/pkg")),
    ]
}

/// The file under a path, or that there is none.
pub(crate) fn file(folders: &[(String, PathBuf)], path: &str) -> Reply {
    let found = folders.iter().find_map(|(prefix, folder)| {
        let inside = Path::new(path.strip_prefix(prefix.as_str())?);
        let is_below = inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let bytes = is_below.then(|| fs::read(folder.join(inside)).ok())??;
        // Not `no-store`, which would keep pages out of the back/forward cache.
        Some(Reply::new(200, mime(path), bytes).with("Cache-Control", "no-cache"))
    });
    found.unwrap_or_else(|| Reply::new(404, "text/plain", format!("no {path}")))
}

fn mime(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}
