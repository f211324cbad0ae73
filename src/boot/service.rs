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
    /// When a whole system on trial counts as healthy, and is blessed; without it that is when it has been up for a
    /// while. An app has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// What updates the machine from within; PID 1 of a whole system leaves that to the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<Agent>,
}

/// What updates the machine: a program of the verified root, run as a user of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Program (absolute path inside the root) and arguments.
    pub command: Vec<String>,
    pub uid: u32,
    pub gid: u32,
    /// Its folder, below the data partition's mount.
    pub state_path: String,
    /// The folder of its socket, below `/run`.
    pub socket_folder: String,
    /// The exit status by which it asks for a reboot.
    pub reboot_status: u8,
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
    /// What the app is told at start, besides its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<Configuration>,
    /// Where its output goes, besides the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

/// What the app is told at start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Asked in turn; the first one that answers is the one.
    pub metadata: Vec<MetadataSource>,
    /// How long the app waits for metadata.
    pub wait_seconds: u32,
    /// Whether the app is not started without metadata.
    pub required: bool,
    /// Names of credentials and of files of user data that the app finds in its `CREDENTIALS_DIRECTORY`.
    pub credentials: Vec<String>,
}

/// A place of cloud metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetadataSource {
    /// The instance metadata service, version 2.
    Ec2,
    /// A disk labelled `cidata`, or the address in the machine's serial number.
    Nocloud,
    /// A disk labelled `config-2`.
    ConfigDrive,
}

impl std::fmt::Display for MetadataSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            MetadataSource::Ec2 => "ec2",
            MetadataSource::Nocloud => "nocloud",
            MetadataSource::ConfigDrive => "config-drive",
        })
    }
}

/// Where the app's output goes, besides the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// `tcp://HOST:PORT` (syslog) or `http://…`. `None`: only where the machine is told one at start.
    pub address: Option<String>,
    /// Most bytes of lines that wait for the collector.
    pub buffer_bytes: u64,
}

/// What happens when the app exits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// When the app, or a whole system, counts as healthy.
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
    Http {
        port: u16,
        path: String,
    },
    Tcp {
        port: u16,
    },
    Command(Vec<String>),
    /// A unit of systemd that is to be active; in whole systems only.
    Unit(String),
}
