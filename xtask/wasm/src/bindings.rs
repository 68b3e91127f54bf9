//! wasm-bindgen, run as a library: no program to install, and no version to mistake.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::glue;

/// The stem of the files; the hand-written modules import it by this name.
const STEM: &str = "idempotency_client";

/// What wasm-bindgen makes of the compiler's wasm.
#[derive(Debug)]
pub(crate) struct Bindings {
    /// The module that the browser compiles.
    pub(crate) wasm: Vec<u8>,
    /// The JavaScript around it, and whatever else was written, by path.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Bindings {
    /// The name of the wasm file beside its JavaScript.
    pub(crate) fn wasm_name() -> String {
        format!("{STEM}_bg.wasm")
    }
}

/// For an ES module that is told where its wasm is: a default path of its own would be a
/// `new URL(..., import.meta.url)` that bundlers stumble over. The types are hand-written.
pub(crate) fn generate(compiled: &Path) -> Result<Bindings> {
    let bytes = fs::read(compiled)
        .with_context(|| format!("the compiler left no {}", compiled.display()))?;
    let mut output = Bindgen::new()
        .input_bytes(STEM, bytes)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen refuses the wasm")?;
    let npm = output.npm_dependencies();
    ensure!(
        npm.is_empty(),
        "the package has no npm dependencies, but {npm:?} are asked for"
    );
    let js = output.js().to_owned();
    let imports = output.wasm_mut().imports.iter_mut();
    let js = glue::slim(
        &js,
        imports.map(|import| (&mut import.module, &mut import.name)),
    )?;
    let mut files = BTreeMap::from([(format!("{STEM}.js"), js.into_bytes())]);
    for (folder, inline) in output.snippets() {
        for (text, number) in inline.iter().zip(0..) {
            let path = format!("snippets/{folder}/inline{number}.js");
            files.insert(path, text.as_bytes().to_vec());
        }
    }
    for (path, text) in output.local_modules() {
        files.insert(format!("snippets/{path}"), text.as_bytes().to_vec());
    }
    let wasm = output.wasm_mut().emit_wasm();
    Ok(Bindings { wasm, files })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_foreign_file_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("client.wasm");
        let error = generate(&path).expect_err("nothing there");
        assert!(
            error.to_string().starts_with("the compiler left no "),
            "{error}"
        );
        fs::write(&path, "not wasm").expect("a file");
        assert!(generate(&path).is_err());
    }

    #[test]
    fn a_module_gets_its_javascript_without_a_default_path() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("client.wasm");
        // The smallest module: the magic number and the version.
        fs::write(&path, b"\0asm\x01\0\0\0").expect("a file");
        let bindings = generate(&path).expect("an empty module is one");
        let js = &bindings.files["idempotency_client.js"];
        let js = String::from_utf8_lossy(js);
        assert!(js.contains("export"), "{js}");
        assert!(!js.contains("import.meta"), "{js}");
        assert!(bindings.wasm.starts_with(b"\0asm"));
        assert_eq!(Bindings::wasm_name(), "idempotency_client_bg.wasm");
    }
}
