//! What PID 1 takes from the network, the hypervisor and the loader.

use std::net::Ipv4Addr;

use mkimage::boot::environment::{self, Sources, smbios_credential};

use super::super::logic::{device_mapper, dhcp, http, loader as variables, smbios};
use super::take;

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Reads an SMBIOS structure, and each of its strings as a credential. What reaches the app is a variable.
pub fn credentials(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).ok();
    let strings = smbios::oem_strings(bytes).into_iter().chain(text);
    let credentials: Vec<_> = strings.filter_map(smbios_credential).flatten().collect();
    let credentials = environment::variables(&credentials);
    let (environment, _) = environment::resolve("/data/a", Sources { credentials, ..Sources::default() });
    for (name, value) in environment {
        assert!(environment::is_name(&name) && !name.starts_with("LD_") && !value.contains('\0'), "{name:?}");
    }
}

pub fn credential_seeds() -> Vec<Vec<u8>> {
    let plain = "io.systemd.credential:mkimage.env.GREETING=good day";
    let binary = "io.systemd.credential.binary:mkimage.env.KEY=c2VjcmV0IQ==";
    let structure = [b"\x0b\x05\x00\x01\x02", plain.as_bytes(), b"\0", binary.as_bytes(), b"\0\0"].concat();
    vec![structure, plain.as_bytes().to_vec(), binary.as_bytes().to_vec()]
}

/// Reads an answer as it is, and its options behind a head that is for us.
pub fn dhcp(bytes: &[u8]) {
    let transaction = bytes.get(4..8).map_or(0, |id| u32::from_be_bytes([id[0], id[1], id[2], id[3]]));
    let mut ours = vec![0; 240];
    ours[0] = 2;
    ours[16..20].copy_from_slice(&[10, 0, 2, 15]);
    ours[28..34].copy_from_slice(&ADDRESS);
    ours[236..].copy_from_slice(&[99, 130, 83, 99]);
    ours.extend_from_slice(bytes);
    for (message, transaction) in [(bytes, transaction), (&ours[..], 0)] {
        let Some((_, lease)) = dhcp::parse(message, transaction, ADDRESS) else { continue };
        assert!((1..=32).contains(&lease.prefix_bits));
        assert!(lease.renew_seconds <= lease.rebind_seconds && lease.rebind_seconds <= lease.lease_seconds);
        assert!(lease.domain.is_none_or(|domain| !domain.contains(char::is_whitespace)));
        assert!(lease.routes.iter().all(|route| route.prefix_bits <= 32));
    }
}

pub fn dhcp_seeds() -> Vec<Vec<u8>> {
    let options = [
        &[53u8, 1, 5, 54, 4, 10, 0, 2, 2, 1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 51, 4, 0, 0, 14, 16][..],
        &[
            6, 8, 10, 0, 2, 3, 1, 1, 1, 1, 15, 5, b'l', b'o', b'c', b'a', b'l', 26, 2, 5, 220, 58, 4, 0, 0,
            0, 60,
        ],
        &[121, 14, 24, 192, 168, 1, 10, 0, 2, 2, 0, 10, 0, 2, 2, 32, 0, 59, 4, 0, 0, 0, 10, 255],
    ]
    .concat();
    let question = dhcp::encode(&dhcp::Question {
        kind: dhcp::Kind::Request,
        transaction: 7,
        hardware_address: ADDRESS,
        seconds: 1,
        client_address: Ipv4Addr::UNSPECIFIED,
        offer: Some((Ipv4Addr::new(10, 0, 2, 15), Ipv4Addr::new(10, 0, 2, 2))),
        host_name: "hello",
    });
    let mut answer = question.clone();
    answer[0] = 2;
    answer[16..20].copy_from_slice(&[10, 0, 2, 15]);
    answer.truncate(240);
    answer.extend_from_slice(&options);
    vec![options, answer, question]
}

/// Reads a loader's variable, a GUID, the answers of a health check and of the device mapper.
pub fn loader(mut bytes: &[u8]) {
    let _ = http::is_healthy(bytes);
    let _ = device_mapper::device_number(bytes);
    if let Some(text) = variables::text(bytes) {
        let name = variables::file_name(&text);
        assert!(text.ends_with(name) && !name.contains(['/', '\\']));
        let _ = variables::guid(&text);
    }
    take(&mut bytes, 4);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = variables::guid(text);
    }
}

pub fn loader_seeds() -> Vec<Vec<u8>> {
    let variable = |text: &str| -> Vec<u8> {
        [6, 0, 0, 0].into_iter().chain(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes)).collect()
    };
    let guid = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    let plain = [b"\x06\0\0\0", guid.as_bytes()].concat();
    vec![variable("\\EFI\\Linux\\g2+2-1.efi"), variable(guid), plain, b"HTTP/1.1 200 OK\r\n".to_vec()]
}
