//! What the window can show, and what can be pressed on it.

use crate::bank::Receipt;

/// What the window shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Screen {
    /// The shop is being opened.
    Opening,
    /// The order can be paid.
    Unpaid,
    /// It is being paid, here.
    Paying,
    /// It is being paid, by somebody else.
    InProgress,
    /// It may be paid.
    Interrupted {
        /// Why nobody here knows.
        why: String,
    },
    /// The bank is being asked.
    Asking,
    /// It is paid.
    Paid(Receipt),
    /// A new order is being made.
    Buying,
    /// There is no shop.
    Broken {
        /// Why not.
        why: String,
    },
}

impl Screen {
    /// Its name in an announcement.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Unpaid => "unpaid",
            Self::Paying => "paying",
            Self::InProgress => "in-progress",
            Self::Interrupted { .. } => "interrupted",
            Self::Asking => "asking",
            Self::Paid(_) => "paid",
            Self::Buying => "buying",
            Self::Broken { .. } => "broken",
        }
    }

    /// Whether the order has its receipt.
    pub(crate) fn is_paid(&self) -> bool {
        match self {
            Self::Paid(_) | Self::Buying => true,
            Self::Opening
            | Self::Unpaid
            | Self::Paying
            | Self::InProgress
            | Self::Interrupted { .. }
            | Self::Asking
            | Self::Broken { .. } => false,
        }
    }

    /// The button in the card, and whether it can be pressed.
    pub(crate) fn button(&self) -> Option<(Press, Readiness)> {
        match self {
            Self::Unpaid => Some((Press::Pay, Readiness::Ready)),
            Self::Paying | Self::Paid(_) | Self::Buying => Some((Press::Pay, Readiness::Off)),
            Self::InProgress => Some((Press::Look, Readiness::Ready)),
            Self::Interrupted { .. } => Some((Press::AskTheBank, Readiness::Ready)),
            Self::Asking => Some((Press::AskTheBank, Readiness::Off)),
            Self::Opening | Self::Broken { .. } => None,
        }
    }

    /// The small button below the card. It lies apart, so that clicks that go on where "Pay" was
    /// do not order once more and pay for that.
    pub(crate) fn side_button(&self) -> Option<(Press, Readiness)> {
        match self {
            Self::Paid(_) => Some((Press::BuyAnother, Readiness::Ready)),
            Self::Buying => Some((Press::BuyAnother, Readiness::Off)),
            Self::Opening
            | Self::Unpaid
            | Self::Paying
            | Self::InProgress
            | Self::Interrupted { .. }
            | Self::Asking
            | Self::Broken { .. } => None,
        }
    }
}

/// A button.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Press {
    Pay,
    AskTheBank,
    BuyAnother,
    Look,
}

/// Whether a button can be pressed. Only a courtesy: the key guards the payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    Off,
}

impl Press {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::AskTheBank => "ask-the-bank",
            Self::BuyAnother => "buy-another",
            Self::Look => "look",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Screen> {
        let why = || "because".to_owned();
        let receipt = Receipt {
            reference: "r".into(),
            cents: 1,
        };
        vec![
            Screen::Opening,
            Screen::Unpaid,
            Screen::Paying,
            Screen::InProgress,
            Screen::Interrupted { why: why() },
            Screen::Asking,
            Screen::Paid(receipt),
            Screen::Buying,
            Screen::Broken { why: why() },
        ]
    }

    #[test]
    fn at_most_one_button_can_be_pressed_and_each_has_its_screen() {
        let offered: Vec<_> = all()
            .iter()
            .map(|screen| {
                let buttons = [screen.button(), screen.side_button()]
                    .into_iter()
                    .flatten();
                let ready = buttons.filter(|(_, readiness)| *readiness == Readiness::Ready);
                let names: Vec<_> = ready.map(|(press, _)| press.name()).collect();
                (screen.name(), names.join(" "))
            })
            .filter(|(_, names)| !names.is_empty())
            .collect();
        let expected = [
            ("unpaid", "pay"),
            ("in-progress", "look"),
            ("interrupted", "ask-the-bank"),
            ("paid", "buy-another"),
        ];
        assert_eq!(
            offered,
            expected.map(|(screen, name)| (screen, name.to_owned()))
        );
    }

    #[test]
    fn where_pay_was_nothing_is_bought() {
        for screen in all() {
            let in_the_card = screen.button().map(|(press, _)| press);
            assert_ne!(in_the_card, Some(Press::BuyAnother), "{}", screen.name());
        }
    }
}
