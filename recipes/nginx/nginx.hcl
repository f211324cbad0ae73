# A web server as a whole Debian system: systemd, SSH without baked keys, nginx on port 80.
#
#   mkimage build nginx.hcl -o nginx.img
#   mkimage run nginx.img --memory 512MiB --port 8080:80

image "nginx" {
  version     = "1.0"
  description = "nginx on Debian"
  init        = "/sbin/init"
}

packages "debian" {
  suite = "bookworm"
  names = [
    "systemd-sysv", "linux-image-cloud-amd64", "udev", "dbus", "kmod", "iproute2", "ca-certificates",
    "openssh-server", "nginx-light", "python3-minimal", "base-files", "base-passwd", "bash", "coreutils", "libc-bin",
  ]

  source "updates" {
    suite = "bookworm-updates"
  }

  source "security" {
    suite = "bookworm-security"
  }
}

include "../debian-server/server.hcl" {}

file "/etc/hostname" {
  content = "nginx\n"
  replace = true
}

file "/etc/nginx/sites-enabled/default" {
  content = <<-EOT
    server {
      listen 80 default_server;
      listen [::]:80 default_server;
      root /srv/www;
      # To the journal, which is bounded.
      access_log syslog:server=unix:/dev/log;
    }
  EOT
  replace = true
}

tree "site" {
  source = "www/"
  path   = "/srv/www"
}
