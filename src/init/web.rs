//! One HTTP request at a time, for metadata: with a deadline, answers of bounded length, names by the name servers of
//! the lease.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use mkimage::base::Endpoint;

use crate::logic::dns;
use crate::logic::http::{self, Answer};
use crate::network::{RESOLV_CONF, random};
use crate::report::now;

/// How long one step may take: a connection, a name, a piece of an answer.
const STEP: Duration = Duration::from_secs(2);
const NAME_PORT: u16 = 53;
const NAME_MESSAGE_MAX_BYTES: usize = 1500;

/// Makes a request below an address and returns status and body, of at most `limit` bytes.
pub fn ask(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    limit: usize,
) -> io::Result<(u16, Vec<u8>)> {
    let address = SocketAddr::from((resolve(&endpoint.host)?, endpoint.port));
    let mut stream = TcpStream::connect_timeout(&address, STEP)?;
    stream.set_read_timeout(Some(STEP))?;
    stream.set_write_timeout(Some(STEP))?;
    let host = format!("{}:{}", endpoint.host, endpoint.port);
    stream.write_all(http::head(method, &host, path, headers).as_bytes())?;
    let until = now() + 4 * STEP;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while now() < until && bytes.len() <= limit + (32 << 10) {
        let length = stream.read(&mut piece)?;
        bytes.extend_from_slice(&piece[..length]);
        match http::answer(&bytes, length == 0) {
            Answer::Whole { status, body } if body.len() <= limit => return Ok((status, body)),
            Answer::Partial => {}
            _ => return Err(ErrorKind::InvalidData.into()),
        }
    }
    Err(io::Error::new(ErrorKind::InvalidData, "the answer is too long, or too slow"))
}

/// Finds the address of a host.
fn resolve(host: &str) -> io::Result<Ipv4Addr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let text = std::fs::read_to_string(RESOLV_CONF)?;
    for name in dns::names(host, &text) {
        for server in dns::servers(&text) {
            match lookup(&name, server) {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses[0]),
                _ => {}
            }
        }
    }
    Err(io::Error::new(ErrorKind::NotFound, "no name server knows the host"))
}

fn lookup(name: &str, server: Ipv4Addr) -> io::Result<Vec<Ipv4Addr>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((server, NAME_PORT))?;
    socket.set_read_timeout(Some(STEP))?;
    let question = dns::question(random() as u16, name);
    socket.send(&question)?;
    let until = now() + STEP;
    let mut message = [0; NAME_MESSAGE_MAX_BYTES];
    while now() < until {
        let length = socket.recv(&mut message)?;
        if let Some(addresses) = dns::answer(&message[..length], &question) {
            return Ok(addresses);
        }
    }
    Err(ErrorKind::TimedOut.into())
}
