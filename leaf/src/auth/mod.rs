//! Who is it, and what may they do.
pub mod directory;
pub mod nkey;
pub mod password;
pub mod permissions;
