//! Packages become one tree.
