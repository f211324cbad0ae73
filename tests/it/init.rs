//! Tests of PID 1: what it decides and encodes, and what it lays onto a partition, included from its sources
//! and run here (the binary itself has no test harness).

#[path = "../../src/init/logic/mod.rs"]
pub mod logic;
#[path = "../../src/init/seed.rs"]
pub mod seed;

#[test]
fn names_that_others_chose_are_theirs() {
    // The Boot Loader Interface's vendor GUID.
    assert_eq!(logic::loader::LOADER_GUID, "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
    // Ours, as `src/loader/main.rs` spells it for firmware.
    assert!(logic::loader::REPORT_VARIABLE.starts_with("MkimageBoot-7e0c4b1d-52a6-4d8f-"));
    assert_ne!(logic::ending::Ending::PowerOff, logic::ending::Ending::Reboot);
}
