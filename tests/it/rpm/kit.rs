//! Packages and repositories made by rpm's own tools, trees on this machine's disk, and rpm as their judge.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mkimage::base::{ImagePath, Job};
use mkimage::packages::rpm::{self, Report, Request, Settings, Source, Unpacked};
use mkimage::packages::{Fetcher, MemoryCache};
use mkimage::tree::{ContentSource, Directory, MemoryContents, Metadata, Node};

use crate::tool::{run, succeed, tool};

/// The epoch of every tree here: 2026-07-11.
pub const EPOCH: u64 = 1_783_728_000;
/// Payloads that rpm writes, by their macro.
pub const PAYLOADS: [&str; 5] = ["w6.gzdio", "w2.xzdio", "w3.zstdio", "w6.bzdio", "w2.lzdio"];

pub fn path(text: &str) -> ImagePath {
    ImagePath::new(text.as_bytes()).expect("a path")
}

/// A folder with packages, repositories and a key, gone when the test ends.
pub struct Kit {
    folder: tempfile::TempDir,
}

/// What a spec file says.
#[derive(Clone, Copy, Default)]
pub struct Spec<'a> {
    pub name: &'a str,
    /// `[epoch:]version-release`
    pub evr: &'a str,
    /// Lines of the preamble.
    pub head: &'a str,
    /// Commands that fill `$R`, the root of the package.
    pub install: &'a str,
    pub files: &'a str,
    /// Scripts and triggers.
    pub scripts: &'a str,
    /// Macro of the payload; empty: gzip.
    pub payload: &'a str,
}

