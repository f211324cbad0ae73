//! What commands can't see, reach or keep.

use std::io::Write;
use std::os::fd::AsRawFd;

use mkimage::sandbox::SandboxError;
use mkimage::tree::{Metadata, Node, Symlink};

use super::support::{Trial, complaint, file, machine, path, say};

#[test]
fn the_network_can_not_be_seen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener of this machine");
    let port = listener.local_addr().expect("an address").port();
    let said = say(&format!(
        "(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1 || echo refused; (exec 3<>/dev/tcp/192.0.2.1/80) 2>&1 || echo none"
    ));
    assert!(said.contains("Connection refused") && said.contains("refused\n"), "{said}");
    assert!(said.contains("Network is unreachable") && said.contains("none\n"), "{said}");
}

#[test]
fn no_file_and_no_process_of_the_machine_can_be_seen() {
    let said = say(
        "cat /etc/hostname; ls /; ls -d /proc/[0-9]* | wc -l; cat /proc/1/cmdline | tr '\\0' ' '; echo; \
         for at in /proc/1/root/etc /proc/1/cwd /proc/1/fd /sys/kernel /proc/sys/kernel; do ls $at >/dev/null 2>&1 && echo open $at; done; \
         cat /proc/self/mountinfo"
            .replace("| tr '\\0' ' '", "")
            .as_str(),
    );
    assert!(
        said.starts_with(
            "of-the-image\nbin\ndev\netc\nlib\nlib64\nproc\nroot\nrun\nsbin\nsrv\ntmp\nusr\nvar\n"
        ),
        "{said}"
    );
    let count: u32 = said.lines().nth(14).and_then(|line| line.parse().ok()).expect("a number");
    assert!(count < 6, "{said}");
    assert!(!said.contains("open /"), "{said}");
    for line in said.lines().filter(|line| line.contains(" - ")) {
        let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a kind");
        assert!(["tmpfs", "proc", "devpts", "devtmpfs"].contains(&kind), "{line}");
    }
}

#[test]
fn no_descriptor_of_the_caller_is_inherited() {
    let mut secret = tempfile::tempfile().expect("a file");
    secret.write_all(b"secret").expect("written");
    // Without close-on-exec, as a careless library would leave it.
    let leaked = rustix::io::dup(&secret).expect("a copy");
    let said = say("ls -l /proc/self/fd /proc/$$/fd; cat /proc/self/fd/* < /dev/null 2>/dev/null || true");
    assert!(!said.contains("secret") && !said.contains(&format!(" {} -> ", leaked.as_raw_fd())), "{said}");
    assert!(said.contains("0 -> /dev/null") && said.contains("1 -> pipe:"), "{said}");
}

#[test]
fn calls_that_lead_out_are_refused() {
    // Number, arguments, what the kernel must answer.
    let table: &[(&str, i64, &str, i32)] = &[
        ("mount", libc::SYS_mount, "0,0,0,0,0", libc::EPERM),
        ("umount", libc::SYS_umount2, "0,0", libc::EPERM),
        ("unshare", libc::SYS_unshare, "0x10000000", libc::EPERM),
        ("setns", libc::SYS_setns, "0,0", libc::EPERM),
        ("clone with a namespace", libc::SYS_clone, "0x10000011,0,0,0,0", libc::EPERM),
        ("clone3", libc::SYS_clone3, "0,0", libc::ENOSYS),
        ("ptrace", libc::SYS_ptrace, "16,1,0,0", libc::EPERM),
        ("keyctl", libc::SYS_keyctl, "0,0,0,0,0", libc::EPERM),
        ("bpf", libc::SYS_bpf, "0,0,0", libc::EPERM),
        ("io_uring", libc::SYS_io_uring_setup, "1,0", libc::ENOSYS),
        ("userfaultfd", libc::SYS_userfaultfd, "0", libc::EPERM),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "0,0,0", libc::EPERM),
        ("vsock", libc::SYS_socket, "40,1,0", libc::EPERM),
        ("raw packets", libc::SYS_socket, "17,3,0", libc::EPERM),
        ("kexec", libc::SYS_kexec_load, "0,0,0,0", libc::EPERM),
        ("a call of tomorrow", 470, "0", libc::ENOSYS),
        ("a call of the x32 table", 0x4000_0000 + 39, "0", libc::ENOSYS),
        ("another user", libc::SYS_setuid, "33", libc::EINVAL),
    ];
    let mut script = String::from("perl -e '");
    for (name, number, arguments, _) in table {
        script.push_str(&format!("$!=0; syscall({number},{arguments}); print \"{name}: \",$!+0,\"\\n\";"));
    }
    script.push('\'');
    let said = say(&script);
    let wanted: String = table.iter().map(|(name, _, _, error)| format!("{name}: {error}\n")).collect();
    assert_eq!(said, wanted);
}

