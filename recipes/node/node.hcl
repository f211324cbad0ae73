# A web app in JavaScript: Node.js and one file. No shell, no init system.
#
#   mkimage build node.hcl -o node.img
#   mkimage run node.img

image "node" {
  version     = "1.0"
  description = "A web app on Node.js"
}

packages "debian" {
  suite     = "bookworm"
  names     = ["nodejs"]
  essential = false
  drop      = ["/usr/share/doc/**", "/usr/share/man/**", "/usr/share/lintian/**", "/usr/share/locale/**"]

  source "security" {
    suite = "bookworm-security"
  }
}

app "clock" {
  source      = "clock.js"
  path        = "/app/clock.js"
  command     = ["/usr/bin/node", "/app/clock.js"]
  environment = { PORT = 8080 }
  ports       = [8080]

  health {
    http = ":8080/health"
  }
}

kernel "debian" {}
