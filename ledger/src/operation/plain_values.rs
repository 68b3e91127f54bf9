//! Types of the standard library that are values as they are.

use std::marker::PhantomData;

use crate::operation::typed::{StoredValue, ValueFormat};

macro_rules! plain {
    ($($type:ty => $schema:literal, $format:ident;)*) => {
        $(impl StoredValue for $type {
            const SCHEMA: &'static str = $schema;
            const FORMAT: ValueFormat = ValueFormat::$format;
            const COMES_BACK: bool = true;
        })*
    };
}

plain! {
    () => "unit", Json;
    bool => "bool", Json;
    u8 => "u8", Json;
    u16 => "u16", Json;
    u32 => "u32", Json;
    u64 => "u64", Json;
    u128 => "u128", Json;
    i8 => "i8", Json;
    i16 => "i16", Json;
    i32 => "i32", Json;
    i64 => "i64", Json;
    i128 => "i128", Json;
    String => "string", Json;
    // Bytes have no names, and a list of numbers would be four times as long.
    Vec<u8> => "bytes", Bincode;
}

/// The schema is made of that of the type inside, `option(receipt/1)`, so it changes with that. A
/// type that has to read older ones is a type of your own around it.
impl<T: StoredValue> StoredValue for Option<T> {
    const SCHEMA: &'static str = Optional::<T>::SCHEMA.text();
    const FORMAT: ValueFormat = T::FORMAT;
}

/// A definite failure is an answer, too. The schema is made of those of both types,
/// `result(receipt/1,declined/1)`.
impl<T: StoredValue, E: StoredValue> StoredValue for Result<T, E> {
    const SCHEMA: &'static str = Either::<T, E>::SCHEMA.text();
    const FORMAT: ValueFormat = T::FORMAT;
}

struct Optional<T>(PhantomData<T>);

impl<T: StoredValue> Optional<T> {
    const SCHEMA: &'static Composed = &Composed::of(&["option(", T::SCHEMA, ")"]);
}

struct Either<T, E>(PhantomData<(T, E)>);

impl<T: StoredValue, E: StoredValue> Either<T, E> {
    const SCHEMA: &'static Composed = &Composed::of(&["result(", T::SCHEMA, ",", E::SCHEMA, ")"]);
}

/// The longest schema that is made of others.
const COMPOSED_BYTES_MAX: usize = 1_024;

/// A text that the compiler puts together; one that is too long does not compile.
struct Composed {
    bytes: [u8; COMPOSED_BYTES_MAX],
    length: usize,
}

impl Composed {
    const fn of(parts: &[&str]) -> Self {
        let mut composed = Self {
            bytes: [0; COMPOSED_BYTES_MAX],
            length: 0,
        };
        let mut part = 0;
        while part < parts.len() {
            let bytes = parts[part].as_bytes();
            assert!(
                composed.length + bytes.len() <= COMPOSED_BYTES_MAX,
                "a schema of schemas has at most 1,024 bytes"
            );
            let mut at = 0;
            while at < bytes.len() {
                composed.bytes[composed.length] = bytes[at];
                composed.length += 1;
                at += 1;
            }
            part += 1;
        }
        composed
    }

    const fn text(&'static self) -> &'static str {
        match std::str::from_utf8(self.bytes.split_at(self.length).0) {
            Ok(text) => text,
            Err(_) => panic!("it is made of texts"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Nested = Result<Option<String>, Vec<u8>>;

    #[test]
    fn a_schema_says_what_is_inside() {
        assert_eq!(<Option<u64> as StoredValue>::SCHEMA, "option(u64)");
        assert_eq!(
            <Nested as StoredValue>::SCHEMA,
            "result(option(string),bytes)"
        );
    }
}
