//! Tests of the room `ext4`.