#[test]
fn devices_of_the_machine_can_be_used_and_not_changed() {
    let said = say("head -c 3 /dev/zero | wc -c; echo x > /dev/null; (echo x > /dev/full) 2>&1 || true; \
         chmod 600 /dev/null 2>&1 || true; chown 33 /dev/null 2>&1 || true; (: < /dev/tty) 2>&1 || true; ls /dev");
    assert!(said.starts_with("3\n") && said.contains("No space left"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert!(said.contains("No such device or address"), "no terminal: {said}");
    let listed = "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
    assert!(said.ends_with(listed), "{said}");
}

#[test]
fn a_chroot_inside_leads_nowhere_else() {
    let said = say(
        "mkdir -p /srv/jail/srv; echo inner > /srv/jail/srv/f; echo outer > /srv/f; ln -s /srv/f /srv/jail/link; \
         perl -e 'chroot \"/srv/jail\" or die; chdir \"/\"; chown 33,33,\"/link\" or die $!; \
         print((stat \"/srv/f\")[4],\"\\n\"); chdir \"..\" for 1..20; print -e \"usr\" ? \"out\" : \"in\",\"\\n\"'; \
         stat -c %u /srv/f /srv/jail/srv/f",
    );
    assert_eq!(said, "33\nin\n0\n33\n");
}

#[test]
fn a_tree_whose_directories_lead_away_is_refused() {
    let link = |target: &str| {
        Node::Symlink(Symlink { metadata: Metadata::root(0o777), target: target.as_bytes().into() })
    };
    for (at, node) in [
        ("/dev", link("/etc")),
        ("/proc", link("../../../../etc")),
        ("/run", file(&machine().0, "", 0o644)),
        ("/tmp", link("/usr")),
    ] {
        let mut trial = Trial::default();
        trial.tree.insert(&path(at), node).expect("inserted");
        let complaint = complaint(&trial, "true");
        assert!(complaint.starts_with(&format!("{at}: the sandbox needs a directory there")), "{complaint}");
    }
    let mut trial = Trial::default();
    trial.tree.insert(&path("/in"), link("/etc")).expect("inserted");
    trial.inputs.push((path("/in/below"), Default::default()));
    assert!(complaint(&trial, "true").contains("/in: the sandbox needs a directory there, it is a symlink"));
    trial.inputs = vec![(path("/"), Default::default())];
    assert!(matches!(trial.try_script("true"), Err(SandboxError::Place { .. })));
}

#[test]
fn links_to_the_machines_files_are_links_in_the_result() {
    let outcome = Trial::default().script(
        "cd /srv; ln -s /etc/shadow secret; mkdir real; ln -s ../../../../../../etc real/up; \
         mv /srv/real /srv/moved; ln -s / real; mv /etc /etc2; ln -s /usr /etc",
    );
    for (at, target) in [("/srv/secret", "/etc/shadow"), ("/srv/real", "/"), ("/etc", "/usr")] {
        match outcome.tree.get(&path(at)) {
            Some(Node::Symlink(link)) => assert_eq!(&*link.target, target.as_bytes()),
            other => panic!("{at}: {other:?}"),
        }
    }
    assert!(outcome.tree.get(&path("/etc2/hostname")).is_some());
}
