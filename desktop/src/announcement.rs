//! What is on the screen, as a line: so that a test can wait for a screen and press its buttons.

use std::fmt;
use std::io::{Write, stdout};

use eframe::egui::Pos2;

/// A screen and where its buttons are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Announcement {
    /// The name of the screen.
    pub screen: &'static str,
    /// The name of each button that can be pressed, and its middle.
    pub buttons: Vec<(&'static str, Pos2)>,
}

impl Announcement {
    /// The same with the buttons where they are on the screen, in pixels.
    #[must_use]
    pub fn on_screen(mut self, window: Pos2, pixels_per_point: f32) -> Self {
        for (_, middle) in &mut self.buttons {
            *middle = (window + middle.to_vec2()) * pixels_per_point;
        }
        self
    }
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shows {}", self.screen)?;
        for (name, middle) in &self.buttons {
            write!(f, "; {name} at {:.0} {:.0}", middle.x, middle.y)?;
        }
        Ok(())
    }
}

/// Prints announcements, each once.
#[derive(Debug, Default)]
pub struct Announcer {
    last: Announcement,
    printed: Announcement,
}

impl Announcer {
    /// Takes what a frame shows, and says whether the next frame should come at once. What two
    /// frames in a row agree on is announced: the first of them is then on the screen.
    pub fn frame(&mut self, now: Announcement) -> bool {
        if now != self.last {
            self.last = now;
            return true;
        }
        if now != self.printed {
            // Whoever listened may be gone, and the window works on without.
            let _ = writeln!(stdout(), "{now}");
            self.printed = now;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpaid() -> Announcement {
        Announcement {
            screen: "unpaid",
            buttons: vec![("pay", Pos2::new(220.4, 300.6))],
        }
    }

    #[test]
    fn it_is_one_line() {
        assert_eq!(unpaid().to_string(), "shows unpaid; pay at 220 301");
        assert_eq!(Announcement::default().to_string(), "shows ");
    }

    #[test]
    fn a_window_that_lies_elsewhere_has_its_buttons_there() {
        let moved = unpaid().on_screen(Pos2::new(10.0, 20.0), 2.0);
        assert_eq!(moved.to_string(), "shows unpaid; pay at 461 641");
    }

    #[test]
    fn only_what_two_frames_agree_on_is_announced() {
        let mut announcer = Announcer::default();
        assert!(announcer.frame(unpaid()), "one frame is not enough");
        assert_eq!(announcer.printed, Announcement::default());
        assert!(!announcer.frame(unpaid()));
        assert_eq!(announcer.printed, unpaid());
    }
}
