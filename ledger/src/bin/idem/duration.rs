//! Durations as people write them: `30s`, `24h`, `1h30m`.

use std::time::Duration;

/// The units, longest first, in which they must follow each other.
const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads whole numbers with a unit each. A number without a unit is refused rather than
/// guessed: somebody who means seconds and gets milliseconds pays twice.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let mut total_ms = 0_u64;
    let mut rest = text;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return Err(explain("it is empty"));
    }
    while !rest.is_empty() {
        let (number, after_number) = split_while(rest, |letter| letter.is_ascii_digit());
        let (unit, after_unit) = split_while(after_number, |letter| !letter.is_ascii_digit());
        let count: u64 = number
            .parse()
            .map_err(|_| explain("a whole number is missing"))?;
        if unit.is_empty() {
            return Err(explain("the unit is missing"));
        }
        let Some((_, unit_ms)) = units.find(|(name, _)| *name == unit) else {
            return Err(explain("the unit is unknown, repeated or out of order"));
        };
        total_ms = count
            .checked_mul(*unit_ms)
            .and_then(|ms| total_ms.checked_add(ms))
            .ok_or_else(|| explain("it is too long"))?;
        rest = after_unit;
    }
    Ok(Duration::from_millis(total_ms))
}

/// A span in its two largest units, rounded down: what a person would say, and can be read again.
pub(crate) fn in_words(span: Duration) -> String {
    let mut left_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let mut words = String::new();
    let mut parts = 0;
    for (unit, unit_ms) in UNITS {
        let count = left_ms / unit_ms;
        if count > 0 && parts < 2 {
            left_ms %= unit_ms;
            words.push_str(&count.to_string());
            words.push_str(unit);
            parts += 1;
        } else if parts > 0 {
            // The two units stand next to each other, or the second is left out.
            break;
        }
    }
    if words.is_empty() {
        words += "0ms";
    }
    words
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|letter| !belongs(letter)).unwrap_or(text.len());
    text.split_at(end)
}

fn explain(problem: &str) -> String {
    format!("{problem}; write whole numbers with w, d, h, m, s or ms, such as 24h or 1h30m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_and_sums() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn spans_in_words_are_short_and_can_be_read_again() {
        for (ms, words) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_500, "1s500ms"),
            (86_400_000, "1d"),
            (93_600_000, "1d2h"),
            (86_460_000, "1d"),
            (7 * 86_400_000 + 3 * 86_400_000, "1w3d"),
        ] {
            assert_eq!(in_words(Duration::from_millis(ms)), words);
            assert!(parse(words).is_ok(), "{words}");
        }
        assert!(in_words(Duration::MAX).ends_with('d'));
    }

    #[test]
    fn what_could_be_misread_is_refused() {
        for text in [
            "", "30", "h", "-1s", "1.5h", "1 h", "1S", "30m1h", "1s1s", "1y", "s1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("18446744073709551616ms").is_err());
        assert!(parse("99999999999999999w").is_err());
    }
}
