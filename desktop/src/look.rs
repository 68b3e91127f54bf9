//! How the window looks: its colors, its words, and the parts it is put together from.

use eframe::egui::{
    Align, Button, Color32, CornerRadius, Frame, Layout, Response, RichText, Sense, Spinner,
    Stroke, Ui, Vec2,
};

use crate::bank::Receipt;
use crate::screen::{Readiness, Screen};
use crate::shop::Order;

/// Behind everything.
pub(crate) const PAPER: Color32 = Color32::from_rgb(0xf3, 0xf4, 0xf6);
const LINE: Color32 = Color32::from_rgb(0xdf, 0xe2, 0xe8);
const INK: Color32 = Color32::from_rgb(0x1b, 0x22, 0x30);
const FAINT: Color32 = Color32::from_rgb(0x47, 0x50, 0x60);
const BLUE: Color32 = Color32::from_rgb(0x1d, 0x4e, 0xd8);
const GREEN: Color32 = Color32::from_rgb(0x15, 0x80, 0x3d);
const AMBER: Color32 = Color32::from_rgb(0xb4, 0x53, 0x09);
const RED: Color32 = Color32::from_rgb(0xb9, 0x1c, 0x1c);

const TEXT: f32 = 15.0;
const LINE_HEIGHT: f32 = 19.0;
const SMALL: f32 = 13.0;
const DOT: f32 = 14.0;

/// What a screen says.
struct Words {
    color: Color32,
    title: &'static str,
    text: String,
}

/// Cents as people read them.
pub(crate) fn euros(cents: u64) -> String {
    format!("{}.{:02} EUR", cents / 100, cents % 100)
}

/// The name of the shop, and which order this is.
pub(crate) fn head(ui: &mut Ui, title: &str, order: Option<&Order>) {
    let number = order.map_or(String::new(), |order| format!("Order {}", order.number));
    at_both_ends(
        ui,
        RichText::new(title).size(26.0).color(INK).strong(),
        RichText::new(number).size(TEXT).color(FAINT),
    );
}

/// A white card.
pub(crate) fn card(ui: &mut Ui, contents: impl FnOnce(&mut Ui)) {
    Frame::new()
        .fill(Color32::WHITE)
        .stroke(Stroke::new(1.0, LINE))
        .corner_radius(12)
        .inner_margin(20)
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            contents(ui);
        });
}

/// What is bought, and the key that guards it.
pub(crate) fn goods(ui: &mut Ui, order: Option<&Order>) {
    let price = order.map_or(String::new(), |order| euros(order.cents));
    at_both_ends(
        ui,
        RichText::new("One concert ticket").size(18.0).color(INK),
        RichText::new(price).size(18.0).color(INK).strong(),
    );
    let key = order.map_or("", Order::key);
    ui.label(RichText::new(key).monospace().size(12.0).color(FAINT));
}

/// How the payment stands.
pub(crate) fn status(ui: &mut Ui, screen: &Screen) {
    let words = words(screen);
    ui.horizontal(|ui| {
        if is_working(screen) {
            ui.add(Spinner::new().size(DOT).color(words.color));
        } else {
            let (place, _) = ui.allocate_exact_size(Vec2::splat(DOT), Sense::hover());
            let painter = ui.painter();
            painter.circle_filled(place.center(), DOT / 2.0 - 1.0, words.color);
        }
        ui.label(RichText::new(words.title).size(17.0).color(words.color));
    });
    ui.add_space(4.0);
    // Three lines, whatever it says, so that the button stays under the pointer.
    ui.scope(|ui| {
        ui.set_min_height(3.0 * LINE_HEIGHT);
        ui.label(RichText::new(words.text).size(TEXT).color(FAINT));
    });
}

/// How large a button is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Size {
    /// As wide as the card.
    Card,
    /// Beside a line of text.
    Small,
}

impl Size {
    fn points(self, ui: &Ui) -> Vec2 {
        match self {
            Self::Card => Vec2::new(ui.available_width(), 46.0),
            Self::Small => Vec2::new(136.0, 30.0),
        }
    }
}

