//! Requests, one after the other, and what libostree makes of them.

use std::io::{self, Read, Write};
use std::path::Path;

use mkimage::ostree::wire::{self, Answer, PIECE_BYTES, Request};
use mkimage::ostree::{Checksum, ObjectKind, ObjectName};
use ostree::gio::Cancellable;
use ostree::gio::prelude::*;
use ostree::glib::{self, Variant, VariantTy};
use ostree::{ObjectType, Repo, RepoMode, gio};

use crate::body::Body;

/// What could not be done, and what libostree says of it.
pub struct Failure {
    pub doing: String,
    pub problem: String,
}

type Result<T> = std::result::Result<T, Failure>;

/// Longest object of metadata, in bytes (OSTree's own limit).
const METADATA_BYTES_MAX: u64 = 128 << 20;

const NOT_CANCELLABLE: Option<&Cancellable> = None;

fn at<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> Failure {
    move |error| Failure { doing: doing.into(), problem: error.to_string() }
}

/// Serves a repository until nobody asks any more. A transaction that was not ended is undone.
pub fn run(path: &Path, mode: Option<&str>) -> Result<()> {
    let repository = open(path, mode)?;
    let mut server = Server { repository, is_writing: false };
    let ready =
        Answer::Ready { protocol: wire::PROTOCOL, mode: mode_name(server.repository.mode()).to_owned() };
    let served = answer(&ready).and_then(|()| server.serve());
    if server.is_writing {
        let undone = server.repository.abort_transaction(NOT_CANCELLABLE);
        served.and(undone.map_err(at("undo the transaction")))
    } else {
        served
    }
}

fn open(path: &Path, mode: Option<&str>) -> Result<Repo> {
    let repository = Repo::new_for_path(path);
    if let Some(mode) = mode {
        let doing = "make the repository";
        let mode = Repo::mode_from_string(mode).map_err(at(doing))?;
        repository.create(mode, NOT_CANCELLABLE).map_err(at(doing))?;
    }
    repository.open(NOT_CANCELLABLE).map_err(at("open the repository"))?;
    Ok(repository)
}

fn mode_name(mode: RepoMode) -> &'static str {
    match mode {
        RepoMode::Archive => "archive",
        RepoMode::Bare => "bare",
        RepoMode::BareUser => "bare-user",
        RepoMode::BareUserOnly => "bare-user-only",
        RepoMode::BareSplitXattrs => "bare-split-xattrs",
        _ => "of an unknown mode",
    }
}

fn answer(answer: &Answer) -> Result<()> {
    let mut out = io::stdout().lock();
    wire::send(&mut out, answer).and_then(|()| out.flush()).map_err(at("answer"))
}

struct Server {
    repository: Repo,
    is_writing: bool,
}

impl Server {
    fn serve(&mut self) -> Result<()> {
        loop {
            let request = wire::receive(&mut io::stdin().lock()).map_err(at("read a request"))?;
            let Some(request) = request else { return Ok(()) };
            match request {
                Request::Resolve { name } => answer(&self.resolve(&name)?)?,
                Request::Missing { objects } => answer(&self.missing(&objects)?)?,
                Request::Begin { refs } => answer(&self.begin(&refs)?)?,
                Request::Write { object, bytes } => self.write(object, bytes)?,
                Request::Commit { refs } => answer(&self.commit(&refs)?)?,
                Request::Load { object } => self.load(object)?,
            }
        }
    }

    fn resolve(&self, name: &str) -> Result<Answer> {
        let doing = || format!("resolve the ref {name:?}");
        let found = self.repository.resolve_rev(name, true).map_err(at(doing()))?;
        let checksum = found.map(|text| text.as_str().parse::<Checksum>()).transpose();
        Ok(Answer::Resolved { checksum: checksum.map_err(at(doing()))? })
    }

    fn missing(&self, objects: &[ObjectName]) -> Result<Answer> {
        let mut places = Vec::new();
        for (place, object) in objects.iter().enumerate() {
            let has = self.repository.has_object(kind(object), &object.checksum.to_string(), NOT_CANCELLABLE);
            if !has.map_err(at(format!("look for object {object}")))? {
                places.push(place as u32);
            }
        }
        Ok(Answer::Missing { places })
    }

