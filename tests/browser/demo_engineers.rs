//! The panel for engineers: charges outside of the ledger's file, and the person who decides.

use serde_json::{Value, json};

use crate::demo::{Demo, Visitor};

const INTERRUPTED: &str = "await until(() =>\n\
    /nterrupted: it may/.test(texts('#charge-status')[0]));\n\
    await until(() => !document.querySelector('#decision').hidden);";

impl Visitor<'_> {
    fn open_engineers(&self) {
        self.run("document.querySelector('#engineers').open = true;");
    }

    fn crash_a_charge(&self) {
        self.open_engineers();
        self.run("press('#charge-crash');");
        self.run(INTERRUPTED);
    }

    fn charge_status(&self) -> String {
        let text = self.run("return texts('#charge-status')[0];");
        text.as_str().unwrap_or_default().to_owned()
    }

    fn wait_for_charge(&self, status: &str) {
        let script = "await until(() => texts('#charge-status')[0].includes(args));";
        self.run_with(script, json!(status));
    }

    /// How often the network charged under each of the panel's keys.
    fn network(&self) -> Value {
        self.run(
            "const token = localStorage.getItem('idempotency-demo-charges');\n\
             const rows = await (await fetch('api/effects')).json();\n\
             return rows.filter((r) => r.principal === token).map((r) => r.count);",
        )
    }
}

#[test]
fn an_interrupted_charge_waits_for_a_person_and_its_answer_is_replayed() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.crash_a_charge();
        let says = page.run("return texts('#network-says')[0];");
        assert!(says.to_string().contains("was charged 1 x"), "{says}");
        // Whichever button: it is the same key, still nobody knows, and it is seen to be asked.
        page.run("press('#charge');");
        page.wait_for_charge("Asked 2 x, and still interrupted");
        page.run("press('#charge-crash');");
        page.wait_for_charge("Asked 3 x, and still interrupted");
        assert_eq!(page.network(), json!([1]));
        page.run("press('#happened');");
        page.wait_for_charge("Decided: it happened. Asked again, the same charge is joined");
        assert_eq!(page.network(), json!([1]));
        page.run("press('#charge');");
        page.wait_for_charge("Charged once");
        assert_eq!(page.network(), json!([1, 1]));
        let count = page.run("return texts('#network-count')[0];");
        assert_eq!(count, "The network has charged 2 x, 50 EUR, under 2 keys.");
    });
}

#[test]
fn the_question_outlives_a_new_order_and_a_reload() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.crash_a_charge();
        page.run("press('#start-over');");
        assert!(page.charge_status().contains("nterrupted: it may"));
        page.tab.load(&demo.url());
        page.wait_until_ready();
        page.open_engineers();
        page.run(INTERRUPTED);
        // The next press is about the same charge, and charges nothing.
        page.run("press('#charge');");
        page.wait_for_charge("Asked 2 x, and still interrupted");
        assert_eq!(page.network(), json!([1]));
    });
}

#[test]
fn a_decision_against_the_list_is_warned_of() {
    let demo = Demo::open();
    let page = demo.tab();
    page.crash_a_charge();
    page.run("press('#not-happened');");
    page.wait_for_charge("Decided against the network's list, which has it 1 x");
    let tone = page.run("return document.querySelector('#charge-status').dataset.tone;");
    assert_eq!(tone, "bad");
}

#[test]
fn a_decision_in_another_tab_is_not_made_twice_and_charges_nothing() {
    let demo = Demo::open();
    let page = demo.tab();
    page.crash_a_charge();
    let other = demo.another_tab();
    other.open_engineers();
    other.run(INTERRUPTED);
    page.run("press('#not-happened');");
    page.wait_for_charge("Decided against the network's list");
    other.run("press('#happened');");
    other.wait_for_charge("Somebody has decided it meanwhile");
    assert_eq!(other.network(), json!([1]));
}

#[test]
fn a_double_click_charges_once() {
    let demo = Demo::open();
    let page = demo.tab();
    page.open_engineers();
    page.run("press('#charge'); press('#charge');");
    page.wait_for_charge("Charged once");
    assert_eq!(page.network(), json!([1]));
}
