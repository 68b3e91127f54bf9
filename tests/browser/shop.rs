//! A shop with one server and one browser, and short words for what its visitors do.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::browser::{Browser, Tab, Thrown};
use crate::harness::server::Server;
use crate::harness::site;

/// The shop of one test.
#[derive(Debug)]
pub(crate) struct Shop {
    // Dropped first: a browser whose server is gone would wait for it.
    browser: Browser,
    pub(crate) server: Server,
}

impl Shop {
    pub(crate) fn open() -> Self {
        site::pkg();
        Self {
            browser: Browser::start(),
            server: Server::start(),
        }
    }

    /// A shop whose visitors come in private windows of `WebKit`.
    pub(crate) fn open_for_webkit() -> Self {
        site::pkg();
        Self {
            browser: Browser::start_webkit(),
            server: Server::start(),
        }
    }

    /// A shop whose browser keeps its profile in this folder.
    pub(crate) fn open_in(profile: &Path) -> Self {
        site::pkg();
        Self {
            browser: Browser::start_in(profile),
            server: Server::start(),
        }
    }

    /// The same shop, after its browser died as in a power cut and was started again.
    pub(crate) fn restart_browser(self, profile: &Path) -> Self {
        self.browser.kill();
        Self {
            browser: Browser::start_in(profile),
            server: self.server,
        }
    }

    pub(crate) fn api(&self) -> &Api {
        self.server.api()
    }

    /// The first tab, on the page with these options of the client.
    pub(crate) fn tab_with(&self, options: &Value) -> Tab<'_> {
        let tab = self.blank_tab();
        self.visit(&tab, options);
        tab
    }

    /// The first tab, on the page.
    pub(crate) fn tab(&self) -> Tab<'_> {
        self.tab_with(&json!({}))
    }

    /// The first tab, before any page.
    pub(crate) fn blank_tab(&self) -> Tab<'_> {
        self.browser.first_tab()
    }

    /// A further tab, on the page.
    pub(crate) fn another_tab(&self) -> Tab<'_> {
        self.another_tab_with(&json!({}))
    }

    pub(crate) fn another_tab_with(&self, options: &Value) -> Tab<'_> {
        let tab = self.browser.new_tab();
        self.visit(&tab, options);
        tab
    }

    /// A further tab on the page, whose browser is changed by these scripts.
    pub(crate) fn another_tab_changed(&self, changes: &[&str]) -> Tab<'_> {
        let tab = self.browser.new_tab();
        for change in changes {
            tab.before_load(change);
        }
        self.visit(&tab, &json!({}));
        tab
    }

    /// A further tab, before any page.
    pub(crate) fn new_tab(&self) -> Tab<'_> {
        self.browser.new_tab()
    }

    /// Loads the page and waits until its client is open.
    #[track_caller]
    pub(crate) fn visit(&self, tab: &Tab<'_>, options: &Value) {
        tab.load(&self.page(options));
        tab.run("await opened;");
    }

    pub(crate) fn page(&self, options: &Value) -> String {
        let options = percent(&options.to_string());
        self.server
            .url(&format!("/pages/shop.html?options={options}"))
    }
}

/// Everything but letters and digits as `%` and its number.
fn percent(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

/// The code of the client's error that a script threw.
#[track_caller]
pub(crate) fn code(result: Result<Value, Thrown>) -> String {
    let Thrown(thrown) = result.expect_err("the client refuses");
    refusal(&thrown)
}

/// The code in a described error, which has to be one of the client's and has to say something.
#[track_caller]
pub(crate) fn refusal(thrown: &Value) -> String {
    assert_eq!(thrown["isOurs"], true, "{thrown}");
    assert_eq!(thrown["name"], "IdempotencyError", "{thrown}");
    let message = thrown["message"].as_str().unwrap_or("");
    assert!(
        message.len() > 20,
        "a sentence that says what to do: {message:?}"
    );
    thrown["code"]
        .as_str()
        .expect("every error has a code")
        .to_owned()
}

/// The member of each of the values.
pub(crate) fn each(values: &Value, member: &str) -> Vec<Value> {
    let values = values.as_array().expect("a list");
    values.iter().map(|value| value[member].clone()).collect()
}
