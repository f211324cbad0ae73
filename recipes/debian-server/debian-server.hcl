# A Debian server: systemd, network and names by DHCP, the time, SSH without baked keys, a journal that stays.
#
#   mkimage build debian-server.hcl -o server.img
#   mkimage run server.img --memory 512MiB --port 2222:22 --env AUTHORIZED_KEY="$(cat ~/.ssh/id_ed25519.pub)"
#   ssh -p 2222 root@127.0.0.1
#
# It has no apt: an update is a new image in the other slot. `mkimage lock --update` takes new versions,
# `mkimage lock --diff` shows them.

image "debian-server" {
  version     = "1.0"
  description = "A Debian server"
  init        = "/sbin/init"
}

packages "debian" {
  suite = "bookworm"
  names = [
    "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "libpam-systemd", "dbus", "udev", "kmod",
    "linux-image-cloud-amd64", "iproute2", "iputils-ping", "nftables", "openssh-server", "ca-certificates",
    "procps", "less", "nano",
  ]
  drop = ["/usr/share/doc/**", "/usr/share/man/**", "/usr/share/locale/**", "/usr/share/lintian/**", "/boot/**"]
  keep = ["/usr/share/doc/*/copyright", "/usr/share/man/man7/bash-builtins.7.gz"]

  source "updates" {
    suite = "bookworm-updates"
  }

  source "security" {
    suite = "bookworm-security"
  }
}

include "server.hcl" {}

file "/etc/hostname" {
  content = "debian-server\n"
  replace = true
}

symlink "/etc/resolv.conf" {
  target  = "../run/systemd/resolve/stub-resolv.conf"
  replace = true
}
