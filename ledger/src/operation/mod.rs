//! A request's way: what is asked, how it begins, how it runs, how it ends.

pub(crate) mod asked;
pub(crate) mod beginning;
pub(crate) mod claim;
pub(crate) mod json_value;
pub(crate) mod many;
pub(crate) mod noted;
mod plain_values;
pub(crate) mod refusal;
pub(crate) mod replay;
pub(crate) mod request;
pub(crate) mod run;
pub(crate) mod steps;
pub(crate) mod ticket;
pub(crate) mod transact;
pub(crate) mod twins;
pub(crate) mod typed;
pub(crate) mod write_txn;
