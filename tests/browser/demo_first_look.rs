//! What a stranger sees of the demo page: what it is, both cards on a phone, time as it passed, and
//! nothing in the console.

use serde_json::json;

use crate::demo::{Demo, Visitor};
use crate::demo_access::show_in;

/// The one address of the project, which can be changed in one place.
const ADDRESS: &str = "idempotency-ledger.example";

impl Visitor<'_> {
    /// Looks until it is so, or for half a minute.
    #[track_caller]
    fn wait_until(&self, is: &str) {
        let so = self.run(&format!(
            "const late = Date.now() + 30000;\n\
             await until(async () => ({is}) || Date.now() > late);\n\
             return {is};"
        ));
        assert_eq!(so, true, "never: {is}");
    }
}

#[test]
fn the_page_says_what_it_is_and_how_to_add_it() {
    let demo = Demo::open();
    let page = demo.tab();
    let seen = page.run(
        "const text = (selector) =>\n\
         document.querySelector(selector).textContent.replace(/\\s+/g, ' ').trim();\n\
         const seen = (element) => element.getBoundingClientRect().bottom < innerHeight;\n\
         return {\n\
           title: document.title, name: text('header .name'), lead: text('header .lead'),\n\
           first: seen(document.querySelector('header .lead')),\n\
           about: document.querySelector('meta[name=description]').content,\n\
           add: texts('#add pre'), link: document.querySelector('#add a').href,\n\
           to: document.querySelector('header a').getAttribute('href'),\n\
         };",
    );
    let text = |name: &str| seen[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("name"), "Idempotency Ledger");
    assert!(text("title").contains("Idempotency Ledger"));
    assert!(text("lead").contains("Rust library") && seen["first"] == true);
    assert!(text("about").len() > 100 && text("about").contains("safe"));
    assert_eq!(
        (text("to"), text("link")),
        ("#add".into(), format!("https://{ADDRESS}/"))
    );
    assert_eq!(
        seen["add"],
        json!([
            "cargo add --path ../idempotency-ledger/ledger",
            "npm install ../idempotency-ledger/wasm-client/pkg",
        ])
    );
    let named = page.run_with(
        "const page = await (await fetch(location.href)).text();\n\
         return page.split(args).length - 1;",
        json!(ADDRESS),
    );
    assert_eq!(named, 1);
}

#[test]
fn nothing_is_missing_and_the_console_stays_empty() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.order_with("slow=4000");
        page.pay_guarded();
        let missing = page.run(
            "const icon = await fetch(document.querySelector('link[rel=icon]').href);\n\
             const loaded = performance.getEntriesByType('resource');\n\
             const missing = loaded.filter((e) => e.responseStatus >= 400).map((e) => e.name);\n\
             return icon.ok ? missing : [...missing, icon.url];",
        );
        assert_eq!(missing, json!([]), "{}", page.bank);
        assert_eq!(page.tab.console(), [""; 0], "{}", page.bank);
    });
}

#[test]
fn on_a_phone_play_shows_both_cards() {
    let demo = Demo::open();
    let page = demo.tab();
    show_in(&page.tab, 390, 844);
    page.run("scrollTo(0, 0); press('#play');");
    page.wait_until("document.querySelector('.card .pay.pressed') !== null");
    page.wait_until(
        "[...document.querySelectorAll('#caption, .card .pay, .card .verdict')].every((e) => {\n\
         const { top, bottom } = e.getBoundingClientRect();\n\
         return top >= 0 && bottom <= innerHeight;\n})",
    );
    // Also for whoever has scrolled on to the other stories.
    page.wait_until("document.querySelector('.playing') === null");
    page.run("scrollTo(0, document.body.scrollHeight); press('#second-tab');");
    page.wait_until(
        "[...document.querySelectorAll('.card .pay')].every((e) =>\n\
         e.getBoundingClientRect().top >= 0)",
    );
}

#[test]
fn the_dot_of_a_charge_is_drawn_when_the_bank_charged() {
    Demo::open_each(|demo| {
        let page = demo.tab();
        page.order_with("lose-response");
        // What the page is told of the bank comes late.
        page.run(
            "const asked = globalThis.fetch;\n\
             globalThis.fetch = async (path, init) => {\n\
             const isLook = path === 'api/transfers' && init?.method !== 'POST';\n\
             if (isLook) await new Promise((resolve) => setTimeout(resolve, 2500));\n\
             return asked(path, init);\n};",
        );
        page.press_both();
        page.wait_until("document.querySelectorAll('.lane .charge').length === 2");
        // The bar reaches from the press to the answer.
        let inside = page.run(
            "const place = (e) => parseFloat(e.style.left);\n\
             return [...document.querySelectorAll('.lane')].map((lane) => {\n\
             const [bar, dot] = ['.request', '.charge'].map((name) => lane.querySelector(name));\n\
             const end = place(bar) + parseFloat(bar.style.width);\n\
             return place(dot) >= place(bar) && place(dot) <= end;\n});",
        );
        assert_eq!(inside, json!([true, true]), "{}", page.bank);
    });
}
