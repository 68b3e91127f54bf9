//! Forms of htmx, which sends them itself.

use std::sync::OnceLock;

use serde_json::json;

use crate::consumers::installed;
use crate::harness::browser::Tab;
use crate::harness::http::Reply;
use crate::shop::{Shop, refusal};

const VERSIONS: [&str; 2] = ["htmx.org", "htmx2"];

/// A page with htmx and this form.
fn page(shop: &Shop, tab: &Tab<'_>, htmx: &str, form: &str) {
    static HTMX: OnceLock<std::path::PathBuf> = OnceLock::new();
    let modules = HTMX.get_or_init(|| installed().join("node_modules"));
    shop.server.serve_folder("/node_modules/", modules);
    let page = format!(
        "<!doctype html><script src=/node_modules/{htmx}/dist/htmx.min.js></script>\n\
         <body>{form}<div id=result></div>\n\
         <script type=module src=/pages/shop.js></script>\n\
         <script type=module src=/pages/form.js></script>"
    );
    shop.server
        .serve("/htmx.html", Reply::new(200, "text/html", page));
    tab.load(&shop.server.url("/htmx.html"));
    tab.run("await opened; await until(() => window.htmx);");
}

const FIELDS: &str = "<input name=amount value=25><button id=buy>Pay</button>";

#[test]
fn a_form_that_htmx_sends_is_refused_at_attach_with_the_remedy() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    for htmx in VERSIONS {
        for form in [
            format!("<form id=checkout hx-post=/api/form>{FIELDS}</form>"),
            format!("<form id=checkout data-hx-put=/api/form>{FIELDS}</form>"),
            "<form id=checkout><button hx-post=/api/form>Pay</button></form>".to_owned(),
            format!("<div hx-boost=true><form id=checkout method=post>{FIELDS}</form></div>"),
        ] {
            page(&shop, &tab, htmx, &form);
            let refused = tab.run("return await ended(guard());");
            assert_eq!(refusal(&refused["thrown"]), "options", "{htmx}: {form}");
            let message = refused["thrown"]["message"].to_string();
            assert!(message.contains("take hx-post"), "{message}");
        }
        let form = format!(
            "<div hx-boost=true><form id=checkout hx-boost=false method=post>{FIELDS}</form></div>"
        );
        page(&shop, &tab, htmx, &form);
        tab.run("(await guard())();");
    }
}

#[test]
fn a_page_of_htmx_pays_once_by_the_remedy() {
    for htmx in VERSIONS {
        let shop = Shop::open();
        let tab = shop.blank_tab();
        page(
            &shop,
            &tab,
            htmx,
            &format!("<form id=checkout>{FIELDS}</form>"),
        );
        tab.run(
            "const result = document.querySelector('#result');\n\
             window.shown = 0;\n\
             await guard({ onOutcome: async ({ value }) => {\n\
               const { receipt } = await value.json();\n\
               result.innerHTML = `<b hx-get=/more>${receipt}</b>`;\n\
               htmx.process(result);\n\
               shown += 1;\n\
             } });",
        );
        tab.click("#buy", 2);
        tab.run("await until(() => shown && form.ariaBusy !== 'true');");
        let seen = tab.run("return [shown, document.querySelector('#result b').textContent];");
        assert_eq!(seen, json!([1, "1"]), "{htmx}");
        assert_eq!(shop.api().requests().len(), 1, "{htmx}");
    }
}
