//! The window: one order, how its payment stands, and the button that fits.

use std::fmt;

use eframe::egui::{CentralPanel, Context, Frame, Pos2, Theme, Ui};

use crate::announcement::{Announcement, Announcer};
use crate::bank::Receipt;
use crate::counter::{Answer, Counter, Errand};
use crate::look;
use crate::screen::{Press, Readiness, Screen};
use crate::shop::{Order, Standing};

/// What the desktop calls the window.
pub const TITLE: &str = "Corner shop";
/// The width of the window, in points.
pub const WIDTH: f32 = 440.0;
/// The height of the window, in points.
pub const HEIGHT: f32 = 400.0;

/// The window.
pub struct PaymentWindow {
    counter: Counter,
    screen: Screen,
    order: Option<Order>,
    charges: Option<Vec<Receipt>>,
    trouble: Option<String>,
    announcer: Option<Announcer>,
}

impl PaymentWindow {
    /// A window on a counter, which announces what it shows if it is given somebody to do so.
    pub fn new(context: &Context, counter: Counter, announcer: Option<Announcer>) -> Self {
        context.set_theme(Theme::Light);
        Self {
            counter,
            screen: Screen::Opening,
            order: None,
            charges: None,
            trouble: None,
            announcer,
        }
    }

    /// What it shows.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Takes in what the counter has said since the last frame.
    pub fn listen(&mut self) {
        while !self.is_broken() {
            match self.counter.answer() {
                Some(answer) => self.take(answer),
                None => return,
            }
        }
    }

    /// Waits for what the counter says next, and takes it in. A window on a screen does not wait.
    ///
    /// # Blocking
    ///
    /// Until the errand is done.
    pub fn wait(&mut self) {
        self.take(self.counter.wait());
    }

    /// Draws the window, does what was pressed, and says what it shows.
    pub fn show(&mut self, context: &Context) -> Announcement {
        let mut shown = Announcement {
            screen: self.screen.name(),
            buttons: Vec::new(),
        };
        let mut pressed = None;
        let mut offer = |ui: &mut Ui, button: Option<(Press, Readiness)>, size: look::Size| {
            let Some((press, readiness)) = button else {
                look::no_button(ui, size);
                return;
            };
            let response = look::button(ui, &self.label(press), readiness, size);
            if readiness == Readiness::Ready {
                shown.buttons.push((press.name(), response.rect.center()));
            }
            if response.clicked() {
                pressed = Some(press);
            }
        };
        let panel = Frame::new().fill(look::PAPER).inner_margin(24);
        CentralPanel::default().frame(panel).show(context, |ui| {
            look::head(ui, TITLE, self.order.as_ref());
            ui.add_space(16.0);
            look::card(ui, |ui| {
                look::goods(ui, self.order.as_ref());
                ui.add_space(16.0);
                look::status(ui, &self.screen);
                ui.add_space(16.0);
                offer(ui, self.screen.button(), look::Size::Card);
            });
            ui.add_space(12.0);
            look::foot(ui, &self.screen, self.charges.as_deref(), |ui| {
                offer(ui, self.screen.side_button(), look::Size::Small);
            });
            look::trouble(ui, self.trouble.as_deref());
        });
        if let Some(press) = pressed {
            self.press(press);
            context.request_repaint();
        }
        shown
    }

    fn label(&self, press: Press) -> String {
        match (press, &self.order) {
            (Press::Pay, Some(_)) if self.screen.is_paid() => "Paid".into(),
            (Press::Pay, Some(order)) => format!("Pay {}", look::euros(order.cents)),
            (Press::Pay, None) => "Pay".into(),
            (Press::AskTheBank, _) => "Ask the bank".into(),
            (Press::BuyAnother, _) => "Buy another one".into(),
            (Press::Look, _) => "Look again".into(),
        }
    }

    fn is_broken(&self) -> bool {
        matches!(self.screen, Screen::Broken { .. })
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Ok(news) => {
                self.screen = match news.standing {
                    Standing::Unpaid => Screen::Unpaid,
                    Standing::InProgress => Screen::InProgress,
                    Standing::Paid(receipt) => Screen::Paid(receipt),
                    Standing::Interrupted { why } => Screen::Interrupted { why },
                };
                self.order = Some(news.order);
                self.charges = news.charges;
                self.trouble = news.trouble;
            }
            Err(why) => self.screen = Screen::Broken { why },
        }
    }

    /// Sends the click to the counter, with the order that it was made for.
    fn press(&mut self, press: Press) {
        let Some(order) = self.order.clone() else {
            return;
        };
        let (screen, errand) = match press {
            Press::Pay => (Screen::Paying, Errand::Pay(order)),
            Press::AskTheBank => (Screen::Asking, Errand::AskTheBank(order)),
            Press::BuyAnother => (Screen::Buying, Errand::BuyAnother(order)),
            Press::Look => (Screen::Opening, Errand::Look),
        };
        self.screen = screen;
        self.trouble = None;
        self.counter.send(errand);
    }
}

impl eframe::App for PaymentWindow {
    fn update(&mut self, context: &Context, _: &mut eframe::Frame) {
        self.listen();
        let shown = self.show(context);
        if let Some(announcer) = &mut self.announcer {
            let origin = context.input(|input| input.viewport().inner_rect);
            let scale = context.pixels_per_point();
            let on_screen = shown.on_screen(origin.map_or(Pos2::ZERO, |it| it.min), scale);
            if announcer.frame(on_screen) {
                context.request_repaint();
            }
        }
    }
}

