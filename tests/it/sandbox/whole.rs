//! What commands make is kept: owners, devices, links, modes, attributes; twice the same, whoever runs it.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;

use mkimage::sandbox::Lies;
use mkimage::tree::dump::dump;
use mkimage::tree::{Device, DeviceKind, Directory, Metadata, Node};

use super::super::tool;
use super::support::{EPOCH, Trial, file, machine, path, read, say};

#[test]
fn a_command_changes_the_tree_and_leaves_nothing_of_the_sandbox() {
    let outcome = Trial::default().script("echo hello > /srv/new; echo said; rm /etc/old");
    assert_eq!(String::from_utf8_lossy(&outcome.log), "said\n");
    assert_eq!(read(&outcome.tree, "/srv/new"), "hello\n");
    let changed: Vec<String> = outcome.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["/etc/old", "/srv/new"]);
    for made in ["/tmp", "/dev", "/proc", "/run"] {
        assert!(outcome.tree.get(&path(made)).is_none(), "{made}");
    }
    assert_eq!(outcome.outside(&["/srv/**".to_owned()]).expect("a pattern"), [path("/etc/old")]);
}

/// Everything that one user's file system can't hold, and everything with a time, an order or a host in it.
const EVERYTHING: &str = r"
    cd /srv
    echo one > a; chown 33:4 a; ln a a-again; chmod 4751 a
    mkdir -m 2775 shared; chown 0:42 shared; echo x > shared/inherits; mkdir shared/below; chown 5:6 shared/below
    mknod -m 660 disk b 8 17; chown 0:6 disk; mknod null c 1 3; mkfifo -m 600 pipe
    ln -s /nowhere/at/all link; chown -h 33:33 link
    touch -d 2001-02-03 dated; date > /dev/null; echo $((RANDOM)) > /tmp/gone
    setfattr -n user.note -v yes a; setcap cap_net_raw+ep a-again; setfacl -m u:33:rw shared/inherits
    mkdir closed; echo secret > closed/file; chmod 000 closed/file closed
    touch $'odd\xff\nname'
    cp -a a copied; tar c disk a link | (cd shared/below; tar x)
    uname -r; hostname; stat -c '%u:%g %a %F %t:%T' a shared disk link copied shared/below/disk
    find / -xdev | sort | head -3; id -u; umask; echo $PATH $HOME $SOURCE_DATE_EPOCH; ls -d /proc/sys 2>&1 || true
";

const EVERYTHING_SAID: &str = "6.1.0
localhost
33:4 4751 regular file 0:0
0:42 2775 directory 0:0
0:6 660 block special file 8:11
33:33 777 symbolic link 0:0
33:4 4751 regular file 0:0
0:6 660 block special file 8:11
/
/bin
/dev
0
0022
/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root 1700000000
ls: cannot access '/proc/sys': No such file or directory
";

const CAPABILITY: &str = "security.capability=0100000200200000000000000000000000000000";

fn everything_made() -> String {
    let id = |text: &str| mkimage::tree::Content::of(text.as_bytes()).id;
    let (one, x, none, secret) = (id("one\n"), id("x\n"), id(""), id("secret\n"));
    let acl = "02000000\
               01000600ffffffff02000600210000000400040\
               0ffffffff10000600ffffffff20000400ffffffff"
        .replace(' ', "");
    format!(
        "/srv d 0755 0:0\n\
         /srv/a f 4751 33:4 4 {one} {CAPABILITY} user.note=796573\n\
         /srv/a-again h = /srv/a\n\
         /srv/closed d 0000 0:0\n\
         /srv/closed/file f 0000 0:0 7 {secret}\n\
         /srv/copied f 4751 33:4 4 {one} {CAPABILITY} user.note=796573\n\
         /srv/dated f 0644 0:0 0 {none}\n\
         /srv/disk b 0660 0:6 8:17\n\
         /srv/link l 0777 33:33 -> /nowhere/at/all\n\
         /srv/null c 0644 0:0 1:3\n\
         /srv/odd\\xff\\nname f 0644 0:0 0 {none}\n\
         /srv/pipe p 0600 0:0\n\
         /srv/shared d 2775 0:42\n\
         /srv/shared/below d 2755 5:6\n\
         /srv/shared/below/a f 4751 33:4 4 {one}\n\
         /srv/shared/below/disk b 0660 0:6 8:17\n\
         /srv/shared/below/link l 0777 33:33 -> /nowhere/at/all\n\
         /srv/shared/inherits f 0664 0:42 2 {x} system.posix_acl_access={acl}\n"
    )
}

