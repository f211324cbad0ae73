//! What PID 1 runs: written into the initrd as `/service.json` when the image is built, read at boot.
//!
//! The JSON form is part of layout 1: a field that is added must have a default, one that changes its
//! meaning needs a new name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Path of the description inside the initrd.
pub const SERVICE_PATH: &str = "service.json";
/// Directory of the modules inside the initrd; their names sort in load order: `00-virtio.ko`.
pub const MODULES_PATH: &str = "modules";

/// Describes the machine that an image is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Host name.
    pub name: String,
    pub version: Option<String>,
    /// The tree's own init, which PID 1 becomes when the root is mounted; no app runs then.
    pub init: Option<String>,
    pub app: Option<App>,
    /// Where the data partition is mounted.
    pub data_path: String,
    /// Seconds without a sign of health after which the watchdog resets; 0 for none.
    pub watchdog_seconds: u32,
}

/// The app and how it runs. Ids are numbers: PID 1 reads no passwd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    pub name: String,
    /// Program (absolute path inside the root) and arguments.
    pub command: Vec<String>,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    pub working_directory: String,
    pub environment: BTreeMap<String, String>,
    /// Ambient capabilities, such as `CAP_NET_BIND_SERVICE`; all others are dropped, from the bounding set too.
    pub capabilities: Vec<String>,
    pub restart: Restart,
    pub stop_signal: String,
    pub stop_timeout_seconds: u32,
    /// The data directory `DATA_PATH/NAME` is made for the app's user at each boot where it is missing.
    pub health: Option<Health>,
}

/// What happens when the app exits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// When the app counts as healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    pub check: Check,
    pub interval_seconds: u32,
    pub timeout_seconds: u32,
    pub hold_seconds: u32,
    pub start_seconds: u32,
}

/// How health is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    Http { port: u16, path: String },
    Tcp { port: u16 },
    Command(Vec<String>),
}
