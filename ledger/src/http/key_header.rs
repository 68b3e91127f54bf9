//! The key of a request: from the header of the draft, or from a field of a classic form.

use http::HeaderMap;
use sfv::{BareItem, Item, Parser};

use super::policy::HeaderForm;
use super::problem::{Problem, ProblemCode};
use super::{FORM_FIELD, IDEMPOTENCY_KEY};
use crate::decision::Key;

/// The key in a request's headers, if there is one: for handlers and services that use the ledger
/// without the layer.
///
/// ```
/// use idempotency_ledger::http::{HeaderForm, key_in_headers};
///
/// let request = http::Request::post("/pay").header("idempotency-key", "\"order-17\"");
/// let (parts, ()) = request.body(())?.into_parts();
/// let key = key_in_headers(&parts.headers, HeaderForm::Lenient)?;
/// assert_eq!(key.as_ref().map(|key| key.as_str()), Some("order-17"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`ProblemCode::InvalidKey`] for a header that comes twice or cannot be read as a key.
pub fn key_in_headers(headers: &HeaderMap, form: HeaderForm) -> Result<Option<Key>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        // RFC 9651: an item that comes twice is no item.
        return Err(invalid("the header comes more than once"));
    }
    let text = value
        .to_str()
        .map_err(|_| invalid("the header holds more than printable ASCII"))?;
    let text = text.trim_matches([' ', '\t']);
    let key = match (text.starts_with('"'), form) {
        (true, _) => quoted(text)?,
        (false, HeaderForm::Lenient) => bare(text)?,
        (false, HeaderForm::Strict) => {
            return Err(invalid(
                "the header is no string in quotes, such as \"8e03978e\"",
            ));
        }
    };
    Key::new(key).map(Some).map_err(Problem::of_key)
}

/// A string of RFC 9651. The draft gives parameters no meaning, so they are no part of the key.
fn quoted(text: &str) -> Result<String, Problem> {
    let item = Parser::new(text).parse::<Item>().map_err(|error| {
        let why = format!("the header is no string of RFC 9651: {error}");
        Problem::new(ProblemCode::InvalidKey, why)
    })?;
    match item.bare_item {
        BareItem::String(key) => Ok(key.into()),
        _ => Err(invalid("the header is no string in quotes")),
    }
}

/// What many clients send: the key itself.
fn bare(text: &str) -> Result<String, Problem> {
    let is_token = |letter: char| letter.is_ascii_graphic() && !matches!(letter, '"' | ',' | '\\');
    if !text.is_empty() && text.chars().all(is_token) {
        return Ok(text.to_owned());
    }
    Err(invalid("the key is no token and no string in quotes"))
}

/// The key in a field of a form, if there is one.
pub(super) fn key_in_form(content_type: &str, body: &[u8]) -> Result<Option<Key>, Problem> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let found: Vec<String> = if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        form_urlencoded::parse(body)
            .filter(|(name, _)| name == FORM_FIELD)
            .map(|(_, value)| value.into_owned())
            .collect()
    } else if essence.eq_ignore_ascii_case("multipart/form-data") {
        super::fingerprint::multipart_fields(content_type, body, FORM_FIELD)
    } else {
        return Ok(None);
    };
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(key), None) => Key::new(key).map(Some).map_err(Problem::of_key),
        (Some(_), Some(_)) => Err(invalid("the form has the key more than once")),
    }
}

fn invalid(why: &str) -> Problem {
    Problem::new(ProblemCode::InvalidKey, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str], form: HeaderForm) -> Result<Option<String>, ProblemCode> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).expect("a header");
            headers.append(IDEMPOTENCY_KEY, value);
        }
        key_in_headers(&headers, form)
            .map(|key| key.map(|key| key.as_str().to_owned()))
            .map_err(|problem| problem.code())
    }

    #[test]
    fn the_header_is_an_sf_string_and_bare_only_where_that_is_allowed() {
        use HeaderForm::{Lenient, Strict};
        let key = |text: &str| Ok(Some(text.to_owned()));
        for form in [Strict, Lenient] {
            assert_eq!(parse(&[], form), Ok(None));
            assert_eq!(parse(&["\"abc\""], form), key("abc"));
            assert_eq!(parse(&["  \"a b\" "], form), key("a b"));
            assert_eq!(parse(&[r#""a\"b\\c""#], form), key(r#"a"b\c"#));
            assert_eq!(parse(&["\"abc\";q=1"], form), key("abc"));
            for wrong in [
                "\"abc",
                "\"\"",
                "\"a\\nb\"",
                "\"abc\";",
                "\"abc\" x",
                "\"abc\\",
                "a b",
                "",
                "a,b",
                "\"\u{e9}\"",
                "a\"b",
                "abc\"",
            ] {
                assert_eq!(
                    parse(&[wrong], form),
                    Err(ProblemCode::InvalidKey),
                    "{wrong}"
                );
            }
            let twice = parse(&["\"abc\"", "\"abc\""], form);
            assert_eq!(twice, Err(ProblemCode::InvalidKey));
            let longest = format!("\"{}\"", "k".repeat(255));
            assert!(parse(&[&longest], form).is_ok());
            let longer = format!("\"{}\"", "k".repeat(256));
            assert_eq!(parse(&[&longer], form), Err(ProblemCode::InvalidKey));
        }
        assert_eq!(parse(&["abc"], Lenient), key("abc"));
        assert_eq!(parse(&["abc"], Strict), Err(ProblemCode::InvalidKey));
    }

    #[test]
    fn a_classic_form_has_its_key_in_a_field() {
        let urlencoded = "application/x-www-form-urlencoded; charset=utf-8";
        let key = |body: &str| key_in_form(urlencoded, body.as_bytes()).map(|key| key.is_some());
        assert_eq!(key("a=1&_idempotency_key=k-1"), Ok(true));
        assert_eq!(key("a=1"), Ok(false));
        assert!(key("_idempotency_key=").is_err());
        assert!(key("_idempotency_key=a&_idempotency_key=b").is_err());
        assert_eq!(key_in_form("application/json", b"{}"), Ok(None));
        let body = "--x\r\nContent-Disposition: form-data; name=\"_idempotency_key\"\r\n\r\nk-1\r\n\
                    --x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n";
        let multipart = "multipart/form-data; boundary=x";
        let found = key_in_form(multipart, body.as_bytes()).expect("valid");
        assert_eq!(
            found.map(|key| key.as_str().to_owned()).as_deref(),
            Some("k-1")
        );
    }
}
