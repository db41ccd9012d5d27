//! shim
use std::rc::Rc;
#[derive(Debug)]
pub struct Compiled;
#[derive(Debug)]
pub struct Session(#[allow(dead_code)] Rc<Compiled>);
#[derive(PartialEq, Eq, Debug, Clone, Copy)]
pub enum SubscribeDecision {
    Refused,
    Allowed,
    AllowedFiltered,
}
impl Session {
    pub fn new(c: Rc<Compiled>) -> Self {
        Self(c)
    }
    pub fn may_publish(&mut self, _: &[u8], _: u64) -> bool {
        true
    }
    pub fn may_deliver(&mut self, _: &[u8]) -> bool {
        true
    }
    pub fn note_reply(&mut self, _: &[u8], _: u64) {}
    pub fn may_subscribe(&self, _: &[u8], _: Option<&[u8]>) -> SubscribeDecision {
        SubscribeDecision::Allowed
    }
}
