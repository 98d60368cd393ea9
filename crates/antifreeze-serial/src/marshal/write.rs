//! Writing marshal.

use num_bigint::{BigInt, Sign};

use crate::encode::{Kind, Open, Sink, cannot_carry};
use crate::value::Complex;
use crate::{Error, ErrorKind, memory};

/// Writes one value.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// How many keys and sets we are in, whose contents must be hashable for Python.
    hashable: u32,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, hashable: 0 }
    }

    fn coded(&mut self, code: u8, data: &[u8]) -> Result<(), Error> {
        memory::reserve(self.out, data.len());
        self.out.push(code);
        self.out.extend_from_slice(&size(data.len())?);
        self.out.extend_from_slice(data);
        Ok(())
    }

    /// Writes an int as 15-bit digits, the lowest first.
    fn long(&mut self, negative: bool, magnitude: impl Iterator<Item = u32>) -> Result<(), Error> {
        self.out.push(b'l');
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        let (mut bits, mut held) = (0u64, 0);
        for word in magnitude {
            bits |= u64::from(word) << held;
            held += 32;
            while held >= 15 {
                self.out
                    .extend_from_slice(&(bits as u16 & 0x7fff).to_le_bytes());
                bits >>= 15;
                held -= 15;
            }
        }
        while bits > 0 {
            self.out
                .extend_from_slice(&(bits as u16 & 0x7fff).to_le_bytes());
            bits >>= 15;
        }
        while self.out.len() > start + 4 && self.out.ends_with(&[0, 0]) {
            self.out.truncate(self.out.len() - 2);
        }
        let count = i32::from_le_bytes(size((self.out.len() - start - 4) / 2)?);
        let count = if negative { -count } else { count };
        self.out[start..start + 4].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    fn magnitude(&mut self, negative: bool, magnitude: u64) -> Result<(), Error> {
        let words = [magnitude as u32, (magnitude >> 32) as u32];
        self.long(negative, words.into_iter())
    }
}

/// The four bytes of a size, which CPython reads as a signed number.
fn size(len: usize) -> Result<[u8; 4], Error> {
    match i32::try_from(len) {
        Ok(len) => Ok(len.to_le_bytes()),
        Err(_) => Err(cannot_carry("a value of 2 GiB", "marshal")),
    }
}

/// Writes that a list of so many elements follows.
pub(crate) fn push_list_header(out: &mut Vec<u8>, len: usize) -> Result<(), Error> {
    push_header(out, Kind::List, len)
}

/// Writes how many elements follow.
fn push_header(out: &mut Vec<u8>, kind: Kind, len: usize) -> Result<(), Error> {
    let code = match kind {
        Kind::Dict => {
            out.push(b'{');
            return Ok(());
        }
        Kind::Tuple => {
            if let Ok(len) = u8::try_from(len) {
                out.extend_from_slice(&[b')', len]);
                return Ok(());
            }
            b'('
        }
        Kind::List => b'[',
        Kind::Set => b'<',
        Kind::FrozenSet => b'>',
    };
    out.push(code);
    out.extend_from_slice(&size(len)?);
    Ok(())
}

impl Sink for Writer<'_> {
    #[inline]
    fn none(&mut self) -> Result<(), Error> {
        self.out.push(b'N');
        Ok(())
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out.push(if value { b'T' } else { b'F' });
        Ok(())
    }

    #[inline]
    fn int(&mut self, value: i64) -> Result<(), Error> {
        let Ok(small) = i32::try_from(value) else {
            return self.magnitude(value < 0, value.unsigned_abs());
        };
        self.out.push(b'i');
        self.out.extend_from_slice(&small.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn uint(&mut self, value: u64) -> Result<(), Error> {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.magnitude(false, value),
        }
    }

    fn digits(&mut self, decimal: &str) -> Result<(), Error> {
        self.big(&decimal.parse::<crate::BigInt>()?.0)
    }

    fn big(&mut self, value: &BigInt) -> Result<(), Error> {
        match i64::try_from(value) {
            Ok(value) => self.int(value),
            Err(_) => self.long(value.sign() == Sign::Minus, value.iter_u32_digits()),
        }
    }

    #[inline]
    fn float(&mut self, value: f64) -> Result<(), Error> {
        self.out.push(b'g');
        self.out.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn complex(&mut self, value: Complex) -> Result<(), Error> {
        self.out.push(b'y');
        self.out.extend_from_slice(&value.re.to_le_bytes());
        self.out.extend_from_slice(&value.im.to_le_bytes());
        Ok(())
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        if !text.is_ascii() {
            return self.coded(b'u', text.as_bytes());
        }
        let Ok(len) = u8::try_from(text.len()) else {
            return self.coded(b'a', text.as_bytes());
        };
        self.out.extend_from_slice(&[b'z', len]);
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn surrogates(&mut self, text: &[u8]) -> Result<(), Error> {
        self.coded(b'u', text)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.coded(b's', bytes)
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        self.out.push(b'.');
        Ok(())
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<Open, Error> {
        if self.hashable > 0 && !matches!(kind, Kind::Tuple | Kind::FrozenSet) {
            return Err(Error::new(
                ErrorKind::Type,
                "keys and elements of sets must be hashable for marshal",
            ));
        }
        let (start, announced) = (self.out.len(), len.unwrap_or(0));
        push_header(self.out, kind, announced)?;
        self.hashable += u32::from(matches!(kind, Kind::Set | Kind::FrozenSet));
        Ok(Open {
            kind,
            count: 0,
            announced,
            start,
        })
    }

    #[inline]
    fn before_element(&mut self, open: &mut Open) {
        open.count += 1;
    }

    #[inline]
    fn before_key(&mut self, _open: &mut Open) {
        self.hashable += 1;
    }

    #[inline]
    fn before_value(&mut self) {
        self.hashable -= 1;
    }

    #[inline]
    fn close(&mut self, open: Open) {
        if open.kind == Kind::Dict {
            self.out.push(b'0');
            return;
        }
        self.hashable -= u32::from(matches!(open.kind, Kind::Set | Kind::FrozenSet));
        if open.count == open.announced {
            return;
        }
        // The length was not known in advance: put it right.
        let old = if self.out[open.start] == b')' { 2 } else { 5 };
        let mut header = Vec::with_capacity(5);
        if push_header(&mut header, open.kind, open.count).is_ok() {
            self.out.splice(open.start..open.start + old, header);
        }
    }
}
