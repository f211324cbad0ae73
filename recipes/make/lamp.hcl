include "common.hcl" {}

image "lamp" {
  version = "1.0"
}

file "/etc/device.conf" {
  source = "settings/lamp.conf"
}
