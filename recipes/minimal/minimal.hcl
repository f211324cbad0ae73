# The least that answers on a port: one static program, the kernel, and the modules that the machine needs.
#
#   make                  (in this folder: compiles answer)
#   mkimage build minimal.hcl -o minimal.img
#   mkimage run minimal.img

image "minimal" {
  version     = "1.0"
  description = "One static program"
}

app "answer" {
  source = "target/answer"
  ports  = [8080]

  health {
    tcp = 8080
  }
}

kernel "debian" {
  suite   = "bookworm"
  modules = ["virtio_pci", "virtio_blk", "virtio_net", "dm_verity", "efivarfs", "button", "evdev"]
}

disk {
  data_size = "8MiB"
}
