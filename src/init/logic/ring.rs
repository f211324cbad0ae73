//! Lines that wait for the console and for the collector, in one buffer of bounded size. Whoever is behind when
//! the buffer is full loses the oldest lines, and is told how many.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes that a line takes besides its text.
const OVERHEAD_BYTES: usize = 64;

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since 1970; 0 where the clock was not set.
    pub time: u64,
    pub severity: u8,
    pub text: String,
    /// When it was sent to the collector last.
    sent: Option<Duration>,
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the next line; the first one is 0.
    pub next: u64,
    /// Lines that it lost, and was not told of.
    pub dropped: u64,
}

impl Cursor {
    fn skip_to(&mut self, first: u64) {
        let lost = first.saturating_sub(self.next);
        self.dropped += lost;
        self.next += lost;
    }
}

/// The buffer, with its two readers.
#[derive(Debug)]
pub struct Ring {
    pub console: Cursor,
    pub collector: Cursor,
    records: VecDeque<Record>,
    /// Number of the oldest line that is still there.
    first: u64,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    pub fn new(bytes_max: usize) -> Ring {
        Ring {
            console: Cursor::default(),
            collector: Cursor::default(),
            records: VecDeque::new(),
            first: 0,
            bytes: 0,
            bytes_max,
        }
    }

    /// Takes a line in. The oldest make room for it, delivered ones and others alike.
    pub fn push(&mut self, time: u64, severity: u8, text: String) {
        self.bytes += text.len() + OVERHEAD_BYTES;
        self.records.push_back(Record { time, severity, text, sent: None });
        while self.bytes > self.bytes_max && self.records.len() > 1 {
            let oldest = self.records.pop_front().map_or(0, |record| record.text.len() + OVERHEAD_BYTES);
            self.bytes -= oldest;
            self.first += 1;
        }
        self.console.skip_to(self.first);
        self.collector.skip_to(self.first);
    }

    /// Returns the number behind the last line.
    pub fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    pub fn get(&self, number: u64) -> Option<&Record> {
        self.records.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Notes that lines were handed to the collector's connection.
    pub fn sent(&mut self, from: u64, to: u64, now: Duration) {
        for number in from.max(self.first)..to.min(self.end()) {
            self.records[(number - self.first) as usize].sent = Some(now);
        }
        self.confirm(from, to);
    }

    /// Notes that lines reached the collector. What fell out of the buffer meanwhile was not lost, then.
    pub fn confirm(&mut self, from: u64, to: u64) {
        let cursor = &mut self.collector;
        let fell_out = cursor.next.min(to).saturating_sub(from);
        cursor.dropped = cursor.dropped.saturating_sub(fell_out);
        cursor.next = cursor.next.max(to);
    }

    /// Goes back to the first line that was sent at `since` or later, or that is `unsent` or behind it.
    pub fn rewind(&mut self, since: Duration, unsent: u64) {
        let recent = |record: &Record| record.sent.is_some_and(|sent| sent >= since);
        let first = self.records.iter().position(recent).map(|index| self.first + index as u64);
        let to = first.unwrap_or(unsent).min(unsent).max(self.first);
        self.collector.next = self.collector.next.min(to);
    }

    /// Forgets what the collector has not got: there is none.
    pub fn skip_collector(&mut self) {
        self.collector = Cursor { next: self.end(), dropped: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(lines: u64) -> Ring {
        let mut ring = Ring::new(10 * (OVERHEAD_BYTES + 2));
        add(&mut ring, 0, lines);
        ring
    }

    fn add(ring: &mut Ring, from: u64, to: u64) {
        (from..to).for_each(|number| ring.push(0, 6, format!("{number:02}")));
    }

    fn text(ring: &Ring, number: u64) -> Option<&str> {
        ring.get(number).map(|record| record.text.as_str())
    }

    #[test]
    fn the_oldest_make_room_and_each_reader_learns_how_many_it_lost() {
        let mut ring = ring(8);
        ring.console.next = 8;
        ring.sent(0, 3, Duration::ZERO);
        add(&mut ring, 8, 20);
        assert_eq!((ring.first, ring.end()), (10, 20));
        assert_eq!(ring.console, Cursor { next: 10, dropped: 2 });
        assert_eq!(ring.collector, Cursor { next: 10, dropped: 7 });
        assert_eq!((text(&ring, 9), text(&ring, 10), text(&ring, 20)), (None, Some("10"), None));
        ring.skip_collector();
        assert_eq!(ring.collector, Cursor { next: 20, dropped: 0 }, "nobody misses them");
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut ring = Ring::new(1 << 16);
        for number in 0..10_000 {
            ring.push(0, 6, "x".repeat(number % 8192));
            assert!(ring.bytes <= 1 << 16);
            assert!(
                ring.records.iter().map(|record| record.text.len() + OVERHEAD_BYTES).sum::<usize>()
                    == ring.bytes
            );
        }
        ring.push(0, 6, "x".repeat(1 << 20));
        assert_eq!(ring.records.len(), 1, "a line that is longer than all stays alone");
    }

    #[test]
    fn a_broken_connection_sends_again_what_may_be_lost() {
        let mut ring = ring(9);
        ring.sent(0, 3, Duration::from_secs(1));
        ring.sent(3, 6, Duration::from_secs(30));
        ring.sent(6, 8, Duration::from_secs(31));
        assert_eq!(ring.collector.next, 8);
        ring.rewind(Duration::from_secs(11), 8);
        assert_eq!(ring.collector.next, 3);
        ring.sent(3, 8, Duration::from_secs(32));
        ring.rewind(Duration::from_secs(60), 5);
        assert_eq!(ring.collector, Cursor { next: 5, dropped: 0 }, "what never left goes again, however old");
    }

    #[test]
    fn what_falls_out_while_it_is_under_way_is_lost_only_if_it_does_not_arrive() {
        for arrives in [true, false] {
            let mut ring = ring(10);
            add(&mut ring, 10, 16);
            assert_eq!(ring.collector, Cursor { next: 6, dropped: 6 });
            let mut ring = Ring { collector: Cursor { next: 6, dropped: 0 }, ..ring };
            add(&mut ring, 16, 20);
            assert_eq!(ring.collector, Cursor { next: 10, dropped: 4 });
            if arrives {
                ring.confirm(6, 9);
            }
            assert_eq!(ring.collector, Cursor { next: 10, dropped: if arrives { 1 } else { 4 } });
        }
    }
}
