//! Tests of the browser client and of the demo page in real Chromium, and of the client in
//! `WebKit`: real reloads, crashes, tabs and storage.

mod answers;
mod clicks;
mod comparison;
mod consumers;
mod demo;
mod demo_access;
mod demo_engineers;
mod demo_first_look;
mod demo_origins;
mod demo_stories;
mod demo_worker;
mod fetching;
mod forms;
mod hammer;
mod harness;
mod htmx;
mod interface;
mod late_failures;
mod opening;
mod payloads;
mod principals;
mod readme;
mod reloads;
mod secrets;
mod sending;
mod shop;
mod stale_keys;
mod storage;
mod surroundings;
mod tabs;
mod times;
mod vectors;
mod webkit;
