//! One order is charged once: over clicks at the same time, lost answers and stale windows.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use idempotency_desktop_example::bank::{Bank, Receipt};
use idempotency_desktop_example::moment::{Fate, Moment, Witness};
use idempotency_desktop_example::shop::{Order, Shop, ShopError, Standing};
use idempotency_ledger::{Ledger, ManualClock, Timestamp};

/// Breaks the line once, the first time that a payment comes to this moment.
fn broken_once_at(moment: Moment) -> Witness {
    let has_broken = AtomicBool::new(false);
    Witness::new(move |now| {
        if now == moment && !has_broken.swap(true, Ordering::Relaxed) {
            Fate::LineBreaks
        } else {
            Fate::GoesOn
        }
    })
}

fn open(folder: &Path, witness: Witness) -> Shop {
    Shop::open(folder, witness).expect("the shop opens")
}

#[track_caller]
fn assert_one_charge(shop: &Shop) -> Receipt {
    let charges = shop.bank().charges().expect("the book can be read");
    let [charge] = &charges[..] else {
        panic!("not one charge but {charges:?}");
    };
    charge.clone()
}

#[test]
fn clicks_at_the_same_time_charge_once() {
    const CLICKS: usize = 8;
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), Witness::nobody());
    let order = shop.order().expect("there is one");
    let barrier = Barrier::new(CLICKS);
    let standings: Vec<Standing> = thread::scope(|scope| {
        let click = || {
            barrier.wait();
            shop.pay(&order).expect("it answers")
        };
        let clicks: Vec<_> = (0..CLICKS).map(|_| scope.spawn(click)).collect();
        let joined = clicks.into_iter().map(|it| it.join().expect("no panic"));
        joined.collect()
    });
    let receipt = assert_one_charge(&shop);
    assert!(standings.contains(&Standing::Paid(receipt.clone())));
    for standing in standings {
        assert!(
            standing == Standing::InProgress || standing == Standing::Paid(receipt.clone()),
            "{standing:?}"
        );
    }
    assert_eq!(
        shop.pay(&order).expect("it answers"),
        Standing::Paid(receipt)
    );
}

/// A payment on a thread of its own, which waits right before the bank until it is let go.
struct AtTheBank {
    leave: mpsc::Sender<()>,
    payment: thread::JoinHandle<Standing>,
}

impl AtTheBank {
    fn arrive(shop: &Arc<Shop>, order: &Order, door: Door) -> Self {
        let (shop, order) = (Arc::clone(shop), order.clone());
        let payment = thread::spawn(move || shop.pay(&order).expect("it answers"));
        door.at_bank.recv().expect("the payment comes to the bank");
        Self {
            leave: door.leave,
            payment,
        }
    }

    fn go_on(self) -> Standing {
        self.leave.send(()).expect("it waits");
        self.payment.join().expect("no panic")
    }
}

/// What the test holds of a witness who lets payments wait.
struct Door {
    at_bank: mpsc::Receiver<()>,
    leave: mpsc::Sender<()>,
}

fn door() -> (Door, Witness) {
    let (arrives, at_bank) = mpsc::channel();
    let (leave, may_leave) = mpsc::channel::<()>();
    let may_leave = Mutex::new(may_leave);
    let witness = Witness::new(move |moment| {
        if moment == Moment::Claimed {
            arrives.send(()).expect("the test listens");
            let may_leave = may_leave.lock().expect("no panic");
            may_leave.recv().expect("the test says when");
        }
        Fate::GoesOn
    });
    (Door { at_bank, leave }, witness)
}

/// Nobody gets anything out of the shop while somebody is at the bank.
#[track_caller]
fn assert_in_progress(shop: &Shop, order: &Order) {
    let standing = shop.standing(order).expect("it looks");
    assert_eq!(standing, Standing::InProgress);
    assert_eq!(shop.pay(order).expect("it answers"), standing);
    assert_eq!(shop.ask_the_bank(order).expect("it answers"), standing);
    assert!(matches!(shop.buy_another(order), Err(ShopError::NotPaid)));
}

#[test]
fn a_click_while_the_bank_is_called_charges_nothing_and_cannot_ask_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let (door, witness) = door();
    let shop = Arc::new(open(folder.path(), witness));
    let order = shop.order().expect("there is one");
    let first = AtTheBank::arrive(&shop, &order, door);
    assert_in_progress(&shop, &order);
    let paid = first.go_on();
    assert_eq!(paid, Standing::Paid(assert_one_charge(&shop)));
}

