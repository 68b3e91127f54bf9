//! The wasm as a JavaScript module, for pages and bundlers that cannot serve a file.
//!
//! Compressed before it becomes text, since the four thirds of base64 do not compress away:
//! so a page gets about as many bytes as the compressed file would have. And by the most
//! patient compressor there is: it works once, and every page downloads the result.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zopfli::{Format, Options};

/// The name of the module in the package.
pub(crate) const NAME: &str = "inlined_wasm.js";

/// The source of the module.
pub(crate) fn module(wasm: &[u8]) -> String {
    let text = STANDARD.encode(compressed(wasm));
    format!(
        "// Generated: the WebAssembly module, compressed with gzip, in base64.\n\
         export const gzippedWasm = \"{text}\";\n"
    )
}

fn compressed(wasm: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    zopfli::compress(Options::default(), Format::Gzip, wasm, &mut bytes)
        .expect("a vector takes every byte");
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_module_carries_the_wasm_byte_for_byte() {
        let wasm: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let module = module(&wasm);
        let mut quoted = module.split('"');
        let text = quoted.nth(1).expect("one string");
        let bytes = STANDARD.decode(text).expect("base64");
        let mut decoded = Vec::new();
        let mut reader = GzDecoder::new(&bytes[..]);
        reader.read_to_end(&mut decoded).expect("gzip");
        assert_eq!(decoded, wasm);
    }

    #[test]
    fn equal_wasm_gives_equal_modules() {
        assert_eq!(module(b"\0asm"), module(b"\0asm"));
    }
}
