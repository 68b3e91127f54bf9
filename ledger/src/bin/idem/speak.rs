//! What `idem` says to people, on standard error, and how text is shown on a terminal.

use std::fmt::Display;
use std::io::Write;

/// Writes `idem: message` in one piece. A closed or full standard error is nobody's fault here,
/// and must not change how the command ends.
pub(crate) fn say(message: impl Display) {
    let text = visible_lines(&format!("idem: {message}")) + "\n";
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Text for a line of its own: what a terminal would obey or not show is spelled out.
pub(crate) fn printable(text: &str) -> String {
    visible(text, |_| false)
}

/// Text that may have several lines. Everything that `idem` prints for people goes through here,
/// so that no key, whoever chose it, says anything but what it is.
pub(crate) fn visible_lines(text: &str) -> String {
    visible(text, |letter| letter == '\n')
}

fn visible(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_hidden(letter) && !is_kept(letter) {
            match letter {
                '\n' | '\r' | '\t' => shown.extend(letter.escape_default()),
                _ => shown.extend(letter.escape_unicode()),
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether a terminal obeys the character, or shows nothing of it: control characters, those that
/// turn the direction of writing, those without a width.
pub(crate) fn is_hidden(letter: char) -> bool {
    if letter.is_ascii() {
        return letter.is_ascii_control();
    }
    // Behind a letter, where std lets the marks of the scripts of the world be themselves.
    let after_a_letter = String::from_iter(['a', letter]);
    is_blank(letter) || after_a_letter.escape_debug().nth(1) == Some('\\')
}

/// What Unicode calls "default ignorable" and std nevertheless calls printable: joiners, fillers,
/// and selectors of variations.
fn is_blank(letter: char) -> bool {
    matches!(
        letter,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_nothing_to_obey() {
        assert_eq!(printable("order-17 \u{e9}"), "order-17 \u{e9}");
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert_eq!(visible_lines("a\u{1b}b\nc"), "a\\u{1b}b\nc");
    }

    #[test]
    fn what_turns_the_direction_of_writing_or_has_no_width_is_spelled_out() {
        // Unicode's bidirectional controls and its default ignorable characters.
        let hidden = [
            '\u{61c}'..='\u{61c}',
            '\u{200e}'..='\u{200f}',
            '\u{202a}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
            '\u{ad}'..='\u{ad}',
            '\u{34f}'..='\u{34f}',
            '\u{115f}'..='\u{1160}',
            '\u{17b4}'..='\u{17b5}',
            '\u{180b}'..='\u{180f}',
            '\u{200b}'..='\u{200f}',
            '\u{2060}'..='\u{206f}',
            '\u{3164}'..='\u{3164}',
            '\u{fe00}'..='\u{fe0f}',
            '\u{feff}'..='\u{feff}',
            '\u{ffa0}'..='\u{ffa0}',
            '\u{fff0}'..='\u{fff8}',
            '\u{1bca0}'..='\u{1bca3}',
            '\u{1d173}'..='\u{1d17a}',
            '\u{e0000}'..='\u{e0fff}',
            // Separators of lines and paragraphs.
            '\u{2028}'..='\u{2029}',
            '\u{80}'..='\u{9f}',
        ];
        for letter in hidden.into_iter().flatten() {
            let spelled = format!("a\\u{{{:x}}}b", u32::from(letter));
            assert_eq!(printable(&format!("a{letter}b")), spelled);
        }
    }

    #[test]
    fn letters_of_all_scripts_and_their_marks_stay_as_they_are() {
        for text in [
            "caf\u{e9}",
            "cafe\u{301}",
            "\u{939}\u{93f}\u{928}\u{94d}\u{926}\u{940}",
            "\u{e2a}\u{e27}\u{e31}\u{e2a}",
            "\u{5e9}\u{5b8}\u{5dc}",
            "\u{645}\u{631}\u{62d}\u{628}\u{627}",
            "\u{6f22}\u{5b57}",
            "\u{1f98b}",
            r#"DOMAIN\user's "key""#,
        ] {
            assert_eq!(printable(text), text);
        }
    }
}
