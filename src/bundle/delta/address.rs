//! Addresses inside programs: what makes every call and table differ when code before it has grown.
//!
//! From the old content alone, the places are found that hold an address of the same program, relative or
//! absolute. Once it is known which piece of the old content lies where in the new one, each such place
//! foretells the bytes of the new one. A wrong guess costs some bits, never a wrong byte.

use std::collections::{BTreeMap, HashMap};

use super::align::Piece;

/// How an address is written. 0 is no address.
pub(super) const CALL: u8 = 1;
const BRANCH: u8 = 2;
const RELATIVE: u8 = 3;
const ABSOLUTE: u8 = 4;
const FRAME: u8 = 5;
const FRAME_TABLE: u8 = 6;
const JUMP_TABLE: u8 = 7;
const FRAME_BACK: u8 = 8;
const BRANCH_26: u8 = 9;
/// Kinds are below this.
pub(super) const KINDS: usize = 10;

const X86_64: u16 = 62;
const AARCH64: u16 = 183;
const SEGMENTS_MAX: usize = 64;

/// A part of the file that the loader maps.
#[derive(Clone, Copy)]
struct Segment {
    offset: u64,
    length: u64,
    address: u64,
    memory: u64,
    runs: bool,
}

/// What is known of the old content.
pub(super) struct Program<'a> {
    old: &'a [u8],
    segments: Vec<Segment>,
    /// By place in the old content: the kind of the address that begins there.
    kinds: Vec<u8>,
    /// Addresses that code names: where tables may begin. Ascending.
    named: Vec<u64>,
    frame_table: u64,
}

impl<'a> Program<'a> {
    /// Looks through an ELF file for x86-64 or AArch64; nothing is found in anything else.
    pub fn new(old: &'a [u8]) -> Self {
        let mut program =
            Program { old, segments: Vec::new(), kinds: Vec::new(), named: Vec::new(), frame_table: 0 };
        let machine = half(old, 18);
        let is_elf = old.starts_with(b"\x7fELF\x02\x01\x01");
        if is_elf && matches!(machine, Some(X86_64 | AARCH64)) && old.len() < u32::MAX as usize {
            let frame_table = program.read_segments();
            program.kinds = vec![0; old.len()];
            program.find_code(machine == Some(X86_64));
            program.find_pointers();
            if let Some(at) = frame_table {
                program.find_frames(at);
            }
            program.find_tables();
        }
        program
    }

    /// Returns the kind of the address that begins at a place.
    pub fn kind(&self, at: usize) -> u8 {
        self.kinds.get(at).copied().unwrap_or(0)
    }

    fn read_segments(&mut self) -> Option<usize> {
        let mut frame_table = None;
        let table = word(self.old, 32)? as usize;
        let count = usize::from(half(self.old, 56)?).min(SEGMENTS_MAX);
        for index in 0..count {
            let at = table.checked_add(index * 56)?;
            let header = self.old.get(at..at.checked_add(56)?)?;
            let (kind, flags) = (quad(header, 0)?, quad(header, 4)?);
            let (offset, address) = (word(header, 8)?, word(header, 16)?);
            let (length, memory) = (word(header, 32)?, word(header, 40)?);
            let inside = offset.checked_add(length).is_some_and(|end| end <= self.old.len() as u64);
            let small = address.checked_add(memory).is_some_and(|end| end < 1 << 47);
            if !inside || !small {
                continue;
            }
            if kind == 1 {
                self.segments.push(Segment { offset, length, address, memory, runs: flags & 1 != 0 });
            } else if kind == 0x6474_e550 {
                frame_table = Some(offset as usize);
            }
        }
        frame_table
    }

    fn mark(&mut self, at: usize, kind: u8) {
        if let Some(place) = self.kinds.get_mut(at) {
            *place = kind;
        }
    }

