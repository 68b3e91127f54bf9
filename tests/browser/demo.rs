//! The demo page, from a static host with its bank in a worker or from the real server, and short
//! words for its visitors.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::bank_server::BankServer;
use crate::harness::browser::{Browser, Tab};
use crate::harness::http::Reply;
use crate::harness::server::Server;

/// Where `cargo xtask test` has built the site.
const SITE: &str = "IDEMPOTENCY_SITE";

/// The folder that a host serves the page from; relative addresses alone work there.
const PATH: &str = "/demo/";

/// How often a page is asked that may be going away: some ten seconds.
const LOOKS_MAX: usize = 100;

/// Waits until something is so, looking again and again.
const UNTIL: &str = "const until = async (is) => {\n\
    for (;;) {\n\
    const value = await is();\n\
    if (value) return value;\n\
    await new Promise((resolve) => setTimeout(resolve, 20));\n\
    }\n};\n\
    const texts = (selector) => [...document.querySelectorAll(selector)].map((e) =>\n\
    e.textContent.trim());\n\
    const press = (id) => document.querySelector(id).click();\n";

/// A browser on the page, and the host that serves it.
#[derive(Debug)]
pub(crate) struct Demo {
    // Dropped first: a browser whose host is gone would wait for it.
    browser: Browser,
    host: Host,
}

/// Who serves the page, and so who the bank is.
#[derive(Debug)]
enum Host {
    /// Files alone, so that a worker is the bank.
    Files(Server),
    /// The payment server.
    Bank(BankServer),
}

impl Demo {
    pub(crate) fn open() -> Self {
        Self {
            host: files(),
            browser: Browser::start(),
        }
    }

    /// The page that the real payment server serves.
    pub(crate) fn open_served() -> Self {
        Self {
            host: Host::Bank(BankServer::start(&site())),
            browser: Browser::start(),
        }
    }

    /// Both, for what must not differ between them.
    pub(crate) fn open_each(mut story: impl FnMut(&Self)) {
        for open in [Self::open, Self::open_served] {
            story(&open());
        }
    }

    /// A page whose browser keeps its profile in this folder.
    pub(crate) fn open_in(profile: &Path) -> Self {
        Self {
            host: files(),
            browser: Browser::start_in(profile),
        }
    }

    /// The same page, after its browser died as in a power cut and was started again.
    pub(crate) fn restart_browser(self, profile: &Path) -> Self {
        self.browser.kill();
        Self {
            browser: Browser::start_in(profile),
            host: self.host,
        }
    }

    pub(crate) fn url(&self) -> String {
        match &self.host {
            Host::Files(server) => server.url(PATH),
            Host::Bank(server) => server.url(),
        }
    }

    pub(crate) fn blank_tab(&self) -> Tab<'_> {
        self.browser.first_tab()
    }

    /// The first tab, on the page, with its bank at work.
    pub(crate) fn tab(&self) -> Visitor<'_> {
        let tab = self.blank_tab();
        self.visit(tab)
    }

    /// A further tab, on the page.
    pub(crate) fn another_tab(&self) -> Visitor<'_> {
        self.visit(self.browser.new_tab())
    }

    /// A further tab, on no page yet.
    pub(crate) fn blank_tab_of_its_own(&self) -> Tab<'_> {
        self.browser.new_tab()
    }

    fn visit<'d>(&'d self, tab: Tab<'d>) -> Visitor<'d> {
        tab.load(&self.url());
        let bank = match &self.host {
            Host::Files(_) => "worker",
            Host::Bank(_) => "server",
        };
        let visitor = Visitor { tab, bank };
        visitor.wait_until_ready();
        visitor
    }
}

/// A host of files, with the site under its path.
fn files() -> Host {
    let site = site();
    let server = Server::start();
    server.serve_folder(PATH, &site);
    let index = fs::read(site.join("index.html")).expect("the site has a page");
    let index = Reply::new(200, "text/html; charset=utf-8", index);
    server.serve(PATH, index);
    Host::Files(server)
}

fn site() -> PathBuf {
    let site = std::env::var_os(SITE).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/site"),
        PathBuf::from,
    );
    let is_built = site.join("index.html").is_file();
    assert!(is_built, "no site: run `cargo xtask test --only site`");
    site
}