fn everything(scratch: &Path, lies: Lies, workers: usize) -> (String, String) {
    let mut trial = Trial { scratch: scratch.to_owned(), ..Trial::default() };
    trial.limits.lies = lies;
    let job = mkimage::base::Job::quiet(workers);
    let outcome =
        trial.run_with(&[&["/bin/bash", "-euc", EVERYTHING]], &job).unwrap_or_else(|e| panic!("{e}"));
    let dumped = dump(&outcome.tree);
    let made: String =
        dumped.lines().filter(|line| line.starts_with("/srv")).map(|l| format!("{l}\n")).collect();
    (made, String::from_utf8(outcome.log).expect("text"))
}

#[test]
fn owners_devices_links_and_attributes_are_kept_in_memory_and_in_a_folder() {
    let scratch = tempfile::tempdir().expect("a folder");
    for (lies, workers) in [(Lies::InMemory, 2), (Lies::InFolder, 1)] {
        let (made, said) = everything(scratch.path(), lies, workers);
        assert_eq!(said, EVERYTHING_SAID, "{lies:?}");
        assert_eq!(made, everything_made(), "{lies:?}");
    }
    assert_eq!(mkimage::base::fs::list(scratch.path()).expect("the scratch folder").len(), 0);
}

#[test]
fn nobody_makes_the_same_tree_as_root() {
    if let Some(out) = std::env::var_os("MKIMAGE_TEST_OUT") {
        let scratch = std::env::var_os("MKIMAGE_TEST_SCRATCH").expect("a scratch folder");
        let in_folder = everything(scratch.as_ref(), Lies::InFolder, 2);
        assert_eq!(in_folder, everything(scratch.as_ref(), Lies::InMemory, 2));
        std::fs::write(out, in_folder.0 + &in_folder.1).expect("written");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let open = |at: &Path, mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(at, std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    open(folder.path(), 0o777);
    let (tests, stage) = (folder.path().join("tests"), folder.path().join("mkimage"));
    tool::install(&std::env::current_exe().expect("this program"), &tests);
    tool::install(env!("CARGO_BIN_EXE_mkimage").as_ref(), &stage);
    let out = folder.path().join("out");
    let mut command = std::process::Command::new(&tests);
    command.args(["--exact", "sandbox::whole::nobody_makes_the_same_tree_as_root"]);
    command.env("MKIMAGE_TEST_OUT", &out).env("MKIMAGE_TEST_STAGE", &stage);
    command.env("MKIMAGE_TEST_SCRATCH", folder.path()).current_dir("/");
    // An ordinary user is one already.
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    tool::succeed(&mut command);
    let made = std::fs::read_to_string(out).expect("what the other user made");
    assert_eq!(made, everything_made() + EVERYTHING_SAID);
}

#[test]
fn the_tree_is_shown_with_its_owners_and_devices() {
    let mut trial = Trial::default();
    let metadata = Metadata { mode: 0o640, uid: 7, gid: 42, ..Metadata::default() };
    let device = Device { metadata, kind: DeviceKind::Character, major: 4, minor: 64 };
    trial.tree.insert(&path("/srv/serial"), Node::Device(device)).expect("inserted");
    let Node::File(mut owned) = file(&machine().0, "x", 0o2751) else { unreachable!() };
    owned.metadata.uid = 33;
    owned.metadata.xattrs = [(b"user.a"[..].into(), b"b"[..].into())].into();
    trial.tree.insert(&path("/srv/owned"), Node::File(owned)).expect("inserted");
    let outcome =
        trial.script("cd /srv; stat -c '%u:%g %a %F %t:%T' serial owned; getfattr -d owned; ls -ln");
    let said = String::from_utf8_lossy(&outcome.log).into_owned();
    assert!(said.contains("7:42 640 character special file 4:40\n33:0 2751 regular file"), "{said}");
    assert!(said.contains("user.a=\"b\""), "{said}");
    assert_eq!(outcome.changed, []);
}

#[test]
fn a_new_owner_takes_the_setuid_bit_and_capabilities_away_as_the_kernel_does() {
    let outcome = Trial::default().script(
        "cd /srv; echo x > a; chmod 6755 a; setcap cap_net_raw+ep a; chown 33 a; stat -c %a a; getcap a; chmod u+s a",
    );
    assert_eq!(String::from_utf8_lossy(&outcome.log), "755\n");
    let Some(Node::File(a)) = outcome.tree.get(&path("/srv/a")) else { panic!("no file") };
    assert_eq!((a.metadata.mode, a.metadata.uid, a.metadata.xattrs.len()), (0o4755, 33, 0));
}

#[test]
fn what_is_written_through_a_mapping_is_seen() {
    let mut trial = Trial::default();
    let text = "a".repeat(4096);
    trial.tree.insert(&path("/srv/mapped"), file(&machine().0, &text, 0o644)).expect("inserted");
    // mmap(0, 4096, READ|WRITE, SHARED, fd, 0), then read(2) of "hello" straight into it.
    let numbers = if cfg!(target_arch = "x86_64") { (9, 0) } else { (222, 63) };
    let script = format!(
        "perl -e 'open F,\"+<\",\"/srv/mapped\"; $at=syscall({},0,4096,3,1,fileno(F),0); \
         die $! if $at==-1; sysread F,$_,1; syscall({},0,$at,5)' < /srv/in",
        numbers.0, numbers.1
    );
    trial.tree.insert(&path("/srv/in"), file(&machine().0, "hello", 0o644)).expect("inserted");
    let outcome = trial.script(&script);
    assert_eq!(read(&outcome.tree, "/srv/mapped"), format!("hello{}", &text[5..]));
}

#[test]
fn inputs_are_read_only_and_no_part_of_the_result() {
    let mut input = Directory::default();
    input
        .insert(&path("/deep/setup.sh"), file(&machine().0, "echo from the input\n", 0o755))
        .expect("inserted");
    let mut trial = Trial::default();
    for at in ["/in", "/run/further/in", "/srv/new/in"] {
        trial.inputs.push((path(at), input.clone()));
    }
    let outcome = trial.script(
        "for at in /in /run/further/in /srv/new/in; do sh $at/deep/setup.sh; \
         (echo x > $at/new) 2>/dev/null && exit 9; chown 33 $at/deep 2>/dev/null && exit 8; \
         chmod 777 $at 2>/dev/null && exit 7; done; echo kept > /srv/new/beside",
    );
    assert_eq!(String::from_utf8_lossy(&outcome.log), "from the input\n".repeat(3));
    let changed: Vec<String> = outcome.changed.iter().map(ToString::to_string).collect();
    assert_eq!(changed, ["/srv/new", "/srv/new/beside", "/srv/new/in"][..2].to_vec());
}

#[test]
fn what_a_run_leaves_of_itself_goes() {
    let mut trial = Trial::default();
    trial.tree.insert(&path("/var/log/kept.log"), file(&machine().0, "kept\n", 0o644)).expect("inserted");
    let outcome = trial.script(
        "mkdir -p /etc/ssh /var/log/apt /var/tmp /root/.cache/x; date > /etc/machine-id; date > /var/log/kept.log
         date > /etc/ssh/ssh_host_ed25519_key; date > /var/log/new.log; date > /var/log/apt/term.log
         date > /etc/passwd-; date > /root/.bash_history; date > /root/.cache/x/y; echo x > /var/tmp/t
         printf 'root:*:20000:0:99999:7:::\\nx:!:%s:0:::::\\n' $(($(date +%s)/86400)) > /etc/shadow; chmod 600 /etc/shadow",
    );
    assert_eq!(read(&outcome.tree, "/etc/machine-id"), "");
    assert_eq!(read(&outcome.tree, "/var/log/kept.log"), "kept\n");
    assert_eq!(read(&outcome.tree, "/var/log/new.log"), "");
    for gone in
        ["/etc/ssh/ssh_host_ed25519_key", "/var/log/apt/term.log", "/etc/passwd-", "/root/.bash_history"]
    {
        assert!(outcome.tree.get(&path(gone)).is_none(), "{gone}");
    }
    assert!(
        outcome.tree.get(&path("/root/.cache")).is_none() && outcome.tree.get(&path("/var/tmp/t")).is_none()
    );
    let day = EPOCH / 86400;
    assert_eq!(read(&outcome.tree, "/etc/shadow"), format!("root:*:{day}:0:99999:7:::\nx:!:{day}:0:::::\n"));
    let shadow = outcome.tree.get(&path("/etc/shadow")).and_then(Node::metadata).expect("a file").clone();
    assert_eq!(shadow, Metadata { mode: 0o640, gid: 42, ..Metadata::default() });
}

#[test]
fn variables_are_fixed_and_can_be_added_for_all_or_one_command() {
    let mut trial = Trial { environment: BTreeMap::new(), ..Trial::default() };
    trial.environment.insert("MINE".to_owned(), "all".to_owned());
    trial.environment.insert("TZ".to_owned(), "Mars".to_owned());
    trial.working_directory = path("/srv");
    let job = mkimage::base::Job::quiet(1);
    let commands: [&[&str]; 2] = [
        &["MINE=one", "OTHER=", "sh", "-c", "echo $MINE ${OTHER-unset} $PWD"],
        &["sh", "-c", "echo $MINE ${OTHER-unset} $TZ $DEBIAN_FRONTEND"],
    ];
    let outcome = trial.run_with(&commands, &job).expect("a run");
    assert_eq!(String::from_utf8_lossy(&outcome.log), "one /srv\nall unset Mars noninteractive\n");
    assert!(!say("env").contains("CARGO"), "the caller's variables stay outside");
}
