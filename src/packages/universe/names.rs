//! Names of packages as small numbers.

use super::super::deb::index::Span;

/// Hashes a name. Not for what must not be guessed: the worst that colliding names do is to cost time.
pub(super) fn hash(name: &str) -> u32 {
    const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;
    let mut state = 0u64;
    let mut mix = |word: u64| state = (state.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    let mut words = name.as_bytes().chunks_exact(8);
    for word in &mut words {
        mix(word.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)));
    }
    mix(words.remainder().iter().fold(name.len() as u64, |number, &byte| number << 8 | u64::from(byte)));
    (state >> 32) as u32
}

/// Says where the text of a name stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Index of the text.
    pub text: u32,
    pub span: Span,
}

/// Numbers names from 0 on. The names stay in their texts: a table of numbers with linear probing finds them.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: Vec<Place>,
    hashes: Vec<u32>,
    /// One more than the number of a name, or 0; a power of two, at most half full.
    table: Vec<u32>,
}

impl Names {
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn place(&self, number: u32) -> Place {
        self.places[number as usize]
    }

    /// Returns the number of a name; `text_of` tells what stands at a place.
    pub fn find<'a>(&self, name: &str, text_of: impl Fn(Place) -> &'a str) -> Option<u32> {
        let hash = hash(name);
        self.probe(hash, |number| text_of(self.places[number as usize]) == name).ok()
    }

    /// Returns the number of a name, which gets the next one if it is new.
    pub fn number<'a>(
        &mut self,
        name: &str,
        hash: u32,
        place: Place,
        text_of: impl Fn(Place) -> &'a str,
    ) -> u32 {
        if (self.places.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        match self.probe(hash, |number| text_of(self.places[number as usize]) == name) {
            Ok(number) => number,
            Err(at) => {
                self.places.push(place);
                self.hashes.push(hash);
                self.table[at] = self.places.len() as u32;
                self.places.len() as u32 - 1
            }
        }
    }

    /// Looks for a number; without one, returns the place in the table where it would be.
    fn probe(&self, hash: u32, is_it: impl Fn(u32) -> bool) -> Result<u32, usize> {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        while let Some(entry) = self.table.get(at).filter(|&&entry| entry > 0) {
            let number = entry - 1;
            if self.hashes[number as usize] == hash && is_it(number) {
                return Ok(number);
            }
            at = (at + 1) & mask;
        }
        Err(at)
    }

    fn grow(&mut self) {
        self.table = vec![0; (self.table.len() * 2).max(1024)];
        for number in 0..self.hashes.len() {
            let free = self.probe(self.hashes[number], |_| false);
            if let Err(at) = free {
                self.table[at] = number as u32 + 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_numbers() {
        let all: Vec<String> = (0..5000).map(|number| format!("lib{number}-perl")).collect();
        let mut names = Names::default();
        let place = |index: usize| Place { text: index as u32, span: Span::default() };
        let text_of = |place: Place| all[place.text as usize].as_str();
        for round in 0..2 {
            for (index, name) in all.iter().enumerate() {
                let number = names.number(name, hash(name), place(index), text_of);
                assert_eq!(number as usize, index, "round {round}");
            }
        }
        assert_eq!(names.len(), all.len());
        assert_eq!(names.find("lib77-perl", text_of), Some(77));
        assert_eq!(names.find("lib5000-perl", text_of), None);
        assert_eq!(Names::default().find("x", text_of), None);
    }
}
