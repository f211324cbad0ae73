//! How a universe comes to be: pieces of indexes are scanned side by side, and joined in their order.

use std::ops::Range;
use std::path::Path;

use super::super::deb::index::{IndexError, Paragraph, Span};
use super::super::deb::{relation, scan};
use super::super::digest::Sha256;
use super::names::{Place, hash};
use super::{List, NONE, NameId, PackageId, Provision, Record, Text, Universe};
use crate::base::parallel::Workers;

/// The priority of package files of the host, above all others.
const LOCAL_PRIORITY: i32 = i32::MAX;
/// How much of an index a worker takes at once, in bytes.
const PIECE_BYTES: usize = 4 << 20;

/// What a worker makes of a piece of an index.
#[derive(Default)]
struct Scanned {
    paragraphs: Vec<(Paragraph, u32)>,
    /// Index of the paragraph, name, its hash, version.
    provisions: Vec<(u32, Span, u32, Span)>,
    refused: Vec<IndexError>,
}

impl Universe {
    /// Adds an index of a source, with apt's priority (500 is usual). Costs about half a nanosecond a byte.
    pub fn add(&mut self, source: usize, priority: i32, text: String) -> Result<(), IndexError> {
        let scanned = scan_piece(&text, 0..text.len(), false)?;
        self.join(Text { source, priority, text, file: None }, [scanned]);
        Ok(())
    }

    /// Adds several indexes (source, priority, text), scanned in parallel.
    pub fn add_all(
        &mut self,
        indexes: Vec<(usize, i32, String)>,
        workers: &Workers,
    ) -> Result<(), IndexError> {
        let pieces = indexes.iter().enumerate().flat_map(|(number, (_, _, text))| {
            scan::pieces(text, PIECE_BYTES).into_iter().map(move |piece| (number, text, piece))
        });
        let work = |(number, text, piece): (usize, &String, _)| {
            scan_piece(text, piece, false).map(|scanned| (number, scanned))
        };
        self.workers = Some(workers.clone());
        let scanned = workers.try_map(pieces.collect(), work).map_err(|mut errors| errors.swap_remove(0))?;
        let mut scanned = scanned.into_iter().peekable();
        for (number, (source, priority, text)) in indexes.into_iter().enumerate() {
            let own = std::iter::from_fn(|| scanned.next_if(|piece| piece.0 == number)).map(|piece| piece.1);
            let own: Vec<Scanned> = own.collect();
            self.join(Text { source, priority, text, file: None }, own);
        }
        Ok(())
    }

    /// Adds a package file of the host by its control text. It goes before every package of a source.
    pub fn add_local(
        &mut self,
        control_text: String,
        path: &Path,
        size_bytes: u64,
        sha256: Sha256,
    ) -> Result<PackageId, IndexError> {
        let mut scanned = scan_piece(&control_text, 0..control_text.len(), true)?;
        if let Some(refused) = scanned.refused.pop() {
            return Err(refused);
        }
        let architecture = scanned.paragraphs.first().map(|first| first.0.architecture.of(&control_text));
        if scanned.paragraphs.len() != 1
            || self.architecture_index(architecture.unwrap_or_default()).is_none()
        {
            let found = architecture.unwrap_or_default().to_owned();
            return Err(IndexError::Field {
                package: path.display().to_string(),
                field: "Architecture",
                found,
            });
        }
        let file = Some((path.to_owned(), size_bytes, sha256));
        self.join(Text { source: usize::MAX, priority: LOCAL_PRIORITY, text: control_text, file }, [scanned]);
        Ok(PackageId(self.records.len() as u32 - 1))
    }

    fn join(&mut self, text: Text, scanned: impl IntoIterator<Item = Scanned>) {
        self.mentions = Default::default();
        let number = self.texts.len() as u32;
        self.texts.push(text);
        for piece in scanned {
            let ids: Vec<Option<PackageId>> = piece
                .paragraphs
                .into_iter()
                .map(|(paragraph, hash)| self.record(number, paragraph, hash))
                .collect();
            for (paragraph, name, hash, version) in piece.provisions {
                if let Some(package) = ids[paragraph as usize] {
                    self.provision(number, package, name, hash, version);
                }
            }
            self.refused.extend(piece.refused);
        }
    }

    /// Keeps a package; one for other machines is left out.
    fn record(&mut self, text: u32, paragraph: Paragraph, hash: u32) -> Option<PackageId> {
        let words = &self.texts[text as usize].text;
        let architecture = self.architecture_index(paragraph.architecture.of(words))? as u8;
        let name = self.number(text, paragraph.name, hash);
        let id = self.records.len() as u32;
        let list = &mut self.packages[name as usize];
        match list.last {
            NONE => list.first = id,
            last => self.records[last as usize].next = id,
        }
        list.last = id;
        self.records.push(Record { text, name, architecture, next: NONE, paragraph });
        Some(PackageId(id))
    }

    fn provision(&mut self, text: u32, package: PackageId, name: Span, hash: u32, version: Span) {
        let name = self.number(text, name, hash);
        let id = self.provisions.len() as u32;
        let list = &mut self.providers[name as usize];
        match list.last {
            NONE => list.first = id,
            last => self.provisions[last as usize].next = id,
        }
        list.last = id;
        self.provisions.push(Provision { package, version, next: NONE });
    }

    fn number(&mut self, text: u32, span: Span, hash: u32) -> NameId {
        let texts = &self.texts;
        let text_of = |place: Place| place.span.of(&texts[place.text as usize].text);
        let place = Place { text, span };
        let number = self.names.number(text_of(place), hash, place, text_of);
        if number as usize == self.packages.len() {
            self.packages.push(List::default());
            self.providers.push(List::default());
        }
        number
    }
}

/// Scans a piece of an index, with what its packages provide.
fn scan_piece(text: &str, piece: Range<usize>, is_file: bool) -> Result<Scanned, IndexError> {
    let scan::Scan { paragraphs, refused } = scan::scan(text, piece, is_file)?;
    let mut scanned = Scanned { refused, ..Scanned::default() };
    for paragraph in paragraphs {
        match provided(text, &paragraph) {
            Ok(provided) => {
                let number = scanned.paragraphs.len() as u32;
                let named = |(name, version): (Span, Span)| (number, name, hash(name.of(text)), version);
                scanned.provisions.extend(provided.into_iter().map(named));
                scanned.paragraphs.push((paragraph, hash(paragraph.name.of(text))));
            }
            Err(problem) => {
                let package = paragraph.name.of(text).to_owned();
                let found = problem.to_string();
                scanned.refused.push(IndexError::Field { package, field: "Provides", found });
            }
        }
    }
    Ok(scanned)
}

/// Returns name and version of each virtual package that a package provides on its own architecture.
pub(super) fn provided(
    text: &str,
    paragraph: &Paragraph,
) -> Result<Vec<(Span, Span)>, relation::RelationError> {
    let field = paragraph.provides.of(text);
    if field.is_empty() {
        return Ok(Vec::new());
    }
    let architecture = paragraph.architecture.of(text);
    let atoms = relation::parse_provides(field, architecture)?;
    let is_own = |atom: &relation::Atom<'_>| match atom.qualifier {
        relation::Qualifier::Is(other) => other == architecture,
        _ => true,
    };
    let place = |part: &str| Span::within(text, part);
    let spans = |atom: relation::Atom<'_>| {
        (place(atom.name), atom.version.map_or_else(Span::default, |version| place(version.1)))
    };
    Ok(atoms.into_iter().filter(is_own).map(spans).collect())
}
