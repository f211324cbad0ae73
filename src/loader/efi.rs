//! UEFI as far as a loader needs it (UEFI 2.10): tables, protocols, and safe calls of what they offer.

use core::ffi::c_void;
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicPtr, Ordering};

pub type Handle = *mut c_void;

/// What a call of firmware returns: zero, or why not.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Status(usize);

impl Status {
    pub const SUCCESS: Status = Status(0);
    pub const ABORTED: Status = Status(1 << 63 | 21);

    fn result(self) -> Result<(), Status> {
        if self == Status::SUCCESS { Ok(()) } else { Err(self) }
    }

    /// Returns the number of an error (UEFI, appendix D).
    pub fn number(self) -> usize {
        self.0 & !(1 << 63)
    }
}

#[repr(C)]
pub struct Guid(pub u32, pub u16, pub u16, pub [u8; 8]);

const LOADED_IMAGE: Guid = Guid(0x5b1b_31a1, 0x9562, 0x11d2, [0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b]);
const BLOCK_IO: Guid = Guid(0x964e_5b21, 0x6459, 0x11d2, [0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b]);
const DEVICE_PATH: Guid = Guid(0x0957_6e91, 0x6d3f, 0x11d2, [0x8e, 0x39, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b]);

const PAGE_BYTES: usize = 4096;
/// Memory for data of the loader, anywhere.
const LOADER_DATA: u32 = 2;
const ANY_PAGES: u32 = 0;
/// Variables that the system sees after the firmware has gone, and that are gone after a reset.
const VOLATILE: u32 = 6;
const RESET_COLD: u32 = 0;

#[repr(C)]
pub struct SystemTable {
    header: [u8; 24],
    vendor: *const u16,
    revision: u32,
    console_in_handle: Handle,
    console_in: *mut c_void,
    console_out_handle: Handle,
    console_out: *mut TextOutput,
    error_handle: Handle,
    error: *mut c_void,
    runtime: *const RuntimeServices,
    boot: *const BootServices,
}

#[repr(C)]
struct TextOutput {
    reset: usize,
    output_string: unsafe extern "efiapi" fn(*mut TextOutput, *const u16) -> Status,
}

#[repr(C)]
struct BootServices {
    header: [u8; 24],
    task_priority: [usize; 2],
    allocate_pages: unsafe extern "efiapi" fn(u32, u32, usize, *mut u64) -> Status,
    free_pages: unsafe extern "efiapi" fn(u64, usize) -> Status,
    memory_and_events: [usize; 12],
    handle_protocol: unsafe extern "efiapi" fn(Handle, *const Guid, *mut *mut c_void) -> Status,
    handles: [usize; 5],
    load_image: unsafe extern "efiapi" fn(bool, Handle, *const u8, *const u8, usize, *mut Handle) -> Status,
    start_image: unsafe extern "efiapi" fn(Handle, *mut usize, *mut *mut u16) -> Status,
    exit: usize,
    unload_image: unsafe extern "efiapi" fn(Handle) -> Status,
    exit_and_count: [usize; 2],
    stall: unsafe extern "efiapi" fn(usize) -> Status,
    set_watchdog_timer: unsafe extern "efiapi" fn(usize, u64, usize, *const u16) -> Status,
}

#[repr(C)]
struct RuntimeServices {
    header: [u8; 24],
    time_and_memory: [usize; 6],
    get_variable: usize,
    next_variable: usize,
    set_variable: unsafe extern "efiapi" fn(*const u16, *const Guid, u32, usize, *const u8) -> Status,
    monotonic_count: usize,
    reset_system: unsafe extern "efiapi" fn(u32, Status, usize, *const u8) -> !,
}

#[repr(C)]
struct LoadedImage {
    revision: u32,
    parent: Handle,
    system: *const SystemTable,
    device: Handle,
}

#[repr(C)]
struct BlockIoMedia {
    id: u32,
    is_removable: bool,
    is_present: bool,
    is_partition: bool,
    is_read_only: bool,
    caches_writes: bool,
    block_bytes: u32,
    alignment: u32,
    last_block: u64,
}

