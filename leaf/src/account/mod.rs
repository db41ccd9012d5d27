//! Accounts: subject spaces that do not see each other.

pub mod mapping;
