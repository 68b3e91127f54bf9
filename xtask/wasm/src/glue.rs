//! The JavaScript that wasm-bindgen writes, without what a page need not load.
//!
//! Its names of imports end in random digits, which no compression takes away, here and again
//! in the wasm; its loader knows ways that this package does not go; and it makes coders of
//! text when it is imported, which some test environments lack. The version of wasm-bindgen is
//! pinned, so text that is not as it was here is an error and not a guess.

use anyhow::{Context, Result, ensure};

/// The module that all imports come from, as wasm-bindgen calls it, and shorter.
const IMPORTED: (&str, &str) = ("./idempotency_client_bg.js", "w");

/// Where the loader begins; it goes to the end of the file.
const LOADER: &str = "let wasmModule, wasmInstance, wasm;";

/// All of it that is needed: the package compiles the module itself.
const INSTANTIATE: &str = "let wasm;

/** Gives a compiled module its imports. */
export default async function instantiate(module) {
    wasm ??= (await WebAssembly.instantiate(module, __wbg_get_imports())).exports;
}
";

/// Pieces by their first line and by the line that follows them, and what takes their place.
const PIECES: [(&str, &str, &str); 3] = [
    (
        "let cachedTextDecoder = new TextDecoder(",
        "const cachedTextEncoder = new TextEncoder();",
        "let decoder;
function decodeText(bytes) {
    decoder ??= new TextDecoder('utf-8', { ignoreBOM: true });
    return decoder.decode(bytes);
}

",
    ),
    (
        "const cachedTextEncoder = new TextEncoder();",
        "let WASM_VECTOR_LEN = 0;",
        "",
    ),
    (
        "function passStringToWasm0(arg, malloc, realloc) {",
        "function takeObject(idx) {",
        "function passStringToWasm0(arg, malloc) {
    const codes = [];
    for (let at = 0; at < arg.length; at++) codes.push(arg.charCodeAt(at));
    const isAscii = codes.every((code) => code < 128);
    return passArray8ToWasm0(isAscii ? codes : new TextEncoder().encode(arg), malloc);
}

",
    ),
];

/// A member that the wasm names, decoded each time and decoded once. All of them are static in
/// the client (`wasm-client/src/record.rs`), so a place and a length are always the same name.
const MEMBER: (&str, &str) = (
    "[getStringFromWasm0(arg1, arg2)]",
    "[memberName(arg1, arg2)]",
);

const MEMBER_NAME: &str = "const memberNames = {};
function memberName(ptr, len) {
    return memberNames[ptr * 256 + len] ??= getStringFromWasm0(ptr, len);
}

";

/// An import of the wasm: the module that it comes from, and its name there.
pub(crate) type Import<'w> = (&'w mut String, &'w mut String);

/// The same JavaScript, smaller; the imports of the wasm are renamed along with it.
pub(crate) fn slim<'w>(js: &str, imports: impl Iterator<Item = Import<'w>>) -> Result<String> {
    let mut js = without_loader(js)?;
    for piece in PIECES {
        js = replaced(&js, piece)?;
    }
    js = js.replace(MEMBER.0, MEMBER.1);
    let key = format!("\"{}\": import0", IMPORTED.0);
    let short_key = format!("\"{}\": import0", IMPORTED.1);
    js = js.replace(&key, &short_key);
    for (number, (module, name)) in imports.enumerate() {
        ensure!(*module == IMPORTED.0, "an import comes from {module}");
        let short = format!("i{number}");
        let (definition, renamed) = (format!("{name}: function("), format!("{short}: function("));
        ensure!(
            js.matches(&definition).count() == 1,
            "the import {name} is not defined once"
        );
        js = js.replace(&definition, &renamed);
        *name = short;
        IMPORTED.1.clone_into(module);
    }
    ensure!(
        !js.contains("import.meta") && !js.contains("cachedText"),
        "wasm-bindgen's JavaScript has changed"
    );
    Ok(js)
}

fn without_loader(js: &str) -> Result<String> {
    let (before, _) = js
        .split_once(LOADER)
        .with_context(|| format!("wasm-bindgen's JavaScript has no `{LOADER}`"))?;
    // The loader also names these, and knows that they may be stale.
    Ok(format!("{before}{MEMBER_NAME}{INSTANTIATE}"))
}

/// Takes a piece out, where it is; a module that needs none of it has none.
fn replaced(js: &str, (start, end, with): (&str, &str, &str)) -> Result<String> {
    let Some((before, rest)) = js.split_once(start) else {
        return Ok(js.to_owned());
    };
    let at = rest
        .find(end)
        .with_context(|| format!("`{start}` is not followed by `{end}`"))?;
    Ok(format!("{before}{with}{}", &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JS: &str = "import0 = {
        __wbg_get_0123456789abcdef: function(arg0) {}
    };
    return { \"./idempotency_client_bg.js\": import0 };
function passStringToWasm0(arg, malloc, realloc) {
    long
}

function takeObject(idx) {
let cachedTextDecoder = new TextDecoder('utf-8');
const cachedTextEncoder = new TextEncoder();
let WASM_VECTOR_LEN = 0;
let wasmModule, wasmInstance, wasm;
export { initSync, __wbg_init as default };
";

    fn import(name: &str) -> (String, String) {
        (IMPORTED.0.to_owned(), name.to_owned())
    }

    #[test]
    fn names_are_short_on_both_sides_and_nothing_is_made_at_import() {
        let mut import = import("__wbg_get_0123456789abcdef");
        let js = slim(JS, [(&mut import.0, &mut import.1)].into_iter()).expect("it is known");
        assert_eq!(import, ("w".to_owned(), "i0".to_owned()));
        assert!(js.contains(" i0: function(arg0)"), "{js}");
        assert!(js.contains("{ \"w\": import0 }"), "{js}");
        assert!(
            js.contains("export default async function instantiate"),
            "{js}"
        );
        assert!(!js.contains("initSync") && !js.contains("long"), "{js}");
        assert!(js.contains("let WASM_VECTOR_LEN = 0;"), "{js}");
    }

    #[test]
    fn what_is_not_as_expected_is_refused() {
        let none = || std::iter::empty::<Import<'_>>();
        assert!(slim("nothing", none()).is_err());
        assert!(slim(&JS.replace("let WASM_VECTOR_LEN", "let OTHER"), none()).is_err());
        let mut unknown = import("__wbg_other");
        assert!(slim(JS, [(&mut unknown.0, &mut unknown.1)].into_iter()).is_err());
        let mut foreign = ("./elsewhere.js".to_owned(), "x".to_owned());
        assert!(slim(JS, [(&mut foreign.0, &mut foreign.1)].into_iter()).is_err());
    }
}
