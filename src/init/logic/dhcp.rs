//! DHCP messages: what a client sends, what it takes from an answer (RFC 2131, RFC 2132, RFC 3442).

use std::net::Ipv4Addr;

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
const BROADCAST_FLAG: u16 = 0x8000;
const OPTIONS_START: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Least bytes of a message: BOOTP's size, which old relays insist on.
const MESSAGE_MIN_BYTES: usize = 300;
/// Most name servers and routes that are taken from an answer.
const LIST_MAX: usize = 8;
const MTU_RANGE: std::ops::RangeInclusive<u16> = 576..=9216;
/// A lease without a time, or with less than this, is taken for this long.
const LEASE_MIN_SECONDS: u32 = 60;

const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const NAME_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN: u8 = 15;
const MTU: u8 = 26;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_SECONDS: u8 = 51;
const MESSAGE_KIND: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const RENEWAL_SECONDS: u8 = 58;
const REBINDING_SECONDS: u8 = 59;
const CLASSLESS_ROUTES: u8 = 121;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
}

/// What the client sends.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub kind: Kind,
    pub transaction: u32,
    pub hardware_address: [u8; 6],
    pub seconds: u16,
    /// The client's own address where it renews; unspecified before it has one.
    pub client_address: Ipv4Addr,
    /// Address and server of the offer that is taken.
    pub offer: Option<(Ipv4Addr, Ipv4Addr)>,
    pub host_name: &'a str,
}

/// What a server grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
    pub prefix_bits: u8,
    pub routes: Vec<Route>,
    pub name_servers: Vec<Ipv4Addr>,
    pub domain: Option<String>,
    pub mtu: Option<u16>,
    pub lease_seconds: u32,
    /// When to ask the server again, and when to ask any server, in seconds from now.
    pub renew_seconds: u32,
    pub rebind_seconds: u32,
}

/// A way to a network; without a gateway it is on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub network: Ipv4Addr,
    pub prefix_bits: u8,
    pub gateway: Option<Ipv4Addr>,
}

impl Lease {
    /// Returns the routes to set, in order: each gateway that does not lie in the lease's own network is
    /// made known as a neighbour first (clouds that lease single addresses need that).
    pub fn routes_in_order(&self) -> Vec<Route> {
        let mut routes = Vec::new();
        for route in &self.routes {
            if let Some(gateway) = route.gateway {
                let near = mask(self.address, self.prefix_bits) == mask(gateway, self.prefix_bits);
                let neighbour = Route { network: gateway, prefix_bits: 32, gateway: None };
                if !near && !routes.contains(&neighbour) {
                    routes.push(neighbour);
                }
            }
            routes.push(*route);
        }
        routes
    }
}

/// Writes a message of the client.
pub fn encode(question: &Question) -> Vec<u8> {
    let mut bytes = vec![BOOT_REQUEST, ETHERNET, 6, 0];
    bytes.extend_from_slice(&question.transaction.to_be_bytes());
    bytes.extend_from_slice(&question.seconds.to_be_bytes());
    let broadcast = if question.client_address.is_unspecified() { BROADCAST_FLAG } else { 0 };
    bytes.extend_from_slice(&broadcast.to_be_bytes());
    bytes.extend_from_slice(&question.client_address.octets());
    bytes.resize(28, 0);
    bytes.extend_from_slice(&question.hardware_address);
    bytes.resize(OPTIONS_START - COOKIE.len(), 0);
    bytes.extend_from_slice(&COOKIE);
    put(&mut bytes, MESSAGE_KIND, &[question.kind as u8]);
    if let Some((address, server)) = question.offer {
        put(&mut bytes, REQUESTED_ADDRESS, &address.octets());
        put(&mut bytes, SERVER, &server.octets());
    }
    if !question.host_name.is_empty() {
        put(&mut bytes, HOST_NAME, &question.host_name.as_bytes()[..question.host_name.len().min(63)]);
    }
    let wanted = [SUBNET_MASK, ROUTER, NAME_SERVERS, DOMAIN, MTU, CLASSLESS_ROUTES];
    put(&mut bytes, PARAMETERS, &wanted);
    bytes.push(255);
    bytes.resize(bytes.len().max(MESSAGE_MIN_BYTES), 0);
    bytes
}

