//! Rust text reduced to what the compiler acts on, and the words in it.
//!
//! A rule about code must not trip over a comment that explains the rule, nor over a
//! message that quotes it. This is a lexer for comments and literals only: it keeps every
//! line break, and puts blanks in place of what it takes out.

/// Blanks out comments, strings and characters; lines keep their numbers.
pub(super) fn without_comments_and_literals(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = end_of_hidden(&chars, at).unwrap_or(at);
        if end > at {
            code.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { '\n' } else { ' ' }),
            );
            at = end;
        } else {
            let end = end_of_word(&chars, at).max(at + 1);
            code.extend(&chars[at..end]);
            at = end;
        }
    }
    code
}

/// Each identifier with the number of its line and the text that follows it.
pub(super) fn words(code: &str) -> impl Iterator<Item = Word<'_>> {
    let mut line = 1;
    let mut rest = code;
    std::iter::from_fn(move || {
        let start = rest.find(is_word)?;
        line += rest[..start].matches('\n').count();
        let from = &rest[start..];
        let (text, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        rest = after;
        Some(Word { line, text, after })
    })
}

/// One identifier, keyword or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word<'a> {
    /// The number of its line, from 1.
    pub(super) line: usize,
    /// The word.
    pub(super) text: &'a str,
    /// All code after it.
    pub(super) after: &'a str,
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn end_of_word(chars: &[char], at: usize) -> usize {
    at + chars[at..].iter().take_while(|&&c| is_word(c)).count()
}

/// Where the comment or literal that starts at `at` ends, if one does start there.
fn end_of_hidden(chars: &[char], at: usize) -> Option<usize> {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => Some(at + rest.iter().take_while(|&&c| c != '\n').count()),
        ['/', '*', ..] => Some(at + block_comment(rest)),
        ['"', ..] => Some(at + quoted(rest, '"')),
        ['\'', '\\', ..] => Some(at + quoted(rest, '\'')),
        // Anything else after a quote is a lifetime or a label.
        ['\'', _, '\'', ..] => Some(at + 3),
        ['r', ..] | ['b' | 'c', 'r', ..] => raw_string(rest).map(|length| at + length),
        _ => None,
    }
}

/// Block comments nest.
fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."` with any number of `#`, also behind `b` or `c`; a raw identifier is none.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|&&c| is_word(c)).count();
    if !matches!(rest[..prefix], ['r'] | ['b' | 'c', 'r']) {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let closes = |at: usize| {
        let end = at + 1 + hashes;
        rest[at] == '"' && end <= rest.len() && rest[at + 1..end].iter().all(|&c| c == '#')
    };
    let end = (open + 1..rest.len())
        .find(|&at| closes(at))
        .map(|at| at + 1 + hashes);
    Some(end.unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_words(text: &str) -> Vec<String> {
        let code = without_comments_and_literals(text);
        assert_eq!(code.matches('\n').count(), text.matches('\n').count());
        assert_eq!(code.chars().count(), text.chars().count());
        words(&code).map(|word| word.text.to_owned()).collect()
    }

    #[test]
    fn comments_are_blank() {
        assert_eq!(code_words("a // b\nc"), ["a", "c"]);
        assert_eq!(code_words("/// doc `b`\nc"), ["c"]);
        assert_eq!(code_words("a /* b /* c */ d */ e"), ["a", "e"]);
        assert_eq!(code_words("a /* never closed"), ["a"]);
        assert_eq!(code_words("a / b"), ["a", "b"]);
    }

    #[test]
    fn strings_are_blank() {
        assert_eq!(code_words(r#"f("a \" b", c)"#), ["f", "c"]);
        assert_eq!(code_words("f(\"two\nlines\", c)"), ["f", "c"]);
        assert_eq!(code_words(r##"f(r#"a " b"#, c)"##), ["f", "c"]);
        assert_eq!(code_words("f(br\"a\\\", c)"), ["f", "c"]);
        assert_eq!(code_words("f(b\"a\", c)"), ["f", "b", "c"]);
        assert_eq!(code_words("\"// no comment\" c"), ["c"]);
        assert_eq!(code_words("a \"never closed"), ["a"]);
        assert_eq!(code_words("a r#\"never closed\""), ["a"]);
    }

    #[test]
    fn characters_are_blank_and_lifetimes_are_not() {
        assert_eq!(code_words("f('a', '\\'', '\"', '\\u{41}', c)"), ["f", "c"]);
        assert_eq!(
            code_words("fn f<'a>(x: &'a str)"),
            ["fn", "f", "a", "x", "a", "str"]
        );
        assert_eq!(code_words("'outer: loop {}"), ["outer", "loop"]);
    }

    #[test]
    fn words_that_look_like_prefixes_stay() {
        assert_eq!(
            code_words("r#type + for r in br"),
            ["r", "type", "for", "r", "in", "br"]
        );
        assert_eq!(code_words("attr\"x\" c"), ["attr", "c"]);
    }

    #[test]
    fn words_know_their_line_and_what_follows() {
        let found: Vec<_> = words("a\n\nb!(c)")
            .map(|w| (w.line, w.text, w.after))
            .collect();
        assert_eq!(
            found,
            [(1, "a", "\n\nb!(c)"), (3, "b", "!(c)"), (3, "c", ")")]
        );
    }
}