    fn find_code(&mut self, is_x86: bool) {
        let code: Vec<Segment> = self.segments.iter().copied().filter(|segment| segment.runs).collect();
        for segment in code {
            let (start, end) = (segment.offset as usize, (segment.offset + segment.length) as usize);
            if is_x86 {
                self.find_x86(start, end);
            } else {
                self.find_arm(start, end);
            }
        }
        self.named.sort_unstable();
        self.named.dedup();
    }

    fn find_x86(&mut self, start: usize, end: usize) {
        let mut at = start + 2;
        while at + 4 <= end {
            let (before, last) = (self.old[at - 2], self.old[at - 1]);
            let kind = match (before, last) {
                (_, 0xe8 | 0xe9) => CALL,
                (0x0f, 0x80..=0x8f) => BRANCH,
                (_, 0x05 | 0x0d | 0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d) => RELATIVE,
                _ => 0,
            };
            let target = (kind != 0).then(|| self.target(kind, at)).flatten();
            let Some(target) = target.filter(|&target| self.holds(target, kind != RELATIVE)) else {
                at += 1;
                continue;
            };
            self.mark(at, kind);
            if kind == RELATIVE {
                self.named.push(target);
            }
            at += 4;
        }
    }

    fn find_arm(&mut self, start: usize, end: usize) {
        for at in (start.next_multiple_of(4)..end.saturating_sub(3)).step_by(4) {
            let instruction = quad(self.old, at).unwrap_or(0);
            if instruction >> 26 & 0x1f == 5 {
                self.mark(at, BRANCH_26);
            }
        }
    }

    /// Whole words outside code that are addresses of the program: relocations, symbols, tables.
    fn find_pointers(&mut self) {
        for at in (0..self.old.len().saturating_sub(7)).step_by(8) {
            let runs = |segment: &Segment| {
                segment.runs && (segment.offset..segment.offset + segment.length).contains(&(at as u64))
            };
            let Some(value) = word(self.old, at) else { break };
            if value >= 0x1000 && self.holds(value, false) && !self.segments.iter().any(runs) {
                self.mark(at, ABSOLUTE);
            }
        }
    }

    /// The tables by which stacks are unwound: `.eh_frame_hdr` at `table`, and `.eh_frame`.
    fn find_frames(&mut self, table: usize) {
        let Some(&[1, 0x1b, 3, 0x3b]) = self.old.get(table..table.saturating_add(4)) else { return };
        let (Some(address), Some(count)) = (self.address(table as u64), quad(self.old, table + 8)) else {
            return;
        };
        self.frame_table = address;
        self.mark(table + 4, FRAME);
        for index in 0..(count as usize).min(self.old.len() / 8) {
            self.mark(table + 12 + index * 8, FRAME_TABLE);
            self.mark(table + 16 + index * 8, FRAME_TABLE);
        }
        let Some(frames) = self.target(FRAME, table + 4).and_then(|address| self.place(address)) else {
            return;
        };
        let mut at = frames as usize;
        while let Some(length) = quad(self.old, at).filter(|&length| (4..1 << 24).contains(&length)) {
            if quad(self.old, at + 4).is_some_and(|id| id != 0) {
                self.mark(at + 4, FRAME_BACK);
                self.mark(at + 8, FRAME);
                if self.old.get(at + 16) == Some(&4) {
                    self.mark(at + 17, FRAME);
                }
            }
            at += 4 + length as usize;
        }
    }

    /// Tables of 32-bit distances from their own beginning, where `switch` looks.
    fn find_tables(&mut self) {
        let named = std::mem::take(&mut self.named);
        for (index, &start) in named.iter().enumerate() {
            let Some(at) = self.place(start).filter(|at| at % 4 == 0 && !self.runs(start)) else { continue };
            let end = named.get(index + 1).and_then(|&next| self.place(next));
            let end = end.unwrap_or(self.old.len() as u64).min(self.old.len() as u64);
            let mut entry = at;
            while entry + 4 <= end && self.kinds[entry as usize] == 0 {
                let distance = i64::from(quad(self.old, entry as usize).unwrap_or(0) as i32);
                let target = start.wrapping_add_signed(distance);
                if distance == 0 || !self.runs(target) {
                    break;
                }
                self.mark(entry as usize, JUMP_TABLE);
                entry += 4;
            }
        }
        self.named = named;
    }

