//! The counter: a thread that does the window's errands at the shop, one after the other.
//!
//! A bank takes seconds, and a window that waits for it looks dead. So the window hands an errand
//! over and draws on; the news wakes it.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use crate::bank::Receipt;
use crate::moment::Witness;
use crate::shop::{Order, Shop, ShopError, Standing};

/// What the window asks for, with the order that was on the screen when it was pressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// See how the order in hand stands.
    Look,
    /// Pay for it.
    Pay(Order),
    /// End its interrupted payment.
    AskTheBank(Order),
    /// Put it away and take a new one.
    BuyAnother(Order),
}

/// How things are behind an errand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// The order in hand.
    pub order: Order,
    /// How its payment stands.
    pub standing: Standing,
    /// What is in the bank's book; `None` where the bank does not say.
    pub charges: Option<Vec<Receipt>>,
    /// Why the errand was not done.
    pub trouble: Option<String>,
}

/// What the counter says: news, or why there is no counter any more.
pub type Answer = Result<News, String>;

/// The window's side of the counter.
#[derive(Debug)]
pub struct Counter {
    errands: Sender<Errand>,
    answers: Receiver<Answer>,
}

impl Counter {
    /// Starts the thread, which opens the shop and says how things are. `wake` is called behind
    /// each answer.
    ///
    /// # Errors
    ///
    /// When the system has no thread left.
    pub fn open(
        folder: PathBuf,
        witness: Witness,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, io::Error> {
        let (errands, asked) = mpsc::channel();
        let (says, answers) = mpsc::channel();
        // Nobody joins it: a window that closes in the middle of a payment does not wait for the
        // bank. The payment is then interrupted, as it is by a kill, and the next window asks.
        let _ = thread::Builder::new()
            .name("counter".into())
            .spawn(move || {
                let say = |answer: Result<News, ShopError>| {
                    let answer = answer.map_err(|error| error.to_string());
                    let goes_on = answer.is_ok();
                    let is_heard = says.send(answer).is_ok();
                    wake();
                    goes_on && is_heard
                };
                match Shop::open(&folder, witness) {
                    Ok(shop) => serve(&shop, &asked, say),
                    Err(error) => {
                        say(Err(error));
                    }
                }
            })?;
        Ok(Self { errands, answers })
    }

    /// Hands an errand over. One that finds the thread gone is answered by [`Counter::answer`].
    pub fn send(&self, errand: Errand) {
        let _ = self.errands.send(errand);
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(gone()),
        }
    }

    /// The next answer, waited for.
    ///
    /// # Errors
    ///
    /// Why there is no counter any more.
    ///
    /// # Blocking
    ///
    /// Until the errand is done.
    pub fn wait(&self) -> Answer {
        self.answers.recv().unwrap_or_else(|_| gone())
    }
}

fn gone() -> Answer {
    Err("the thread of the shop has ended".into())
}

/// Does errands until the window is gone or the shop fails.
fn serve(shop: &Shop, errands: &Receiver<Errand>, say: impl Fn(Result<News, ShopError>) -> bool) {
    let mut errand = Errand::Look;
    loop {
        if !say(news(shop, errand)) {
            return;
        }
        match errands.recv() {
            Ok(next) => errand = next,
            Err(_) => return,
        }
    }
}

fn news(shop: &Shop, errand: Errand) -> Result<News, ShopError> {
    let done = match errand {
        Errand::Look => Ok(None),
        Errand::Pay(seen) => shop.pay(&seen).map(|standing| Some((seen, standing))),
        Errand::AskTheBank(seen) => shop
            .ask_the_bank(&seen)
            .map(|standing| Some((seen, standing))),
        Errand::BuyAnother(seen) => shop.buy_another(&seen).map(|_| None),
    };
    let (told, trouble) = match done {
        Ok(told) => (told, None),
        Err(error) => (None, Some(error.to_string())),
    };
    let order = shop.order()?;
    let standing = match told {
        Some((seen, standing)) if seen == order => standing,
        Some(_) | None => shop.standing(&order)?,
    };
    Ok(News {
        order,
        standing,
        charges: shop.bank().charges().ok(),
        trouble,
    })
}
