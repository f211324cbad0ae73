# What all images of the product have.

app "device" {
  source = "build/device"
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
