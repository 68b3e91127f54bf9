//! The files that the rules look at, read once.

use std::fs;
use std::io;
use std::path::Path;

use super::rust_code;
use crate::process::Failure;

/// What a rule can be about; everything else in the checkout is left unread.
const EXTENSIONS: [&str; 8] = ["rs", "js", "cjs", "mjs", "jsx", "ts", "tsx", "md"];

/// Where builds, package managers and fuzzers write; hidden directories are passed over
/// as well.
const NOT_SOURCE: [&str; 5] = ["target", "node_modules", "pkg", "dist", "corpus"];

/// The checkout as far as the rules are concerned.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) files: Vec<SourceFile>,
}

/// One file.
#[derive(Debug)]
pub(super) struct SourceFile {
    /// From the top of the checkout, with `/` on every platform.
    pub(super) path: String,
    /// The text as it is.
    pub(super) text: String,
    /// Of a Rust file, the text with blanks for comments and literals.
    pub(super) code: Option<String>,
}

impl Tree {
    /// Reads every file under `root` that a rule is about.
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let mut files = Vec::new();
        visit(root, "", &mut files)
            .map_err(|error| Failure::new(format!("the checkout cannot be read: {error}")))?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    /// The file at `path`.
    pub(super) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        Self {
            files: files
                .iter()
                .map(|(path, text)| SourceFile::new(path, text))
                .collect(),
        }
    }
}

impl SourceFile {
    /// A file with its text.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code =
            (extension(path) == "rs").then(|| rust_code::without_comments_and_literals(text));
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
        }
    }

    /// The part of the name after its last dot.
    pub(super) fn extension(&self) -> &str {
        self.path
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
    }
}

fn extension(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn visit(dir: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}/{name}")
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !name.starts_with('.') && !NOT_SOURCE.contains(&name.as_str()) {
                visit(&entry.path(), &path, files)?;
            }
        } else if kind.is_file() && EXTENSIONS.contains(&extension(&name)) {
            // What is not UTF-8 becomes a replacement character, and so a complaint.
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
            files.push(SourceFile::new(&path, &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_what_was_built_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, bytes).expect("a file");
        };
        write("ledger/src/lib.rs", b"//! Text.\n");
        write("ledger/src/odd.rs", b"// \xff\n");
        write("ledger/Cargo.toml", b"[package]\n");
        write("target/debug/build.rs", b"");
        write("wasm-client/node_modules/x/index.js", b"");
        write(".git/hooks/hook.rs", b"");
        let tree = Tree::read(dir.path()).expect("readable");
        let paths: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["ledger/src/lib.rs", "ledger/src/odd.rs"]);
        assert!(
            tree.file("ledger/src/odd.rs")
                .expect("read")
                .text
                .contains('\u{fffd}')
        );
        assert!(tree.file("ledger/src/gone.rs").is_none());
    }

    #[test]
    fn a_missing_checkout_is_a_failure() {
        let dir = tempfile::tempdir().expect("a directory");
        let failure = Tree::read(&dir.path().join("gone")).expect_err("nothing to read");
        assert!(
            failure
                .to_string()
                .starts_with("the checkout cannot be read"),
            "{failure}"
        );
    }
}
