//! The network of an app machine: loopback, and DHCP on the first Ethernet interface.
//!
//! The client is a process of its own, with the rights to configure a network and no others: a message that
//! fools it does not reach PID 1. It tells PID 1 by a pipe when it has its first lease, keeps the lease for
//! as long as the machine runs, and writes `/run/resolv.conf`.

use std::ffi::CString;
use std::hash::{BuildHasher, Hasher};
use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use mkimage::base::fs;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use crate::error::{Doing, Result, chain};
use crate::logic::dhcp::{self, Kind, Lease, Question};
use crate::report::{now, say};
use crate::sys::{self, Fork, Request};

const CLASS: &str = "/sys/class/net";
/// Where the name servers of the lease stand.
pub const RESOLV_CONF: &str = "/run/resolv.conf";
const RESOLV_CONF_NEW: &str = "/run/resolv.conf.new";
const CLIENT_PORT: u16 = 68;
const SERVER_PORT: u16 = 67;
/// How long an interface may take to appear.
const INTERFACE_TIMEOUT: Duration = Duration::from_secs(3);
const FIRST_PATIENCE: Duration = Duration::from_millis(250);
const LONGEST_PATIENCE: Duration = Duration::from_secs(32);
const FLAG_UP: u16 = 1;
const AF_INET: u16 = 2;
const IFREQ_BYTES: usize = 40;
const NAME_BYTES: usize = 16;

/// Brings the loopback interface up, which gives it its addresses.
pub fn bring_up_loopback() {
    let up = socket().and_then(|socket| bring_up(&socket, "lo"));
    if let Err(error) = up {
        say!("{}", chain(&error));
    }
}

/// Starts the client. The pipe becomes readable with the first lease, or when there will be none.
pub fn start(host_name: &str) -> Result<(Pid, PipeReader)> {
    let (reader, writer) = std::io::pipe().doing("make", "a pipe")?;
    match sys::fork().doing("start", "the network client")? {
        Fork::Parent(pid) => Ok((pid, reader)),
        Fork::Child => {
            drop(reader);
            let result = run(host_name, writer);
            if let Err(error) = &result {
                say!("network: {}", chain(error));
            }
            std::process::exit(i32::from(result.is_err()))
        }
    }
}

/// Waits until the client has a lease or gives up, at most `patience`. Returns whether there is a lease.
pub fn wait(mut pipe: &PipeReader, patience: Duration) -> bool {
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    let ready = poll(&mut [PollFd::new(pipe, PollFlags::IN)], Some(&timeout));
    ready.is_ok_and(|ready| ready > 0) && pipe.read(&mut [0]).is_ok_and(|length| length == 1)
}

fn run(host_name: &str, writer: PipeWriter) -> Result<()> {
    give_up_rights()?;
    let Some((interface, hardware_address)) = wait_for_interface() else {
        say!("network: no Ethernet interface");
        return Ok(());
    };
    let configuration = socket()?;
    bring_up(&configuration, &interface)?;
    let mut client = Client { interface, hardware_address, host_name: host_name.to_owned(), configuration };
    let mut first = Some(writer);
    loop {
        let lease = client.obtain()?;
        client.apply(&lease)?;
        if let Some(mut writer) = first.take() {
            let _ = writer.write_all(b"1");
        }
        client.keep(lease)?;
        client.drop_address();
    }
}

fn give_up_rights() -> Result<()> {
    let rights = CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW | CapabilitySet::NET_BIND_SERVICE;
    let sets = CapabilitySets { effective: rights, permitted: rights, inheritable: CapabilitySet::empty() };
    rustix::thread::set_no_new_privs(true).doing("give up", "new privileges")?;
    set_capabilities(None, sets).doing("give up", "capabilities")
}

/// The first interface, by name, that is Ethernet and a device.
fn wait_for_interface() -> Option<(String, [u8; 6])> {
    let deadline = now() + INTERFACE_TIMEOUT;
    loop {
        let names = fs::list(Path::new(CLASS)).unwrap_or_default();
        let found = names.iter().find_map(|name| ethernet(name.to_str()?));
        if found.is_some() || now() >= deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn ethernet(name: &str) -> Option<(String, [u8; 6])> {
    let folder = Path::new(CLASS).join(name);
    let kind = std::fs::read_to_string(folder.join("type")).ok()?;
    if kind.trim() != "1" || !folder.join("device").exists() || name.len() >= NAME_BYTES {
        return None;
    }
    let text = std::fs::read_to_string(folder.join("address")).ok()?;
    let bytes: Option<Vec<u8>> =
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    Some((name.to_owned(), bytes?.try_into().ok()?))
}

fn socket() -> Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).doing("open", "a socket")
}

