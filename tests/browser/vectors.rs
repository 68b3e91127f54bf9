//! `tests/vectors/decide_intent.json` on the wasm build; the native build runs the same file.

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
    assert_eq!(result["run"], 864 * 12 + 28 - 3);
}
