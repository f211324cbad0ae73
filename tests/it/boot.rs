//! Tests of the room `boot`.
