//! What a page asks the bank, as the worker hands it over.

use idempotency_ledger::{Fingerprint, Key};
use serde::Deserialize;

use crate::answer::{Answer, Problem};

/// Longer bodies are refused before anything is read of them.
const BODY_BYTES_MAX: usize = 4_096;

/// Longer names of customers and currencies are refused.
const TEXT_BYTES_MAX: usize = 200;

/// A request of the page.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Request {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// Below the page, such as `api/transfers`.
    pub path: String,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
    /// The value of `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The value of `Demo-Fault`.
    pub fault: Option<String>,
    /// The body as text.
    pub body: String,
}

/// What `POST api/transfers` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct TransferAsked {
    /// The account that pays.
    pub from: String,
    /// The account that is paid.
    pub to: String,
    /// In cents.
    pub amount: u64,
}

/// What `POST api/charges` asks for.
#[derive(Clone, Debug, Deserialize)]
pub struct ChargeAsked {
    /// Who is charged.
    pub customer: String,
    /// In cents.
    pub amount: u64,
    /// Such as `EUR`.
    pub currency: String,
}

impl Request {
    /// Who asks: the bearer token, empty without one.
    pub fn principal(&self) -> &str {
        let header = self.authorization.as_deref().unwrap_or("").trim();
        match header.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => "",
        }
    }

    /// The key, if there is one; quoted as the draft wants it, or bare.
    ///
    /// # Errors
    ///
    /// The problem `invalid-key`.
    pub fn key(&self) -> Result<Option<Key>, Answer> {
        let Some(header) = self.idempotency_key.as_deref() else {
            return Ok(None);
        };
        let header = header.trim();
        let inside = header
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        let text = match inside {
            Some(inside) => unescaped(inside),
            None if header.contains(['"', ',']) => None,
            None => Some(header.to_owned()),
        };
        let key = text.ok_or_else(|| "it is no structured string".to_owned());
        let key = key.and_then(|text| Key::new(text).map_err(|error| error.to_string()));
        key.map(Some)
            .map_err(|why| Problem::InvalidKey.answer(&format!("The key cannot be used: {why}.")))
    }

    /// The fingerprint of what is asked for, and by whom.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of([&self.method, &self.path, self.principal(), &self.body])
    }

    /// The body of a transfer.
    ///
    /// # Errors
    ///
    /// The problem that it is.
    pub fn transfer(&self) -> Result<TransferAsked, Answer> {
        let asked: TransferAsked = self.parsed()?;
        if asked.amount == 0 || asked.from == asked.to {
            return Err(invalid(
                "an amount above zero goes from one account to another",
            ));
        }
        Ok(asked)
    }

    /// The body of a charge.
    ///
    /// # Errors
    ///
    /// The problem that it is.
    pub fn charge(&self) -> Result<ChargeAsked, Answer> {
        let asked: ChargeAsked = self.parsed()?;
        let longest = asked.customer.len().max(asked.currency.len());
        if asked.amount == 0 || longest > TEXT_BYTES_MAX {
            return Err(invalid("a charge is above zero and its texts are short"));
        }
        Ok(asked)
    }

    fn parsed<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Answer> {
        if self.body.len() > BODY_BYTES_MAX {
            let detail = format!("The body has more than {BODY_BYTES_MAX} bytes.");
            return Err(Problem::PayloadTooLarge.answer(&detail));
        }
        serde_json::from_str(&self.body).map_err(|error| invalid(&error.to_string()))
    }
}

fn invalid(why: &str) -> Answer {
    Problem::InvalidRequest.answer(&format!("The body is not what this route takes: {why}."))
}

/// A string of RFC 8941: backslashes stand before quotes and backslashes alone.
fn unescaped(inside: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(chars.next().filter(|c| matches!(c, '"' | '\\'))?),
            '"' => return None,
            c => text.push(c),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_key(header: &str) -> Request {
        Request {
            idempotency_key: Some(header.to_owned()),
            ..Request::default()
        }
    }

    #[test]
    fn a_key_is_quoted_or_bare() {
        let key = |header| with_key(header).key().map(|key| key.map(|k| k.to_string()));
        assert_eq!(key("abc").expect("bare"), Some("abc".to_owned()));
        assert_eq!(key("\"abc\"").expect("quoted"), Some("abc".to_owned()));
        assert_eq!(key(r#""a\"c""#).expect("escaped"), Some("a\"c".to_owned()));
        assert!(Request::default().key().expect("there is none").is_none());
        let long = "x".repeat(256);
        for bad in ["", "\"\"", "\"a", "a\"", "a, b", "\"a\"b\"", &long] {
            let answer = key(bad).expect_err(bad);
            assert_eq!(answer.status, 400, "{bad}");
            assert!(answer.body.contains("invalid-key"), "{bad}");
        }
        assert!(key(&"x".repeat(255)).is_ok());
    }

    #[test]
    fn the_principal_is_the_bearer_token() {
        let of = |header: &str| Request {
            authorization: Some(header.to_owned()),
            ..Request::default()
        };
        assert_eq!(of("Bearer tok").principal(), "tok");
        assert_eq!(of("bearer  tok ").principal(), "tok");
        assert_eq!(of("Basic tok").principal(), "");
        assert_eq!(Request::default().principal(), "");
    }

    #[test]
    fn bodies_are_checked_before_anything_is_done() {
        let with = |body: &str| Request {
            body: body.to_owned(),
            ..Request::default()
        };
        let good = with(r#"{"from":"ordinary","to":"shop","amount":2500}"#);
        assert_eq!(good.transfer().expect("complete").amount, 2_500);
        for bad in [
            "",
            "{}",
            r#"{"from":"a","to":"b","amount":-1}"#,
            r#"{"from":"a","to":"b","amount":2.5}"#,
            r#"{"from":"a","to":"b","amount":0}"#,
            r#"{"from":"a","to":"a","amount":1}"#,
        ] {
            assert_eq!(with(bad).transfer().expect_err(bad).status, 400, "{bad}");
        }
        let long = with(&" ".repeat(BODY_BYTES_MAX + 1));
        assert_eq!(long.transfer().expect_err("too long").status, 413);
        assert_eq!(long.charge().expect_err("too long").status, 413);
    }
}
