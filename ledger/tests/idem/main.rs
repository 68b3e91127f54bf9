//! The command `idem` as its users meet it: the built binary, real processes, real signals.
//!
//! Nothing here sleeps. Where one process has to be somewhere before another goes on, the script
//! that runs under `idem` says so on its output, or waits at a named pipe.

#![cfg(feature = "cli")]

mod desk;

mod care;
#[cfg(target_os = "linux")]
mod clocks;
mod documents;
mod endings;
mod fingerprints;
mod inspection;
mod killed;
mod leases;
mod lost;
mod manual;
mod outbox;
mod output;
mod replays;
mod seen;
mod signals;
mod standard_input;
mod watching;
mod wrong_calls;
