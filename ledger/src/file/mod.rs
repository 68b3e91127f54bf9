//! The file: created whole, opened once per process, kept locked over failures.

pub(crate) mod creating;
pub(crate) mod fresh_space;
pub(crate) mod head;
pub(crate) mod held_backend;
pub(crate) mod names;
pub(crate) mod open_files;
pub(crate) mod opening;
pub(crate) mod platform;
pub(crate) mod publish;
pub(crate) mod rollback;
pub(crate) mod settings;
pub(crate) mod storage;
