//! Random work on a disk that crashes, fails, tears and rots; what was promised is checked after each recovery.
