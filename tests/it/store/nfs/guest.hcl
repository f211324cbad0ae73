# A machine of the test of stores on NFS: a shell, the kernel's NFS server and client, and the mkimage under test.

image "nfs" {
  init = "/sbin/guest"
}

packages "debian" {
  suite        = "bookworm"
  names        = ["busybox-static"]
  dependencies = false
  drop         = ["/usr/share/**", "/etc/**"]
}

file "/sbin/guest" {
  source = "guest.sh"
  mode   = "0755"
}

file "/sbin/work" {
  source = "work.sh"
}

file "/bin/mkimage" {
  source = "mkimage"
  mode   = "0755"
}

# PID 1 gives each machine one of its own.
file "/etc/machine-id" {
  content = ""
}

directory "/mnt" {}

kernel "debian" {
  suite = "bookworm"
  modules = [
    "virtio_pci", "virtio_blk", "virtio_net", "virtio_rng", "dm_verity", "efivarfs", "button", "nfsd", "nfs",
    "nfsv4",
  ]
}

# An emulator that waits for its turn on a busy host may miss the timer that the kernel tries.
boot {
  command_line = ["no_timer_check"]
}

disk {
  data_path = "/var"
  data_size = "512MiB"
}
