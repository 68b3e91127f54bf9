//! The bank behind the demo page, for hosts that serve files and nothing else.
//!
//! It is the ledger itself: a Service Worker loads it as WebAssembly and hands it the page's
//! requests. In the order in which one flows: [`request`] is what came in, [`fault`] what it asks
//! to go wrong, [`bank`] decides and goes from step to step ([`step`]), the rows of [`accounts`]
//! and the ledger lie in the memory of [`image`], and [`answer`] is what goes back. The worker
//! (`www/sw.js`) saves the image, waits and stays silent where a step says so; [`bindings`] is
//! the door between the two.

pub mod accounts;
pub mod answer;
pub mod bank;
pub mod bindings;
pub mod fault;
pub mod image;
pub mod request;
pub mod step;
#[cfg(target_arch = "wasm32")]
mod worker_clock;
#[cfg(not(target_arch = "wasm32"))]
#[path = "system_clock.rs"]
mod worker_clock;
