//! Words as a POSIX shell reads them back, for the lines that people copy from a message.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::speak::is_hidden;

/// Spells one word for `sh`: bare where it is harmless, in single quotes where it is printable,
/// and through `printf` where a terminal would obey or hide some of it, or it is not text.
pub(crate) fn word(text: impl AsRef<OsStr>) -> String {
    let bytes = text.as_ref().as_bytes();
    match text.as_ref().to_str() {
        Some(text) if !text.is_empty() && text.bytes().all(is_harmless) => text.to_owned(),
        Some(text) if !text.contains(is_hidden) => {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
        Some(_) | None => {
            let octal: Vec<_> = bytes.iter().map(|byte| format!("\\{byte:03o}")).collect();
            format!("\"$(printf '{}')\"", octal.concat())
        }
    }
}

fn is_harmless(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_./:@%+,=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form() {
        assert_eq!(word("order-17"), "order-17");
        assert_eq!(word(""), "''");
        assert_eq!(word("it's 5 $HOME"), r"'it'\''s 5 $HOME'");
        assert_eq!(word("a\nb"), r#""$(printf '\141\012\142')""#);
        assert_eq!(word("1\u{202e}2"), r#""$(printf '\061\342\200\256\062')""#);
        assert_eq!(word(OsStr::from_bytes(b"\xff")), r#""$(printf '\377')""#);
    }
}
