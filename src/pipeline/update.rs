//! What an image needs that updates itself: the agent, its settings and keys, and in whole systems a unit that
//! runs it. In app images PID 1 does.

use super::error::{PipelineError, Result};
use crate::agent::{
    CERTIFICATES_PATH, KEYS_PATH, PROGRAM_PATH, REBOOT_STATUS, Reboot, SETTINGS_PATH, SOCKET_PATH,
    STATE_FOLDER, Settings, parse_keys,
};
use crate::base::{FileError, ImagePath, fs, whole};
use crate::boot::service::Agent;
use crate::recipe::plan::{
    Account, FileContent, FilePlan, InodePlan, Owner, Part, Plan, SymlinkPlan, UpdatePlan, UpdateReboot,
};
use crate::tree::{ContentSink, Contribution, Directory, File, Metadata, Node};

/// User and group of the agent where PID 1 runs it: neither one of a distribution's nor another one of ours.
const AGENT_ID: u32 = 65_532;
const UNIT: &str = "/usr/lib/systemd/system/mkimage-agent.service";
const WANTED: &str = "/etc/systemd/system/multi-user.target.wants/mkimage-agent.service";
const KEYS_BYTES_MAX: u64 = 64 << 10;
const CERTIFICATES_BYTES_MAX: u64 = 16 << 20;
/// How a certificate begins in PEM form (RFC 7468 §5).
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// Returns a plan with what its update block brings along, but for the agent's program, as further parts.
pub fn extended(plan: &Plan) -> Result<Plan> {
    let mut extended = plan.clone();
    let Some(update) = plan.update.as_ref().filter(|_| plan.kernel.is_some()) else { return Ok(extended) };
    check_keys(update)?;
    check_certificates(update)?;
    let settings = settings(plan, update);
    let mut add = |path: &str, content: FileContent| {
        let origin = update.origin.clone();
        extended.parts.push(Part::File(FilePlan { inode: inode(path), content, origin }));
    };
    add(SETTINGS_PATH, FileContent::Inline(settings.encode()));
    add(KEYS_PATH, FileContent::Host(update.key.clone()));
    if let Some(certificates) = &update.certificates {
        add(CERTIFICATES_PATH, FileContent::Host(certificates.clone()));
    }
    if plan.image.init.is_some() {
        add(UNIT, FileContent::Inline(unit(&settings)));
        let (inode, target) = (inode(WANTED), UNIT.to_owned());
        extended.parts.push(Part::Symlink(SymlinkPlan { inode, target, origin: update.origin.clone() }));
    }
    Ok(extended)
}

/// Returns the agent's program as a contribution to the root.
pub fn program(update: &UpdatePlan, program: &[u8], sink: &dyn ContentSink) -> Result<Contribution> {
    let mut tree = Directory::default();
    let file = File { metadata: Metadata::root(0o755), content: sink.put(program)? };
    tree.insert(&path(PROGRAM_PATH), Node::File(file)).map_err(|error| PipelineError::Tree(vec![error]))?;
    Ok(Contribution { origin: update.origin.to_string(), tree, replaces: Vec::new(), explicit: Vec::new() })
}

/// Describes the agent to PID 1.
pub fn agent(plan: &Plan) -> Agent {
    Agent {
        command: vec![PROGRAM_PATH.to_owned(), "run".to_owned()],
        uid: AGENT_ID,
        gid: AGENT_ID,
        state_path: format!("{}/{STATE_FOLDER}", plan.disk.data_path.to_string().trim_end_matches('/')),
        socket_folder: SOCKET_PATH.rsplit_once('/').map_or(String::new(), |(folder, _)| folder.to_owned()),
        reboot_status: REBOOT_STATUS,
    }
}

fn settings(plan: &Plan, update: &UpdatePlan) -> Settings {
    let same = "because the recipe's patterns are those of the agent";
    Settings {
        from: update.from.clone(),
        reference: update.reference.clone(),
        threshold: update.threshold as usize,
        interval_seconds: update.interval_seconds,
        jitter_seconds: update.jitter_seconds,
        window: update.window.as_ref().map(|window| window.parse().expect(same)),
        rings: update.rings.iter().map(|ring| ring.parse().expect(same)).collect(),
        reboot: match update.reboot {
            UpdateReboot::WhenTold => Reboot::WhenTold,
            UpdateReboot::Window => Reboot::Window,
            UpdateReboot::AtOnce => Reboot::AtOnce,
        },
        data_path: plan.disk.data_path.to_string(),
        certificates: update.certificates.as_ref().map(|_| CERTIFICATES_PATH.into()),
    }
}

/// Refuses a file that holds no keys, or fewer than must sign: its machines could never be updated.
fn check_keys(update: &UpdatePlan) -> Result<()> {
    let wrong = |problem: String| PipelineError::UpdateKey {
        path: update.key.clone(),
        problem,
        origin: update.origin.clone(),
    };
    let bytes =
        fs::read_at_most(&update.key, KEYS_BYTES_MAX).map_err(|error: FileError| wrong(whole(&error)))?;
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text".to_owned()))?;
    let mut keys = parse_keys(&text).map_err(wrong)?;
    keys.dedup_by_key(|key| *key.bytes());
    match keys.len() >= update.threshold as usize {
        true => Ok(()),
        false => Err(wrong(format!("it holds {} keys, and {} must sign", keys.len(), update.threshold))),
    }
}

/// Refuses a file without a certificate: no server could be asked.
fn check_certificates(update: &UpdatePlan) -> Result<()> {
    let Some(path) = &update.certificates else { return Ok(()) };
    let wrong = |problem: String| PipelineError::UpdateCertificates {
        path: path.clone(),
        problem,
        origin: update.origin.clone(),
    };
    let bytes = fs::read_at_most(path, CERTIFICATES_BYTES_MAX).map_err(|error| wrong(whole(&error)))?;
    match bytes.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE.as_bytes()) {
        true => Ok(()),
        false => Err(wrong("it holds no certificate in PEM form".to_owned())),
    }
}

fn inode(path: &str) -> InodePlan {
    InodePlan {
        path: self::path(path),
        mode: 0o644,
        owner: Owner { user: Account::Id(0), group: Account::Id(0) },
        xattrs: Default::default(),
        capabilities: Vec::new(),
        replace: false,
    }
}

fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("because these paths are ours")
}

/// Returns the unit. It runs as root, because the disk's nodes are root's, and with nothing else that root has.
fn unit(settings: &Settings) -> String {
    let state = settings.state_folder();
    let state = state.display();
    format!(
        "[Unit]
Description=Updates this machine
After=network-online.target local-fs.target
Wants=network-online.target

[Service]
ExecStartPre=+/bin/mkdir -p {state}
ExecStart={PROGRAM_PATH} run --reboot systemd
Restart=always
RestartSec=30
RuntimeDirectory=mkimage-agent
CapabilityBoundingSet=
DevicePolicy=closed
DeviceAllow=block-* rw
LockPersonality=yes
MemoryDenyWriteExecute=yes
MemoryMax=1G
NoNewPrivileges=yes
OOMScoreAdjust=500
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
ReadWritePaths=-{state}
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self
UMask=0077

[Install]
WantedBy=multi-user.target
"
    )
}
