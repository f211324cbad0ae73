# A small web service and nothing else: one program, the kernel, and a few kernel modules.
#
#   cargo build --release                    (in this folder)
#   mkimage build hello.hcl -o hello.img
#   mkimage run hello.img

variable "greeting" {
  default     = "Hello from an image of one's own!"
  description = "What the page says"
}

variable "port" {
  type        = number
  default     = 8080
  description = "TCP port that the service listens on"
}

image "hello" {
  version     = "1.0.0"
  description = "A small HTTP service"
}

app "hello" {
  source = "target/x86_64-unknown-linux-gnu/release/hello"
  path   = "/app/hello"
  ports  = [var.port]

  environment = {
    GREETING = var.greeting
    PORT     = var.port
  }

  health {
    http = ":${var.port}/health"
  }
}

kernel "debian" {
  suite = "bookworm"
}
