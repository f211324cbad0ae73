//! Tests of the room `init`.
