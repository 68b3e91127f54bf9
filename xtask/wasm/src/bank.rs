//! The demo page's bank: the wasm and the classic script that a Service Worker imports.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use crate::wasm_opt;

/// The names of the two files; `www/sw.js` loads them.
const SCRIPT: &str = "bank.js";
const WASM: &str = "bank.wasm";

/// The one name that the script leaves in the worker.
const GLOBAL: &str = "bankModule";

/// Makes both in the folder `out`. Not an ES module: Firefox runs those in no Service Worker.
pub(crate) fn make(compiled: &Path, wasm_opt: Option<&Path>, out: &Path) -> Result<()> {
    let bytes = fs::read(compiled)
        .with_context(|| format!("the compiler left no {}", compiled.display()))?;
    let mut output = Bindgen::new()
        .input_bytes("bank", bytes)
        .no_modules(true)?
        .no_modules_global(GLOBAL)?
        .typescript(false)
        .omit_default_module_path(true)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate_output()
        .context("wasm-bindgen refuses the wasm")?;
    let script = output.js().to_owned();
    let mut wasm = output.wasm_mut().emit_wasm();
    if let Some(program) = wasm_opt {
        wasm = wasm_opt::shrink(program, &wasm)?;
    }
    fs::create_dir_all(out)
        .and_then(|()| fs::write(out.join(SCRIPT), script))
        .and_then(|()| fs::write(out.join(WASM), &wasm))
        .with_context(|| format!("{} cannot be written", out.display()))?;
    println!("    the bank: {} KB of wasm", wasm.len().div_ceil(1_000));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_gets_a_classic_script() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("compiled.wasm");
        assert!(make(&path, None, dir.path()).is_err(), "nothing there");
        // The smallest module: the magic number and the version.
        fs::write(&path, b"\0asm\x01\0\0\0").expect("a file");
        make(&path, None, &dir.path().join("bank")).expect("an empty module is one");
        let script = fs::read_to_string(dir.path().join("bank/bank.js")).expect("written");
        assert!(
            script.contains(GLOBAL) && !script.contains("\nexport"),
            "{script}"
        );
        assert!(dir.path().join("bank/bank.wasm").is_file());
    }
}
