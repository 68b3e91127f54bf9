//! The folder of the package: what is hand-written, what was built, and the licences.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::bindings::Bindings;
use crate::inlined;
use crate::manifest;

/// The licences of the repository are those of the package.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// The files of a package by their paths, with `/` on every platform.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Folder {
    /// Everything under `root`; what is hidden belongs to an editor or to the system.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        visit(root, "", &mut files)
            .with_context(|| format!("the folder {} cannot be read", root.display()))?;
        Ok(Self { files })
    }

    /// The text of a file, or that there is none.
    pub(crate) fn text(&self, path: &str) -> Result<&str> {
        let bytes = self.files.get(path);
        let bytes = bytes.with_context(|| format!("the package has no {path}"))?;
        std::str::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
    }
}

fn visit(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            visit(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// What a package is made of.
#[derive(Debug)]
pub(crate) struct Ingredients<'a> {
    /// The hand-written modules, their types, `package.json` and the README.
    pub(crate) sources: &'a Path,
    /// Where the licences lie.
    pub(crate) licences: &'a Path,
    /// The wasm and the JavaScript around it.
    pub(crate) bindings: &'a Bindings,
}

impl Ingredients<'_> {
    /// Writes them to `pkg`, in place of whatever was there.
    pub(crate) fn lay_out(&self, pkg: &Path) -> Result<Folder> {
        let folder = self.gather()?;
        match fs::remove_dir_all(pkg) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("{} is in the way", pkg.display()));
            }
            _ => {}
        }
        // The manifest comes last: with it a folder counts as a package.
        let (last, others): (Vec<_>, Vec<_>) = folder
            .files
            .iter()
            .partition(|(path, _)| *path == manifest::NAME);
        for (path, bytes) in others.into_iter().chain(last) {
            write(&pkg.join(path), bytes)
                .with_context(|| format!("{path} cannot be written to {}", pkg.display()))?;
        }
        Ok(folder)
    }

    fn gather(&self) -> Result<Folder> {
        let mut folder = Folder::read(self.sources)?;
        let manifest = manifest::with_version(folder.text(manifest::NAME)?)?;
        folder
            .files
            .insert(manifest::NAME.to_owned(), manifest.into_bytes());
        let mut built = self.bindings.files.clone();
        built.insert(Bindings::wasm_name(), self.bindings.wasm.clone());
        let module = inlined::module(&self.bindings.wasm);
        built.insert(inlined::NAME.to_owned(), module.into_bytes());
        for licence in LICENCES {
            let text = fs::read(self.licences.join(licence));
            let text = text.with_context(|| format!("{licence} cannot be read"))?;
            built.insert(licence.to_owned(), text);
        }
        for (path, bytes) in built {
            let replaced = folder.files.insert(path.clone(), bytes);
            ensure!(
                replaced.is_none(),
                "{path} is built, and also lies among the sources"
            );
        }
        Ok(folder)
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sample {
        dir: tempfile::TempDir,
        bindings: Bindings,
    }

    impl Sample {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let files = [("idempotency_client.js".to_owned(), b"export {}".to_vec())];
            let bindings = Bindings {
                wasm: b"\0asm".to_vec(),
                files: files.into(),
            };
            let sample = Self { dir, bindings };
            sample.write("js/package.json", "{\n  \"version\": \"0.0.0\"\n}\n");
            sample.write("js/index.js", "export {}");
            sample.write("js/inside/guard.js", "export {}");
            sample.write("js/.hidden", "");
            sample.write("LICENSE-MIT", "MIT");
            sample.write("LICENSE-APACHE", "Apache");
            sample
        }

        fn write(&self, path: &str, text: &str) {
            write(&self.dir.path().join(path), text.as_bytes()).expect("a file");
        }

        fn lay_out(&self) -> Result<Folder> {
            let ingredients = Ingredients {
                sources: &self.dir.path().join("js"),
                licences: self.dir.path(),
                bindings: &self.bindings,
            };
            ingredients.lay_out(&self.dir.path().join("pkg"))
        }
    }

    #[test]
    fn the_folder_holds_everything_and_nothing_from_before() {
        let sample = Sample::new();
        sample.write("pkg/old.js", "");
        let folder = sample.lay_out().expect("all is there");
        let written = Folder::read(&sample.dir.path().join("pkg")).expect("readable");
        assert_eq!(written.files, folder.files);
        let paths: Vec<_> = written.files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "LICENSE-APACHE",
                "LICENSE-MIT",
                "idempotency_client.js",
                "idempotency_client_bg.wasm",
                "index.js",
                "inlined_wasm.js",
                "inside/guard.js",
                "package.json",
            ]
        );
        let manifest = written.text("package.json").expect("it is there");
        assert!(manifest.contains(env!("CARGO_PKG_VERSION")), "{manifest}");
    }

    #[test]
    fn a_source_that_is_also_built_is_refused_before_anything_is_removed() {
        let sample = Sample::new();
        sample.write("pkg/old.js", "");
        sample.write("js/inlined_wasm.js", "");
        let error = sample.lay_out().expect_err("two of one name").to_string();
        assert!(error.starts_with("inlined_wasm.js is built"), "{error}");
        assert!(sample.dir.path().join("pkg/old.js").is_file());
    }

    #[test]
    fn a_missing_licence_or_manifest_is_refused() {
        for path in ["LICENSE-MIT", "js/package.json"] {
            let sample = Sample::new();
            fs::remove_file(sample.dir.path().join(path)).expect("it was there");
            assert!(sample.lay_out().is_err(), "{path}");
        }
    }
}
