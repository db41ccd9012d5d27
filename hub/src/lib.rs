//! The cloud side: what petiole-hub has beyond the broker that it shares with petiole-leaf.

pub mod accept;
