//! Who is it, and what may they do.
//!
//! Decisions only: bcrypt, which takes its time, is left to the shell ([`directory::Decision::CheckPassword`]).

pub mod callout;
pub mod certificate;
pub mod directory;
pub mod jwt;
pub mod nkey;
pub mod password;
pub mod permissions;
pub mod sharing;
pub mod trust;
pub mod xkey;
