//! The stories of the demo page, on the bank in its Service Worker and on the real server.

use serde_json::json;

use crate::demo::Demo;

const ONCE: &str = "1 x, 25 EUR";
const TWICE: &str = "charged 2 x, 50 EUR";

#[test]
fn whatever_goes_wrong_the_same_presses_pay_once_with_the_ledger() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        for (fault, ordinary) in [
            ("lose-response", TWICE),
            ("fail-before", ONCE),
            ("slow=4000", TWICE),
            ("crash-after-effect", TWICE),
        ] {
            page.order_with(fault);
            page.press_both();
            page.press_both();
            page.wait_for_bank(ordinary, ONCE);
            page.wait_for_sentence(if ordinary == TWICE {
                "Ordinary form: charged 2 x, 50 EUR for one order. With the ledger: 1 x, 25 EUR."
            } else {
                "Ordinary form: 1 x, 25 EUR. With the ledger: 1 x, 25 EUR."
            });
            let tone = if ordinary == TWICE { "wrong" } else { "right" };
            assert_eq!(page.tones(), json!([tone, "right"]), "{fault}");
            let lane = page.guarded_lane();
            assert!(lane.contains("the press joined"), "{fault}: {lane}");
        }
    });
}

#[test]
fn a_reload_in_the_middle_forgets_the_form_and_not_the_key() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        // The page reloads under the script, so that is asked for when the script has ended.
        page.run("setTimeout(() => press('#reload'));");
        page.run_over_reload("return /was reloaded/.test(texts('#lane-guarded').join(' '));");
        page.wait_until_ready();
        page.wait_for_bank(TWICE, ONCE);
        let lane = page.guarded_lane();
        assert!(lane.contains("left behind by a reload"), "{lane}");
        assert!(lane.contains("attempt 2 with key"), "{lane}");
        let colours = page.run(
            "return new Set([...document.querySelectorAll('#lane-guarded .request')].map((e) =>\n\
             e.dataset.colour)).size;",
        );
        assert_eq!(colours, 1, "the key is the same");
    });
}

#[test]
fn a_second_tab_beside_it_joins_and_so_does_a_real_one() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.run("press('#second-tab');");
        page.wait_for_bank(TWICE, ONCE);
        let beside = page.run(
            "const inside = document.querySelector('#beside iframe').contentDocument;\n\
             return await until(() => { const text = inside.querySelector('#guarded .status');\n\
             return /Joined|Paid/.test(text.textContent) && text.textContent; });",
        );
        let statuses = page.statuses();
        let joined = [&beside, &statuses[1]]
            .into_iter()
            .filter(|text| text.as_str().is_some_and(|text| text.starts_with("Joined")));
        assert_eq!(joined.count(), 1, "{beside} {statuses}");

        let other = demo.another_tab();
        other.run(
            "await until(() => /Paid, receipt/.test(texts('#guarded .status')[0]));\n\
             press('#guarded .pay');",
        );
        other.wait_for_bank(TWICE, ONCE);
        let lane =
            page.run("return await until(() => texts('#lane-guarded .hidden-text').join(' '));");
        assert!(lane.to_string().contains("In the second tab"), "{lane}");
    });
}

#[test]
fn a_second_tab_pays_the_new_order_and_never_one_of_its_own() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        let other = demo.another_tab();
        for _ in 0..4 {
            page.order_with("lose-response");
            page.run("press('#guarded .pay');");
            // At once, whatever has been told to this tab meanwhile.
            other.run("press('#guarded .pay');");
            for tab in [&page, &other] {
                tab.run("await until(() => /Paid|Joined/.test(texts('#guarded .status')[0]));");
                tab.wait_for_bank("nothing charged yet", ONCE);
            }
        }
    });
}

#[test]
fn paying_again_on_purpose_is_a_second_payment_and_right() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.order_with("lose-response");
        let is_off = "return document.querySelector('#again').disabled;";
        assert_eq!(page.run(is_off), true);
        page.press_both();
        page.wait_for_bank("1 x, 25 EUR", ONCE);
        page.run("await until(() => !document.querySelector('#again').disabled); press('#again');");
        page.wait_for_bank(ONCE, "2 x, 50 EUR");
        page.wait_for_sentence(
            "Ordinary form: 1 x, 25 EUR. With the ledger: 2 x, 50 EUR, as meant.",
        );
        assert_eq!(page.tones(), json!(["right", "right"]));
        let colours = page.run(
            "return new Set([...document.querySelectorAll('#lane-guarded .request')].map((e) =>\n\
             e.dataset.colour)).size;",
        );
        assert_eq!(colours, 2, "each key has its colour");
    });
}

