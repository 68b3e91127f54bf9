//! The figures of `docs/performance.md`: the client against plain JavaScript. They are printed
//! and never asserted, since a busy machine measures nothing.
//!
//! ```text
//! IDEMPOTENCY_PAYMENTS=100 \
//!     cargo test -p idempotency-tests --test browser comparison -- --nocapture
//! ```

use serde_json::{Value, json};

use crate::shop::Shop;

const ROUNDS: u32 = 15;

/// How many payments a round has; enough to see that it works, unless somebody wants figures.
fn payments() -> u32 {
    let wanted = std::env::var("IDEMPOTENCY_PAYMENTS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[test]
fn the_client_and_plain_javascript_are_compared_in_one_page() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/comparison.html"));
    let wanted = json!({"rounds": ROUNDS, "payments": payments()});
    let figures = tab.run_with("return await compare(args);", wanted);
    println!(
        "{ROUNDS} interleaved rounds of {} payments: least, median, most",
        payments()
    );
    for (name, unit) in [
        ("client", "payments/s"),
        ("twin", "payments/s"),
        ("ratio", ""),
    ] {
        let spread = figures[name].as_array().expect("three numbers");
        let numbers: Vec<f64> = spread.iter().filter_map(Value::as_f64).collect();
        assert!(numbers.iter().all(|number| *number > 0.0), "{figures}");
        println!(
            "{name:>7}: {:8.2} {:8.2} {:8.2} {unit}",
            numbers[0], numbers[1], numbers[2]
        );
    }
    let records = tab.run(
        "const { promise, resolve } = Promise.withResolvers();\n\
         indexedDB.open('compared').onsuccess = (event) => {\n\
           const store = event.target.result.transaction('intents').objectStore('intents');\n\
           store.count().onsuccess = ({ target }) => resolve(target.result);\n\
         };\n\
         return await promise;",
    );
    assert_eq!(
        records,
        (ROUNDS + 1) * payments(),
        "every payment was stored"
    );
}
