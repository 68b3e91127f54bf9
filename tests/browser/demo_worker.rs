//! The Service Worker bank when it dies: only what is in its image has happened.

use serde_json::{Value, json};

use crate::demo::{Demo, Visitor};
use crate::harness::browser::profile;

/// A payment of a visitor of its own, so that nothing else counts.
const PAY: &str = "const pay = (fault) => fetch('api/transfers', { method: 'POST', headers: {\n\
    Authorization: 'Bearer test', 'Idempotency-Key': 'k1', 'Demo-Fault': fault,\n\
    'Content-Type': 'application/json' },\n\
    body: JSON.stringify({ from: 'guarded', to: 'shop', amount: 2500 }) });\n\
    const bank = `idempotency-demo-bank:${new URL('./', location).href}`;\n";

impl Visitor<'_> {
    /// Pays, and does not wait for the answer.
    fn pay_meanwhile(&self, fault: &str) {
        self.run_with(
            &format!("{PAY}window.paid = pay(args).then((r) => r.status, () => 'lost');"),
            json!(fault),
        );
    }

    /// The status of the same payment, and whether it is a replay.
    fn retried(&self) -> Value {
        self.run(&format!(
            "{PAY}const got = await pay('');\n\
             return [got.status, got.headers.get('Idempotency-Replayed')];"
        ))
    }

    fn payments(&self) -> Value {
        self.run(
            "const mine = { headers: { Authorization: 'Bearer test' } };\n\
             return (await (await fetch('api/transfers', mine)).json()).length;",
        )
    }

    /// Waits until the worker is at work under its lock and stays there.
    fn wait_for_lock(&self) {
        self.run(&format!(
            "{PAY}let looks = 0;\n\
             await until(async () => {{\n\
             const {{ held }} = await navigator.locks.query();\n\
             looks = held.some(({{ name }}) => name === bank) ? looks + 1 : 0;\n\
             return looks > 20;\n}});"
        ));
    }
}

#[test]
fn a_worker_that_dies_before_its_write_has_done_nothing() {
    let profile = profile();
    let demo = Demo::open_in(profile.path());
    let page = demo.tab();
    page.pay_meanwhile("hold-before-write=60000");
    page.wait_for_lock();
    let demo = demo.restart_browser(profile.path());
    let page = demo.tab();
    assert_eq!(page.payments(), 0);
    assert_eq!(page.retried(), json!([201, null]));
    assert_eq!(page.payments(), 1);
}

#[test]
fn a_worker_that_dies_behind_its_write_has_paid_and_answers_with_a_replay() {
    let profile = profile();
    let demo = Demo::open_in(profile.path());
    let page = demo.tab();
    page.pay_meanwhile("hold-after-write=60000");
    page.wait_for_lock();
    let demo = demo.restart_browser(profile.path());
    let page = demo.tab();
    assert_eq!(page.payments(), 1);
    assert_eq!(page.retried(), json!([201, "true"]));
    assert_eq!(page.payments(), 1);
}

#[test]
fn a_worker_that_dies_while_a_request_is_open_runs_it_once() {
    let profile = profile();
    let demo = Demo::open_in(profile.path());
    let page = demo.tab();
    page.pay_meanwhile("slow=60000");
    // Others are served in the meantime, so the slow one has come in.
    assert_eq!(page.payments(), 0);
    let demo = demo.restart_browser(profile.path());
    let page = demo.tab();
    assert_eq!(page.retried(), json!([201, null]));
    assert_eq!(page.retried(), json!([201, "true"]));
    assert_eq!(page.payments(), 1);
}

#[test]
fn a_worker_that_the_browser_stops_in_between_goes_on_from_its_image() {
    let demo = Demo::open();
    let page = demo.tab();
    assert_eq!(page.retried(), json!([201, null]));
    for command in ["ServiceWorker.enable", "ServiceWorker.stopAllWorkers"] {
        let stopped = page.tab.cdp(command, json!({}));
        stopped.expect("the tab has workers");
    }
    assert_eq!(page.payments(), 1);
    assert_eq!(page.retried(), json!([201, "true"]));
}

#[test]
fn a_hard_reload_gets_its_bank_back() {
    let demo = Demo::open();
    let page = demo.tab();
    page.tab
        .cdp("Page.reload", json!({"ignoreCache": true}))
        .expect("the page reloads");
    page.run_over_reload("return document.documentElement.dataset.ready === 'yes';");
    page.wait_until_ready();
    assert_eq!(page.payments(), 0);
}

#[test]
fn a_browser_without_workers_is_told() {
    let demo = Demo::open();
    let tab = demo.blank_tab();
    tab.before_load(
        "Object.defineProperty(Navigator.prototype, 'serviceWorker', { get: () => undefined });",
    );
    tab.load(&demo.url());
    let page = Visitor { tab, bank: "none" };
    let notice = page.run("return await until(() => texts('#notice')[0]);");
    let notice = notice.as_str().unwrap_or_default();
    assert!(notice.contains("no Service Worker"), "{notice}");
    assert!(notice.contains("cargo xtask demo"), "{notice}");
    let disabled = page.run("return document.querySelector('#guarded .pay').disabled;");
    assert_eq!(disabled, true);
}

#[test]
fn nothing_is_asked_of_anybody_else() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    page.press_both();
    let elsewhere = page.run(
        "return performance.getEntriesByType('resource').map((e) => e.name)\n\
         .filter((name) => !name.startsWith(location.origin) && !name.startsWith('data:'));",
    );
    assert_eq!(elsewhere, json!([]));
}
