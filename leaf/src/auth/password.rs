//! shim
pub fn bcrypt_matches(_h: &str, _p: &str) -> bool {
    false
}
