include "common.hcl" {}

image "pump" {
  version = "1.0"
}

file "/etc/device.conf" {
  source = "settings/pump.conf"
}
