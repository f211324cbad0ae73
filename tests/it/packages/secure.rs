//! Mirrors behind TLS, and where the CA certificates for them come from.

use std::process::{Child, Command, Stdio};

use super::fetching::{AT, blob, fetch_at, patience};
use super::*;

/// `openssl s_server`, which serves one file to anybody; it ends with its test.
struct TlsServer {
    folder: tempfile::TempDir,
    port: u16,
    process: Child,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl TlsServer {
    /// Serves a file under the address of the package that the tests fetch.
    fn start(bytes: &[u8]) -> TlsServer {
        let folder = tempfile::tempdir().expect("a folder");
        crate::tool::certificates(folder.path());
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", bytes.len());
        write(&folder.path().join(AT.trim_start_matches('/')), &[head.as_bytes(), bytes].concat());
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let process = Command::new("openssl")
            .args(["s_server", "-quiet", "-HTTP", "-cert", "leaf.pem", "-key", "leaf.key"])
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts: install package openssl");
        let server = TlsServer { folder, port, process };
        let until = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "openssl s_server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn fetch(&self, bytes: &[u8], certificates: Option<&str>) -> Result<Vec<u8>, String> {
        fetch_at(&format!("https://127.0.0.1:{}", self.port), bytes, |settings| {
            settings.certificates = certificates.map(|name| self.folder.path().join(name));
            settings.patience = Patience { tries: 1, ..patience() };
        })
    }
}

#[test]
fn a_server_is_believed_as_far_as_the_named_certificates_say() {
    let blob = blob();
    let server = TlsServer::start(&blob);
    assert_eq!(server.fetch(&blob, Some("ca.pem")).expect("fetched"), blob);
    let message = server.fetch(&blob, None).expect_err("nobody's authority");
    assert!(message.contains("certificate") || message.contains("UnknownIssuer"), "{message}");
    let message = server.fetch(&blob, Some("leaf.key")).expect_err("no certificate");
    assert!(message.contains("holds no CA certificate"), "{message}");
    assert!(server.fetch(&blob, Some("nowhere.pem")).expect_err("no file").contains("nowhere.pem"));
}

#[test]
fn certificates_are_named_as_for_apt_and_curl() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = |variables: &[&str]| {
        let variables: Vec<String> = variables.iter().map(|name| (*name).to_owned()).collect();
        let environment = move |name: &str| {
            variables.iter().any(|known| known == name).then(|| format!("/{}", name.to_lowercase()))
        };
        let settings = Settings::of_folder(folder.path().into(), "/nowhere".into(), NOW, &environment);
        settings.expect("settings").certificates.map(|path| path.display().to_string())
    };
    assert_eq!(settings(&[]), None);
    assert_eq!(settings(&["SSL_CERT_FILE"]).as_deref(), Some("/ssl_cert_file"));
    let both = ["SSL_CERT_FILE", "CURL_CA_BUNDLE"];
    assert_eq!(settings(&both).as_deref(), Some("/curl_ca_bundle"));
    write(
        &folder.path().join("apt.conf"),
        b"Acquire::https { CAInfo \"/apt.pem\"; Verify-Peer \"false\"; };",
    );
    assert_eq!(settings(&both).as_deref(), Some("/apt.pem"));
}
