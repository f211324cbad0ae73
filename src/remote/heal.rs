//! Single objects out of a site, for a store that lost some.

use std::collections::HashMap;
use std::io::{Cursor, Read};
use std::sync::Mutex;

use super::error::{RemoteError, Result};
use super::far::Far;
use super::settings::Remote;
use super::site::{self, bundle_path};
use super::site_pull::{read_range, read_table, refused};
use super::transport::{Line, Transport};
use crate::base::Digest;
use crate::bundle::{ObjectName, Table};
use crate::store::{HealError, Healer, Kind};

/// Finds objects in the bundles of a site. What it gives needs nobody's signature: whoever takes it holds it
/// against its id.
struct SiteHealer {
    remote: Remote,
    transport: Box<dyn Transport>,
    /// Read at the first question.
    shelves: Mutex<Option<Shelves>>,
}

#[derive(Default)]
struct Shelves {
    shelves: Vec<Shelf>,
    /// Where each object is.
    places: HashMap<Digest, usize>,
}

/// A bundle whose front was read.
struct Shelf {
    path: String,
    table: Table,
    names: Vec<ObjectName>,
}

/// Opens a far end that lost objects may be taken from.
pub fn healer(remote: Remote, line: &Line) -> Result<Box<dyn Healer>> {
    Ok(match Far::open(&remote.settings.address, line)? {
        Far::Store(store) => store,
        Far::Site(transport) => Box::new(SiteHealer { remote, transport, shelves: Mutex::default() }),
    })
}

impl SiteHealer {
    fn object(&self, id: &Digest) -> Result<Option<Vec<u8>>> {
        let mut shelves = self.shelves.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if shelves.is_none() {
            *shelves = Some(self.read_shelves()?);
        }
        let Some(shelves) = &*shelves else { return Ok(None) };
        let Some(&place) = shelves.places.get(id) else { return Ok(None) };
        let shelf = &shelves.shelves[place];
        let Some(single) = shelf.table.single(&shelf.names, id) else { return Ok(None) };
        let mut parts = vec![Vec::new(); single.ranges().len()];
        self.transport.read_ranges(&shelf.path, single.ranges(), &mut |number, bytes| {
            parts[number].extend_from_slice(bytes);
            Ok(())
        })?;
        single.decode(&parts).map(Some).map_err(|error| refused(&self.remote, &shelf.path, error))
    }

    fn read_shelves(&self) -> Result<Shelves> {
        let said = site::read_unsigned(&*self.transport, &self.remote)?;
        let mut shelves = Shelves::default();
        for entry in &said.index.bundles {
            said.check(&self.remote, entry, 0)?;
            let table = read_table(&*self.transport, &self.remote, entry)?;
            let path = bundle_path(&entry.id);
            let ids = read_range(&*self.transport, &path, table.ids_range())?;
            let names = table.read_ids(&ids).map_err(|error| refused(&self.remote, &path, error))?;
            let place = shelves.shelves.len();
            shelves.places.extend(names.iter().map(|name| (name.id, place)));
            shelves.shelves.push(Shelf { path, table, names });
        }
        Ok(shelves)
    }
}

impl Healer for SiteHealer {
    fn name(&self) -> String {
        self.remote.shown()
    }

    fn fetch(
        &self,
        _: Kind,
        id: &Digest,
        _: Option<u64>,
    ) -> std::result::Result<Option<Box<dyn Read + '_>>, HealError> {
        let object = self.object(id).map_err(|error: RemoteError| Box::new(error) as HealError)?;
        Ok(object.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }
}