    fn runs(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| segment.runs && within(segment, address))
    }

    fn holds(&self, address: u64, must_run: bool) -> bool {
        self.segments.iter().any(|segment| (segment.runs || !must_run) && within(segment, address))
    }

    fn segment_at(&self, place: u64) -> Option<usize> {
        let holds = |segment: &Segment| (segment.offset..segment.offset + segment.length).contains(&place);
        self.segments.iter().position(holds)
    }

    fn address(&self, place: u64) -> Option<u64> {
        let segment = &self.segments[self.segment_at(place)?];
        Some(place - segment.offset + segment.address)
    }

    /// Returns where an address lies in the file, or would lie where its segment is longer in memory.
    fn place(&self, address: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| within(segment, address))?;
        Some(address - segment.address + segment.offset)
    }

    /// Returns the address that the place `at` leads to.
    fn target(&self, kind: u8, at: usize) -> Option<u64> {
        let value = i64::from(quad(self.old, at)? as i32);
        let here = || self.address(at as u64);
        Some(match kind {
            CALL | BRANCH | RELATIVE => here()?.wrapping_add_signed(value + 4),
            FRAME => here()?.wrapping_add_signed(value),
            FRAME_BACK => here()?.wrapping_add_signed(-value),
            FRAME_TABLE => self.frame_table.wrapping_add_signed(value),
            JUMP_TABLE => self.table_of(at)?.wrapping_add_signed(value),
            ABSOLUTE => word(self.old, at)?,
            BRANCH_26 => here()?.wrapping_add_signed(((value as i32) << 6 >> 4).into()),
            _ => return None,
        })
    }

    fn table_of(&self, at: usize) -> Option<u64> {
        let here = self.address(at as u64)?;
        let index = self.named.partition_point(|&named| named <= here);
        self.named.get(index.checked_sub(1)?).copied()
    }
}

