//! Which record a call is about: namespace, key and scope, checked before anything is written.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use idempotency_ledger::{Fence, Key, Namespace, Policy, Scope};

use crate::arguments::{DEFAULT_NAMESPACE, Place};
use crate::exit::Failure;
use crate::location::Location;
use crate::quoting;
use crate::speak::printable;

/// The identity of a record, as the user gave it.
#[derive(Debug)]
pub(crate) struct Identity {
    namespace: Namespace,
    key: Key,
    scope: Option<OsString>,
}

impl Identity {
    pub(crate) fn new(key: &str, place: Place) -> Result<Self, Failure> {
        let namespace = check_namespace(&place.namespace)?;
        let key = Key::new(key)
            .map_err(|error| Failure::usage(format!("the key cannot be used: {error}")))?;
        check_scope(place.scope.as_ref())?;
        Ok(Self {
            namespace,
            key,
            scope: place.scope,
        })
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn namespace(&self, policy: Policy) -> Namespace {
        self.namespace.clone().policy(policy)
    }

    pub(crate) fn scope_bytes(&self) -> &[u8] {
        self.scope.as_ref().map_or(&[], |scope| scope.as_bytes())
    }

    /// The key for a message, with its namespace where that is not the usual one.
    pub(crate) fn shown(&self) -> String {
        let key = quoting::word(self.key.as_str());
        match self.namespace.name() {
            DEFAULT_NAMESPACE => format!("key {key}"),
            name => format!("key {key} of namespace {}", printable(name)),
        }
    }

    /// The lines to choose from for a key whose attempt with `fence` was interrupted.
    pub(crate) fn resolve_lines(&self, location: &Location, fence: Fence) -> String {
        self.lines(location, fence, "--complete /dev/null")
    }

    /// The same for a request that came over HTTP: its answer is one, too.
    pub(crate) fn resolve_http_lines(&self, location: &Location, fence: Fence) -> String {
        self.lines(location, fence, "--http STATUS --body FILE")
    }

    fn lines(&self, location: &Location, fence: Fence, completed: &str) -> String {
        format!(
            "  if it did not happen:  {}\n  if it did:             {}",
            self.resolve_line(location, fence, "--release"),
            self.resolve_line(location, fence, completed),
        )
    }

    /// The exact call that resolves this record if it is still the attempt with `fence`.
    fn resolve_line(&self, location: &Location, fence: Fence, how: &str) -> String {
        let mut words = vec!["idem resolve".to_owned()];
        if let Some(path) = location.given_path() {
            words.push(format!("--ledger {}", quoting::word(path)));
        }
        if self.namespace.name() != DEFAULT_NAMESPACE {
            words.push(format!(
                "--namespace={}",
                quoting::word(self.namespace.name())
            ));
        }
        if let Some(scope) = &self.scope {
            words.push(format!("--scope={}", quoting::word(scope)));
        }
        words.push(format!("--fence {fence} {how}"));
        // Behind `--` a key that begins with a dash is still a key.
        if self.key.as_str().starts_with('-') {
            words.push("--".to_owned());
        }
        words.push(quoting::word(self.key.as_str()));
        words.join(" ")
    }
}

pub(crate) fn check_namespace(name: &str) -> Result<Namespace, Failure> {
    Namespace::named(name)
        .map_err(|error| Failure::usage(format!("the namespace cannot be used: {error}")))
}

/// A namespace to look at: also one in which a table keeps its rows.
pub(crate) fn stored_namespace(name: &str) -> Result<Namespace, Failure> {
    for (prefix, of_table) in [
        ("dedup:", Namespace::of_dedup_table as fn(&str) -> Namespace),
        ("versioned:", Namespace::of_versioned_table),
        ("outbox:", Namespace::of_outbox),
    ] {
        if let Some(table) = name.strip_prefix(prefix) {
            return Ok(of_table(table));
        }
    }
    check_namespace(name)
}

pub(crate) fn check_scope(scope: Option<&OsString>) -> Result<(), Failure> {
    let bytes = scope.map_or(&[] as &[u8], |scope| scope.as_bytes());
    match Scope::new(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::usage(format!("the scope cannot be used: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_what_was_given_and_nothing_else() {
        let place = Place {
            namespace: DEFAULT_NAMESPACE.to_owned(),
            scope: None,
        };
        let identity = Identity::new("order-17", place).unwrap();
        let location = Location::default_for_test("/home/a/ledger.redb");
        let line = identity.resolve_line(&location, Fence::from_stored(3), "--release");
        assert_eq!(line, "idem resolve --fence 3 --release order-17");

        let place = Place {
            namespace: "it's".to_owned(),
            scope: Some("a b".into()),
        };
        let identity = Identity::new("-k", place).unwrap();
        let location = Location::given_for_test("/srv/my ledger.redb");
        let line = identity.resolve_line(&location, Fence::from_stored(3), "--release");
        let all =
            r"idem resolve --ledger '/srv/my ledger.redb' --namespace='it'\''s' --scope='a b'";
        assert_eq!(line, format!("{all} --fence 3 --release -- -k"));
    }

    #[test]
    fn bad_parts_are_usage() {
        let place = |namespace: &str| Place {
            namespace: namespace.to_owned(),
            scope: None,
        };
        for (key, namespace) in [("", "n"), ("a\nb", "n"), ("k", ""), ("k", "\u{7}")] {
            let failure = Identity::new(key, place(namespace)).unwrap_err();
            assert_eq!(
                failure.exit,
                crate::exit::Exit::Usage,
                "{key:?} {namespace:?}"
            );
        }
        assert!(Identity::new(&"k".repeat(255), place("n")).is_ok());
        assert!(Identity::new(&"k".repeat(256), place("n")).is_err());
        let long = Place {
            namespace: "n".to_owned(),
            scope: Some("s".repeat(256).into()),
        };
        assert!(Identity::new("k", long).is_err());
    }
}
