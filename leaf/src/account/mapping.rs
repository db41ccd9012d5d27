//! Subject mappings.
