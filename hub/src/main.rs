//! petiole-hub.

fn main() {}
