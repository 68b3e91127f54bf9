//! Payloads: what is the same, what is another, and what cannot be compared at all.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, refusal};

const FORM: &str = "form([['a', '1'], ['b', new File(['x'], 'x.txt')]])";
const OTHER_FILE: &str = "form([['a', '1'], ['b', new File(['y'], 'x.txt')]])";

/// Two payloads, and whether they ask for the same.
const PAIRS: &[(&str, &str, bool)] = &[
    ("{ a: 1, b: 2 }", "{ b: 2, a: 1 }", true),
    ("[1, 2]", "[2, 1]", false),
    ("1", "'1'", false),
    ("null", "undefined", false),
    ("{}", "[]", false),
    ("{ a: undefined }", "{}", true),
    ("2n", "2", false),
    ("2n", "'2'", false),
    ("new Date(5)", "5", false),
    ("new Date(5)", "new Date(5)", true),
    ("new Date(5)", "new Date(6)", false),
    ("new Date(5)", "new Date(5).toJSON()", false),
    ("{ toJSON: () => 'a' }", "{ toJSON: () => 'b' }", false),
    (
        "new URLSearchParams('a=1&b=2')",
        "new URLSearchParams('a=1&b=2')",
        true,
    ),
    (
        "new URLSearchParams('a=1&b=2')",
        "new URLSearchParams('b=2&a=1')",
        false,
    ),
    ("new URLSearchParams('a=1')", "{}", false),
    ("new Blob(['ab'])", "new Blob(['a', 'b'])", true),
    ("new Blob(['ab'])", "new Blob(['ac'])", false),
    (
        "new Blob(['ab'])",
        "new Blob(['ab'], { type: 'text/plain' })",
        false,
    ),
    ("new Blob(['ab'])", "{}", false),
    ("new File(['ab'], 'a')", "new File(['ab'], 'b')", false),
    ("new Uint8Array([1, 2])", "new Uint8Array([1, 2])", true),
    ("new Uint8Array([1, 2])", "new Uint8Array([1, 3])", false),
    ("new Uint8Array([1, 2])", "[1, 2]", false),
    (
        "new Uint8Array([1, 2]).buffer",
        "new Uint8Array([1, 3]).buffer",
        false,
    ),
    (
        "new Uint8Array([9, 1, 2]).subarray(1)",
        "new Uint8Array([1, 2])",
        true,
    ),
    (FORM, FORM, true),
    (FORM, OTHER_FILE, false),
    (FORM, "{}", false),
    (
        "{ a: { b: [new Date(1)] } }",
        "{ a: { b: [new Date(2)] } }",
        false,
    ),
    ("['a', 'bc']", "['ab', 'c']", false),
    ("{ ab: 'c' }", "{ a: 'bc' }", false),
    ("0", "-0", true),
    ("'\\ud83d\\ude00'", "'\\u{1f600}'", true),
];

#[test]
fn payloads_that_are_the_same_or_another_are_told_apart() {
    let shop = Shop::open();
    let tab = shop.tab();
    for (number, (first, second, is_same)) in PAIRS.iter().enumerate() {
        let script = format!(
            "const form = (entries) => {{ const form = new FormData();\n\
               for (const [name, value] of entries) form.append(name, value);\n\
               return form; }};\n\
             const never = () => {{ throw new Error('lost'); }};\n\
             const once = {{ retry: {{ maxAttempts: 1 }} }};\n\
             const one = await ended(client.submit('pay:{number}', {first}, never, once));\n\
             const two = await ended(client.submit('pay:{number}', {second}, never, once));\n\
             return [one.thrown, two.thrown];"
        );
        let thrown = tab.run(&script);
        let expected = if *is_same { "unknown" } else { "unresolved" };
        let codes = (refusal(&thrown[0]), refusal(&thrown[1]));
        let is_right = codes.0 == "unknown" && codes.1 == expected;
        assert!(is_right, "{first} and {second}: {thrown}");
    }
}

#[test]
fn what_cannot_be_compared_is_refused_and_nothing_is_sent() {
    let shop = Shop::open();
    let tab = shop.tab();
    let refused = [
        "NaN",
        "Infinity",
        "{ a: [NaN] }",
        "new Map([[1, 2]])",
        "new Set([1])",
        "Symbol('x')",
        "() => 1",
        "{ f() {} }",
        "(() => { const loop = {}; loop.loop = loop; return loop; })()",
        "(() => { const loop = []; loop.push([loop]); return loop; })()",
        "new WeakMap()",
        "/x/",
        "Promise.resolve(1)",
        "new (class Card { number = 1; })()",
        "new ReadableStream()",
        "new Blob(['x']).stream()",
        "new Date(NaN)",
        "document.body",
        "new Error('x')",
        "{ [Symbol('s')]: 1 }",
    ];
    for payload in refused {
        let script = format!("return await ended(client.submit('pay:order-1', {payload}, send));");
        let result = tab.run(&script);
        let thrown = result
            .get("thrown")
            .unwrap_or_else(|| panic!("{payload} was accepted"));
        assert_eq!(refusal(thrown), "payload", "{payload}");
    }
    assert_eq!(shop.api().requests().len(), 0);
    assert_eq!(tab.run("return await records();"), json!([]));
}

#[test]
fn the_payload_counts_as_it_was_at_the_call() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    tab.start(
        "paying",
        "const cart = { amount: 25 };\n\
         const paying = client.submit('pay:order-1', cart, send);\n\
         cart.amount = 99;\n\
         return paying;",
    );
    shop.api().wait_for(1);
    tab.reload();
    let resumed = tab.run(
        "await opened; const pending = await records();\n\
         await resume('order-1');\n\
         return pending[0].payload;",
    );
    assert!(resumed.to_string().contains("25"), "{resumed}");
    let bodies: Vec<String> = shop
        .api()
        .requests()
        .iter()
        .map(|seen| seen.request.text())
        .collect();
    assert_eq!(bodies[1], "{\"amount\":25}");
    assert_eq!(bodies[0], bodies[1], "what is sent is what was compared");
}

#[test]
fn stored_fingerprints_are_keyed_with_a_salt_of_the_database() {
    let shop = Shop::open();
    let tab = shop.tab();
    let fingerprint = "await pay('order-1', { card: 4242 });\n\
                       return (await records())[0].fingerprint;";
    let first = tab.run(fingerprint);
    tab.run("client.close(); await forgetEverything();");
    tab.reload();
    tab.run("await opened;");
    let second = tab.run(fingerprint);
    assert_ne!(first, second, "the same payload in another database");
}

#[test]
fn a_large_blob_is_compared_to_its_last_byte() {
    let shop = Shop::open();
    let tab = shop.tab();
    let ends = tab.run(
        "const bytes = new Uint8Array(3 * 1024 * 1024 + 7);\n\
         const never = () => { throw new Error('lost'); };\n\
         const once = { retry: { maxAttempts: 1 } };\n\
         const submit = () =>\n\
           ended(client.submit('upload', new Blob([bytes]), never, once));\n\
         const codes = [(await submit()).thrown.code, (await submit()).thrown.code];\n\
         bytes[bytes.length - 1] = 1;\n\
         return [...codes, (await submit()).thrown.code];",
    );
    assert_eq!(ends, json!(["unknown", "unknown", "unresolved"]));
}
