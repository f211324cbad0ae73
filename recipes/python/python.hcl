# A web app in Python: the interpreter, its standard library, and one file. No shell, no init system.
#
#   mkimage build python.hcl -o python.img
#   mkimage run python.img

image "python" {
  version     = "1.0"
  description = "A web app in Python"
}

packages "debian" {
  suite     = "bookworm"
  names     = ["python3"]
  essential = false
  drop = [
    "/usr/share/doc/**", "/usr/share/man/**", "/usr/share/lintian/**", "/usr/share/locale/**", "/usr/share/perl5/**",
    # What Python's scripts of installation would call.
    "/usr/bin/dpkg*", "/usr/lib/dpkg/**", "/usr/share/dpkg/**", "/usr/bin/tar",
  ]
  scripts = { dpkg = "ignore" }

  source "security" {
    suite = "bookworm-security"
  }
}

app "guestbook" {
  source      = "guestbook.py"
  path        = "/app/guestbook.py"
  command     = ["/usr/bin/python3", "-I", "-B", "/app/guestbook.py"]
  environment = { PORT = 8080 }
  ports       = [8080]

  health {
    http = ":8080/health"
  }
}

kernel "debian" {}