    fn begin(&mut self, refs: &[String]) -> Result<Answer> {
        for name in refs {
            ostree::validate_rev(name).map_err(at(format!("name a branch {name:?}")))?;
        }
        self.repository.prepare_transaction(NOT_CANCELLABLE).map_err(at("begin a transaction"))?;
        self.is_writing = true;
        Ok(Answer::Done)
    }

    /// Writes an object; libostree holds its bytes against its checksum.
    fn write(&self, object: ObjectName, bytes: u64) -> Result<()> {
        let doing = || format!("write object {object}");
        let body = Body::of(bytes);
        let checksum = object.checksum.to_string();
        if object.kind == ObjectKind::File {
            let stream = body.stream();
            let written = self.repository.write_content(Some(&checksum), &stream, bytes, NOT_CANCELLABLE);
            written.map_err(at(doing()))?;
        } else {
            let mut encoding = Vec::new();
            body.clone().take(METADATA_BYTES_MAX).read_to_end(&mut encoding).map_err(at(doing()))?;
            let variant = Variant::from_data_with_type(encoding, variant_type(object.kind));
            let written =
                self.repository.write_metadata(kind(&object), Some(&checksum), &variant, NOT_CANCELLABLE);
            written.map_err(at(doing()))?;
        }
        body.drain().map_err(at(doing()))
    }

    fn commit(&mut self, refs: &[(String, Checksum)]) -> Result<Answer> {
        for (name, checksum) in refs {
            self.repository.transaction_set_ref(None, name, Some(&checksum.to_string()));
        }
        self.repository.commit_transaction(NOT_CANCELLABLE).map_err(at("end the transaction"))?;
        self.is_writing = false;
        Ok(Answer::Done)
    }

    fn load(&self, object: ObjectName) -> Result<()> {
        let doing = || format!("read object {object}");
        let loaded =
            self.repository.load_object_stream(kind(&object), &object.checksum.to_string(), NOT_CANCELLABLE);
        let (stream, bytes) = match loaded {
            Ok(loaded) => loaded,
            Err(error) if error.matches(gio::IOErrorEnum::NotFound) => return answer(&Answer::NotThere),
            Err(error) => return Err(at(doing())(error)),
        };
        let mut out = io::BufWriter::with_capacity(PIECE_BYTES, io::stdout().lock());
        wire::send(&mut out, &Answer::Object { bytes }).map_err(at("answer"))?;
        let mut piece = vec![0; PIECE_BYTES];
        let read = copy(&stream, &mut piece, &mut out);
        wire::send_piece(&mut out, &[]).map_err(at("answer"))?;
        out.flush().map_err(at("answer"))?;
        drop(out);
        read.map_err(at(doing()))?;
        answer(&Answer::Done)
    }
}

/// Sends the pieces of an object. What the line does not take comes up with the message behind them.
fn copy(
    stream: &gio::InputStream,
    piece: &mut [u8],
    out: &mut impl Write,
) -> std::result::Result<(), glib::Error> {
    loop {
        let length = stream.read(&mut *piece, NOT_CANCELLABLE)?;
        if length == 0 || wire::send_piece(out, &piece[..length]).is_err() {
            return Ok(());
        }
    }
}

fn kind(object: &ObjectName) -> ObjectType {
    match object.kind {
        ObjectKind::File => ObjectType::File,
        ObjectKind::DirTree => ObjectType::DirTree,
        ObjectKind::DirMeta => ObjectType::DirMeta,
        ObjectKind::Commit => ObjectType::Commit,
    }
}

/// Returns the type of a kind of metadata, in GVariant's letters.
fn variant_type(kind: ObjectKind) -> &'static VariantTy {
    let letters = match kind {
        ObjectKind::DirTree => "(a(say)a(sayay))",
        ObjectKind::DirMeta => "(uuua(ayay))",
        ObjectKind::File | ObjectKind::Commit => "(a{sv}aya(say)sstayay)",
    };
    VariantTy::new(letters).expect("because these are types")
}
