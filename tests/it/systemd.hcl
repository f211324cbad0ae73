# A whole Debian system with systemd as its own init: what the boot test builds. The tree is made by
# mmdebstrap; the answer on port 8080 tells whether systemd came up.

image "systemd" {
  init = "/sbin/init"
}

tree "root" {
  source = "rootfs.tar"
  path   = "/"
  allow = [
    "/dev/console", "/dev/full", "/dev/null", "/dev/ptmx", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero",
    "/usr/bin/chage", "/usr/bin/chfn", "/usr/bin/chsh", "/usr/bin/expiry", "/usr/bin/gpasswd", "/usr/bin/mount",
    "/usr/bin/newgrp", "/usr/bin/passwd", "/usr/bin/su", "/usr/bin/umount", "/usr/sbin/unix_chkpwd",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper",
  ]
}

file "/etc/machine-id" {
  content = ""
  replace = true
}

file "/etc/systemd/network/any.network" {
  content = <<-EOT
    [Match]
    Type=ether
    [Network]
    DHCP=yes
  EOT
}

symlink "/etc/systemd/system/multi-user.target.wants/systemd-networkd.service" {
  target = "/lib/systemd/system/systemd-networkd.service"
}

file "/etc/systemd/system/answer.socket" {
  content = <<-EOT
    [Socket]
    ListenStream=8080
    Accept=yes
  EOT
}

file "/etc/systemd/system/answer@.service" {
  content = <<-EOT
    [Service]
    StandardInput=socket
    StandardError=null
    EnvironmentFile=-/run/mkimage/environment
    LoadCredential=token
    ExecStart=-/usr/local/bin/answer
  EOT
}

file "/usr/local/bin/answer" {
  content = <<-EOT
    #!/bin/sh
    while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
    state=$(systemctl is-system-running --wait)
    failed=$(systemctl --failed --plain --no-legend)
    printf 'HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nsystemd is up: %s\n%s\n' "$state" "$failed"
    printf 'variable: %s\ncredential: %s\n' "$GREETING" "$(cat "$CREDENTIALS_DIRECTORY/token")"
    printf 'seen by all: %s\n' "$(stat -c %a /run/mkimage/environment)"
  EOT
  mode    = "0755"
}

symlink "/etc/systemd/system/sockets.target.wants/answer.socket" {
  target = "/etc/systemd/system/answer.socket"
}

kernel "debian" {
  suite   = "bookworm"
  package = "linux-image-cloud-amd64"
}

disk {
  data_path = "/var"
}
