//! Tests of the room `ostree`: OSTree's own tools judge what we write, and write what we read.

mod exporting;
mod hostile;
mod importing;
mod kit;
