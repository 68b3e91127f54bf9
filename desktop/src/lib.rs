//! A desktop window whose "Pay" button cannot charge twice.
//!
//! In the order in which a click flows: the [`window`] shows the order in hand on a [`screen`] and
//! sends the click, with that order, to the [`counter`], a thread that keeps the window responsive.
//! There the [`shop`] claims the order's key in its ledger and only then calls the [`bank`], which
//! charges whatever it is told to. The colors and the words are in `look`, [`moment`] names the
//! places where a test stops a payment, and [`announcement`] tells a test what is on the screen.
//!
//! The window disables its button while it pays, but nothing depends on that: the key does it,
//! over double clicks, lost answers and a window that is killed at any moment.

pub mod announcement;
pub mod bank;
pub mod counter;
mod look;
pub mod moment;
pub mod screen;
pub mod shop;
pub mod window;
