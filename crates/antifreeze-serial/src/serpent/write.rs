//! Writing Python literals.

use crate::encode::{Kind, Open, Sink};
use crate::scan::push_float;
use crate::value::{Complex, push_repr_bytes, push_repr_str};
use crate::{Error, ErrorKind, base64};

/// Writes one expression.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    /// Inside a key or an element of a set, which must be hashable for Python.
    hashable: bool,
}

impl<'o> Writer<'o> {
    pub(crate) fn new(out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            hashable: false,
        }
    }

    #[inline]
    fn refuse_unhashable(&self) -> Result<(), Error> {
        if !self.hashable {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Type,
            "keys and elements of sets must be of a simple hashable type for serpent",
        ))
    }

    #[inline]
    fn separate(&mut self, open: &mut Open) {
        if open.count > 0 {
            self.out.push(b',');
        }
        open.count += 1;
    }
}

impl Sink for Writer<'_> {
    #[inline]
    fn none(&mut self) -> Result<(), Error> {
        self.out.extend_from_slice(b"None");
        Ok(())
    }

    #[inline]
    fn bool(&mut self, value: bool) -> Result<(), Error> {
        self.out
            .extend_from_slice(if value { b"True" } else { b"False" });
        Ok(())
    }

    #[inline]
    fn int(&mut self, value: i64) -> Result<(), Error> {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    #[inline]
    fn uint(&mut self, value: u64) -> Result<(), Error> {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        Ok(())
    }

    fn digits(&mut self, decimal: &str) -> Result<(), Error> {
        self.out.extend_from_slice(decimal.as_bytes());
        Ok(())
    }

    #[inline]
    fn float(&mut self, value: f64) -> Result<(), Error> {
        if value.is_nan() {
            // No literal is a nan.
            self.refuse_unhashable()?;
        }
        push_serpent_float(self.out, value);
        Ok(())
    }

    fn complex(&mut self, value: Complex) -> Result<(), Error> {
        if value.re.is_nan() || value.im.is_nan() {
            self.refuse_unhashable()?;
        }
        push_complex(self.out, value);
        Ok(())
    }

    #[inline]
    fn text(&mut self, text: &str) -> Result<(), Error> {
        push_repr_str(self.out, text.as_bytes());
        Ok(())
    }

    fn surrogates(&mut self, text: &[u8]) -> Result<(), Error> {
        push_repr_str(self.out, text);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.hashable {
            // Python writes a dict here too, which it cannot read as a key.
            push_repr_bytes(self.out, bytes);
            return Ok(());
        }
        self.out.extend_from_slice(b"{'data': '");
        base64::encode(self.out, bytes);
        self.out.extend_from_slice(b"', 'encoding': 'base64'}");
        Ok(())
    }

    fn ellipsis(&mut self) -> Result<(), Error> {
        self.out.extend_from_slice(b"...");
        Ok(())
    }

    #[inline]
    fn open(&mut self, kind: Kind, len: Option<usize>) -> Result<Open, Error> {
        let start = self.out.len();
        if kind != Kind::Tuple {
            self.refuse_unhashable()?;
        }
        self.out.push(match kind {
            Kind::Tuple => b'(',
            Kind::List => b'[',
            Kind::Set | Kind::FrozenSet | Kind::Dict => b'{',
        });
        if matches!(kind, Kind::Set | Kind::FrozenSet) {
            self.hashable = true;
        }
        Ok(Open {
            kind,
            count: 0,
            announced: len.unwrap_or(0),
            start,
        })
    }

    #[inline]
    fn before_element(&mut self, open: &mut Open) {
        self.separate(open);
    }

    #[inline]
    fn before_key(&mut self, open: &mut Open) {
        self.separate(open);
        self.hashable = true;
    }

    #[inline]
    fn before_value(&mut self) {
        self.hashable = false;
        self.out.push(b':');
    }

    #[inline]
    fn close(&mut self, open: Open) {
        match open.kind {
            Kind::Tuple if open.count == 1 => self.out.extend_from_slice(b",)"),
            Kind::Tuple => self.out.push(b')'),
            Kind::List => self.out.push(b']'),
            Kind::Dict => self.out.push(b'}'),
            Kind::Set | Kind::FrozenSet => {
                self.hashable = false;
                if open.count == 0 {
                    // There is no literal for an empty set; this is what Pyro writes instead.
                    self.out.truncate(open.start);
                    self.out.extend_from_slice(b"()");
                } else {
                    self.out.push(b'}');
                }
            }
        }
    }
}

/// Appends a float with serpent's tricks for what has no literal.
fn push_serpent_float(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        push_float(out, value);
    } else if value.is_nan() {
        out.extend_from_slice(b"{'__class__':'float','value':'nan'}");
    } else if value > 0.0 {
        out.extend_from_slice(b"1e30000");
    } else {
        out.extend_from_slice(b"-1e30000");
    }
}

/// Appends a complex number as serpent writes it.
fn push_complex(out: &mut Vec<u8>, value: Complex) {
    let Complex { re, im } = value;
    if re.is_nan() || im.is_nan() {
        out.extend_from_slice(b"{'__class__':'complex','real':");
        push_serpent_float(out, re);
        out.extend_from_slice(b",'imag':");
        push_serpent_float(out, im);
        out.push(b'}');
        return;
    }
    out.push(b'(');
    push_serpent_float(out, re);
    if im.is_sign_positive() {
        out.push(b'+');
    }
    push_serpent_float(out, im);
    out.extend_from_slice(b"j)");
}
