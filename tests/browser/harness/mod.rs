//! What the tests stand on: a browser, a server with a payment API, and pages between them.

pub(crate) mod api;
pub(crate) mod bank_server;
pub(crate) mod browser;
pub(crate) mod http;
pub(crate) mod meeting;
pub(crate) mod plan;
pub(crate) mod server;
pub(crate) mod site;
pub(crate) mod webdriver;