#[repr(C)]
struct BlockIo {
    revision: u64,
    media: *const BlockIoMedia,
    reset: usize,
    read: unsafe extern "efiapi" fn(*mut BlockIo, u32, u64, usize, *mut u8) -> Status,
    write: unsafe extern "efiapi" fn(*mut BlockIo, u32, u64, usize, *const u8) -> Status,
    flush: unsafe extern "efiapi" fn(*mut BlockIo) -> Status,
}

/// The system table, for a panic too.
static SYSTEM: AtomicPtr<SystemTable> = AtomicPtr::new(null_mut());

/// The firmware that started us.
#[derive(Clone, Copy)]
pub struct Firmware {
    image: Handle,
    system: &'static SystemTable,
}

impl Firmware {
    /// Takes what firmware hands to the entry point.
    ///
    /// # Safety
    /// Both must come from the firmware, whose boot services still run.
    pub unsafe fn new(image: Handle, system: *mut SystemTable) -> Firmware {
        SYSTEM.store(system, Ordering::Relaxed);
        // SAFETY: the firmware's table outlives its boot services, and so us.
        Firmware { image, system: unsafe { &*system } }
    }

    /// Returns the firmware that was met before, for a panic.
    pub fn known() -> Option<Firmware> {
        let system = SYSTEM.load(Ordering::Relaxed);
        // SAFETY: it is null, or what `new` was given.
        unsafe { system.as_ref() }.map(|system| Firmware { image: null_mut(), system })
    }

    fn boot(&self) -> &BootServices {
        // SAFETY: the table points to its boot services as long as they run.
        unsafe { &*self.system.boot }
    }

    fn runtime(&self) -> &RuntimeServices {
        // SAFETY: the table points to its runtime services.
        unsafe { &*self.system.runtime }
    }

    /// Writes text to the console: ASCII.
    pub fn print(&self, text: &str) {
        if self.system.console_out.is_null() {
            return;
        }
        for byte in text.bytes() {
            let letter = [u16::from(byte), 0];
            // SAFETY: the console is the firmware's, the text ends in zero.
            unsafe { ((*self.system.console_out).output_string)(self.system.console_out, letter.as_ptr()) };
        }
    }

    /// Resets the machine in that time, unless a system starts or this is called again.
    pub fn watch(&self, seconds: usize) {
        // SAFETY: no text comes with it.
        let _ = unsafe { (self.boot().set_watchdog_timer)(seconds, 0x10000, 0, null()) };
    }

    pub fn wait(&self, seconds: usize) {
        // SAFETY: it takes a number.
        let _ = unsafe { (self.boot().stall)(seconds * 1_000_000) };
    }

    pub fn reset(&self) -> ! {
        // SAFETY: it does not come back.
        unsafe { (self.runtime().reset_system)(RESET_COLD, Status::SUCCESS, 0, null()) }
    }

    /// Sets a variable to ASCII text, until the next reset. The name and the text have at most 255 letters;
    /// what is behind them is left out.
    pub fn set_variable(&self, name: &str, vendor: &Guid, text: &str) {
        let (name, _) = wide(name);
        let (text, bytes) = wide(text);
        // SAFETY: both end in zero, and `bytes` are there.
        let _ = unsafe {
            (self.runtime().set_variable)(name.as_ptr(), vendor, VOLATILE, bytes, text.as_ptr().cast())
        };
    }

    fn protocol<T>(&self, handle: Handle, guid: &Guid) -> Option<*mut T> {
        let mut found = null_mut();
        // SAFETY: the firmware checks the handle, and fills `found` where it has the protocol.
        let status = unsafe { (self.boot().handle_protocol)(handle, guid, &mut found) };
        (status == Status::SUCCESS && !found.is_null()).then_some(found.cast())
    }

    /// Returns the partition that we were loaded from.
    pub fn own_partition(&self) -> Option<Partition> {
        let loaded: *mut LoadedImage = self.protocol(self.image, &LOADED_IMAGE)?;
        // SAFETY: the protocol of our own image is there as long as we are.
        let device = unsafe { (*loaded).device };
        let io: *mut BlockIo = self.protocol(device, &BLOCK_IO)?;
        // SAFETY: a block device has its media.
        let media = unsafe { &*(*io).media };
        let path: *mut u8 = self.protocol(device, &DEVICE_PATH)?;
        // SAFETY: the path of a device that is there ends as paths do.
        let path = unsafe { path_bytes(path) };
        Some(Partition { io, media, path })
    }

