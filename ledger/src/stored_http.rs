//! The bytes of a stored HTTP answer, for the middleware and for those who answer by hand.

use serde::{Deserialize, Serialize};

use crate::decision::{Response, ResponseKind};
use crate::store::codec;

/// Says in which form an answer is stored.
const FORM: &str = "idempotency-ledger/http/1";

/// Status, headers and body.
#[cfg_attr(
    not(feature = "tower"),
    expect(
        dead_code,
        reason = "without the middleware it is only checked that they are there"
    )
)]
pub(crate) struct StoredHttp {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Encoded {
    form: String,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl StoredHttp {
    /// What the middleware reads.
    ///
    /// # Panics
    ///
    /// Never: strings and bytes can be encoded.
    #[cfg(feature = "tower")]
    pub(crate) fn into_response(self) -> Response {
        let encoded = Encoded {
            form: FORM.to_owned(),
            status: self.status,
            headers: self.headers,
            body: self.body,
        };
        Response::http(codec::encode_typed(&encoded).expect("strings and bytes can be encoded"))
    }

    /// A stored answer, or why it is none.
    pub(crate) fn of_response(stored: &Response) -> Result<Self, String> {
        if *stored.kind() != ResponseKind::Http {
            return Err(format!("it is no HTTP answer but {:?}", stored.kind()));
        }
        let encoded: Encoded = codec::decode_typed(stored.bytes())?;
        if encoded.form != FORM {
            return Err(format!("it has the form {:?}", encoded.form));
        }
        let Encoded {
            status,
            headers,
            body,
            ..
        } = encoded;
        Ok(Self {
            status,
            headers,
            body,
        })
    }
}
