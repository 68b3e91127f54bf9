//! A thousand clicks over three tabs that reload at random, against a server that loses one
//! answer in three and crashes now and then.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::Shop;

const CLICKS: usize = 1_000;
const TABS: usize = 3;
const CLICKS_A_ROUND: usize = 5;

/// The generator of Steele, Lea and Flood: small, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// One seed for each run, taken from the environment where somebody repeats one.
fn seed() -> u64 {
    let given = std::env::var("IDEMPOTENCY_SEED").ok();
    given
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| u64::from(std::process::id()))
}

/// What a lying server does with a request.
fn mood(random: &mut Random) -> Plan {
    match random.below(12) {
        0 | 1 => Plan::lose_answer(),
        2 | 3 => Plan::lose_request(),
        4 => Plan::problem(503, "restarting"),
        5 => Plan::problem(500, "crashed").after_charging(),
        6 => Plan::close(),
        _ => Plan::pay().after_ms(random.below(8)),
    }
}

/// Clicks of one tab on one order, all at once; each ends with a receipt or stays open.
fn click(tab: &Tab<'_>, round: usize) {
    tab.start(
        "clicks",
        &format!(
            "const all = Array.from({{ length: {CLICKS_A_ROUND} }}, () =>\n\
               ended(pay('order-{round}', undefined,\n\
                 {{ retry: {{ baseMs: 1, maxMs: 4, maxAttempts: 40 }} }})));\n\
             return Promise.all(all);"
        ),
    );
}

#[test]
fn a_thousand_clicks_over_three_tabs_make_one_key_for_each_intent() {
    let seed = seed();
    println!("IDEMPOTENCY_SEED={seed}");
    let mut random = Random(seed);
    let mut moods = Random(seed ^ 0x5eed);
    let shop = Shop::open();
    shop.api().otherwise_by(move |_, _| mood(&mut moods));
    let mut tabs = vec![shop.tab()];
    tabs.extend((1..TABS).map(|_| shop.another_tab()));
    let rounds = CLICKS.div_ceil(TABS * CLICKS_A_ROUND);
    let (mut clicks, mut reloads) = (0, 0);
    for round in 0..rounds {
        let order = format!("order-{round}");
        for tab in &tabs {
            click(tab, round);
        }
        clicks += TABS * CLICKS_A_ROUND;
        let mut living = (0..TABS).collect::<BTreeSet<_>>();
        if random.below(3) == 0 {
            let victim = usize::try_from(random.below(TABS as u64)).expect("small");
            tabs[victim].reload();
            tabs[victim].run("await opened;");
            living.remove(&victim);
            reloads += 1;
        }
        let mut results = BTreeSet::new();
        for number in living {
            let ended = tabs[number].finish("clicks").expect("clicks end");
            results.extend(receipts(&ended, seed));
        }
        assert_eq!(results.len(), 1, "seed {seed}: {order} gave {results:?}");
    }
    println!(
        "{clicks} clicks, {reloads} reloads, {} requests",
        shop.api().requests().len()
    );
    assert!(clicks >= CLICKS);
    assert_eq!(shop.api().charges(), rounds, "seed {seed}");
    let by_order = keys_by_order(&shop);
    assert_eq!(by_order.len(), rounds, "seed {seed}");
    for (order, keys) in by_order {
        assert_eq!(keys.len(), 1, "seed {seed}: {order} has the keys {keys:?}");
    }
}

/// The receipts of clicks that all have to have one.
fn receipts(ended: &Value, seed: u64) -> Vec<String> {
    let all = ended.as_array().expect("a list");
    assert_eq!(all.len(), CLICKS_A_ROUND);
    let receipt = |result: &Value| {
        let value = &result["ok"]["value"];
        assert!(value["receipt"].is_number(), "seed {seed}: {result}");
        json!([result["ok"]["key"], value["receipt"], value["key"]]).to_string()
    };
    all.iter().map(receipt).collect()
}

fn keys_by_order(shop: &Shop) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_order: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for seen in shop.api().requests() {
        let body: Value = serde_json::from_slice(&seen.request.body).expect("it is JSON");
        let order = body["order"]
            .as_str()
            .expect("an order has a name")
            .to_owned();
        by_order.entry(order).or_default().insert(seen.key);
    }
    by_order
}
