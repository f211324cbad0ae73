//! One app in an image, with the runtime that it names: no init system, no shell.

use super::guest::{Guest, copy};
use super::image;

#[test]
fn a_python_app_serves_and_keeps_what_it_was_told_over_a_power_cut() {
    let image = copy(&image("python"), "python-run.img");
    let mut guest = Guest::boot(&image, "256MiB", &[8080]);
    let form = "entry=First+%26+only";
    let post = format!("POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{form}", form.len());
    assert!(guest.ask(8080, &post).starts_with("HTTP/1.0 303"), "{}", guest.console());
    drop(guest);
    let mut guest = Guest::boot(&image, "256MiB", &[8080]);
    let page = guest.get(8080, "/");
    assert!(page.contains("<li>First &amp; only</li>") && page.contains("user 1000."), "{page}");
}

#[test]
fn one_static_program_is_an_image() {
    use std::os::unix::fs::MetadataExt;
    let image = image("minimal");
    let allocated = std::fs::metadata(&image).expect("an image").blocks() * 512;
    assert!(allocated <= 18_000_000, "{allocated} bytes are allocated, at most 18 MB may be");
    let mut guest = Guest::boot(&copy(&image, "minimal-run.img"), "256MiB", &[8080]);
    assert!(guest.get(8080, "/").contains("One program, nothing more"), "{}", guest.console());
}