/// A button.
pub(crate) fn button(ui: &mut Ui, label: &str, readiness: Readiness, size: Size) -> Response {
    let is_ready = match readiness {
        Readiness::Ready => true,
        Readiness::Off => false,
    };
    let (text, fill, border, points) = match size {
        Size::Card if is_ready => (Color32::WHITE, BLUE, BLUE, 17.0),
        Size::Card => (Color32::WHITE, FAINT, FAINT, 17.0),
        Size::Small => (BLUE, Color32::WHITE, BLUE, TEXT),
    };
    let button = Button::new(RichText::new(label).size(points).color(text))
        .fill(fill)
        .stroke(Stroke::new(1.0, border))
        .corner_radius(CornerRadius::same(8));
    let size = size.points(ui);
    ui.add_enabled_ui(is_ready, |ui| ui.add_sized(size, button))
        .inner
}

/// The room of a button that is not there, so that nothing else comes to its place.
pub(crate) fn no_button(ui: &mut Ui, size: Size) {
    let points = size.points(ui);
    let _ = ui.allocate_exact_size(points, Sense::hover());
}

/// What the bank said last, and a button beside it.
pub(crate) fn foot(
    ui: &mut Ui,
    screen: &Screen,
    charges: Option<&[Receipt]>,
    button: impl FnOnce(&mut Ui),
) {
    let booked = match charges {
        // It may have charged meanwhile.
        _ if is_working(screen) => String::new(),
        None => "The bank does not answer.".into(),
        Some([]) => "The bank's book is empty.".into(),
        Some(charges) => {
            let sum = charges.iter().map(|charge| charge.cents).sum();
            let (count, s) = (charges.len(), if charges.len() == 1 { "" } else { "s" });
            format!("The bank's book: {count} charge{s}, {}.", euros(sum))
        }
    };
    let row = Vec2::new(ui.available_width(), Size::Small.points(ui).y);
    ui.allocate_ui_with_layout(row, Layout::left_to_right(Align::Center), |ui| {
        ui.label(RichText::new(booked).size(SMALL).color(FAINT));
        ui.with_layout(Layout::right_to_left(Align::Center), button);
    });
}

/// Why the last click was not done.
pub(crate) fn trouble(ui: &mut Ui, trouble: Option<&str>) {
    if let Some(trouble) = trouble {
        ui.label(RichText::new(sentence(trouble)).size(SMALL).color(RED));
    }
}

/// An error as a sentence, which it is not in a chain of errors.
fn sentence(error: &str) -> String {
    let mut letters = error.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn at_both_ends(ui: &mut Ui, left: RichText, right: RichText) {
    ui.horizontal(|ui| {
        ui.label(left);
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.label(right));
    });
}

fn is_working(screen: &Screen) -> bool {
    match screen {
        Screen::Opening | Screen::Paying | Screen::Asking | Screen::Buying => true,
        Screen::Unpaid
        | Screen::InProgress
        | Screen::Interrupted { .. }
        | Screen::Paid(_)
        | Screen::Broken { .. } => false,
    }
}

fn words(screen: &Screen) -> Words {
    let words = |color, title, text: &str| Words {
        color,
        title,
        text: text.to_owned(),
    };
    match screen {
        Screen::Opening => words(FAINT, "One moment", "The shop looks into its files."),
        Screen::Unpaid => words(
            BLUE,
            "Not paid yet",
            "Press as often as you like: this order is charged once.",
        ),
        Screen::Paying => words(
            BLUE,
            "Paying\u{2026}",
            "Even if this window is killed now, the order is not charged twice.",
        ),
        Screen::InProgress => words(
            AMBER,
            "Somebody is paying this order",
            "This click has charged nothing.",
        ),
        Screen::Interrupted { why } => words(
            AMBER,
            "The last payment was interrupted",
            &format!(
                "You may have been charged: {why}. The bank knows, and charges now if it has not."
            ),
        ),
        Screen::Asking => words(
            AMBER,
            "Asking the bank\u{2026}",
            "It looks for the reference of the interrupted payment.",
        ),
        Screen::Paid(receipt) => words(
            GREEN,
            "Paid",
            &format!("You were charged {} once.", euros(receipt.cents)),
        ),
        Screen::Buying => words(GREEN, "Paid", "The shop takes a new order."),
        Screen::Broken { why } => words(
            RED,
            "The shop cannot be used",
            &format!("{} Close this window and start it again.", sentence(why)),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_read_as_euros() {
        assert_eq!(euros(0), "0.00 EUR");
        assert_eq!(euros(2_505), "25.05 EUR");
    }

    #[test]
    fn an_error_reads_as_a_sentence() {
        assert_eq!(sentence("the line broke"), "The line broke.");
        assert_eq!(sentence(""), ".");
    }
}
