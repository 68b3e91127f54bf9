//! The store and the guard of the crate itself, in a page of a real browser: what IndexedDB
//! commits, and who may go on with what is stored. Run by `cargo xtask test`.

#![cfg(target_arch = "wasm32")]

mod database;
mod guard;
mod store;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);
