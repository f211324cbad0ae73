//! What the finalizers read of packages: fragments of sysusers.d, maintainer scripts, unit files.

use mkimage::finalize::{parse_install, parse_sysusers, read_script};

pub const WORDS: &[&str] = &[
    "if ",
    "then\n",
    "fi\n",
    "case $1 in ",
    "esac",
    ";;",
    "for f in a b; do ",
    "while read x; do ",
    "done",
    "{ ",
    "}",
    "$(",
    "`",
    "${a:-",
    "${a%%",
    "\"$@\"",
    "$((",
    "<<EOF\n",
    "EOF\n",
    "set -- ",
    "eval ",
    "f() { ",
    "mkdir -p /x\n",
    "update-alternatives --install /a a /b 1 ",
    "sed -e s/a/b/ ",
    "grep -E '(a|b)*' ",
    "local x=",
    "exit 1\n",
    "&& ",
    "u x - ",
    "[Install]\nWantedBy=",
];

pub fn sysusers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = parse_sysusers(text) {
        assert!(error.line >= 1 && error.line <= text.lines().count(), "{error}");
    }
}

pub fn sysusers_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "u messagebus - \"System Message Bus\"\ng kvm -\nm web kvm\nr - 500-900\n",
        "u! sync 4:65534 - /bin /bin/sync\nu a /usr/bin/x 'b\\'c'\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Follows a script over an empty tree.
pub fn script(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    read_script(text, &super::JOB);
}

pub fn script_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "#!/bin/sh\nset -e\ncase \"$1\" in\n configure)\n  adduser --system --group --home /var/lib/x x\n  \
         install -d -o x -g x -m 0750 /var/lib/x\n ;;\nesac\nif [ -z \"$2\" ] && ! [ -e /etc/x ]; then\n cat > /etc/x <<EOF\na $1\nEOF\nfi\n",
        "f() { local a=\"${1%.*}\"; echo \"$a\" | sed -e 's/a/b/g' | cut -d. -f1; }\nx=$(f a.b)\nfor y in $x /etc/*; do\n \
         dpkg-divert --add --rename --divert \"$y.real\" \"$y\" || true\ndone\nwhile read l; do echo $l; done <<E\na\nb\nE\n",
        "update-alternatives --install /usr/bin/x x /usr/bin/y 50 \\\n --slave /a a /b\nsystemctl enable x.service\n\
         deb-systemd-helper enable 'y.timer' >/dev/null || true\ndb_get a/b; [ \"$RET\" = true ] && chmod u+s,go-w /bin/x\n",
        "[ a = ] && chmod x\n[ ! ! a ] || test a -a ( b )\n",
        "grep -qE '^(a|b)*[[:digit:]]+$' /etc/passwd || eval \"x=1\"\nset -- a b; shift; printf '%s\\n' \"$@\" \"${x:+y}\" `echo z`\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

pub fn unit(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let install = parse_install(text);
    let lists = [install.alias, install.wanted_by, install.required_by, install.upheld_by, install.also];
    assert!(lists.iter().flatten().all(|word| text.contains(word.as_str())));
}

pub fn unit_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target \\\n a.target\nAlias=sshd.service\nAlso=x.socket\n",
        "[Install]\n# remark\nDefaultInstance=tty1\nWantedBy=\nRequiredBy=%i.target\n",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