impl Kit {
    pub fn new() -> Kit {
        let kit = Kit { folder: tempfile::tempdir().expect("a folder") };
        // GnuPG's agent listens on a socket of few letters below its home.
        std::fs::create_dir_all(kit.path("gpg")).expect("a folder");
        std::fs::set_permissions(kit.path("gpg"), PermissionsExt::from_mode(0o700)).expect("a mode");
        kit
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a package in a repository's folder, and returns its path.
    pub fn build(&self, repository: &str, spec: Spec<'_>) -> PathBuf {
        let (epoch, version) = spec.evr.split_once(':').unwrap_or(("", spec.evr));
        let (version, release) = version.split_once('-').expect("a release");
        let epoch = if epoch.is_empty() { String::new() } else { format!("Epoch: {epoch}\n") };
        let Spec { name, head, install, files, scripts, .. } = spec;
        let architecture = if head.contains("BuildArch") { "noarch" } else { "x86_64" };
        let text = format!(
            "Name: {name}\n{epoch}Version: {version}\nRelease: {release}\nSummary: A test\nLicense: MIT\n\
             AutoReqProv: no\n{head}\n%description\nA test.\n%install\nR=%{{buildroot}}\nmkdir -p $R\n{install}\n\
             {scripts}\n%files\n%defattr(-,root,root)\n{files}\n"
        );
        let stem = format!("{name}-{version}-{release}");
        let (top, out) = (self.path(&format!("build/{stem}")), self.path(repository));
        std::fs::create_dir_all(&top).expect("a folder");
        let file = top.join("package.spec");
        std::fs::write(&file, text).expect("a spec");
        let payload = if spec.payload.is_empty() { "w6.gzdio" } else { spec.payload };
        let mut command = tool("rpmbuild", ["-bb", "--quiet", "--target", "x86_64-linux"]);
        for (name, value) in [
            ("_topdir", &*top.to_string_lossy()),
            ("_rpmdir", &*out.to_string_lossy()),
            ("_build_name_fmt", "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm"),
            ("_binary_payload", payload),
            ("_buildhost", "test"),
            ("__os_install_post", "%{nil}"),
            ("debug_package", "%{nil}"),
            ("_build_id_links", "none"),
            ("use_source_date_epoch_as_buildtime", "1"),
            ("clamp_mtime_to_source_date_epoch", "1"),
        ] {
            command.arg("--define").arg(format!("{name} {value}"));
        }
        succeed(command.env("SOURCE_DATE_EPOCH", "1700000000").arg(&file));
        out.join(format!("{stem}.{architecture}.rpm"))
    }

    fn gpg(&self) -> Command {
        let mut command = tool("gpg", ["--batch", "--quiet", "--homedir"]);
        command.arg(self.path("gpg"));
        command
    }

    /// Makes a key and returns its keyring's path.
    pub fn key(&self) -> PathBuf {
        let keyring = self.path("key.gpg");
        let user = "Test <test@mirror.invalid>";
        let make = ["--passphrase", "", "--quick-generate-key", user, "ed25519", "sign", "never"];
        succeed(self.gpg().args(make));
        succeed(self.gpg().arg("--output").arg(&keyring).arg("--export"));
        keyring
    }

    /// Signs packages with the key.
    pub fn sign_package(&self, package: &Path) {
        let mut command = tool("rpmsign", ["--addsign"]);
        command.arg("--define").arg(format!("_gpg_path {}", self.path("gpg").display()));
        command
            .arg("--define")
            .arg("__gpg /usr/bin/gpg")
            .arg("--define")
            .arg("_gpg_name test@mirror.invalid");
        command.arg(package);
        succeed(&mut command);
    }

    /// Indexes a repository's folder, and signs the index where there is a key to sign with.
    pub fn index(&self, repository: &str, signed: bool) {
        let folder = self.path(repository);
        std::fs::create_dir_all(&folder).expect("a folder");
        succeed(tool("createrepo_c", ["--quiet", "--simple-md-filenames"]).arg(&folder));
        let signature = folder.join("repodata/repomd.xml.asc");
        if signed {
            let repomd = folder.join("repodata/repomd.xml");
            succeed(
                self.gpg()
                    .args(["--yes", "--armor", "--detach-sign", "--output"])
                    .arg(&signature)
                    .arg(repomd),
            );
        }
    }

    pub fn source(&self, repository: &str) -> Source {
        Source {
            name: repository.to_owned(),
            mirror: format!("file:{}", self.path(repository).display()),
            signed_by: Some(self.path("key.gpg")),
            priority: 500,
        }
    }

    pub fn request(&self, repositories: &[&str], names: &[&str]) -> Request {
        Request {
            architecture: "amd64".to_owned(),
            sources: repositories.iter().map(|repository| self.source(repository)).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            dependencies: true,
            ..Request::default()
        }
    }

    /// Resolves, unpacks, lays and finishes: the whole line.
    pub fn tree(
        &self,
        request: &Request,
        edit: impl Fn(&mut Settings),
    ) -> (Directory, Report, MemoryContents) {
        self.tree_without(request, &[], edit)
    }

    pub fn tree_without(
        &self,
        request: &Request,
        drop: &[String],
        edit: impl Fn(&mut Settings),
    ) -> (Directory, Report, MemoryContents) {
        let job = Job::quiet(2);
        let contents = MemoryContents::default();
        let packages = self.unpacked(request, &contents);
        let layout = rpm::Layout { drop, keep: &[] };
        let (mut tree, _) =
            rpm::lay(&packages, &layout, &contents, &job).unwrap_or_else(|errors| panic!("{errors:#?}"));
        let mut settings =
            Settings { architecture: "amd64".into(), epoch: EPOCH, database: true, ..Settings::default() };
        edit(&mut settings);
        let report = rpm::finalize(&mut tree, &packages, &settings, &contents, &contents, &job);
        let report = report.unwrap_or_else(|errors| {
            panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        });
        (tree, report, contents)
    }

    pub fn unpacked(&self, request: &Request, contents: &MemoryContents) -> Vec<Unpacked> {
        let job = Job::quiet(2);
        let resolved = rpm::resolve(request, &files(), now(), &job).unwrap_or_else(|error| panic!("{error}"));
        let unpack = |chosen: &rpm::Chosen| {
            let source =
                request.sources.iter().find(|source| source.name == chosen.source).expect("a source");
            let bytes = rpm::read_package(chosen, source, &files(), &job).expect("a package");
            let identity = (&*chosen.name, &*chosen.version, &*chosen.architecture);
            let unpacked = rpm::locked(&bytes, identity, contents, &job);
            unpacked.unwrap_or_else(|error| panic!("{}: {error}", chosen.name))
        };
        resolved.packages.iter().map(unpack).collect()
    }

    /// Prepares a call of rpm on a tree that was written to disk.
    pub fn rpm<S: AsRef<std::ffi::OsStr>>(
        &self,
        root: &Path,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let is_root =
            std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let mut command =
            if is_root { tool("rpm", [""; 0]) } else { tool("unshare", ["--map-root-user", "rpm"]) };
        command.arg("--root").arg(root).args(["--dbpath", "/var/lib/rpm"]).args(arguments);
        command
    }
}

/// Makes a fetcher that knows nothing of this machine. Its cache lives as long as the test run.
pub fn files() -> Fetcher<'static> {
    let settings = mkimage::packages::Settings::bare("/nowhere".into(), "/nowhere".into(), now());
    Fetcher::new(settings, Box::leak(Box::new(MemoryCache::default()))).expect("a fetcher")
}

