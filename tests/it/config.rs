//! Configuration at start: what one image is told in different environments, where its output goes, and that
//! secrets stay where they belong.

mod boots;
mod guest;
mod planted;
mod secrets;
mod service;
mod volumes;

#[test]
fn a_variable_that_steers_loaders_is_refused_before_a_machine_starts() {
    let disk = crate::slots::verbs::Disk::of(2);
    for name in ["LD_PRELOAD", "GLIBC_TUNABLES", "BASH_ENV"] {
        let setting = format!("{name}=s3cr3t");
        let said = crate::tool::fail_with(2, &mut disk.call("run", &["--env", &setting, "--fetch", "/"]));
        assert!(said.contains(name) && said.contains("from its recipe only"), "{said}");
        assert!(!said.contains("s3cr3t") && !said.contains("starting"), "{said}");
    }
}

#[test]
fn logs_can_be_turned_off_for_a_machine() {
    let disk = crate::slots::verbs::Disk::of(2);
    let said =
        crate::tool::fail_with(2, &mut disk.call("run", &["--log", "none", "--user-data", "/missing"]));
    assert!(said.contains("/missing") && !said.contains("--log"), "{said}");
    let said = crate::tool::fail_with(2, &mut disk.call("run", &["--log", "nowhere"]));
    assert!(said.contains("--log nowhere: expected tcp://HOST:PORT, http://… or none"), "{said}");
}