    /// Takes whole pages of memory.
    pub fn allocate(&self, bytes: usize) -> Result<Pages, Status> {
        let count = bytes.div_ceil(PAGE_BYTES);
        let mut address = 0;
        // SAFETY: it writes an address into our variable.
        unsafe { (self.boot().allocate_pages)(ANY_PAGES, LOADER_DATA, count, &mut address) }.result()?;
        Ok(Pages { firmware: *self, address, count })
    }

    /// Has the firmware load a program from memory, as if it came from a device path.
    pub fn load(&self, path: &[u8], program: &[u8]) -> Result<Handle, Status> {
        let mut handle = null_mut();
        let (bytes, size) = (program.as_ptr(), program.len());
        // SAFETY: the path ends as paths do, the program is in memory.
        let status =
            unsafe { (self.boot().load_image)(false, self.image, path.as_ptr(), bytes, size, &mut handle) };
        match status.result() {
            Ok(()) => Ok(handle),
            Err(error) => {
                if !handle.is_null() {
                    // SAFETY: an image that may not run (secure boot) is loaded all the same.
                    let _ = unsafe { (self.boot().unload_image)(handle) };
                }
                Err(error)
            }
        }
    }

    /// Starts a loaded program; it comes back only where it failed.
    pub fn start(&self, program: Handle) -> Status {
        let mut size = 0;
        // SAFETY: the handle is of an image that was loaded and not yet started.
        unsafe { (self.boot().start_image)(program, &mut size, null_mut()) }
    }
}

/// Returns a text as UTF-16 with a closing zero, and how many bytes that takes.
fn wide(text: &str) -> ([u16; 256], usize) {
    let mut units = [0; 256];
    let count = text.len().min(units.len() - 1);
    for (unit, byte) in units.iter_mut().zip(text.bytes().take(count)) {
        *unit = u16::from(byte);
    }
    (units, (count + 1) * 2)
}

/// Returns the nodes of a device path, without its end.
///
/// # Safety
/// The path must end in an end node.
unsafe fn path_bytes(path: *const u8) -> &'static [u8] {
    let mut length = 0;
    loop {
        // SAFETY: the path is not at its end yet.
        let node = unsafe { core::slice::from_raw_parts(path.add(length), 4) };
        let size = usize::from(u16::from_le_bytes([node[2], node[3]]));
        if node[0] == 0x7f || size < 4 {
            // SAFETY: these bytes were walked.
            return unsafe { core::slice::from_raw_parts(path, length) };
        }
        length += size;
    }
}

/// Pages of memory; dropped, they are the firmware's again.
pub struct Pages {
    firmware: Firmware,
    address: u64,
    count: usize,
}

impl Pages {
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the firmware gave us these pages, and maps memory one to one.
        unsafe { core::slice::from_raw_parts_mut(self.address as *mut u8, self.count * PAGE_BYTES) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nothing borrows them any more.
        let _ = unsafe { (self.firmware.boot().free_pages)(self.address, self.count) };
    }
}

/// A partition of a disk.
pub struct Partition {
    io: *mut BlockIo,
    media: &'static BlockIoMedia,
    /// The nodes of its device path.
    pub path: &'static [u8],
}

impl Partition {
    pub fn block_bytes(&self) -> u32 {
        self.media.block_bytes
    }

    pub fn blocks(&self) -> u64 {
        self.media.last_block.saturating_add(1)
    }

    pub fn is_read_only(&self) -> bool {
        self.media.is_read_only
    }

    /// Reads whole blocks.
    pub fn read(&self, block: u64, bytes: &mut [u8]) -> Result<(), Status> {
        let (size, place) = (bytes.len(), bytes.as_mut_ptr());
        // SAFETY: the device writes `size` bytes; it refuses blocks that it has not.
        unsafe { ((*self.io).read)(self.io, self.media.id, block, size, place) }.result()
    }

    /// Writes whole blocks, and has the device write them down for good.
    pub fn write(&self, block: u64, bytes: &[u8]) -> Result<(), Status> {
        let (size, place) = (bytes.len(), bytes.as_ptr());
        // SAFETY: the device reads `size` bytes.
        unsafe {
            ((*self.io).write)(self.io, self.media.id, block, size, place).result()?;
            ((*self.io).flush)(self.io).result()
        }
    }
}
