# A web app as a JAR: a Java runtime without a display, and the JAR. No shell, no init system.
#
#   make                  (in this folder: compiles clock.jar)
#   mkimage build java.hcl -o java.img
#   mkimage run java.img --memory 512MiB

image "java" {
  version     = "1.0"
  description = "A web app on a Java virtual machine"
}

packages "debian" {
  suite     = "bookworm"
  names     = ["openjdk-17-jre-headless"]
  essential = false
  drop      = ["/usr/share/doc/**", "/usr/share/man/**", "/usr/share/lintian/**", "/usr/share/locale/**"]

  # They choose among several fonts and Java runtimes; here is one.
  scripts = { fontconfig-config = "ignore", openjdk-17-jre-headless = "ignore" }

  source "security" {
    suite = "bookworm-security"
  }
}

app "clock" {
  source = "target/clock.jar"
  path   = "/app/clock.jar"
  command = [
    "/usr/lib/jvm/java-17-openjdk-amd64/bin/java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar",
    "/app/clock.jar",
  ]
  environment = { PORT = 8080 }
  ports       = [8080]

  health {
    http = ":8080/health"
  }
}

kernel "debian" {}
