# What makes a Debian tree with systemd a server on a read-only, verified root. Recipes of servers include it.
#
# /etc belongs to the image. What a machine makes for itself lies on the data partition, at /var: logs, the
# host keys of SSH, its machine id.

file "/etc/hosts" {
  content = <<-EOT
    127.0.0.1 localhost
    ::1       localhost ip6-localhost
  EOT
  replace = true
}

file "/etc/default/locale" {
  content = "LANG=C.UTF-8\n"
  replace = true
}

# Network: every wired interface by DHCP and router advertisements.

file "/etc/systemd/network/80-wired.network" {
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

symlink "/etc/systemd/system/sockets.target.wants/systemd-networkd.socket" {
  target = "/lib/systemd/system/systemd-networkd.socket"
}

symlink "/etc/systemd/system/dbus-org.freedesktop.network1.service" {
  target = "/lib/systemd/system/systemd-networkd.service"
}

# SSH: host keys are made at the first boot and kept in /var/lib/ssh; who may log in is said from outside.
#
#   mkimage run IMAGE --port 2222:22 --env AUTHORIZED_KEY="$(cat ~/.ssh/id_ed25519.pub)"
#
# On other hypervisors: systemd's credential `ssh.authorized_keys.root`. Keys that are to stay go into
# /var/lib/authorized_keys/NAME.

file "/etc/ssh/sshd_config.d/20-logins.conf" {
  content = <<-EOT
    AuthorizedKeysFile /var/lib/authorized_keys/%u /run/authorized_keys/%u
    PasswordAuthentication no
    KbdInteractiveAuthentication no
  EOT
}

file "/etc/systemd/system/authorized-keys.service" {
  content = <<-EOT
    [Unit]
    Description=Keys for SSH that the hypervisor hands over
    Before=ssh.service

    [Service]
    Type=oneshot
    RemainAfterExit=yes
    StateDirectory=authorized_keys
    RuntimeDirectory=authorized_keys
    RuntimeDirectoryPreserve=yes
    LoadCredential=ssh.authorized_keys.root
    LoadCredential=mkimage.env.AUTHORIZED_KEY
    ExecStart=/usr/local/lib/image/authorized-keys
  EOT
}

file "/usr/local/lib/image/authorized-keys" {
  source = "authorized-keys"
  mode   = "0755"
}

symlink "/etc/systemd/system/ssh.service.wants/authorized-keys.service" {
  target = "/etc/systemd/system/authorized-keys.service"
}

# Health: a new version is a trial until this file is gone (see mkimage's PID 1). It goes when systemd has
# started everything and nothing failed; a reboot before that uses up a try.

file "/etc/tmpfiles.d/image.conf" {
  content = <<-EOT
    d /run/mkimage      0755
    f /run/mkimage/hold 0644
  EOT
}

file "/etc/systemd/system/image-health.service" {
  content = <<-EOT
    [Unit]
    Description=Says that this version of the system is healthy

    [Service]
    Type=exec
    ExecStart=/usr/local/lib/image/health
  EOT
}

file "/usr/local/lib/image/health" {
  source = "health"
  mode   = "0755"
}

symlink "/etc/systemd/system/multi-user.target.wants/image-health.service" {
  target = "/etc/systemd/system/image-health.service"
}

# Settings: what the hypervisor hands over as credentials mkimage.env.NAME (and `mkimage run --env`) stands in
# /run/mkimage/environment, for units that say `EnvironmentFile=-/run/mkimage/environment`; other credentials
# reach a unit by `LoadCredential=NAME`.

# Logs: kept over reboots, at most a tenth of the data partition.

file "/etc/systemd/journald.conf.d/image.conf" {
  content = <<-EOT
    [Journal]
    Storage=persistent
  EOT
}

kernel "debian" {
  package = "linux-image-cloud-amd64"
}

boot {
  # Systemd mounts partitions that it finds by their types, the boot partition among them, writable.
  command_line = ["systemd.gpt_auto=no"]
}

disk {
  data_path = "/var"
  data_size = "256MiB"
}
