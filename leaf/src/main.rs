//! petiole-leaf.

fn main() {
    leaf::shell::demo();
}
