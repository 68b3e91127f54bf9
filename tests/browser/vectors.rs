//! `tests/vectors/decide_intent.json` and `stale_key.json` on the wasm build; the native build runs
//! the same files.

use serde_json::json;

use crate::shop::Shop;

#[test]
fn the_wasm_build_decides_every_cell_and_case_as_the_vectors_say() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/vectors.html"));
    let result = tab.run("return await runVectors();");
    let wrong = result["wrong"].as_array().expect("a list");
    assert!(
        wrong.is_empty(),
        "{} are wrong, such as {}",
        wrong.len(),
        wrong[0]
    );
    // Times at the end of 64 bits, which no clock of a browser shows.
    let left_out = json!([
        "a claim that was never sent outlives any time",
        "a sum beyond the last millisecond is never reached before it",
        "the joining time saturates",
    ]);
    assert_eq!(result["leftOut"], left_out);
    assert_eq!(result["run"], 1_152 * 12 + 36 - 3);
}

#[test]
fn the_wasm_build_replaces_a_stale_key_as_the_vectors_say() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/vectors.html"));
    // Counts at the end of 64 bits are none of a browser.
    let expected = json!({"run": 27, "wrong": [], "leftOut": 9});
    assert_eq!(tab.run("return await runStaleKeys();"), expected);
}
