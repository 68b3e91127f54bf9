//! Whether everybody can use the demo page, and how it looks: axe-core, a keyboard, screenshots.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::demo::{Demo, Visitor};
use crate::harness::browser::Tab;

/// Where `cargo xtask test` has put the script of axe-core.
const AXE: &str = "IDEMPOTENCY_AXE";

const SCHEMES: [&str; 2] = ["light", "dark"];
const WIDTHS: [u32; 2] = [1200, 390];

fn axe() -> String {
    let path = std::env::var_os(AXE).map_or_else(
        || {
            let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
            target.join("npm-axe/node_modules/axe-core/axe.min.js")
        },
        PathBuf::from,
    );
    fs::read_to_string(path).expect("axe-core is there: run `cargo xtask test --only browser`")
}

fn screenshots() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    let folder = target.join("site-screenshots");
    fs::create_dir_all(&folder).expect("target can be written");
    folder
}

/// A screen of this width, in this scheme of colours.
fn show_on(tab: &Tab<'_>, scheme: &str, width: u32) {
    show_in(tab, width, 900);
    tab.cdp("Emulation.setScrollbarsHidden", json!({"hidden": true}))
        .expect("a tab has scrollbars");
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    tab.cdp("Emulation.setEmulatedMedia", media)
        .expect("a tab has colours");
}

/// A window of this size.
pub(crate) fn show_in(tab: &Tab<'_>, width: u32, height: u32) {
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
    tab.cdp("Emulation.setDeviceMetricsOverride", size)
        .expect("a tab has a size");
}

/// What axe-core has against the page as it is.
fn violations(page: &Visitor<'_>) -> Value {
    page.run(
        "const { violations } = await axe.run(document, { resultTypes: ['violations'] });\n\
         return violations.map(({ id, nodes }) => [id, nodes.map(({ target }) => target)]);",
    )
}

#[test]
fn the_story_plays_by_itself_and_looks_well_on_every_screen() {
    let demo = Demo::open();
    let page = demo.tab();
    show_on(&page.tab, "light", 1200);
    page.run(
        "press('#play');\n\
         await until(() => document.querySelector('.playing'));\n\
         await until(() => !document.querySelector('.playing'));",
    );
    page.wait_for_bank("charged 2 x, 50 EUR", "1 x, 25 EUR");
    for scheme in SCHEMES {
        for width in WIDTHS {
            show_on(&page.tab, scheme, width);
            let overflow = page.run(
                "await new Promise((done) => setTimeout(done, 200));\n\
                 return document.documentElement.scrollWidth > innerWidth;",
            );
            assert_eq!(overflow, false, "{scheme} {width}");
            let beside = page.run(
                "const [a, b] = [...document.querySelectorAll('.cards .card')].map((card) =>\n\
                 card.getBoundingClientRect());\n\
                 return [a.top === b.top, Math.round(a.width) === Math.round(b.width)];",
            );
            assert_eq!(beside, json!([true, true]), "{scheme} {width}");
            let wanted = json!({"captureBeyondViewport": true});
            let shot = page.tab.cdp("Page.captureScreenshot", wanted);
            let shot = shot.expect("a tab has a picture");
            let bytes = STANDARD.decode(shot["data"].as_str().unwrap_or_default());
            let path = screenshots().join(format!("{scheme}-{width}.png"));
            fs::write(path, bytes.expect("base64")).expect("target can be written");
        }
    }
}

#[test]
fn axe_finds_nothing_in_either_scheme_with_everything_open() {
    let demo = Demo::open();
    let page = demo.tab();
    page.tab.run(&axe());
    page.order_with("lose-response");
    page.press_both();
    page.press_both();
    page.wait_for_bank("charged 2 x, 50 EUR", "1 x, 25 EUR");
    for scheme in SCHEMES {
        show_on(&page.tab, scheme, 1200);
        page.run("for (const closed of document.querySelectorAll('details')) closed.open = false;");
        assert_eq!(violations(&page), json!([]), "{scheme}");
        page.run(
            "for (const panel of document.querySelectorAll('details')) panel.open = true;\n\
             await until(() => document.querySelectorAll('#requests pre').length > 3);",
        );
        assert_eq!(violations(&page), json!([]), "{scheme}, open");
    }
}

#[test]
fn a_keyboard_reaches_every_button_and_pays() {
    let demo = Demo::open();
    let page = demo.tab();
    page.order_with("lose-response");
    let key = |name: &str, code: u32, text: &str| {
        for kind in ["keyDown", "keyUp"] {
            let event = json!({"type": kind, "key": name, "code": name, "text": text,
                "windowsVirtualKeyCode": code});
            let sent = page.tab.cdp("Input.dispatchKeyEvent", event);
            sent.expect("a tab has a keyboard");
        }
    };
    page.run("document.querySelector('#play').focus();");
    let mut reached = Vec::new();
    for _ in 0..40 {
        key("Tab", 9, "");
        let here = page.run(
            "const { id, className, name, tagName } = document.activeElement;\n\
             return id || className || name || tagName;",
        );
        if here == "BODY" {
            break;
        }
        let outline = page.run("return getComputedStyle(document.activeElement).outlineStyle;");
        assert_ne!(outline, "none", "{here} shows that it has the focus");
        reached.push(here.as_str().unwrap_or_default().to_owned());
        if page.run("return document.activeElement.closest('#guarded') !== null;") == true
            && reached.last().is_some_and(|name| name.contains("pay"))
        {
            key("Enter", 13, "\r");
        }
    }
    page.wait_for_bank("nothing charged yet", "1 x, 25 EUR");
    for wanted in ["fault", "start-over", "reload", "second-tab"] {
        assert!(
            reached.iter().any(|name| name == wanted),
            "{wanted}: {reached:?}"
        );
    }
}