/// Reads an answer to `transaction` of `hardware_address`. `None`: it is for somebody else, or unsound.
pub fn parse(message: &[u8], transaction: u32, hardware_address: [u8; 6]) -> Option<(Kind, Lease)> {
    let fixed = message.get(..OPTIONS_START)?;
    let ours = fixed[0] == BOOT_REPLY
        && fixed[4..8] == transaction.to_be_bytes()
        && fixed[28..34] == hardware_address
        && fixed[236..] == COOKIE;
    if !ours {
        return None;
    }
    let options = Options(&message[OPTIONS_START..]);
    let kind = match options.find(MESSAGE_KIND)? {
        [2] => Kind::Offer,
        [5] => Kind::Ack,
        [6] => Kind::Nak,
        _ => return None,
    };
    let address = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    let server = options.address(SERVER).unwrap_or(Ipv4Addr::UNSPECIFIED);
    let usable = !(address.is_unspecified() || address.is_loopback() || address.is_multicast());
    if kind != Kind::Nak && !(usable && !address.is_broadcast() && !server.is_unspecified()) {
        return None;
    }
    Some((kind, lease(address, server, &options)))
}

fn lease(address: Ipv4Addr, server: Ipv4Addr, options: &Options) -> Lease {
    let lease_seconds = options.number(LEASE_SECONDS).unwrap_or(0).max(LEASE_MIN_SECONDS);
    let within = |option, part: u64| {
        let default = (u64::from(lease_seconds) * part / 8) as u32;
        options.number(option).filter(|&at| at >= 10 && at < lease_seconds).unwrap_or(default)
    };
    let renew_seconds = within(RENEWAL_SECONDS, 4);
    let mtu = options.find(MTU).and_then(|value| value.try_into().ok()).map(u16::from_be_bytes);
    Lease {
        address,
        server,
        prefix_bits: options.address(SUBNET_MASK).and_then(prefix_bits).unwrap_or(default_prefix(address)),
        routes: routes(options),
        name_servers: options.addresses(NAME_SERVERS),
        domain: options.find(DOMAIN).and_then(domain),
        mtu: mtu.filter(|mtu| MTU_RANGE.contains(mtu)),
        lease_seconds,
        renew_seconds,
        rebind_seconds: within(REBINDING_SECONDS, 7).max(renew_seconds),
    }
}

/// Where classless routes are given the router option does not count (RFC 3442).
fn routes(options: &Options) -> Vec<Route> {
    if let Some(routes) = options.find(CLASSLESS_ROUTES).and_then(classless_routes) {
        return routes;
    }
    let default = |gateway| Route { network: Ipv4Addr::UNSPECIFIED, prefix_bits: 0, gateway: Some(gateway) };
    options.addresses(ROUTER).into_iter().take(1).map(default).collect()
}

fn classless_routes(mut bytes: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let Some((&prefix_bits, rest)) = bytes.split_first() {
        let significant = usize::from(prefix_bits.div_ceil(8));
        if prefix_bits > 32 || rest.len() < significant + 4 || routes.len() == LIST_MAX {
            return None;
        }
        let mut network = [0; 4];
        network[..significant].copy_from_slice(&rest[..significant]);
        let gateway = address(&rest[significant..significant + 4])?;
        bytes = &rest[significant + 4..];
        routes.push(Route {
            network: mask(network.into(), prefix_bits),
            prefix_bits,
            gateway: Some(gateway).filter(|gateway| !gateway.is_unspecified()),
        });
    }
    Some(routes)
}

fn mask(address: Ipv4Addr, prefix_bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(address.to_bits() & netmask(prefix_bits).to_bits())
}

/// Returns the mask of a prefix.
pub fn netmask(prefix_bits: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix_bits.min(32))).unwrap_or(0))
}

fn prefix_bits(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits().leading_ones() as u8;
    (netmask(bits) == mask && bits > 0).then_some(bits)
}