#[test]
fn a_bank_that_takes_longer_than_any_lease_is_not_asked_by_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_800_000_000_000));
    let ledger = Ledger::builder().clock(clock.clone());
    let ledger = ledger
        .open(folder.path().join("shop.redb"))
        .expect("a ledger");
    let bank = Bank::open(folder.path().join("bank.txt")).expect("a book");
    let (door, witness) = door();
    let shop = Arc::new(Shop::over(ledger, bank, witness).expect("the shop opens"));
    let order = shop.order().expect("there is one");
    let first = AtTheBank::arrive(&shop, &order, door);
    for _ in 0..10 {
        clock.advance(Duration::from_secs(120));
        assert_in_progress(&shop, &order);
    }
    let paid = first.go_on();
    assert_eq!(paid, Standing::Paid(assert_one_charge(&shop)));
}

#[test]
fn a_lost_answer_is_not_charged_again_and_the_bank_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), broken_once_at(Moment::Charged));
    let order = shop.order().expect("there is one");
    for _ in 0..3 {
        let standing = shop.pay(&order).expect("it answers");
        assert!(
            matches!(standing, Standing::Interrupted { .. }),
            "{standing:?}"
        );
    }
    let receipt = assert_one_charge(&shop);
    assert!(matches!(shop.buy_another(&order), Err(ShopError::NotPaid)));
    let paid = Standing::Paid(receipt);
    assert_eq!(shop.ask_the_bank(&order).expect("it answers"), paid);
    assert_eq!(shop.ask_the_bank(&order).expect("it answers"), paid);
    assert_eq!(shop.pay(&order).expect("it answers"), paid);
    assert_eq!(shop.standing(&order).expect("it looks"), paid);
    assert_one_charge(&shop);
}

#[test]
fn what_was_never_sent_is_unpaid_and_can_be_paid_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), broken_once_at(Moment::Claimed));
    let order = shop.order().expect("there is one");
    assert!(matches!(shop.pay(&order), Err(ShopError::NotSent(_))));
    assert_eq!(shop.standing(&order).expect("it looks"), Standing::Unpaid);
    let paid = shop.pay(&order).expect("it answers");
    assert_eq!(paid, Standing::Paid(assert_one_charge(&shop)));
}

#[test]
fn a_bank_that_cannot_be_asked_leaves_the_payment_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), broken_once_at(Moment::Charged));
    let order = shop.order().expect("there is one");
    let _ = shop.pay(&order).expect("it answers");
    let (book, away) = (shop.bank().book(), folder.path().join("away"));
    std::fs::rename(book, &away).expect("moved");
    assert!(matches!(shop.ask_the_bank(&order), Err(ShopError::File(_))));
    let standing = shop.standing(&order).expect("it looks");
    assert!(
        matches!(standing, Standing::Interrupted { .. }),
        "{standing:?}"
    );
    std::fs::rename(&away, book).expect("moved back");
    let paid = shop.ask_the_bank(&order).expect("it answers");
    assert_eq!(paid, Standing::Paid(assert_one_charge(&shop)));
}

#[test]
fn another_one_has_a_key_of_its_own_and_a_click_on_the_old_one_stays_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), Witness::nobody());
    let first = shop.order().expect("there is one");
    assert!(matches!(shop.buy_another(&first), Err(ShopError::NotPaid)));
    let paid = shop.pay(&first).expect("it answers");
    let second = shop.buy_another(&first).expect("it is paid");
    assert_eq!(shop.buy_another(&first).expect("a double click"), second);
    assert_eq!((first.number, second.number), (1, 2));
    assert_ne!(first.key(), second.key());
    assert_eq!(shop.standing(&second).expect("it looks"), Standing::Unpaid);
    assert_eq!(shop.pay(&first).expect("a late click"), paid);
    assert_one_charge(&shop);
    assert_ne!(shop.pay(&second).expect("it answers"), paid);
    assert_eq!(shop.bank().charges().expect("a book").len(), 2);
}

#[test]
fn an_order_keeps_its_key_from_one_window_to_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let order = open(folder.path(), Witness::nobody()).order();
    let order = order.expect("there is one");
    let shop = open(folder.path(), Witness::nobody());
    assert_eq!(shop.order().expect("there is one"), order);
}

#[test]
fn clicks_at_the_same_time_buy_one_more() {
    const CLICKS: usize = 8;
    let folder = tempfile::tempdir().expect("a folder");
    let shop = open(folder.path(), Witness::nobody());
    let first = shop.order().expect("there is one");
    let _ = shop.pay(&first).expect("it answers");
    let barrier = Barrier::new(CLICKS);
    let orders: Vec<Order> = thread::scope(|scope| {
        let click = || {
            barrier.wait();
            shop.buy_another(&first).expect("it is paid")
        };
        let clicks: Vec<_> = (0..CLICKS).map(|_| scope.spawn(click)).collect();
        let joined = clicks.into_iter().map(|it| it.join().expect("no panic"));
        joined.collect()
    });
    let second = shop.order().expect("there is one");
    assert_eq!(second.number, 2);
    assert!(orders.iter().all(|order| *order == second), "{orders:?}");
}