fn within(segment: &Segment, address: u64) -> bool {
    (segment.address..segment.address + segment.memory).contains(&address)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn quad(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// An address that is foretold: the bytes of the place, and what to learn from the true ones.
#[derive(Clone, Copy)]
pub(super) struct Foretold {
    pub bytes: [u8; 8],
    pub length: usize,
    pub kind: u8,
    target: u64,
    base: u64,
}

/// Where every part of the old content has gone.
pub(super) struct Moves<'a> {
    program: &'a Program<'a>,
    /// By place in the old content: end there, and how far it moved.
    spans: BTreeMap<u64, (u64, i64)>,
    /// How much further each segment's addresses lie from their places in the new file.
    shifts: Vec<i64>,
    /// Targets that went elsewhere than their surroundings, as learned so far.
    learned: HashMap<u64, u64>,
}

impl<'a> Moves<'a> {
    pub fn new(program: &'a Program<'a>, pieces: &[Piece], shifts: Vec<i64>) -> Self {
        let mut spans = BTreeMap::new();
        if !program.segments.is_empty() {
            let mut longest: Vec<&Piece> = pieces.iter().collect();
            longest.sort_by_key(|piece| (std::cmp::Reverse(piece.length), piece.new));
            for piece in longest {
                enter(&mut spans, piece);
            }
        }
        Moves { program, spans, shifts, learned: HashMap::new() }
    }

    /// Foretells the address at an old place whose content is now at `new`.
    pub fn foretell(&self, old: usize, new: usize) -> Option<Foretold> {
        let kind = self.program.kind(old);
        if kind == 0 {
            return None;
        }
        let target = self.program.target(kind, old)?;
        let there = match self.learned.get(&target) {
            Some(&there) => there,
            None => self.moved(target)?,
        };
        let here = || Some(new as u64).map(|new| self.at_segment(self.program.segment_at(old as u64), new));
        let base = match kind {
            CALL | BRANCH | RELATIVE => here()?.wrapping_add(4),
            FRAME | FRAME_BACK | BRANCH_26 => here()?,
            FRAME_TABLE => self.moved(self.program.frame_table)?,
            JUMP_TABLE => self.moved(self.program.table_of(old)?)?,
            _ => 0,
        };
        let distance = there.wrapping_sub(base);
        let (bytes, length) = match kind {
            ABSOLUTE => (there.to_le_bytes(), 8),
            FRAME_BACK => (u64::from(distance.wrapping_neg() as u32).to_le_bytes(), 4),
            BRANCH_26 => {
                let operation = quad(self.program.old, old)? & 0xfc00_0000;
                let word = operation | (distance >> 2) as u32 & 0x03ff_ffff;
                (u64::from(word).to_le_bytes(), 4)
            }
            _ => (u64::from(distance as u32).to_le_bytes(), 4),
        };
        Some(Foretold { bytes, length, kind, target, base })
    }

    /// Remembers where the target of a place really went: the next one who leads there is told.
    pub fn learn(&mut self, foretold: &Foretold, found: &[u8]) {
        let there = match (foretold.kind, found) {
            (ABSOLUTE, _) => word(found, 0),
            (FRAME_BACK, _) => quad(found, 0).map(|v| foretold.base.wrapping_sub(i64::from(v as i32) as u64)),
            (BRANCH_26, _) => {
                quad(found, 0).map(|v| foretold.base.wrapping_add_signed(i64::from((v as i32) << 6 >> 4)))
            }
            _ => quad(found, 0).map(|v| foretold.base.wrapping_add_signed(i64::from(v as i32))),
        };
        if let Some(there) = there {
            self.learned.insert(foretold.target, there);
        }
    }

    fn at_segment(&self, segment: Option<usize>, place: u64) -> u64 {
        let Some(index) = segment else { return place };
        let segment = &self.program.segments[index];
        let shift = self.shifts.get(index).copied().unwrap_or(0);
        place.wrapping_add(segment.address.wrapping_sub(segment.offset)).wrapping_add_signed(shift)
    }

    fn moved(&self, address: u64) -> Option<u64> {
        let index = self.program.segments.iter().position(|segment| within(segment, address))?;
        let place = self.program.place(address)?;
        let (_, &(_, by)) = self.spans.range(..=place).next_back()?;
        Some(self.at_segment(Some(index), place.wrapping_add_signed(by)))
    }
}

/// Enters the parts of a piece's old place that no longer piece has taken.
fn enter(spans: &mut BTreeMap<u64, (u64, i64)>, piece: &Piece) {
    let by = piece.new as i64 - piece.old as i64;
    let (mut at, end) = (piece.old as u64, (piece.old + piece.length) as u64);
    while at < end {
        let taken = spans.range(..=at).next_back().map_or(0, |(_, &(end, _))| end);
        if taken > at {
            at = taken;
            continue;
        }
        let next = spans.range(at..).next().map_or(end, |(&start, _)| start.min(end));
        spans.insert(at, (next, by));
        at = next;
    }
}

/// Returns how much further the new file's segments lie from their places, one number a segment of the old
/// one: empty where there is no difference.
pub(super) fn shifts(old: &[u8], new: &[u8]) -> Vec<i64> {
    let segments = |bytes| {
        let mut program = Program {
            old: bytes,
            segments: Vec::new(),
            kinds: Vec::new(),
            named: Vec::new(),
            frame_table: 0,
        };
        if bytes.starts_with(b"\x7fELF\x02\x01\x01") {
            program.read_segments();
        }
        program.segments
    };
    let bias = |segment: &Segment| segment.address.wrapping_sub(segment.offset) as i64;
    let (old, new) = (segments(old), segments(new));
    if old.len() != new.len() {
        return Vec::new();
    }
    let shifts: Vec<i64> = old.iter().zip(&new).map(|(old, new)| bias(new).wrapping_sub(bias(old))).collect();
    if shifts.iter().all(|&shift| shift == 0) { Vec::new() } else { shifts }
}
