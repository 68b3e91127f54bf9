//! A payment that is killed at any moment, again and again, is charged once in the end.
//!
//! The process that is killed is this test binary, started again: it pays, says where it is, and
//! waits there for the kill.

use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use clap::ValueEnum;
use idempotency_desktop_example::moment::{Fate, Moment, Witness};
use idempotency_desktop_example::shop::{Order, Shop, Standing};

/// Says to a child where the shop is, and where it is to wait.
const FOLDER: &str = "DESKTOP_TEST_FOLDER";
const MOMENT: &str = "DESKTOP_TEST_MOMENT";

/// Starts each line that is meant for the parent.
const MARK: &str = "@@ ";

/// Does what a person would do who wants the order paid.
fn go_on(shop: &Shop, order: &Order) -> Standing {
    match shop.standing(order).expect("it looks") {
        Standing::Unpaid => shop.pay(order).expect("it answers"),
        Standing::Interrupted { .. } => {
            let clicked = shop.pay(order).expect("it answers");
            assert!(
                matches!(clicked, Standing::Interrupted { .. }),
                "{clicked:?}"
            );
            shop.ask_the_bank(order).expect("it answers")
        }
        Standing::Paid(receipt) => {
            let clicked = shop.pay(order).expect("it answers");
            assert_eq!(clicked, Standing::Paid(receipt));
            clicked
        }
        Standing::InProgress => panic!("nobody else lives"),
    }
}

/// What a child process runs; in the test run itself it does nothing.
#[test]
fn entry() {
    let (Ok(folder), Ok(moment)) = (std::env::var(FOLDER), std::env::var(MOMENT)) else {
        return;
    };
    let stop_at = Moment::from_str(&moment, false).expect("a moment");
    let waits = Witness::new(move |moment| {
        if moment == stop_at {
            println!("{MARK}{moment}");
            // Until it is killed, or the test that started it is gone.
            let _ = stdin().read(&mut [0]);
        }
        Fate::GoesOn
    });
    let shop = Shop::open(Path::new(&folder), waits).expect("the shop opens");
    let order = shop.order().expect("there is one");
    let _ = go_on(&shop, &order);
    println!("{MARK}ended");
}

/// Kills what it holds when it is dropped, so that a failing test leaves nothing behind.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets a window go on with the order and kills it at a moment. Says where it was: a payment that
/// goes on may not come to that moment any more.
fn killed_at(moment: Moment, folder: &Path) -> String {
    let this = std::env::current_exe().expect("this binary has a path");
    let child = Command::new(this)
        .args(["--exact", "entry", "--nocapture"])
        .env(FOLDER, folder)
        .env(MOMENT, moment.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary starts again");
    let mut child = Killed(child);
    let stdout = child.0.stdout.take().expect("it is a pipe");
    let lines = BufReader::new(stdout).lines().map_while(Result::ok);
    let mut meant = lines.filter_map(|line| line.split_once(MARK).map(|it| it.1.to_owned()));
    meant.next().expect("it says where it is")
}

fn charges(folder: &Path) -> usize {
    let book = std::fs::read_to_string(folder.join("bank.txt")).expect("a book");
    book.lines().count()
}

/// The next window, which is not killed: it finishes the payment, and it is the only charge.
#[track_caller]
fn finish(folder: &Path) {
    let shop = Shop::open(folder, Witness::nobody()).expect("the shop opens");
    let order = shop.order().expect("there is one");
    let standing = go_on(&shop, &order);
    let booked = shop.bank().charges().expect("a book");
    assert_eq!(booked.len(), 1, "{booked:?}");
    assert_eq!(standing, Standing::Paid(booked[0].clone()));
}

#[test]
fn after_a_kill_the_next_window_knows_what_is_known() {
    for moment in Moment::ALL {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(killed_at(moment, folder.path()), moment.to_string());
        let shop = Shop::open(folder.path(), Witness::nobody()).expect("the shop opens");
        let order = shop.order().expect("there is one");
        let standing = shop.standing(&order).expect("it looks");
        match moment {
            Moment::BeforeClaim => assert_eq!(standing, Standing::Unpaid),
            Moment::Claimed | Moment::Charged => {
                assert!(
                    matches!(standing, Standing::Interrupted { .. }),
                    "{standing:?}"
                );
            }
            Moment::Completed => assert!(matches!(standing, Standing::Paid(_)), "{standing:?}"),
        }
        let expected = usize::from(matches!(moment, Moment::Charged | Moment::Completed));
        assert_eq!(charges(folder.path()), expected, "killed at {moment}");
        drop(shop);
        finish(folder.path());
    }
}

#[test]
fn a_payment_that_is_killed_at_any_two_moments_is_charged_once() {
    for first in Moment::ALL {
        for second in Moment::ALL {
            let folder = tempfile::tempdir().expect("a folder");
            killed_at(first, folder.path());
            killed_at(second, folder.path());
            assert!(
                charges(folder.path()) <= 1,
                "killed at {first}, then at {second}"
            );
            finish(folder.path());
        }
    }
}

#[test]
fn a_window_that_is_killed_each_time_before_the_bank_is_called_charges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    for _ in 0..5 {
        assert_eq!(killed_at(Moment::Claimed, folder.path()), "claimed");
    }
    assert_eq!(charges(folder.path()), 0);
    finish(folder.path());
}
