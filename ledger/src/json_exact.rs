//! JSON in a canonical form that keeps every number exactly as large as it is written.
//!
//! Parsers turn a number into a double, and two amounts that differ in their 17th digit become one.
//! So each number is quoted as its exact decimal before the text is parsed, and each string is
//! marked, so that the string `"n25e0"` is not the number 25. What is parsed then holds no number.

use serde_json::ser::{CompactFormatter, Formatter};
use std::io;

use crate::unambiguous_json::Unambiguous;

/// From here on, neighbouring integers are one double.
const EXACT_INTEGER_END: f64 = 9_007_199_254_740_992.0;
/// Decimals of up to so many digits are told apart by the doubles nearest to them.
const EXACT_DIGITS: usize = 15;

/// The canonical form of a JSON text: members in the order of RFC 8785, strings as well, but after
/// an `s`, numbers as the string `n`, sign, digits without zeros around them, `e`, power of ten.
/// Numbers of one value are equal (1, 1.0 and 10e-1), whatever their size.
///
/// `None` for what is no JSON, holds a member twice, or a power of ten beyond 64 bits.
pub(crate) fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let Unambiguous(value) = serde_json::from_slice(&without_numbers(text)?).ok()?;
    serde_jcs::to_vec(&value).ok()
}

/// The same JSON with its numbers quoted and its strings marked; one pass, whatever the nesting.
fn without_numbers(text: &[u8]) -> Option<Vec<u8>> {
    let mut written = Vec::with_capacity(text.len() * 2);
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        match byte {
            b'"' => {
                let (string, after) = after.split_at(string_length(after)?);
                written.extend_from_slice(b"\"s");
                written.extend_from_slice(string);
                rest = after;
            }
            b'-' | b'0'..=b'9' => {
                let is_part =
                    |byte: &u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
                let length = rest.iter().take_while(|byte| is_part(byte)).count();
                let (number, after) = rest.split_at(length);
                written.extend_from_slice(b"\"n");
                written.extend_from_slice(exact(number)?.as_bytes());
                written.push(b'"');
                // Quoted, it could pass for the name of a member.
                if after.trim_ascii_start().starts_with(b":") {
                    return None;
                }
                rest = after;
            }
            _ => {
                written.push(byte);
                rest = after;
            }
        }
    }
    Some(written)
}

/// The bytes up to the end of a string, its last quote included.
fn string_length(after_quote: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    let end = after_quote.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    });
    end.map(|end| end + 1)
}

/// The value of a number of RFC 8259: `-15e-1` for -1.50, `0` for -0.0.
fn exact(number: &[u8]) -> Option<String> {
    let number = str::from_utf8(number).ok()?;
    let (sign, magnitude) = match number.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", number),
    };
    let (mantissa, power) = match magnitude.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i64>().ok()?),
        None => (magnitude, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = [whole, fraction].concat();
    let has_leading_zero = whole.len() > 1 && whole.starts_with('0');
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    if whole.is_empty() || has_leading_zero || !is_number {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = power.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    let power = power.checked_add(zeros)?;
    match significant.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        significant => Some(format!("{sign}{significant}e{power}")),
    }
}

/// Writes JSON and refuses doubles that may be the rounding of something else: the parser that made
/// them has lost the digits already.
pub(crate) struct ExactFormatter;

impl Formatter for ExactFormatter {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        let mut written = Vec::new();
        CompactFormatter.write_f64(&mut written, value)?;
        let digits = exact(&written).unwrap_or_default();
        let digits = digits.split('e').next().unwrap_or_default();
        let digits = digits.trim_start_matches('-').len();
        if value.abs() >= EXACT_INTEGER_END || digits > EXACT_DIGITS {
            return Err(io::Error::other(format!(
                "the number {value} is a double that may stand for others too; hash the JSON text \
                 with Fingerprint::json_text, or give the number as an integer or a string"
            )));
        }
        writer.write_all(&written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<String> {
        canonical(text.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("UTF-8"))
    }

    #[test]
    fn a_number_is_its_exact_decimal() {
        for (number, wanted) in [
            ("0", "0"),
            ("-0", "0"),
            ("-0.00e7", "0"),
            ("1", "1e0"),
            ("1.0", "1e0"),
            ("10e-1", "1e0"),
            ("1E+2", "1e2"),
            ("-1.50", "-15e-1"),
            ("100", "1e2"),
            ("0.001", "1e-3"),
            ("9007199254740993", "9007199254740993e0"),
            ("123456789012.123456", "123456789012123456e-6"),
            ("1e-0400", "1e-400"),
        ] {
            assert_eq!(form(number), Some(format!("\"n{wanted}\"")), "{number}");
        }
    }

    #[test]
    fn what_is_no_json_has_no_form() {
        for text in [
            "",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "1e+",
            "1e+-1",
            "1.2.3",
            "--1",
            "1-1",
            "1e1.5",
            "0x1",
            "NaN",
            "[1 2]",
            "[1,]",
            "{1:2}",
            "{1 : 2}",
            "{\"a\":1,\"a\":1}",
            "\"a",
            "\"a\\\"",
            "1\"a\"",
            "\"a\"1",
            "tru1",
            "[1true]",
            "\"\\ud800\"",
            "1e9223372036854775808",
            "1e99999999999999999999",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
        assert_eq!(canonical(b"\"\xff\""), None);
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(form(&deep(100)).is_some());
        assert_eq!(form(&deep(100_000)), None);
    }

    #[test]
    fn strings_and_numbers_are_never_one() {
        assert_eq!(form("25").as_deref(), Some("\"n25e0\""));
        assert_eq!(form("\"n25e0\"").as_deref(), Some("\"sn25e0\""));
        let members = r#"{"b":[true,null,"\u00e9\"\\"],"a":1}"#;
        let wanted = "{\"sa\":\"n1e0\",\"sb\":[true,null,\"s\u{e9}\\\"\\\\\"]}";
        assert_eq!(form(members).as_deref(), Some(wanted));
    }
}
