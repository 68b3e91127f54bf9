//! Who asks: the user that the bearer token is for, empty without one.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::Response;

use crate::problems::problem;

/// The longest token that is taken.
const TOKEN_BYTES_MAX: usize = 128;

/// The principal of a request: the user, never the token, which is another one after each refresh.
/// A token is `USER` or `USER.SECRET` here, and every one is believed; a real server looks it up.
#[derive(Clone, Debug)]
pub(crate) struct Principal(pub(crate) String);

impl Principal {
    /// The principal, or `None` for a header that is no bearer token.
    pub(crate) fn of(parts: &Parts) -> Option<String> {
        let Some(value) = parts.headers.get(AUTHORIZATION) else {
            return Some(String::new());
        };
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        let fits =
            !token.is_empty() && token.len() <= TOKEN_BYTES_MAX && token.bytes().all(is_token);
        let user = token.split('.').next().filter(|user| !user.is_empty())?;
        (scheme.eq_ignore_ascii_case("bearer") && fits).then(|| user.to_owned())
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        Self::of(parts).map(Self).ok_or_else(refused)
    }
}

pub(crate) fn refused() -> Response {
    problem(
        401,
        "unauthorized",
        "the Authorization header is no bearer token",
    )
}