pub fn now() -> u64 {
    mkimage::base::clock::unix_seconds()
}

/// Writes a tree to disk, with its owners where root runs the test; every time is the epoch.
pub fn check_out(tree: &Directory, contents: &MemoryContents, root: &Path) {
    std::fs::create_dir_all(root).expect("a root");
    let mut links = Vec::new();
    let mut directories = vec![(root.to_owned(), tree.metadata.clone())];
    for (path, node) in tree.paths() {
        let at = on_disk(root, &path);
        match node {
            Node::Directory(directory) => {
                std::fs::create_dir(&at).expect("a directory");
                directories.push((at, directory.metadata.clone()));
            }
            Node::File(file) => {
                std::fs::write(&at, contents.read_all(&file.content).expect("a content")).expect("a file");
                settle(&at, &file.metadata);
            }
            Node::Symlink(link) => {
                let target = String::from_utf8_lossy(&link.target).into_owned();
                std::os::unix::fs::symlink(target, &at).expect("a link");
                date(&at);
            }
            Node::HardLink(target) => links.push((on_disk(root, target), at)),
            other => panic!("{path} is a {}", other.kind()),
        }
    }
    for (target, at) in links {
        std::fs::hard_link(target, at).expect("a link");
    }
    for (at, metadata) in directories.into_iter().rev() {
        settle(&at, &metadata);
    }
}

fn on_disk(root: &Path, path: &ImagePath) -> PathBuf {
    root.join(String::from_utf8_lossy(path.as_bytes()).trim_start_matches('/'))
}

fn settle(at: &Path, metadata: &Metadata) {
    let _ = std::os::unix::fs::chown(at, Some(metadata.uid), Some(metadata.gid));
    std::fs::set_permissions(at, PermissionsExt::from_mode(metadata.mode.into())).expect("a mode");
    for (name, value) in &metadata.xattrs {
        let name = String::from_utf8_lossy(name).into_owned();
        rustix::fs::setxattr(at, name, value, rustix::fs::XattrFlags::empty()).expect("an attribute");
    }
    date(at);
}

fn date(at: &Path) {
    let time = rustix::fs::Timespec { tv_sec: EPOCH as i64, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, at, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .expect("a time");
}

/// Returns what `rpm -Va` says, which is nothing where all is well.
pub fn verify(kit: &Kit, root: &Path) -> String {
    let is_root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("own")) == 0;
    let more: &[&str] = if is_root { &[] } else { &["--nouser", "--nogroup", "--nocaps"] };
    let output = run(kit.rpm(root, ["-Va", "--nodeps", "--noscripts"]).args(more));
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
