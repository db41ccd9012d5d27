//! JWTs as NATS signs them: who an operator trusts, what an account is, what a user may do.
//!
//! A token is decoded into its claims only if the key it names as issuer signed it
//! ([`token::decode`]); whether that issuer is anybody is for [`crate::auth::trust`] to say. Time is
//! an argument, and no error holds a part of the token.
//!
//! Source of the rules: the claims that `nsc` writes (JWT version 2) and nats-server 2.15's answers.

pub mod claims;
pub mod decorated;
pub mod hours;
pub mod issues;
pub mod networks;
pub mod template;
pub mod token;

pub use claims::{Account, Activation, Operator, User};
pub use token::{Token, TokenError, decode};