/// Somebody who looks at the page.
#[derive(Debug)]
pub(crate) struct Visitor<'d> {
    pub(crate) tab: Tab<'d>,
    /// Who the page has to find as its bank.
    pub(crate) bank: &'static str,
}

impl Visitor<'_> {
    /// Runs a script with the short words of these tests.
    #[track_caller]
    pub(crate) fn run(&self, body: &str) -> Value {
        self.tab.run(&format!("{UNTIL}{body}"))
    }

    #[track_caller]
    pub(crate) fn run_with(&self, body: &str, args: impl Into<Value>) -> Value {
        self.tab.run_with(&format!("{UNTIL}{body}"), args)
    }

    /// Asks again and again, also while the page goes away and comes again.
    #[track_caller]
    pub(crate) fn run_over_reload(&self, is: &str) {
        for _ in 0..LOOKS_MAX {
            let look = format!("{UNTIL}await new Promise((done) => setTimeout(done, 100)); {is}");
            if self.tab.survives(&look) == Some(true.into()) {
                return;
            }
        }
        panic!("the page never says so: {is}");
    }

    /// The bank answers, and every button works.
    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        let bank = self.run(
            "await until(() => document.documentElement.dataset.ready || texts('#notice')[0]);\n\
             return document.documentElement.dataset.bank;",
        );
        assert_eq!(bank, self.bank, "{:?}", self.tab.console());
    }

    /// A new order whose first requests meet this fault.
    pub(crate) fn order_with(&self, fault: &str) {
        self.run_with(
            "document.querySelector(`input[value=\"${args}\"]`).click(); press('#start-over');\n\
             await until(() => texts('.status')[1] === 'Not paid yet.');",
            json!(fault),
        );
    }

    /// Presses both buttons, and waits until each form has said how that went.
    #[track_caller]
    pub(crate) fn press_both(&self) {
        self.run(
            "const is = (at, words) => words.test(texts('.card > .status')[at]);\n\
             press('#ordinary .pay'); press('#guarded .pay');\n\
             await until(() => is(0, /Paid|Failed/) && is(1, /Paid|Joined/)\n\
             && !document.querySelector('[data-ending=open]'));",
        );
    }

    /// Presses the button with the ledger, and waits for the receipt.
    #[track_caller]
    pub(crate) fn pay_guarded(&self) {
        self.run("press('#guarded .pay');");
        self.wait_until_paid();
    }

    #[track_caller]
    pub(crate) fn wait_until_paid(&self) {
        self.run("await until(() => /Paid/.test(texts('#guarded .status')[0]));");
    }

    /// Waits until the bank says this on the two cards.
    #[track_caller]
    pub(crate) fn wait_for_bank(&self, ordinary: &str, guarded: &str) {
        let wanted = json!([ordinary, guarded]);
        self.wait_for_texts(".verdict .sum", &wanted);
    }

    /// Waits until the page has said this sentence about it, for eyes and ears.
    #[track_caller]
    pub(crate) fn wait_for_sentence(&self, sentence: &str) {
        self.wait_for_texts("[role=status]#outcome", &json!([sentence]));
    }

    #[track_caller]
    fn wait_for_texts(&self, selector: &str, wanted: &Value) {
        let last = self.run_with(
            "const [selector, wanted] = args;\n\
             const is = () => JSON.stringify(texts(selector)) === JSON.stringify(wanted);\n\
             const late = Date.now() + 30000;\n\
             await until(() => is() || Date.now() > late);\n\
             return texts(selector);",
            json!([selector, wanted]),
        );
        assert_eq!(last, *wanted);
    }

    /// The tones of the two verdicts: `right`, `wrong` or `none`.
    pub(crate) fn tones(&self) -> Value {
        self.run("return [...document.querySelectorAll('.verdict')].map((e) => e.dataset.tone);")
    }

    /// How the two forms see it.
    pub(crate) fn statuses(&self) -> Value {
        self.run("return texts('.card > .status');")
    }

    /// What a screen reader hears of the guarded lane.
    pub(crate) fn guarded_lane(&self) -> String {
        self.run("return texts('#lane-guarded .hidden-text').join(' ');")
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}
