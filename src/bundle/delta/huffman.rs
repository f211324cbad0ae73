//! The blocks of a deflate stream, with the codes that GNU gzip gives them (RFC 1951, sections 3.2.5 to 3.2.7).

const LITERALS: usize = 256;
const LENGTH_CODES: usize = 286;
const DISTANCE_CODES: usize = 30;
const LENGTH_BASE: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA: [u8; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE: [u16; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA: [u8; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const CODE_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const CODE_EXTRA: [u8; 19] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 7];
/// A block of so many symbols is full.
const SYMBOLS_MAX: usize = 0x8000 - 1;

#[derive(Clone, Copy)]
pub(super) enum Symbol {
    Literal(u8),
    Match { length: usize, distance: usize },
}

/// A set of codes: how often each symbol occurs, how long its code is.
struct Tree {
    counts: Vec<u32>,
    lengths: Vec<u8>,
    codes: Vec<u16>,
    extra: &'static [u8],
    base: usize,
    longest: u8,
    highest: usize,
}

impl Tree {
    fn new(symbols: usize, extra: &'static [u8], base: usize, longest: u8) -> Self {
        let (counts, lengths, codes) = (vec![0; symbols], vec![0; symbols], vec![0; symbols]);
        Tree { counts, lengths, codes, extra, base, longest, highest: 0 }
    }

    fn extra(&self, symbol: usize) -> u64 {
        symbol.checked_sub(self.base).and_then(|index| self.extra.get(index)).copied().unwrap_or(0).into()
    }

    /// Returns how many bits all symbols take with codes of these lengths.
    fn cost(&self, length: impl Fn(usize) -> u8) -> u64 {
        let symbols = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        symbols
            .map(|(symbol, &count)| u64::from(count) * (u64::from(length(symbol)) + self.extra(symbol)))
            .sum()
    }

    /// Gives each symbol its code: Huffman's, ties broken by the depth of what hangs below, no longer than
    /// allowed.
    fn build(&mut self) {
        let symbols = self.counts.len();
        let mut counts = self.counts.clone();
        let mut heap = Heap { nodes: vec![0], depths: vec![0u8; 2 * symbols + 1] };
        for (symbol, &count) in counts.iter().enumerate() {
            if count > 0 {
                heap.nodes.push(symbol);
                self.highest = symbol;
            }
        }
        // Two codes at least: of the first symbols, those that don't occur stand in.
        while heap.nodes.len() < 3 {
            let symbol = counts.iter().position(|&count| count == 0).unwrap_or(0);
            self.highest = self.highest.max(symbol);
            counts[symbol] = 1;
            heap.nodes.push(symbol);
        }
        counts.resize(2 * symbols + 1, 0);
        let (order, parents) = heap.join(&mut counts, symbols);
        self.shorten(&counts, &order, &parents);
        self.assign();
    }

    /// Turns depths into lengths of codes, `order` from the root down.
    fn shorten(&mut self, counts: &[u32], order: &[usize], parents: &[usize]) {
        let symbols = self.counts.len();
        let longest = usize::from(self.longest);
        let mut lengths = vec![0usize; 2 * symbols + 1];
        let mut of_length = vec![0usize; longest + 2];
        let mut over = 0i64;
        for &node in &order[1..] {
            let length = lengths[parents[node]] + 1;
            over += i64::from(length > longest);
            lengths[node] = length.min(longest);
            if node < symbols {
                of_length[lengths[node]] += 1;
            }
        }
        if over > 0 {
            while over > 0 {
                let mut length = longest - 1;
                while of_length[length] == 0 {
                    length -= 1;
                }
                of_length[length] -= 1;
                of_length[length + 1] += 2;
                of_length[longest] -= 1;
                over -= 2;
            }
            let mut leaves = order.iter().rev().filter(|&&node| node < symbols);
            for length in (1..=longest).rev() {
                for &node in leaves.by_ref().take(of_length[length]) {
                    lengths[node] = length;
                }
            }
        }
        for symbol in 0..symbols {
            self.lengths[symbol] = if counts[symbol] > 0 { lengths[symbol] as u8 } else { 0 };
        }
    }

    fn assign(&mut self) {
        let mut next = [0u16; 17];
        let mut code = 0u16;
        for length in 1..=15u8 {
            let shorter = self.lengths.iter().filter(|&&other| other == length - 1 && other > 0).count();
            code = (code + shorter as u16) << 1;
            next[usize::from(length)] = code;
        }
        for (code, &length) in self.codes.iter_mut().zip(&self.lengths) {
            if length > 0 {
                *code = next[usize::from(length)].reverse_bits() >> (16 - length);
                next[usize::from(length)] += 1;
            }
        }
    }
}

/// A heap whose first node occurs least; node 0 is no node.
struct Heap {
    nodes: Vec<usize>,
    depths: Vec<u8>,
}

impl Heap {
    fn is_less(&self, counts: &[u32], left: usize, right: usize) -> bool {
        (counts[left], self.depths[left]) <= (counts[right], self.depths[right])
    }

    fn sink(&mut self, counts: &[u32], mut at: usize) {
        let node = self.nodes[at];
        let last = self.nodes.len() - 1;
        let mut below = 2 * at;
        while below <= last {
            if below < last && self.is_less(counts, self.nodes[below + 1], self.nodes[below]) {
                below += 1;
            }
            if self.is_less(counts, node, self.nodes[below]) {
                break;
            }
            self.nodes[at] = self.nodes[below];
            at = below;
            below *= 2;
        }
        self.nodes[at] = node;
    }

    /// Joins the two rarest until one is left. Returns all nodes from that one down, and their parents.
    fn join(mut self, counts: &mut [u32], symbols: usize) -> (Vec<usize>, Vec<usize>) {
        for at in (1..=(self.nodes.len() - 1) / 2).rev() {
            self.sink(counts, at);
        }
        let mut parents = vec![0; counts.len()];
        let mut taken = Vec::new();
        let mut next = symbols;
        while self.nodes.len() > 2 {
            let rarest = self.nodes[1];
            self.nodes.swap_remove(1);
            self.sink(counts, 1);
            let other = self.nodes[1];
            taken.extend([rarest, other]);
            counts[next] = counts[rarest] + counts[other];
            self.depths[next] = self.depths[rarest].max(self.depths[other]) + 1;
            (parents[rarest], parents[other]) = (next, next);
            self.nodes[1] = next;
            next += 1;
            self.sink(counts, 1);
        }
        taken.push(self.nodes[1]);
        taken.reverse();
        (taken, parents)
    }
}

/// The symbols of a block, and the bits of all blocks before.
pub(super) struct Block {
    symbols: Vec<Symbol>,
    matches: usize,
    letters: Tree,
    distances: Tree,
    bits: Bits,
}

impl Block {
    pub fn new() -> Self {
        let mut block = Block {
            symbols: Vec::new(),
            matches: 0,
            letters: Tree::new(LENGTH_CODES, &LENGTH_EXTRA, LITERALS + 1, 15),
            distances: Tree::new(DISTANCE_CODES, &DISTANCE_EXTRA, 0, 15),
            bits: Bits::default(),
        };
        block.clear();
        block
    }

    fn clear(&mut self) {
        self.symbols.clear();
        self.matches = 0;
        self.letters = Tree::new(LENGTH_CODES, &LENGTH_EXTRA, LITERALS + 1, 15);
        self.distances = Tree::new(DISTANCE_CODES, &DISTANCE_EXTRA, 0, 15);
        self.letters.counts[LITERALS] = 1;
    }

    /// Adds a symbol; tells whether the block should end, of which `length` bytes were seen.
    pub fn add(&mut self, symbol: Symbol, length: usize) -> bool {
        self.symbols.push(symbol);
        match symbol {
            Symbol::Literal(byte) => self.letters.counts[usize::from(byte)] += 1,
            Symbol::Match { length, distance } => {
                self.letters.counts[LITERALS + 1 + length_code(length)] += 1;
                self.distances.counts[distance_code(distance)] += 1;
                self.matches += 1;
            }
        }
        if self.symbols.len() & 0xfff == 0 {
            let bits: u64 = self.symbols.len() as u64 * 8 + self.distances.cost(|_| 5);
            if self.matches < self.symbols.len() / 2 && bits / 8 < length as u64 / 2 {
                return true;
            }
        }
        self.symbols.len() == SYMBOLS_MAX
    }

    /// Ends the block, which stands for `plain`.
    pub fn flush(&mut self, plain: &[u8], is_last: bool) {
        self.letters.build();
        self.distances.build();
        let (lengths, used) = self.code_lengths();
        let dynamic = self.letters.cost(|symbol| self.letters.lengths[symbol])
            + self.distances.cost(|symbol| self.distances.lengths[symbol])
            + lengths.cost(|symbol| lengths.lengths[symbol])
            + 3 * used as u64
            + 14;
        let fixed = self.letters.cost(fixed_length) + self.distances.cost(|_| 5);
        let (dynamic, fixed) = ((dynamic + 10) / 8, (fixed + 10) / 8);
        let best = dynamic.min(fixed);
        let last = u64::from(is_last);
        if plain.len() as u64 + 4 <= best && plain.len() <= 0xffff {
            self.bits.add(last, 3);
            self.bits.store(plain);
        } else if fixed == best {
            self.bits.add(2 + last, 3);
            (self.letters, self.distances) = fixed_trees();
            self.symbols();
        } else {
            self.bits.add(4 + last, 3);
            self.trees(&lengths, used);
            self.symbols();
        }
        self.clear();
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.bits.align();
        self.bits.bytes
    }

    fn symbols(&mut self) {
        for symbol in std::mem::take(&mut self.symbols) {
            match symbol {
                Symbol::Literal(byte) => self.letter(byte.into()),
                Symbol::Match { length, distance } => {
                    let code = length_code(length);
                    self.letter(LITERALS + 1 + code);
                    self.bits
                        .add((length - usize::from(LENGTH_BASE[code])) as u64, LENGTH_EXTRA[code].into());
                    let code = distance_code(distance);
                    self.bits.add(self.distances.codes[code].into(), self.distances.lengths[code].into());
                    let rest = distance - usize::from(DISTANCE_BASE[code]);
                    self.bits.add(rest as u64, DISTANCE_EXTRA[code].into());
                }
            }
        }
        self.letter(LITERALS);
    }

    fn letter(&mut self, symbol: usize) {
        self.bits.add(self.letters.codes[symbol].into(), self.letters.lengths[symbol].into());
    }

    /// Returns the codes for the lengths of the codes, and how many of them are sent.
    fn code_lengths(&self) -> (Tree, usize) {
        let mut tree = Tree::new(19, &CODE_EXTRA, 0, 7);
        for of in [&self.letters, &self.distances] {
            runs(of, |symbol, _| tree.counts[symbol] += 1);
        }
        tree.build();
        let used = CODE_ORDER.iter().rposition(|&symbol| tree.lengths[symbol] > 0).unwrap_or(0).max(3) + 1;
        (tree, used)
    }

    fn trees(&mut self, lengths: &Tree, used: usize) {
        self.bits.add(self.letters.highest as u64 + 1 - 257, 5);
        self.bits.add(self.distances.highest as u64, 5);
        self.bits.add(used as u64 - 4, 4);
        for &symbol in &CODE_ORDER[..used] {
            self.bits.add(lengths.lengths[symbol].into(), 3);
        }
        let bits = &mut self.bits;
        for of in [&self.letters, &self.distances] {
            runs(of, |symbol, rest| {
                bits.add(lengths.codes[symbol].into(), lengths.lengths[symbol].into());
                bits.add(rest, CODE_EXTRA[symbol].into());
            });
        }
    }
}

/// Shows the lengths of a tree's codes as symbols of runs, and the extra bits of each.
fn runs(tree: &Tree, mut see: impl FnMut(usize, u64)) {
    let lengths = &tree.lengths[..=tree.highest];
    let mut last = None;
    let (mut at, mut count) = (0, 0);
    while at < lengths.len() {
        let length = lengths[at];
        let next = lengths.get(at + 1).copied();
        let limit = match (length, last == Some(length)) {
            (0, _) => 138,
            (_, true) => 6,
            _ => 7,
        };
        at += 1;
        count += 1;
        if count < limit && next == Some(length) {
            continue;
        }
        let least = if length != 0 && last != Some(length) { 4 } else { 3 };
        if count < least {
            (0..count).for_each(|_| see(length.into(), 0));
        } else if length != 0 {
            if last != Some(length) {
                see(length.into(), 0);
                count -= 1;
            }
            see(16, count - 3);
        } else if count <= 10 {
            see(17, count - 3);
        } else {
            see(18, count - 11);
        }
        count = 0;
        // Behind a full run the same length may go on: then as after its own symbol.
        last = Some(length);
    }
}

fn length_code(length: usize) -> usize {
    LENGTH_BASE.partition_point(|&base| usize::from(base) <= length) - 1
}

fn distance_code(distance: usize) -> usize {
    DISTANCE_BASE.partition_point(|&base| usize::from(base) <= distance) - 1
}

fn fixed_length(symbol: usize) -> u8 {
    match symbol {
        0..144 => 8,
        144..256 => 9,
        256..280 => 7,
        _ => 8,
    }
}

fn fixed_trees() -> (Tree, Tree) {
    let mut letters = Tree::new(288, &LENGTH_EXTRA, LITERALS + 1, 15);
    let mut distances = Tree::new(DISTANCE_CODES, &DISTANCE_EXTRA, 0, 15);
    letters.lengths.iter_mut().enumerate().for_each(|(symbol, length)| *length = fixed_length(symbol));
    distances.lengths.fill(5);
    letters.assign();
    distances.assign();
    (letters, distances)
}

/// Bits, the lowest first.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    held: u64,
    count: u32,
}

impl Bits {
    fn add(&mut self, value: u64, count: u32) {
        self.held |= value << self.count;
        self.count += count;
        while self.count >= 8 {
            self.bytes.push(self.held as u8);
            self.held >>= 8;
            self.count -= 8;
        }
    }

    fn align(&mut self) {
        self.add(0, (8 - self.count) % 8);
    }

    fn store(&mut self, plain: &[u8]) {
        self.align();
        let length = plain.len() as u16;
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&(!length).to_le_bytes());
        self.bytes.extend_from_slice(plain);
    }
}
