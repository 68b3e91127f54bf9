//! What a payload asks for, as 32 bytes.
//!
//! Each value is written with a tag of its kind, and each length before its bytes, so two
//! payloads that differ in any way that a server could see never look equal. What has no such
//! form is refused: JSON would turn a Map into `{}` and NaN into null.

use alloc::string::String;
use alloc::vec::Vec;
use idempotency_ledger::{Fingerprint, FingerprintHasher};
use js_sys::{Array, Date, JsString, Object, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::bindings::{self, Convertible, Members};
use crate::sensitive::{self, holds_card_number};

/// What is gathered before it is hashed, and what is copied of a buffer at a time.
const CHUNK_BYTES: u32 = 64 * 1024;
/// More values than this are not a payload but a mistake, or one value that many others hold.
const VALUES_MAX: usize = 200_000;
/// A walk goes down the stack of the wasm, which has an end.
const DEPTH_MAX: usize = 200;
/// Smaller numbers are the number of no card.
const CARD_NUMBER_MIN: f64 = 1e12;
/// U+FFFD in UTF-8.
const REPLACEMENT: &[u8] = b"\xef\xbf\xbd";

/// Walks a payload. `trail` gets the members that lead to a value that was refused, from the
/// inside out; the error is that value's kind.
pub(crate) fn digest(payload: &JsValue, trail: &Array) -> Result<Members, JsValue> {
    let mut walk = Walk {
        hasher: FingerprintHasher::new(),
        pending: Vec::new(),
        bytes: 0.0,
        values: 0,
        is_sensitive: false,
        is_of_card: false,
        is_converted: false,
        blobs: Array::new(),
        ancestors: Vec::new(),
        trail,
    };
    walk.value(payload)?;
    walk.flush();
    let digest: Members = Object::new().unchecked_into();
    let bytes = walk.hasher.finish();
    digest.set("digest", Uint8Array::from(bytes.digest().as_slice()).into());
    digest.set("bytes", walk.bytes.into());
    digest.set("isSensitive", walk.is_sensitive.into());
    digest.set("isConverted", walk.is_converted.into());
    digest.set("blobs", walk.blobs.into());
    Ok(digest)
}

/// Goes on from a digest over the bytes of a blob.
pub(crate) fn extend(digest: &[u8], bytes: &[u8]) -> Vec<u8> {
    Fingerprint::of([digest, bytes]).digest().to_vec()
}

struct Walk<'t> {
    hasher: FingerprintHasher,
    pending: Vec<u8>,
    /// How large the payload is, with its blobs.
    bytes: f64,
    values: usize,
    is_sensitive: bool,
    /// Whether the member around the current value is named like a card.
    is_of_card: bool,
    /// Whether a value said itself what it is, and so may be more than a clone of it.
    is_converted: bool,
    /// In the order of their places; their bytes are hashed after all the rest.
    blobs: Array,
    /// The objects around the current value: a cycle leads back to one of them.
    ancestors: Vec<JsValue>,
    trail: &'t Array,
}

