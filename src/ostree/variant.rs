//! GVariant's serialized form, as far as OSTree's objects need it: 32- and 64-bit numbers, strings, byte
//! arrays, tuples, arrays of values of variable length, boxed values.
//!
//! A container's members stand one behind the other, each at a multiple of its alignment. Where members of
//! variable length end is said at the container's end, in numbers as wide as the container's length needs
//! (1, 2, 4 or 8 bytes): for tuples of all such members but the last, in reverse; for arrays of all elements,
//! in order (GVariant specification, 2.5). OSTree writes its own numbers big-endian.
//!
//! The reader is total and allocates no more than a few times the bytes that are there.

/// Says why bytes are no value of the kind that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

type Read<T> = Result<T, Malformed>;

/// One value in its serialized form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    bytes: Vec<u8>,
    align: usize,
    /// Values of its type all have the same length.
    fixed: bool,
}

impl Value {
    pub fn u32(number: u32) -> Self {
        Value { bytes: number.to_be_bytes().to_vec(), align: 4, fixed: true }
    }

    pub fn u64(number: u64) -> Self {
        Value { bytes: number.to_be_bytes().to_vec(), align: 8, fixed: true }
    }

    /// Makes a string; it must not hold a NUL.
    pub fn text(text: &str) -> Self {
        Value { bytes: [text.as_bytes(), b"\0"].concat(), align: 1, fixed: false }
    }

    /// Makes an array of bytes.
    pub fn bytes(bytes: &[u8]) -> Self {
        Value { bytes: bytes.to_vec(), align: 1, fixed: false }
    }

    /// Makes a tuple, of which some member is of variable length.
    pub fn tuple(members: &[Value]) -> Self {
        let align = members.iter().map(|member| member.align).max().unwrap_or(1);
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (index, member) in members.iter().enumerate() {
            append(&mut bytes, member);
            if !member.fixed && index + 1 < members.len() {
                ends.push(bytes.len());
            }
        }
        ends.reverse();
        append_ends(&mut bytes, &ends);
        Value { bytes, align, fixed: false }
    }

