//! Automerge's column encodings, read with a bound on every run before it is expanded, and written
//! again to see whether bytes are canonical.

use crate::Rule;

/// Reads numbers and slices off the front of bytes.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Rule> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Rule::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Rule> {
        self.take(N)?.try_into().map_err(|_| Rule::Truncated)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Rule> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// LEB128, unsigned, in its shortest form.
    pub(crate) fn unsigned(&mut self) -> Result<u64, Rule> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && byte > 1 {
                return Err(Rule::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(Rule::Number);
                }
                return Ok(value);
            }
        }
        Err(Rule::Number)
    }

    /// LEB128, signed, in its shortest form.
    pub(crate) fn signed(&mut self) -> Result<i64, Rule> {
        let start = self.bytes;
        let mut value = 0i64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= i64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                if shift == 63 && byte != 0 && byte != 0x7f {
                    return Err(Rule::Number);
                }
                if shift < 57 && byte & 0x40 != 0 {
                    value |= -1i64 << (shift + 7);
                }
                let used = start.len() - self.bytes.len();
                let mut shortest = Vec::with_capacity(10);
                write_signed(&mut shortest, value);
                return if start.get(..used) == Some(&shortest[..]) {
                    Ok(value)
                } else {
                    Err(Rule::Number)
                };
            }
        }
        Err(Rule::Number)
    }

    /// Passes over a number, whatever its sign.
    fn number(&mut self) -> Result<(), Rule> {
        for _ in 0..10 {
            if self.byte()? & 0x80 == 0 {
                return Ok(());
            }
        }
        Err(Rule::Number)
    }

    /// An unsigned number that counts or measures something in memory.
    pub(crate) fn length(&mut self) -> Result<usize, Rule> {
        usize::try_from(self.unsigned()?).map_err(|_| Rule::Number)
    }
}

pub(crate) fn write_unsigned(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(crate) fn write_signed(out: &mut Vec<u8>, mut value: i64) {
    loop {
        let byte = (value & 0x7f) as u8;
        value >>= 7;
        if (value == 0 && byte & 0x40 == 0) || (value == -1 && byte & 0x40 != 0) {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// What a run-length encoded column can hold.
pub(crate) trait Cell<'a>: Copy + PartialEq {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Rule>;
    fn write(self, out: &mut Vec<u8>);
}

impl Cell<'_> for u64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Rule> {
        reader.unsigned()
    }
    fn write(self, out: &mut Vec<u8>) {
        write_unsigned(out, self);
    }
}

impl Cell<'_> for i64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Rule> {
        reader.signed()
    }
    fn write(self, out: &mut Vec<u8>) {
        write_signed(out, self);
    }
}

impl<'a> Cell<'a> for &'a str {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Rule> {
        let len = reader.length()?;
        std::str::from_utf8(reader.take(len)?).map_err(|_| Rule::Column)
    }
    fn write(self, out: &mut Vec<u8>) {
        write_unsigned(out, self.len() as u64);
        out.extend_from_slice(self.as_bytes());
    }
}

/// The cells of a run-length encoded column, `None` for null. More than `max` is refused before
/// any run is expanded beyond it.
pub(crate) fn read_runs<'a, T: Cell<'a>>(
    bytes: &'a [u8],
    max: usize,
) -> Result<Vec<Option<T>>, Rule> {
    let mut reader = Reader::new(bytes);
    let mut cells = Vec::new();
    while !reader.is_empty() {
        let run = reader.signed()?;
        let count = if run == 0 {
            reader.length()?
        } else {
            usize::try_from(run.unsigned_abs()).map_err(|_| Rule::TooManyOperations)?
        };
        if count > max - cells.len() {
            return Err(Rule::TooManyOperations);
        }
        if run > 0 {
            let value = T::read(&mut reader)?;
            cells.resize(cells.len() + count, Some(value));
        } else if run == 0 {
            cells.resize(cells.len() + count, None);
        } else {
            for _ in 0..count {
                cells.push(Some(T::read(&mut reader)?));
            }
        }
    }
    Ok(cells)
}

/// How many cells a run-length encoded column of numbers claims, as far as it can be read.
pub(crate) fn claimed_cells(bytes: &[u8]) -> u64 {
    let mut reader = Reader::new(bytes);
    let mut sum = 0u64;
    while let Ok(run) = reader.signed() {
        let count = match run {
            0 => reader.unsigned().unwrap_or(0),
            _ => run.unsigned_abs(),
        };
        sum = sum.saturating_add(count);
        let values = match run {
            0 => 0,
            1.. => 1,
            _ => count,
        };
        if (0..values).any(|_| reader.number().is_err()) {
            break;
        }
    }
    sum
}