impl Walk<'_> {
    fn value(&mut self, value: &JsValue) -> Result<(), JsValue> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err("too many values".into());
        }
        if let Some(text) = value.dyn_ref::<JsString>() {
            self.text(text);
        } else if let Some(number) = value.as_f64() {
            self.number(b'n', number)?;
        } else if let Some(truth) = value.as_bool() {
            self.write(&[if truth { b't' } else { b'f' }]);
        } else if value.is_undefined() {
            self.write(b"u");
        } else if value.is_null() {
            self.write(b"0");
        } else if value.is_bigint() {
            self.write(b"i");
            self.text(&bindings::text_of(value));
        } else if value.is_object() {
            self.object(value)?;
        } else {
            return Err(value.js_typeof());
        }
        Ok(())
    }

    fn object(&mut self, value: &JsValue) -> Result<(), JsValue> {
        if self.ancestors.contains(value) {
            return Err("a cycle".into());
        }
        if self.ancestors.len() >= DEPTH_MAX {
            return Err("too deep".into());
        }
        self.ancestors.push(value.clone());
        let outcome = self.kind(value);
        self.ancestors.pop();
        outcome
    }

    fn kind(&mut self, value: &JsValue) -> Result<(), JsValue> {
        let object: &Object = value.unchecked_ref();
        let tag = String::from(bindings::tag_of(value));
        let kind = tag.get(8..tag.len() - 1).unwrap_or_default();
        let members: &Members = value.unchecked_ref();
        match kind {
            "Date" => return self.number(b'd', value.unchecked_ref::<Date>().value_of()),
            "FormData" => return self.entries(b'F', value),
            "URLSearchParams" => return self.entries(b'U', value),
            "Blob" | "File" => {
                self.blob(kind, members);
                return Ok(());
            }
            "ArrayBuffer" => {
                self.buffer("", &Uint8Array::new(value));
                return Ok(());
            }
            _ if bindings::is_view(value) => {
                let view: &Uint8Array = value.unchecked_ref();
                let bytes = Uint8Array::new_with_byte_offset_and_length(
                    &view.buffer(),
                    view.byte_offset(),
                    view.byte_length(),
                );
                self.buffer(kind, &bytes);
                return Ok(());
            }
            "Array" => return self.array(value.unchecked_ref()),
            _ if members.get("toJSON").is_function() => {
                self.write(b"j");
                self.is_converted = true;
                return self.value(&value.unchecked_ref::<Convertible>().to_json()?);
            }
            "Object" if is_plain(object) => return self.members(object),
            _ => {}
        }
        Err(tag.into())
    }

    fn array(&mut self, items: &Array) -> Result<(), JsValue> {
        self.write(b"a");
        for (index, item) in (0_u32..).zip(items.iter()) {
            self.value(&item).inspect_err(|_| {
                self.trail.push(&index.into());
            })?;
        }
        self.write(b"e");
        Ok(())
    }

    /// Members in the order of their names. A member that is undefined is not there, in JSON as
    /// here.
    fn members(&mut self, object: &Object) -> Result<(), JsValue> {
        if Object::get_own_property_symbols(object).length() > 0 {
            return Err("a symbol".into());
        }
        self.write(b"o");
        for name in Object::keys(object).sort().iter() {
            let member = js_sys::Reflect::get(object, &name)?;
            if member.is_undefined() {
                continue;
            }
            self.member(name.unchecked_ref(), &member)
                .inspect_err(|_| {
                    self.trail.push(&name);
                })?;
        }
        self.write(b"e");
        Ok(())
    }

    /// The entries of a form in their own order, which the server sees.
    fn entries(&mut self, tag: u8, form: &JsValue) -> Result<(), JsValue> {
        self.write(&[tag]);
        for entry in Array::from(form).iter() {
            let entry: &Array = entry.unchecked_ref();
            self.member(entry.get(0).unchecked_ref(), &entry.get(1))?;
        }
        self.write(b"e");
        Ok(())
    }

    fn member(&mut self, name: &JsString, value: &JsValue) -> Result<(), JsValue> {
        let words = sensitive::words(&String::from(name));
        // Whether there is one, and that there is none, is no secret.
        let has_value = !value.is_null() && value.as_bool().is_none();
        self.is_sensitive |= has_value && sensitive::is_sensitive(&words, self.is_of_card);
        self.text(name);
        let is_of_card = core::mem::replace(&mut self.is_of_card, sensitive::is_card(&words));
        let walked = self.value(value);
        self.is_of_card = is_of_card;
        walked
    }

    fn blob(&mut self, kind: &str, blob: &Members) {
        self.write(if kind == "File" { b"L" } else { b"B" });
        if kind == "File" {
            self.text(blob.get("name").unchecked_ref());
        }
        self.text(blob.get("type").unchecked_ref());
        let size = blob.count("size");
        self.write(&size.to_le_bytes());
        self.bytes += size;
        self.blobs.push(blob);
    }

    fn buffer(&mut self, kind: &str, bytes: &Uint8Array) {
        self.sized(b'v', kind.as_bytes());
        self.write(&u64::from(bytes.length()).to_le_bytes());
        let mut at = 0;
        while at < bytes.length() {
            let end = bytes.length().min(at.saturating_add(CHUNK_BYTES));
            self.write(&bytes.subarray(at, end).to_vec());
            at = end;
        }
    }

    /// Half a surrogate pair has no UTF-8 form and would become U+FFFD, so text that holds that
    /// is taken in its own units, under another tag.
    fn text(&mut self, text: &JsString) {
        let utf8 = String::from(text);
        self.is_sensitive |= holds_card_number(utf8.as_bytes());
        if utf8.as_bytes().windows(3).any(|bytes| bytes == REPLACEMENT) {
            let units: Vec<u8> = text.iter().flat_map(u16::to_le_bytes).collect();
            self.sized(b'h', &units);
        } else {
            self.sized(b's', utf8.as_bytes());
        }
    }

    /// JSON has no minus zero, and no number that is none.
    fn number(&mut self, tag: u8, number: f64) -> Result<(), JsValue> {
        if !number.is_finite() {
            return Err(bindings::text_of(&number.into()).into());
        }
        if number >= CARD_NUMBER_MIN {
            let text = String::from(bindings::text_of(&number.into()));
            self.is_sensitive |= holds_card_number(text.as_bytes());
        }
        self.write(&[tag]);
        self.write(&(number + 0.0).to_le_bytes());
        Ok(())
    }

    fn sized(&mut self, tag: u8, bytes: &[u8]) {
        self.write(&[tag]);
        self.write(&(bytes.len() as u64).to_le_bytes());
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes += count(bytes.len());
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK_BYTES as usize {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let hasher = core::mem::take(&mut self.hasher);
        self.hasher = hasher.part(&self.pending);
        self.pending.clear();
    }
}

/// A length as JavaScript counts.
#[expect(
    clippy::cast_precision_loss,
    reason = "no text of a browser has 2^52 bytes"
)]
const fn count(length: usize) -> f64 {
    length as f64
}

/// Whether an object is an instance of nothing but Object, of whatever frame.
fn is_plain(object: &Object) -> bool {
    let parent = Object::get_prototype_of(object);
    parent.is_null() || Object::get_prototype_of(&parent).is_null()
}
