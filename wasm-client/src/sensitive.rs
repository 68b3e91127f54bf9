//! What does not outlive the page: known by the name of its member, or as a card number by its
//! digits.
//!
//! Both are guesses, and a wrong one is cheap: the payload is not stored, so a later page life
//! asks for it again. Neither the fingerprint nor what is sent depends on it.

use alloc::vec::Vec;

/// Anywhere in a name, however its words are joined: `newPassword`, `card_number`, `CVC2`; those
/// between blanks only as a word of its own: `pin` and `userPIN`, not `shipping`.
const PARTS: [&[u8]; 15] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"passcode",
    b"cardnum",
    b"ccnum",
    b"cvc",
    b"cvv",
    b"securitycode",
    b" pin ",
    b" pan ",
    b" iban ",
    b" csc ",
    b" pwd ",
    b" ssn ",
];

/// The longest card number.
const DIGITS_MAX: usize = 19;

/// The words of a name in lower case, with a blank before, between and after them. They are split
/// where case, a digit or a sign splits them.
pub(crate) fn words(name: &str) -> Vec<u8> {
    let mut words = alloc::vec![b' '];
    let mut before = b' ';
    let mut letters = name.bytes().peekable();
    while let Some(letter) = letters.next() {
        let is_letter = letter.is_ascii_alphabetic() || !letter.is_ascii();
        // `cardNumber` begins a word at N, and `PINCode` at C.
        let is_first = letter.is_ascii_uppercase()
            && (before.is_ascii_lowercase() || letters.peek().is_some_and(u8::is_ascii_lowercase));
        if (!is_letter || is_first) && words.last() != Some(&b' ') {
            words.push(b' ');
        }
        if is_letter {
            words.push(letter.to_ascii_lowercase());
        }
        before = letter;
    }
    if before.is_ascii_alphabetic() || !before.is_ascii() {
        words.push(b' ');
    }
    words
}

/// Whether what these words name is not to be stored.
pub(crate) fn is_sensitive(words: &[u8], is_of_card: bool) -> bool {
    let joined: Vec<u8> = words.iter().copied().filter(|byte| *byte != b' ').collect();
    // `cc` alone is who gets a copy of a letter.
    words.len() > 4 && words.starts_with(b" cc ")
        || is_of_card && contains(words, b" number ")
        || PARTS
            .iter()
            .any(|part| contains(words, part) || contains(&joined, part))
}

/// Whether the members of what these words name may be the parts of a card.
pub(crate) fn is_card(words: &[u8]) -> bool {
    words.ends_with(b"card ")
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Whether a text holds a card number: digits, with blanks and dashes between them.
pub(crate) fn holds_card_number(text: &[u8]) -> bool {
    let mut digits = [0; DIGITS_MAX];
    let mut count = 0;
    for letter in text.iter().chain(b".") {
        match letter {
            b'0'..=b'9' => {
                if let Some(digit) = digits.get_mut(count) {
                    *digit = letter - b'0';
                }
                count += 1;
            }
            b' ' | b'-' => {}
            _ => {
                if digits.get(..count).is_some_and(is_card_number) {
                    return true;
                }
                count = 0;
            }
        }
    }
    false
}

/// By the test of Luhn and by how numbers of such a length begin. The second keeps times out,
/// whose milliseconds have 13 digits and begin with 1.
fn is_card_number(digits: &[u8]) -> bool {
    let begins = matches!(
        (digits.len(), digits.first()),
        (13 | 14, Some(3..=6)) | (15, Some(1..=6)) | (16..=DIGITS_MAX, Some(2..=9))
    );
    let doubled = |(place, digit): (usize, &u8)| match (place % 2, *digit) {
        (0, digit) => digit,
        (_, digit) => digit * 2 / 10 + digit * 2 % 10,
    };
    begins && digits.iter().rev().enumerate().map(doubled).sum::<u8>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(name: &str) -> bool {
        is_sensitive(&words(name), false)
    }

    #[test]
    fn names_are_split_into_words() {
        for (name, expected) in [
            ("", " "),
            ("cardNumber", " card number "),
            ("payment[card_number]", " payment card number "),
            ("PINCode", " pin code "),
            ("userPIN2", " user pin "),
            ("CARD-NUMBER", " card number "),
        ] {
            assert_eq!(words(name), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_are_known_by_their_words_however_these_are_joined() {
        for name in [
            "cc-number",
            "cc_exp",
            "ccNumber",
            "CC-Name",
            "ccnum",
            "cardNumber",
            "card_number",
            "card-number",
            "CARD NUMBER",
            "payment[card_number]",
            "creditcardnumber",
            "cvc",
            "cardCVV2",
            "card.cvc",
            "security_code",
            "iban",
            "customerIBAN",
            "sender_iban",
            "pin",
            "userPIN",
            "PINEntry",
            "pin1",
            "new-pin",
            "pan",
            "password",
            "newPassword2",
            "userpassword",
            "passwd",
            "ssn",
        ] {
            assert!(is_known(name), "{name}");
        }
    }

    #[test]
    fn names_that_only_sound_alike_are_stored() {
        for name in [
            "",
            "cc",
            "account",
            "amount",
            "shipping",
            "shippingAddress",
            "spin",
            "opinion",
            "company",
            "pantry",
            "card",
            "cardId",
            "giftCardNote",
            "businessCard",
            "number",
            "orderNumber",
            "order_no",
            "passenger",
            "bypass",
            "caliban",
            "zip-code",
            "gr\u{f6}\u{df}e",
        ] {
            assert!(!is_known(name), "{name}");
        }
    }

    #[test]
    fn a_number_inside_of_a_card_is_the_cards() {
        for card in ["card", "creditCard", "debit_card", "creditcard"] {
            assert!(is_card(&words(card)), "{card}");
        }
        assert!(!is_card(&words("cardId")));
        assert!(is_sensitive(&words("number"), true));
        assert!(!is_sensitive(&words("id"), true));
    }

    #[test]
    fn card_numbers_are_known_by_their_digits_wherever_they_stand() {
        for text in [
            "4222222222222",
            "30569309025904",
            "378282246310005",
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            "2223003122003222",
            "6205500000000000004",
            "my card is 5555 5555 5555 4444, thanks",
            "{\"number\":\"4111111111111111\"}",
        ] {
            assert!(holds_card_number(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn other_numbers_are_none() {
        for text in [
            "",
            "424242424242",
            "4242424242424241",
            "42424242424242424242",
            "4242x4242424242424",
            "0000000000000000",
            "2026-11-25T00:34:20.000Z",
        ] {
            assert!(!holds_card_number(text.as_bytes()), "{text}");
        }
        // A tenth of them passes the test of Luhn.
        let mut times = 1_764_030_860_000..1_764_030_861_000_u64;
        assert!(!times.any(|ms| holds_card_number(ms.to_string().as_bytes())));
    }
}
