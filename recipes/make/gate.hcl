include "common.hcl" {}

image "gate" {
  version = "1.0"
}

file "/etc/device.conf" {
  source = "settings/gate.conf"
}
