include "common.hcl" {}

image "siren" {
  version = "1.0"
}

file "/etc/device.conf" {
  source = "settings/siren.conf"
}
