//! What `idem` says to people, on standard error.

use std::fmt::Display;
use std::io::Write;

/// Writes `idem: message` in one piece. A closed or full standard error is nobody's fault here,
/// and must not change how the command ends.
pub(crate) fn say(message: impl Display) {
    let text = format!("idem: {message}\n");
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Text for a line of its own: control characters, which a terminal would obey, are spelled out.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(printable("order-17 \u{e9}"), "order-17 \u{e9}");
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
    }
}
