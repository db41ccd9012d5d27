//! shim
pub fn nonce_text(_n: &[u8; 11]) -> String {
    String::new()
}
pub fn server_id(_s: &[u8; 32]) -> String {
    "NXXX".into()
}
