//! The power button: an input device that the kernel names so.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use mkimage::base::fs;

const CLASS: &str = "/sys/class/input";
/// Names that ACPI and device trees give it.
const NAMES: [&str; 2] = ["Power Button", "gpio-keys"];
const EVENT_BYTES: usize = 24;
const KEY_EVENT: u16 = 1;
const POWER_KEY: u16 = 116;
const PRESSED: i32 = 1;

/// Opens every power button of the machine.
pub fn open_all() -> Vec<File> {
    let names = fs::list(Path::new(CLASS)).unwrap_or_default();
    names.iter().filter_map(|name| open(name.to_str()?)).collect()
}

/// Tells whether the button was pressed since the last look.
pub fn was_pressed(mut button: &File) -> bool {
    let mut events = [0; 32 * EVENT_BYTES];
    let length = button.read(&mut events).unwrap_or(0);
    events[..length].chunks_exact(EVENT_BYTES).any(is_press)
}

fn open(name: &str) -> Option<File> {
    let label = std::fs::read_to_string(Path::new(CLASS).join(name).join("device/name")).ok()?;
    if !name.starts_with("event") || !NAMES.contains(&label.trim()) {
        return None;
    }
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK).open(format!("/dev/input/{name}")).ok()
}

/// Reads `struct input_event` of a 64-bit machine: a time of 16 bytes, type, code, value.
fn is_press(event: &[u8]) -> bool {
    let short = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    let value = i32::from_ne_bytes([event[20], event[21], event[22], event[23]]);
    (short(16), short(18), value) == (KEY_EVENT, POWER_KEY, PRESSED)
}