    /// Makes an array of values of variable length; `align` is that of their type.
    pub fn array(align: usize, elements: &[Value]) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for element in elements {
            append(&mut bytes, element);
            ends.push(bytes.len());
        }
        append_ends(&mut bytes, &ends);
        Value { bytes, align, fixed: false }
    }

    /// Makes a value that says its own type.
    pub fn boxed(kind: &str, value: &[u8]) -> Self {
        Value { bytes: [value, b"\0", kind.as_bytes()].concat(), align: 8, fixed: false }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn append(bytes: &mut Vec<u8>, value: &Value) {
    bytes.resize(bytes.len().next_multiple_of(value.align), 0);
    bytes.extend_from_slice(&value.bytes);
}

fn append_ends(bytes: &mut Vec<u8>, ends: &[usize]) {
    let widths = [1, 2, 4, 8].into_iter();
    let width = widths.clone().find(|width| width_of(bytes.len() + width * ends.len()) == *width);
    let width = width.expect("because eight bytes hold every length");
    for end in ends {
        bytes.extend_from_slice(&(*end as u64).to_le_bytes()[..width]);
    }
}

/// Returns how many bytes say where something ends in a container of this length.
fn width_of(length: usize) -> usize {
    match length as u64 {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// What a member of a tuple takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// So many bytes, aligned to as many.
    Fixed(usize),
    /// Any number of bytes, aligned to so many.
    Variable(usize),
}

fn fail<T>(problem: impl Into<String>) -> Read<T> {
    Err(Malformed(problem.into()))
}

/// Cuts a tuple into its members.
pub(super) fn members<const N: usize>(bytes: &[u8], shapes: [Shape; N]) -> Read<[&[u8]; N]> {
    let last = N.saturating_sub(1);
    let is_framed = |index: usize| matches!(shapes[index], Shape::Variable(_)) && index != last;
    let framed = (0..N).filter(|&index| is_framed(index)).count();
    let width = width_of(bytes.len());
    let Some(body) = bytes.len().checked_sub(width * framed) else {
        return fail(format!("{} bytes are too short for a tuple", bytes.len()));
    };
    let mut cut = [&bytes[..0]; N];
    let (mut at, mut frame): (usize, usize) = (0, bytes.len());
    for (index, shape) in shapes.iter().enumerate() {
        let (start, end) = match shape {
            Shape::Fixed(size) => {
                let start = at.next_multiple_of(*size);
                (start, start + size)
            }
            Shape::Variable(align) if index == last => (at.next_multiple_of(*align), body),
            Shape::Variable(align) => {
                frame -= width;
                (at.next_multiple_of(*align), number(&bytes[frame..frame + width]))
            }
        };
        cut[index] = slice(bytes, start, end, body)?;
        at = end;
    }
    Ok(cut)
}

/// Cuts an array of values of variable length into its elements.
pub(super) fn elements(bytes: &[u8], align: usize) -> Read<Vec<&[u8]>> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let width = width_of(bytes.len());
    let Some(frame) = bytes.len().checked_sub(width) else { return fail("too short for an array") };
    let body = number(&bytes[frame..]);
    let table = match bytes.len().checked_sub(body) {
        Some(table) if table > 0 && table.is_multiple_of(width) => &bytes[body..],
        _ => return fail(format!("an array of {} bytes says that its elements end at {body}", bytes.len())),
    };
    let mut at: usize = 0;
    let mut cut = Vec::new();
    for end in table.chunks(width).map(number) {
        cut.push(slice(bytes, at.next_multiple_of(align), end, body)?);
        at = end;
    }
    Ok(cut)
}

/// Cuts a boxed value into its bytes and its type.
pub(super) fn unboxed(bytes: &[u8]) -> Read<(&[u8], &str)> {
    let Some(cut) = bytes.iter().rposition(|&byte| byte == 0) else { return fail("a value without a type") };
    match std::str::from_utf8(&bytes[cut + 1..]) {
        Ok(kind) if !kind.is_empty() => Ok((&bytes[..cut], kind)),
        _ => fail("a value whose type is no text"),
    }
}

/// Reads a string.
pub(super) fn text(bytes: &[u8]) -> Read<&str> {
    match bytes.split_last() {
        Some((0, text)) if !text.contains(&0) => match std::str::from_utf8(text) {
            Ok(text) => Ok(text),
            Err(_) => fail(format!("text that is not UTF-8: {:?}", crate::base::path::escaped(text))),
        },
        _ => fail("a string without its one final NUL"),
    }
}

/// Reads a big-endian number whose bytes were cut before.
pub(super) fn u32_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

pub(super) fn u64_of(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Reads a little-endian number of at most eight bytes. One that no length can be is the largest.
fn number(bytes: &[u8]) -> usize {
    let number = bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn slice(bytes: &[u8], start: usize, end: usize, body: usize) -> Read<&[u8]> {
    if start > end || end > body {
        return fail(format!("a member from byte {start} to {end} of {body}"));
    }
    Ok(&bytes[start..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the specification, 2.7, with its numbers turned to big-endian.
    #[test]
    fn the_examples_of_the_specification_come_out() {
        assert_eq!(Value::text("hello world").into_bytes(), b"hello world\0");
        let strings = ["i", "can", "has", "strings?"].map(Value::text);
        let array = Value::array(1, &strings).into_bytes();
        assert_eq!(array, b"i\0can\0has\0strings?\0\x02\x06\x0a\x13");
        assert_eq!(elements(&array, 1).expect("an array")[3], b"strings?\0");
        let nested = Value::tuple(&[Value::text("foo"), Value::u32(u32::MAX)]);
        assert_eq!(nested.clone().into_bytes(), b"foo\0\xff\xff\xff\xff\x04");
        let cut = members(&nested.bytes, [Shape::Variable(1), Shape::Fixed(4)]).expect("a tuple");
        assert_eq!((text(cut[0]), u32_of(cut[1])), (Ok("foo"), u32::MAX));
        let pair = [
            Value::tuple(&[Value::text("hi"), Value::u32(-2i32 as u32)]),
            Value::tuple(&[Value::text("bye"), Value::u32(u32::MAX)]),
        ];
        let pair = Value::array(4, &pair).into_bytes();
        assert_eq!(pair, b"hi\0\0\xff\xff\xff\xfe\x03\0\0\0bye\0\xff\xff\xff\xff\x04\x09\x15".as_slice());
        assert_eq!(elements(&pair, 4).expect("an array").len(), 2);
    }

    #[test]
    fn wider_containers_have_wider_frames() {
        for length in [200, 253, 254, 255, 300, 65_530, 65_533, 65_534, 70_000] {
            let value = Value::tuple(&[Value::bytes(&vec![7; length]), Value::text("end")]);
            let cut = members(&value.bytes, [Shape::Variable(1), Shape::Variable(1)]).expect("a tuple");
            assert_eq!((cut[0].len(), text(cut[1])), (length, Ok("end")), "{length}");
            let array = Value::array(1, &[Value::bytes(&vec![7; length]), Value::text("end")]).bytes;
            let cut = elements(&array, 1).expect("an array");
            assert_eq!((cut[0].len(), text(cut[1])), (length, Ok("end")), "{length}");
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic_or_read_outside() {
        let value = Value::tuple(&[
            Value::text("name"),
            Value::array(1, &[Value::text("x"), Value::text("yy")]),
            Value::u64(3),
            Value::boxed("s", b"text\0"),
        ])
        .into_bytes();
        let shapes = [Shape::Variable(1), Shape::Variable(1), Shape::Fixed(8), Shape::Variable(8)];
        for cut in 0..value.len() {
            for change in [0, 1, 0x80, 0xff] {
                let mut bytes = value.clone();
                bytes[cut] ^= change;
                for bytes in [&bytes[..], &bytes[..cut], &bytes[cut..]] {
                    if let Ok(cut) = members(bytes, shapes) {
                        let _ = (text(cut[0]), elements(cut[1], 1), u64_of(cut[2]), unboxed(cut[3]));
                    }
                    let _ = (elements(bytes, 8), unboxed(bytes), text(bytes));
                }
            }
        }
    }
}