impl fmt::Debug for PaymentWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentWindow")
            .field("screen", &self.screen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use eframe::egui::{Event, Modifiers, PointerButton, RawInput, Rect, Vec2};

    use super::*;
    use crate::bank::Bank;
    use crate::moment::{Fate, Moment, Witness};

    /// A window without a screen: frames are drawn, and clicks are put into them.
    struct Headless {
        context: Context,
        window: PaymentWindow,
    }

    impl Headless {
        /// On the first screen behind the opening.
        fn open(folder: &Path, witness: Witness) -> Self {
            let context = Context::default();
            let counter = Counter::open(folder.to_owned(), witness, || {}).expect("a thread");
            let window = PaymentWindow::new(&context, counter, None);
            assert_eq!(window.screen().name(), "opening");
            let mut headless = Self { context, window };
            assert!(headless.frame(Vec::new()).buttons.is_empty());
            headless.window.wait();
            headless
        }

        fn frame(&mut self, events: Vec<Event>) -> Announcement {
            let input = RawInput {
                screen_rect: Some(Rect::from_min_size(Pos2::ZERO, Vec2::new(WIDTH, HEIGHT))),
                events,
                ..RawInput::default()
            };
            let mut shown = Announcement::default();
            let _ = self.context.run(input, |context| {
                shown = self.window.show(context);
            });
            shown
        }

        /// Presses the only button there is with the mouse, `times` times.
        fn press(&mut self, name: &str, times: usize) -> Pos2 {
            self.frame(Vec::new());
            let shown = self.frame(Vec::new());
            let [(found, middle)] = shown.buttons[..] else {
                panic!("{shown} has not one button");
            };
            assert_eq!(found, name);
            for _ in 0..times {
                self.click(middle);
            }
            middle
        }

        fn click(&mut self, middle: Pos2) {
            for events in clicks_at(middle) {
                self.frame(events);
            }
        }

        /// Presses, and waits for what comes of it.
        fn do_by(&mut self, name: &str) -> &'static str {
            self.press(name, 1);
            self.window.wait();
            self.window.screen().name()
        }
    }

    /// The frames of a click at a place, whatever is there.
    fn clicks_at(middle: Pos2) -> [Vec<Event>; 3] {
        let button = |pressed| {
            vec![Event::PointerButton {
                pos: middle,
                button: PointerButton::Primary,
                pressed,
                modifiers: Modifiers::NONE,
            }]
        };
        [
            vec![Event::PointerMoved(middle)],
            button(true),
            button(false),
        ]
    }

    fn booked(folder: &Path) -> usize {
        let bank = Bank::open(folder.join("bank.txt")).expect("a book");
        bank.charges().expect("it can be read").len()
    }

    #[test]
    fn two_clicks_pay_once_and_another_one_is_paid_for_on_purpose() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shop = Headless::open(folder.path(), Witness::nobody());
        shop.press("pay", 2);
        assert_eq!(shop.window.screen(), &Screen::Paying);
        shop.window.wait();
        assert_eq!(shop.window.screen().name(), "paid");
        assert_eq!(booked(folder.path()), 1);
        assert_eq!(shop.do_by("buy-another"), "unpaid");
        assert_eq!(shop.do_by("pay"), "paid");
        assert_eq!(booked(folder.path()), 2);
    }

    #[test]
    fn clicks_that_go_on_where_pay_was_pay_for_nothing_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shop = Headless::open(folder.path(), Witness::nobody());
        let middle = shop.press("pay", 1);
        shop.window.wait();
        for _ in 0..10 {
            shop.click(middle);
            assert_eq!(shop.window.screen().name(), "paid");
        }
        assert_eq!(shop.do_by("buy-another"), "unpaid");
        assert_eq!(
            shop.press("pay", 0),
            middle,
            "the next order has its button there again"
        );
        assert_eq!(booked(folder.path()), 1);
    }

    #[test]
    fn a_lost_answer_is_shown_as_what_nobody_knows_until_the_bank_is_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let loses = Witness::new(|moment| match moment {
            Moment::Charged => Fate::LineBreaks,
            Moment::BeforeClaim | Moment::Claimed | Moment::Completed => Fate::GoesOn,
        });
        let mut shop = Headless::open(folder.path(), loses);
        assert_eq!(shop.do_by("pay"), "interrupted");
        assert_eq!(shop.do_by("ask-the-bank"), "paid");
        assert_eq!(booked(folder.path()), 1);
    }

    #[test]
    fn an_order_that_never_left_is_unpaid_and_says_why() {
        let folder = tempfile::tempdir().expect("a folder");
        let breaks = Witness::new(|_| Fate::LineBreaks);
        let mut shop = Headless::open(folder.path(), breaks);
        assert_eq!(shop.do_by("pay"), "unpaid");
        let trouble = shop.window.trouble.as_deref().expect("it says why");
        assert!(trouble.contains("you paid nothing"), "{trouble}");
        assert_eq!(booked(folder.path()), 0);
    }

    #[test]
    fn a_second_window_on_the_same_folder_says_that_it_cannot_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Headless::open(folder.path(), Witness::nobody());
        let mut second = Headless::open(folder.path(), Witness::nobody());
        assert_eq!(second.window.screen().name(), "broken");
        second.window.listen();
        assert!(second.frame(Vec::new()).buttons.is_empty());
        assert_eq!(first.window.screen().name(), "unpaid");
    }
}
