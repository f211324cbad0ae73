//! Maintainer scripts, without dpkg.

use mkimage::base::{ImagePath, Job};
use mkimage::sandbox::{MaintainerPackage, Request, run_scripts};
use mkimage::tree::Node;

use super::support::{EPOCH, Trial, file, machine, path, program, read};

const STATUS: &str = "Package: one\nStatus: install ok installed\nArchitecture: amd64\n\n\
                      Package: two\nStatus: install ok installed\nArchitecture: all\n";

#[test]
fn scripts_run_in_order_with_dpkgs_words_and_the_database_says_so() {
    let contents = &machine().0;
    let mut trial = Trial::default();
    let script = "#!/bin/sh\nset -e\n\
        echo \"$DPKG_MAINTSCRIPT_PACKAGE $DPKG_MAINTSCRIPT_ARCH $DPKG_MAINTSCRIPT_NAME [$DPKG_ROOT] $*\"\n\
        sed -n 's/^Status: //p' /var/lib/dpkg/status\n\
        update-initramfs -u; invoke-rc.d one start; /usr/sbin/policy-rc.d one start || echo policy $?\n\
        echo x > /etc/$DPKG_MAINTSCRIPT_PACKAGE.$DPKG_MAINTSCRIPT_NAME; chown 33:33 /etc/old\n";
    for name in ["one:amd64.preinst", "one:amd64.postinst", "two.postinst"] {
        let at = format!("/var/lib/dpkg/info/{name}");
        trial.tree.insert(&path(&at), file(contents, script, 0o755)).expect("inserted");
    }
    trial.tree.insert(&path("/var/lib/dpkg/status"), file(contents, STATUS, 0o644)).expect("inserted");
    trial.tree.make_directories(&path("/usr/sbin")).expect("a directory");
    let package = |name: &str, architecture: &str, info: &str| MaintainerPackage {
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        info: info.to_owned(),
    };
    let request = Request {
        tree: &trial.tree,
        source: contents,
        commands: Vec::new(),
        environment: trial.environment.clone(),
        working_directory: ImagePath::root(),
        inputs: Vec::new(),
        epoch: EPOCH,
        limits: trial.limits.clone(),
        scratch: &trial.scratch,
        label: "scripts of one".to_owned(),
        program: Some(program()),
    };
    let packages = [package("one", "amd64", "one:amd64")];
    let outcome =
        run_scripts(&packages, &request, contents, &Job::quiet(2)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        String::from_utf8_lossy(&outcome.log),
        "one amd64 preinst [] install\ninstall ok unpacked\ninstall ok installed\npolicy 101\n\
         one amd64 postinst [] configure \ninstall ok unpacked\ninstall ok installed\npolicy 101\n"
    );
    let changed: Vec<String> = outcome.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["/etc/old", "/etc/one.postinst", "/etc/one.preinst"]);
    assert_eq!(read(&outcome.tree, "/var/lib/dpkg/status"), STATUS);
    let old = outcome.tree.get(&path("/etc/old")).and_then(Node::metadata).expect("a file");
    assert_eq!((old.uid, old.gid), (33, 33));
}
