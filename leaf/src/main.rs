//! petiole-leaf.

fn main() {}
