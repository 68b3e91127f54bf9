//! Tests of the browser client in real Chromium: real reloads, crashes, tabs and storage.

mod answers;
mod clicks;
mod comparison;
mod consumers;
mod fetching;
mod forms;
mod hammer;
mod harness;
mod interface;
mod payloads;
mod principals;
mod reloads;
mod shop;
mod storage;
mod surroundings;
mod tabs;
mod times;
mod vectors;