/// The address's class, for servers that say no mask.
fn default_prefix(address: Ipv4Addr) -> u8 {
    match address.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// Takes a domain only where every byte may stand in a host name: it goes into a file of words.
fn domain(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
}

fn address(bytes: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?))
}

fn put(bytes: &mut Vec<u8>, option: u8, value: &[u8]) {
    bytes.extend_from_slice(&[option, value.len() as u8]);
    bytes.extend_from_slice(value);
}

/// The options behind the cookie. The first of a kind counts.
struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    fn find(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut bytes = self.0;
        while let Some((&option, rest)) = bytes.split_first() {
            match option {
                0 => bytes = rest,
                255 => return None,
                _ => {
                    let (&length, rest) = rest.split_first()?;
                    let value = rest.get(..usize::from(length))?;
                    if option == wanted {
                        return Some(value);
                    }
                    bytes = &rest[value.len()..];
                }
            }
        }
        None
    }

    fn number(&self, option: u8) -> Option<u32> {
        Some(u32::from_be_bytes(self.find(option)?.try_into().ok()?))
    }

    fn address(&self, option: u8) -> Option<Ipv4Addr> {
        address(self.find(option)?)
    }

    fn addresses(&self, option: u8) -> Vec<Ipv4Addr> {
        let value = self.find(option).unwrap_or_default();
        value.chunks_exact(4).take(LIST_MAX).filter_map(address).filter(|it| !it.is_unspecified()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn question(kind: Kind) -> Question<'static> {
        Question {
            kind,
            transaction: 0xdead_beef,
            hardware_address: MAC,
            seconds: 3,
            client_address: Ipv4Addr::UNSPECIFIED,
            offer: None,
            host_name: "hello",
        }
    }

    /// An answer as a server writes it.
    fn answer(kind: u8, address: [u8; 4], options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = encode(&question(Kind::Discover));
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&address);
        bytes.truncate(OPTIONS_START);
        put(&mut bytes, MESSAGE_KIND, &[kind]);
        put(&mut bytes, SERVER, &[10, 0, 2, 2]);
        bytes.push(0);
        options.iter().for_each(|(option, value)| put(&mut bytes, *option, value));
        bytes.push(255);
        bytes
    }

    fn granted(address: [u8; 4], options: &[(u8, &[u8])]) -> Lease {
        let (kind, lease) = parse(&answer(5, address, options), 0xdead_beef, MAC).expect("is sound");
        assert_eq!(kind, Kind::Ack);
        lease
    }

    #[test]
    fn an_ordinary_lease_is_read_whole() {
        let lease = granted(
            [10, 0, 2, 15],
            &[
                (SUBNET_MASK, &[255, 255, 255, 0]),
                (ROUTER, &[10, 0, 2, 2, 10, 0, 2, 9]),
                (NAME_SERVERS, &[10, 0, 2, 3, 0, 0, 0, 0, 1, 1, 1, 1]),
                (DOMAIN, b"example.org\0"),
                (MTU, &[5, 180]),
                (LEASE_SECONDS, &86400u32.to_be_bytes()),
            ],
        );
        assert_eq!((lease.address, lease.prefix_bits), (Ipv4Addr::new(10, 0, 2, 15), 24));
        let gateway = Some(Ipv4Addr::new(10, 0, 2, 2));
        let default = Route { network: Ipv4Addr::UNSPECIFIED, prefix_bits: 0, gateway };
        assert_eq!(lease.routes_in_order(), [default]);
        assert_eq!(lease.name_servers, [Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(1, 1, 1, 1)]);
        assert_eq!((lease.domain.as_deref(), lease.mtu), (Some("example.org"), Some(1460)));
        assert_eq!((lease.lease_seconds, lease.renew_seconds, lease.rebind_seconds), (86400, 43200, 75600));
    }

    #[test]
    fn a_gateway_outside_of_a_single_address_becomes_a_neighbour_first() {
        let mask: (u8, &[u8]) = (SUBNET_MASK, &[255; 4]);
        let lease = granted([5, 9, 1, 2], &[mask, (ROUTER, &[172, 31, 1, 1])]);
        let gateway = Ipv4Addr::new(172, 31, 1, 1);
        let neighbour = Route { network: gateway, prefix_bits: 32, gateway: None };
        let default = Route { network: Ipv4Addr::UNSPECIFIED, prefix_bits: 0, gateway: Some(gateway) };
        assert_eq!(lease.routes_in_order(), [neighbour, default]);
        let classless: &[u8] = &[32, 172, 31, 1, 1, 0, 0, 0, 0, 0, 172, 31, 1, 1, 12, 10, 31, 172, 31, 1, 1];
        let lease = granted([5, 9, 1, 2], &[mask, (ROUTER, &[9, 9, 9, 9]), (CLASSLESS_ROUTES, classless)]);
        let ten = Route { network: Ipv4Addr::new(10, 16, 0, 0), prefix_bits: 12, gateway: Some(gateway) };
        assert_eq!(lease.routes_in_order(), [neighbour, default, ten], "routers do not count beside routes");
    }

    #[test]
    fn answers_to_others_and_unusable_addresses_are_dropped() {
        let sound = answer(2, [10, 0, 2, 15], &[]);
        assert!(parse(&sound, 0xdead_beef, MAC).is_some());
        assert!(parse(&sound, 0xdead_bee0, MAC).is_none());
        assert!(parse(&sound, 0xdead_beef, [0; 6]).is_none());
        assert!(parse(&encode(&question(Kind::Discover)), 0xdead_beef, MAC).is_none(), "a question");
        for address in [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255, 255, 255, 255]] {
            assert!(parse(&answer(5, address, &[]), 0xdead_beef, MAC).is_none());
        }
        let (kind, _) = parse(&answer(6, [0; 4], &[]), 0xdead_beef, MAC).expect("a refusal needs no address");
        assert_eq!(kind, Kind::Nak);
    }

    #[test]
    fn unsound_options_fall_back() {
        let lease = granted(
            [192, 168, 1, 2],
            &[
                (SUBNET_MASK, &[255, 0, 255, 0]),
                (DOMAIN, b"evil\nnameserver 6.6.6.6"),
                (MTU, &[0, 68]),
                (LEASE_SECONDS, &[0, 0, 0, 1]),
                (RENEWAL_SECONDS, &[0xff; 4]),
                (CLASSLESS_ROUTES, &[33, 1, 2, 3]),
            ],
        );
        assert_eq!((lease.prefix_bits, lease.domain, lease.mtu), (24, None, None));
        assert_eq!((lease.lease_seconds, lease.renew_seconds, lease.rebind_seconds), (60, 30, 52));
        assert!(lease.routes.is_empty());
    }

    #[test]
    fn a_request_names_the_offer_and_a_renewal_its_own_address() {
        let (address, server) = (Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2));
        let request = encode(&Question { offer: Some((address, server)), ..question(Kind::Request) });
        assert!(request.len() >= MESSAGE_MIN_BYTES);
        let options = Options(&request[OPTIONS_START..]);
        assert_eq!(options.find(MESSAGE_KIND), Some(&[3][..]));
        assert_eq!(
            (options.address(REQUESTED_ADDRESS), options.address(SERVER)),
            (Some(address), Some(server))
        );
        assert_eq!(options.find(HOST_NAME), Some(&b"hello"[..]));
        assert_eq!(request[10..12], [0x80, 0], "broadcast, because the address isn't ours yet");
        let renewal = encode(&Question { client_address: address, ..question(Kind::Request) });
        assert_eq!((&renewal[10..12], &renewal[12..16]), (&[0, 0][..], &[10, 0, 2, 15][..]));
    }

    proptest! {
        #[test]
        fn no_answer_panics(body in prop::collection::vec(any::<u8>(), 0..400), kind in 0u8..9) {
            let mut message = answer(kind, [10, 0, 2, 15], &[]);
            message.pop();
            message.extend_from_slice(&body);
            if let Some((_, lease)) = parse(&message, 0xdead_beef, MAC) {
                prop_assert!(lease.prefix_bits <= 32 && lease.routes_in_order().len() <= 2 * LIST_MAX);
                prop_assert!(lease.renew_seconds <= lease.rebind_seconds);
            }
            let _ = parse(&body, 0, [0; 6]);
        }
    }
}
