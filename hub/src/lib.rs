//! What a hub adds to the broker in [`leaf`].
