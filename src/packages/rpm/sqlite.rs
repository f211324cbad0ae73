//! Writes SQLite databases (SQLite's "Database File Format", version 3): tables and indexes as b-trees, in one go and
//! in memory, a pure function of the rows. SQLite itself can only write files of the host, and dates and versions of
//! its own get into them.
//!
//! Everything here is part of that format, and how pages are filled is part of ours: changing it changes images.

/// Bytes of a page, all of them usable.
const PAGE_BYTES: usize = 4096;
/// Bytes of the file's header, in front of the first page's content.
const FILE_HEADER_BYTES: usize = 100;
/// Kinds of pages.
const INDEX_INTERIOR: u8 = 2;
const TABLE_INTERIOR: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;
/// The version that the file says wrote it: the first whose format this is, in full. Readers ignore it.
const WRITER_VERSION: u32 = 3_040_000;

/// One value of a row. Orders as SQLite orders.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Value {
    Null,
    Integer(i64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// A table, its rows ascending by their number.
pub struct Table {
    pub name: String,
    pub sql: String,
    pub rows: Vec<(i64, Vec<Value>)>,
    pub indexes: Vec<Index>,
}

/// An index over one column of its table.
pub struct Index {
    pub name: String,
    pub sql: String,
    pub column: usize,
}

/// Writes a database with these tables, in this order.
pub fn write(tables: &[Table]) -> Vec<u8> {
    let mut pages = Pages { bytes: vec![0; PAGE_BYTES] };
    let mut schema: Vec<(i64, Vec<Value>)> = Vec::new();
    let mut enter = |kind: &str, name: &str, table: &str, root: u32, sql: &str| {
        let text = |text: &str| Value::Text(text.as_bytes().to_vec());
        let row = vec![text(kind), text(name), text(table), Value::Integer(root.into()), text(sql)];
        schema.push((schema.len() as i64 + 1, row));
    };
    for table in tables {
        let root = pages.table(&table.rows, None);
        enter("table", &table.name, &table.name, root, &table.sql);
        for index in &table.indexes {
            let root = pages.index(table, index);
            enter("index", &index.name, &table.name, root, &index.sql);
        }
    }
    pages.table(&schema, Some(1));
    pages.finish()
}

struct Pages {
    bytes: Vec<u8>,
}

/// A page that is being filled.
struct Node {
    kind: u8,
    cells: Vec<Vec<u8>>,
    /// Of interior pages.
    right: Option<u32>,
}

impl Node {
    fn header_bytes(&self) -> usize {
        if self.right.is_some() { 12 } else { 8 }
    }
}

/// A finished page, and the largest key below it (tables) or the cell that parts it from the next (indexes).
struct Child {
    page: u32,
    key: Vec<u8>,
}

impl Pages {
    fn count(&self) -> u32 {
        (self.bytes.len() / PAGE_BYTES) as u32
    }

    fn allocate(&mut self) -> u32 {
        self.bytes.resize(self.bytes.len() + PAGE_BYTES, 0);
        self.count()
    }

    fn page(&mut self, number: u32) -> &mut [u8] {
        let start = (number as usize - 1) * PAGE_BYTES;
        &mut self.bytes[start..start + PAGE_BYTES]
    }

    /// Writes a page: pointers behind the header, cells from the end.
    fn put(&mut self, number: u32, node: &Node) {
        let start = if number == 1 { FILE_HEADER_BYTES } else { 0 };
        let header_bytes = node.header_bytes();
        let page = self.page(number);
        let mut content = PAGE_BYTES;
        for (index, cell) in node.cells.iter().enumerate() {
            content -= cell.len();
            page[content..content + cell.len()].copy_from_slice(cell);
            let pointer = start + header_bytes + 2 * index;
            page[pointer..pointer + 2].copy_from_slice(&(content as u16).to_be_bytes());
        }
        page[start] = node.kind;
        page[start + 3..start + 5].copy_from_slice(&(node.cells.len() as u16).to_be_bytes());
        page[start + 5..start + 7].copy_from_slice(&(content as u16).to_be_bytes());
        if let Some(right) = node.right {
            page[start + 8..start + 12].copy_from_slice(&right.to_be_bytes());
        }
    }

    /// Writes a table; returns its root: `fixed`, or a new page.
    fn table(&mut self, rows: &[(i64, Vec<Value>)], fixed: Option<u32>) -> u32 {
        let mut leaves: Vec<(Vec<Vec<u8>>, i64)> = vec![(Vec::new(), 0)];
        let room = PAGE_BYTES - 8 - fixed.map_or(0, |_| FILE_HEADER_BYTES);
        let mut used = 0;
        for (number, values) in rows {
            let record = record(values);
            let mut cell = varint(record.len() as u64);
            cell.extend(varint(*number as u64));
            self.local(&record, PAGE_BYTES - 35, &mut cell);
            if used + cell.len() + 2 > room {
                leaves.push((Vec::new(), 0));
                used = 0;
            }
            used += cell.len() + 2;
            if let Some(leaf) = leaves.last_mut() {
                leaf.0.push(cell);
                leaf.1 = *number;
            }
        }
        if leaves.len() == 1 {
            let root = fixed.unwrap_or_else(|| self.allocate());
            let cells = leaves.pop().map(|leaf| leaf.0).unwrap_or_default();
            self.put(root, &Node { kind: TABLE_LEAF, cells, right: None });
            return root;
        }
        let mut children = Vec::new();
        for (cells, last) in leaves {
            let page = self.allocate();
            self.put(page, &Node { kind: TABLE_LEAF, cells, right: None });
            children.push(Child { page, key: varint(last as u64) });
        }
        self.interior(children, TABLE_INTERIOR, fixed)
    }

    /// Writes an index: values of a column, each with the number of its row.
    fn index(&mut self, table: &Table, index: &Index) -> u32 {
        let mut keys: Vec<(&Value, i64)> =
            table.rows.iter().map(|(number, values)| (&values[index.column], *number)).collect();
        keys.sort();
        let mut cells: Vec<Vec<u8>> = Vec::with_capacity(keys.len());
        for (value, number) in keys {
            let record = record(&[value.clone(), Value::Integer(number)]);
            let mut cell = varint(record.len() as u64);
            self.local(&record, (PAGE_BYTES - 12) * 64 / 255 - 23, &mut cell);
            cells.push(cell);
        }
        let mut leaves: Vec<(Vec<Vec<u8>>, Vec<u8>)> = Vec::new();
        let (mut leaf, mut used) = (Vec::new(), 0);
        let mut cells = cells.into_iter().peekable();
        while let Some(cell) = cells.next() {
            let is_full = used + cell.len() + 2 > PAGE_BYTES - 8;
            // A cell between two leaves belongs to both: the last one is never such a cell.
            if is_full && cells.peek().is_some() {
                leaves.push((std::mem::take(&mut leaf), cell));
                used = 0;
            } else if is_full {
                let separator = leaf.pop().unwrap_or_default();
                leaves.push((std::mem::take(&mut leaf), separator));
                leaf.push(cell);
            } else {
                used += cell.len() + 2;
                leaf.push(cell);
            }
        }
        leaves.push((leaf, Vec::new()));
        let mut children = Vec::new();
        for (cells, key) in leaves {
            let page = self.allocate();
            self.put(page, &Node { kind: INDEX_LEAF, cells, right: None });
            children.push(Child { page, key });
        }
        match &children[..] {
            [only] => only.page,
            _ => self.interior(children, INDEX_INTERIOR, None),
        }
    }

    /// Writes the levels above finished pages, up to the root.
    fn interior(&mut self, mut children: Vec<Child>, kind: u8, fixed: Option<u32>) -> u32 {
        loop {
            let start = fixed.map_or(0, |_| FILE_HEADER_BYTES);
            let groups = grouped(children, PAGE_BYTES - 12 - start);
            let is_root = groups.len() == 1;
            let mut next = Vec::new();
            for mut group in groups {
                let last = group.pop().expect("because no group is empty");
                let cells =
                    group.into_iter().map(|child| [&child.page.to_be_bytes()[..], &child.key].concat());
                let node = Node { kind, cells: cells.collect(), right: Some(last.page) };
                let page = match fixed {
                    Some(fixed) if is_root => fixed,
                    _ => self.allocate(),
                };
                self.put(page, &node);
                next.push(Child { page, key: last.key });
            }
            if is_root {
                return next[0].page;
            }
            children = next;
        }
    }

    /// Adds a record to a cell, and what does not fit to overflow pages.
    fn local(&mut self, record: &[u8], most: usize, cell: &mut Vec<u8>) {
        let least = (PAGE_BYTES - 12) * 32 / 255 - 23;
        if record.len() <= most {
            cell.extend_from_slice(record);
            return;
        }
        let kept = least + (record.len() - least) % (PAGE_BYTES - 4);
        let kept = if kept <= most { kept } else { least };
        let (kept, rest) = record.split_at(kept);
        cell.extend_from_slice(kept);
        let pieces: Vec<&[u8]> = rest.chunks(PAGE_BYTES - 4).collect();
        let first = self.count() + 1;
        cell.extend(first.to_be_bytes());
        for (index, piece) in pieces.iter().enumerate() {
            let number = self.allocate();
            let next = if index + 1 == pieces.len() { 0 } else { number + 1 };
            let page = self.page(number);
            page[..4].copy_from_slice(&next.to_be_bytes());
            page[4..4 + piece.len()].copy_from_slice(piece);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let count = self.count();
        let header = &mut self.bytes[..FILE_HEADER_BYTES];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        header[16..18].copy_from_slice(&(PAGE_BYTES as u16).to_be_bytes());
        // A rollback journal, not a write-ahead log: so that a read-only file system can be read.
        header[18..24].copy_from_slice(&[1, 1, 0, 64, 32, 32]);
        let mut number = |at: usize, value: u32| header[at..at + 4].copy_from_slice(&value.to_be_bytes());
        number(24, 1);
        number(28, count);
        number(40, 1);
        number(44, 4);
        number(56, 1);
        number(92, 1);
        number(96, WRITER_VERSION);
        self.bytes
    }
}

/// Parts children into pages of at least two. Of each page but the last, the last child's key goes a level up.
fn grouped(children: Vec<Child>, room: usize) -> Vec<Vec<Child>> {
    let mut groups: Vec<Vec<Child>> = vec![Vec::new()];
    let mut used = 0;
    for child in children {
        let cost = 4 + child.key.len() + 2;
        let is_full = groups.last().is_some_and(|group| group.len() >= 2 && used + cost > room);
        if is_full {
            groups.push(Vec::new());
            used = 0;
        }
        used += cost;
        groups.last_mut().expect("because there is a group").push(child);
    }
    let is_short = groups.len() > 1 && groups.last().is_some_and(|group| group.len() == 1);
    if is_short {
        let at = groups.len() - 1;
        let moved = groups[at - 1].pop();
        groups[at].splice(0..0, moved);
    }
    groups
}

/// Encodes a row.
fn record(values: &[Value]) -> Vec<u8> {
    let (mut kinds, mut body) = (Vec::new(), Vec::new());
    for value in values {
        let kind = match value {
            Value::Null => 0,
            Value::Integer(0) => 8,
            Value::Integer(1) => 9,
            Value::Integer(number) => {
                let bytes = number.to_be_bytes();
                let fits = |width: u32| *number >= -(1i64 << (width - 1)) && *number < 1i64 << (width - 1);
                let (kind, length) = match () {
                    () if fits(8) => (1, 1),
                    () if fits(16) => (2, 2),
                    () if fits(24) => (3, 3),
                    () if fits(32) => (4, 4),
                    () if fits(48) => (5, 6),
                    () => (6, 8),
                };
                body.extend_from_slice(&bytes[8 - length..]);
                kind
            }
            Value::Text(text) => {
                body.extend_from_slice(text);
                13 + 2 * text.len() as u64
            }
            Value::Blob(blob) => {
                body.extend_from_slice(blob);
                12 + 2 * blob.len() as u64
            }
        };
        kinds.extend(varint(kind));
    }
    // The length counts itself; headers of more than 126 bytes need two bytes for it.
    let length = kinds.len() + if kinds.len() < 127 { 1 } else { 2 };
    [varint(length as u64), kinds, body].concat()
}

/// Encodes a number in 1 to 9 bytes, seven bits each but for the last of nine.
fn varint(number: u64) -> Vec<u8> {
    if number >> 56 != 0 {
        let mut bytes: Vec<u8> = (0..8).map(|index| (number >> (8 + 7 * (7 - index))) as u8 | 0x80).collect();
        bytes.push(number as u8);
        return bytes;
    }
    let groups = (1..8).find(|groups| number >> (7 * groups) == 0).unwrap_or(8);
    (0..groups)
        .rev()
        .map(|group| (number >> (7 * group)) as u8 & 0x7f | if group == 0 { 0 } else { 0x80 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets SQLite itself check and read a database.
    fn judged(tables: &[Table]) -> rusqlite::Connection {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("db");
        std::fs::write(&path, write(tables)).expect("written");
        let connection = rusqlite::Connection::open(&path).expect("opened");
        let verdict: String =
            connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("checked");
        assert_eq!(verdict, "ok");
        connection
    }

    fn table(rows: Vec<(i64, Vec<Value>)>) -> Table {
        let indexes = ["key", "hnum"].iter().enumerate().map(|(column, name)| Index {
            name: format!("i_{name}"),
            sql: format!("CREATE INDEX 'i_{name}' ON 't'({name} ASC)"),
            column,
        });
        let sql = "CREATE TABLE 't' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL)".to_owned();
        Table { name: "t".into(), sql, rows, indexes: indexes.collect() }
    }

    #[test]
    fn sqlite_reads_trees_of_every_height() {
        for count in [0, 1, 2, 57, 58, 59, 1000, 40_000] {
            let row = |number: i64| {
                let text = format!("key {:07}", number * 7919 % 100_003);
                (number, vec![Value::Text(text.into_bytes()), Value::Integer(number % 13 - 6)])
            };
            let connection = judged(&[table((1..=count).map(row).collect())]);
            let found: i64 =
                connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("counted");
            assert_eq!(found, count);
            for number in [1, count / 2 + 1, count] {
                let (_, values) = row(number);
                let Value::Text(key) = &values[0] else { panic!("a text") };
                let key = String::from_utf8(key.clone()).expect("text");
                let sql = "SELECT count(*) FROM t INDEXED BY i_key WHERE key = ?";
                let found: i64 = connection.query_row(sql, [&key], |row| row.get(0)).expect("found");
                assert_eq!(found, i64::from(number <= count && number > 0), "{number} of {count}");
            }
        }
    }

    #[test]
    fn long_values_and_large_numbers_survive() {
        let lengths = [0, 100, 489, 490, 1002, 1003, 4060, 4061, 4062, 4096, 9000, 500_000];
        let rows = lengths.iter().enumerate().map(|(index, length)| {
            (
                index as i64 + 1,
                vec![Value::Text(vec![b'a' + index as u8; *length]), Value::Integer(1 << (5 * index))],
            )
        });
        let connection = judged(&[table(rows.collect())]);
        for (index, length) in lengths.iter().enumerate() {
            let sql = "SELECT length(key), hnum FROM t WHERE rowid = ?";
            let found: (i64, i64) = connection
                .query_row(sql, [index as i64 + 1], |row| Ok((row.get(0)?, row.get(1)?)))
                .expect("found");
            assert_eq!(found, (*length as i64, 1 << (5 * index)));
        }
    }

    #[test]
    fn many_tables_make_a_schema_of_several_pages() {
        let tables: Vec<Table> = (0..100)
            .map(|number| Table {
                name: format!("t{number}"),
                sql: format!("CREATE TABLE 't{number}' (key 'TEXT' NOT NULL, hnum INTEGER NOT NULL)"),
                rows: vec![(1, vec![Value::Text(b"x".to_vec()), Value::Integer(number)])],
                indexes: Vec::new(),
            })
            .collect();
        let connection = judged(&tables);
        let found: i64 = connection.query_row("SELECT hnum FROM t77", [], |row| row.get(0)).expect("found");
        assert_eq!(found, 77);
        assert_eq!(write(&tables), write(&tables));
    }

    #[test]
    fn numbers_take_one_to_nine_bytes() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [0x7f]);
        assert_eq!(varint(128), [0x81, 0]);
        assert_eq!(varint(u64::MAX), [0xff; 9]);
        assert_eq!(varint(1 << 55).len(), 8);
    }
}
