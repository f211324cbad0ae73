//! Tests of PID 1: what it decides and encodes, included from its sources and run here (the binary itself
//! has no test harness).

#[path = "../../src/init/logic/mod.rs"]
mod logic;
