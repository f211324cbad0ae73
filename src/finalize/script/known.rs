//! Scripts whose effect on a fresh installation is known, so that only debhelper's sections of them are read.
//! The tables of [`crate::finalize::base_files`] and the finalizers named in the reasons do the rest.

/// (package, or a prefix with `*`; script; reason)
const KNOWN: &[(&str, &str, &str)] = &[
    ("base-passwd", "postinst", "accounts come from its master files"),
    ("ca-certificates", "postinst", "the certificates' finalizer writes its links and bundle"),
    ("ca-certificates-java", "postinst", "its key store is left out: Java reads the PEM bundle when told to"),
    ("libc6", "postinst", "it restarts what runs, on upgrades"),
    ("libc6", "preinst", "it looks at the kernel that runs, and at what an upgrade would break"),
    ("libpam-runtime", "postinst", "the PAM finalizer writes its stacks"),
    (
        "linux-image-*",
        "postinst",
        "mkimage writes modules.dep and its own initrd; no links to kernels are needed",
    ),
    ("linux-image-*", "preinst", "its mark of a fresh installation is gone after it"),
    (
        "openssh-server",
        "postinst",
        "tables write sshd_config and the account; host keys are made at first boot",
    ),
    ("python3.*-minimal", "postinst", "compiled files are left out; a table makes its local directories"),
    ("python3.*-minimal", "preinst", "its mark of a fresh installation means nothing later"),
];

/// Returns why a package's script need not be read beyond debhelper's sections.
pub(super) fn reason(package: &str, script: &str) -> Option<&'static str> {
    let fits = |pattern: &str| match pattern.split_once('*') {
        Some((front, back)) => {
            package.len() >= front.len() + back.len() && package.starts_with(front) && package.ends_with(back)
        }
        None => package == pattern,
    };
    KNOWN.iter().find(|(name, known, _)| *known == script && fits(name)).map(|(_, _, reason)| *reason)
}
