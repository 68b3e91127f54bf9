//! Tests of the ledger on native platforms.

mod claims;