/// Makes `struct ifreq`: a name, then one value.
fn interface_request(interface: &str, value: &[u8]) -> [u8; IFREQ_BYTES] {
    let mut bytes = [0; IFREQ_BYTES];
    bytes[..interface.len()].copy_from_slice(interface.as_bytes());
    bytes[NAME_BYTES..NAME_BYTES + value.len()].copy_from_slice(value);
    bytes
}

fn address_request(interface: &str, address: Ipv4Addr) -> [u8; IFREQ_BYTES] {
    let mut value = [0; 8];
    value[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    value[4..].copy_from_slice(&address.octets());
    interface_request(interface, &value)
}

fn bring_up(socket: &UdpSocket, interface: &str) -> Result<()> {
    let mut request = interface_request(interface, &[]);
    sys::ioctl(socket, Request::InterfaceFlags, &mut request).doing("look at", interface)?;
    let flags = u16::from_ne_bytes([request[16], request[17]]) | FLAG_UP;
    let mut request = interface_request(interface, &flags.to_ne_bytes());
    sys::ioctl(socket, Request::SetInterfaceFlags, &mut request).doing("bring up", interface)
}

struct Client {
    interface: String,
    hardware_address: [u8; 6],
    host_name: String,
    configuration: UdpSocket,
}

impl Client {
    /// Asks until somebody grants a lease, with growing patience.
    fn obtain(&mut self) -> Result<Lease> {
        let began = now();
        let mut patience = FIRST_PATIENCE;
        loop {
            let seconds = (now() - began).as_secs().min(u16::MAX.into()) as u16;
            match self.attempt(seconds, patience) {
                Ok(Some(lease)) => return Ok(lease),
                Ok(None) => {}
                // A link that comes later: the network is down or unreachable until then.
                Err(error) if patience == FIRST_PATIENCE => say!("network: {}", chain(&error)),
                Err(_) => std::thread::sleep(patience),
            }
            patience = (patience * 2).min(LONGEST_PATIENCE);
        }
    }

    fn attempt(&self, seconds: u16, patience: Duration) -> Result<Option<Lease>> {
        let socket = self.socket()?;
        let transaction = random();
        let mut question = self.question(Kind::Discover, transaction);
        question.seconds = seconds;
        let Some((Kind::Offer, offer)) = self.ask(&socket, &question, Ipv4Addr::BROADCAST, patience)? else {
            return Ok(None);
        };
        question.kind = Kind::Request;
        question.offer = Some((offer.address, offer.server));
        Ok(match self.ask(&socket, &question, Ipv4Addr::BROADCAST, patience)? {
            Some((Kind::Ack, lease)) => Some(lease),
            _ => None,
        })
    }

    /// Renews until the lease is lost.
    fn keep(&self, mut lease: Lease) -> Result<()> {
        'lease: loop {
            let granted = now();
            let after = |seconds: u32| granted + Duration::from_secs(seconds.into());
            let (rebind, end) = (after(lease.rebind_seconds), after(lease.lease_seconds));
            let mut wake = after(lease.renew_seconds);
            loop {
                std::thread::sleep(wake.saturating_sub(now()));
                if now() >= end {
                    say!("network: the lease of {} ended", lease.address);
                    return Ok(());
                }
                let server = if now() < rebind { lease.server } else { Ipv4Addr::BROADCAST };
                match self.renew(&lease, server) {
                    Ok(Some((Kind::Ack, renewed))) => {
                        if renewed != lease {
                            self.apply(&renewed)?;
                        }
                        lease = renewed;
                        continue 'lease;
                    }
                    Ok(Some((Kind::Nak, _))) => return Ok(()),
                    _ => {}
                }
                let limit = if now() < rebind { rebind } else { end };
                wake = now() + (limit.saturating_sub(now()) / 2).max(Duration::from_secs(10));
                wake = wake.min(limit.max(now() + Duration::from_secs(1)));
            }
        }
    }

    fn renew(&self, lease: &Lease, server: Ipv4Addr) -> Result<Option<(Kind, Lease)>> {
        let mut question = self.question(Kind::Request, random());
        question.client_address = lease.address;
        self.ask(&self.socket()?, &question, server, Duration::from_secs(4))
    }

    fn question(&self, kind: Kind, transaction: u32) -> Question<'_> {
        Question {
            kind,
            transaction,
            hardware_address: self.hardware_address,
            seconds: 0,
            client_address: Ipv4Addr::UNSPECIFIED,
            offer: None,
            host_name: &self.host_name,
        }
    }

    fn socket(&self) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).doing("listen on", "port 68")?;
        socket.set_broadcast(true).doing("broadcast on", &self.interface)?;
        sys::bind_to_interface(&socket, &self.name()).doing("bind to", &self.interface)?;
        Ok(socket)
    }

    /// Sends a question and waits for its answer.
    fn ask(
        &self,
        socket: &UdpSocket,
        question: &Question,
        server: Ipv4Addr,
        patience: Duration,
    ) -> Result<Option<(Kind, Lease)>> {
        socket.send_to(&dhcp::encode(question), (server, SERVER_PORT)).doing("ask on", &self.interface)?;
        let deadline = now() + patience;
        let mut answer = [0; 1500];
        loop {
            let left = deadline.saturating_sub(now());
            if left.is_zero() {
                return Ok(None);
            }
            socket.set_read_timeout(Some(left)).doing("wait on", &self.interface)?;
            let length = match socket.recv(&mut answer) {
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
                Err(error) => return Err(error).doing("listen on", &self.interface),
            };
            let found = dhcp::parse(&answer[..length], question.transaction, self.hardware_address);
            if found
                .as_ref()
                .is_some_and(|(kind, _)| (*kind == Kind::Offer) == (question.kind == Kind::Discover))
            {
                return Ok(found);
            }
        }
    }

    fn apply(&self, lease: &Lease) -> Result<()> {
        let set = |request, mut bytes: [u8; IFREQ_BYTES]| {
            sys::ioctl(&self.configuration, request, &mut bytes).doing("configure", &self.interface)
        };
        set(Request::SetInterfaceAddress, address_request(&self.interface, lease.address))?;
        let mask = dhcp::netmask(lease.prefix_bits);
        set(Request::SetInterfaceMask, address_request(&self.interface, mask))?;
        if let Some(mtu) = lease.mtu {
            set(Request::SetInterfaceMtu, interface_request(&self.interface, &i32::from(mtu).to_ne_bytes()))?;
        }
        for route in lease.routes_in_order() {
            let (network, mask) = (route.network.octets(), dhcp::netmask(route.prefix_bits).octets());
            let gateway = route.gateway.map(|gateway| gateway.octets());
            let added = sys::add_route(&self.configuration, &self.name(), network, mask, gateway);
            if let Err(error) = added
                && error.kind() != ErrorKind::AlreadyExists
            {
                say!("network: cannot route to {}/{}: {error}", route.network, route.prefix_bits);
            }
        }
        write_resolv_conf(lease)?;
        let (interface, address, prefix_bits) = (&self.interface, lease.address, lease.prefix_bits);
        say!("network: {interface} is {address}/{prefix_bits}, leased for {} s", lease.lease_seconds);
        Ok(())
    }

    fn drop_address(&self) {
        let mut nothing = address_request(&self.interface, Ipv4Addr::UNSPECIFIED);
        let _ = sys::ioctl(&self.configuration, Request::SetInterfaceAddress, &mut nothing);
    }

    fn name(&self) -> CString {
        CString::new(self.interface.as_str()).expect("because a directory's name has no NUL")
    }
}

fn write_resolv_conf(lease: &Lease) -> Result<()> {
    let mut text = String::new();
    if let Some(domain) = &lease.domain {
        text.push_str(&format!("search {domain}\n"));
    }
    for server in &lease.name_servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    std::fs::write(RESOLV_CONF_NEW, text).doing("write", RESOLV_CONF_NEW)?;
    Ok(fs::rename(Path::new(RESOLV_CONF_NEW), Path::new(RESOLV_CONF))?)
}

/// Returns a number for a question. `/dev/urandom` would wait for entropy that a young machine does not
/// have; the seed of a hash map does not, and a transaction needs no secret.
pub fn random() -> u32 {
    std::hash::RandomState::new().build_hasher().finish() as u32
}