/// Writes cells as Automerge does; nothing at all where every cell is null.
pub(crate) fn write_runs<'a, T: Cell<'a>>(out: &mut Vec<u8>, cells: &[Option<T>]) {
    if cells.iter().all(Option::is_none) {
        return;
    }
    let mut literal: Vec<T> = Vec::new();
    let mut at = 0;
    while let Some(cell) = cells.get(at) {
        let count = cells[at..].iter().take_while(|next| *next == cell).count();
        match cell {
            Some(value) if count == 1 => literal.push(*value),
            Some(value) => {
                write_literal(out, &mut literal);
                write_signed(out, count as i64);
                value.write(out);
            }
            None => {
                write_literal(out, &mut literal);
                write_signed(out, 0);
                write_unsigned(out, count as u64);
            }
        }
        at += count;
    }
    write_literal(out, &mut literal);
}

fn write_literal<'a, T: Cell<'a>>(out: &mut Vec<u8>, literal: &mut Vec<T>) {
    if literal.is_empty() {
        return;
    }
    write_signed(out, -(literal.len() as i64));
    for value in literal.drain(..) {
        value.write(out);
    }
}

/// The cells of a column of differences, as the numbers themselves: each from 0 to 2^32 − 1.
pub(crate) fn read_differences(bytes: &[u8], max: usize) -> Result<Vec<Option<u32>>, Rule> {
    let mut value = 0i64;
    read_runs::<i64>(bytes, max)?
        .into_iter()
        .map(|difference| {
            difference
                .map(|difference| {
                    value = value.checked_add(difference).ok_or(Rule::Number)?;
                    u32::try_from(value).map_err(|_| Rule::Number)
                })
                .transpose()
        })
        .collect()
}

pub(crate) fn write_differences(out: &mut Vec<u8>, numbers: &[Option<u32>]) {
    let mut before = 0i64;
    let differences: Vec<_> = numbers
        .iter()
        .map(|number| {
            number.map(|number| {
                let difference = i64::from(number) - before;
                before = i64::from(number);
                difference
            })
        })
        .collect();
    write_runs(out, &differences);
}

/// The cells of a column of booleans: alternating counts, beginning with false.
pub(crate) fn read_booleans(bytes: &[u8], max: usize) -> Result<Vec<bool>, Rule> {
    let mut reader = Reader::new(bytes);
    let mut cells = Vec::new();
    let mut value = false;
    while !reader.is_empty() {
        let count = reader.length()?;
        if count > max - cells.len() {
            return Err(Rule::TooManyOperations);
        }
        cells.resize(cells.len() + count, value);
        value = !value;
    }
    Ok(cells)
}

pub(crate) fn write_booleans(out: &mut Vec<u8>, cells: &[bool]) {
    let mut value = false;
    let mut count = 0u64;
    for cell in cells {
        if *cell != value {
            write_unsigned(out, count);
            value = *cell;
            count = 0;
        }
        count += 1;
    }
    if count > 0 {
        write_unsigned(out, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_read_back(unsigned: u64, signed: i64) {
            let mut bytes = Vec::new();
            write_unsigned(&mut bytes, unsigned);
            write_signed(&mut bytes, signed);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.unsigned(), Ok(unsigned));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert!(reader.is_empty());
        }

        #[test]
        fn runs_read_back(cells in prop::collection::vec(prop::option::of(0u64..3), 0..60)) {
            let mut bytes = Vec::new();
            write_runs(&mut bytes, &cells);
            let again = read_runs::<u64>(&bytes, 60).unwrap();
            if cells.iter().all(Option::is_none) {
                prop_assert!(again.is_empty());
            } else {
                prop_assert_eq!(again, cells);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            for max in [0, 1, 100] {
                prop_assert!(read_runs::<u64>(&bytes, max).is_ok_and(|cells| cells.len() <= max)
                    || read_runs::<u64>(&bytes, max).is_err());
                prop_assert!(read_booleans(&bytes, max).map_or(0, |cells| cells.len()) <= max);
                prop_assert!(read_differences(&bytes, max).map_or(0, |cells| cells.len()) <= max);
            }
        }
    }

    #[test]
    fn overlong_numbers_are_refused() {
        assert_eq!(Reader::new(&[0x80, 0]).unsigned(), Err(Rule::Number));
        assert_eq!(Reader::new(&[0xff, 0x7f]).signed(), Err(Rule::Number));
        assert_eq!(Reader::new(&[0xff; 12]).unsigned(), Err(Rule::Number));
        assert_eq!(Reader::new(&[0xff; 12]).signed(), Err(Rule::Number));
        assert_eq!(Reader::new(&[0xff]).unsigned(), Err(Rule::Truncated));
    }

    #[test]
    fn a_run_that_claims_millions_is_refused_unexpanded() {
        let mut bytes = Vec::new();
        write_signed(&mut bytes, 10_000_000);
        write_unsigned(&mut bytes, 1);
        assert_eq!(read_runs::<u64>(&bytes, 1000), Err(Rule::TooManyOperations));
        let mut nulls = vec![0];
        write_unsigned(&mut nulls, u64::MAX);
        assert_eq!(read_runs::<u64>(&nulls, 1000), Err(Rule::TooManyOperations));
    }
}
