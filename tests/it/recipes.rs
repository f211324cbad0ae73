//! The recipes that people use, built and booted.
