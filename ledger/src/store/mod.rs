//! From jobs to bytes: one commit for all who wait, and what is in it.

pub(crate) mod codec;
pub(crate) mod committer;
pub(crate) mod engine;
pub(crate) mod group_commit;
pub(crate) mod slot;
pub(crate) mod snapshot;
pub(crate) mod tables;
pub(crate) mod write_store;
pub(crate) mod writer;