#[test]
fn a_fault_that_is_chosen_too_late_is_for_the_next_order() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    let choose = |fault: &str| {
        let script = "document.querySelector(`input[value=\"${args}\"]`).click();\n\
                      return texts('#caption')[0];";
        let says = page.run_with(script, json!(fault));
        says.as_str().unwrap_or_default().to_owned()
    };
    assert!(choose("fail-before").starts_with("Armed: "));
    page.press_both();
    page.wait_for_sentence("");
    assert!(choose("crash-after-effect").starts_with("For the next order: "));
    page.press_both();
    page.wait_for_bank(ONCE, ONCE);
    page.wait_for_sentence("Ordinary form: 1 x, 25 EUR. With the ledger: 1 x, 25 EUR.");
    // Nothing of it is said of the next.
    page.run("press('#start-over');");
    let spoken = page.run("return texts('#outcome, .spoken');");
    assert_eq!(spoken, json!(["", "", ""]));
}

#[test]
fn a_paid_order_without_its_store_is_not_paid_again() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    page.run("press('#guarded .pay');");
    page.wait_for_bank("nothing charged yet", ONCE);
    page.wait_until_paid();
    page.run(
        "await new Promise((done) => { indexedDB.deleteDatabase('idempotency-demo').onsuccess =\n\
         done; });\n\
         press('#guarded .pay');\n\
         await until(() => /store was cleared/.test(texts('#guarded .status')[0]));",
    );
    page.wait_for_bank("nothing charged yet", ONCE);
    page.run("press('#start-over');");
    page.pay_guarded();
    page.wait_for_bank("nothing charged yet", ONCE);
}

#[test]
fn many_presses_at_once_are_one_mark_with_their_number() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    page.run("for (let at = 0; at < 8; at++) press('#guarded .pay');");
    page.wait_for_bank("nothing charged yet", ONCE);
    page.run("await until(() => /Paid|Joined/.test(texts('#guarded .status')[0]));");
    let marks = page.run(
        "await until(() => texts('#lane-guarded .joined > [aria-hidden]').length);\n\
         return texts('#lane-guarded :is(.press, .joined) > [aria-hidden]');",
    );
    assert_eq!(marks, json!(["Pay \u{d7} 8", "joined \u{d7} 7"]));
    assert!(page.guarded_lane().contains("Pay was pressed, 8 times"));
}

#[test]
fn quick_presses_on_purpose_mean_one_payment_more() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("fail-before");
    page.run("press('#guarded .pay');");
    page.run("await until(() => !document.querySelector('#again').disabled);");
    page.run("for (let at = 0; at < 10; at++) press('#again');");
    page.wait_for_bank("nothing charged yet", "2 x, 50 EUR");
    let meant = "return JSON.parse(localStorage.getItem('idempotency-demo')).meant;";
    assert_eq!(page.run(meant), 2);
}

#[test]
fn a_paid_order_is_shown_after_a_reload_and_no_press_is_drawn() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("fail-before");
    page.pay_guarded();
    page.tab.load(&demo.url());
    page.wait_until_ready();
    page.run("await until(() => /Paid, receipt/.test(texts('#guarded .status')[0]));");
    page.wait_for_bank("nothing charged yet", ONCE);
    let lane = page.guarded_lane();
    assert!(!lane.contains("the press joined"), "{lane}");
}

#[test]
fn without_a_network_a_press_says_that_it_waits_and_pays_when_it_is_back() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("fail-before");
    let network = |is_off: bool| {
        let conditions = json!({"offline": is_off, "latency": 0, "downloadThroughput": -1,
            "uploadThroughput": -1});
        let set = page.tab.cdp("Network.emulateNetworkConditions", conditions);
        set.expect("a tab has a network");
    };
    network(true);
    page.run("press('#guarded .pay');");
    page.run("await until(() => /^No network: the key is kept/.test(texts('.status')[1]));");
    network(false);
    page.wait_until_paid();
    page.wait_for_bank("nothing charged yet", ONCE);
}

#[test]
fn the_panels_show_what_is_kept_and_what_was_sent() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    page.run("for (const id of ['#records', '#requests']) document.querySelector(id).open = true;");
    page.press_both();
    page.run(
        "await until(() => /\"state\": \"succeeded\"/.test(texts('#records .inside')[0]));\n\
         await until(() => /idempotency-replayed: true/.test(texts('#requests .inside')[0]));",
    );
    let code = page.run("return texts('.card pre code');");
    let lines = |at: usize| code[at].as_str().unwrap_or_default().lines().count();
    assert_eq!((lines(0), lines(1)), (10, 10), "{code}");
    assert!(code[1].to_string().contains("client.submit("), "{code}");
}
