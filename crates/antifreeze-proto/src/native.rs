//! What only Antifreeze peers tell each other, in annotations that others pass over.
//!
//! AFNH shakes hands: who we are, and how many calls we take at once. Python may hand on the
//! annotations of somebody else's CONNECTOK as its own, so an answer counts only if it echoes the
//! nonce of our CONNECT.
//!
//! A daemon of ours that is about to end answers calls that come too late with a CONNECTFAIL of their
//! number, whose text nobody reads: they were not executed. To Pyro5 it says nothing.
//!
//! # Wire
//!
//! All integers are big-endian. A type, length and value (TLV) of a type that is not known is
//! passed over; an annotation that is malformed does not count.
//!
//! ```text
//!  0  version 1
//!  1  flags
//!  2  reserved
//!  4  node u64
//! 12  nonce
//! 28  capabilities u32; bit 0: many calls
//! 32  TLVs: type u8, length u16, value
//!     6: calls at once, u16
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use crate::annotations::AnnotationId;

/// The handshake between Antifreeze peers.
pub(crate) const HELLO: AnnotationId = AnnotationId::known(b"AFNH");

/// The version of AFNH that we write and read.
const VERSION: u8 = 1;
/// The capability to have many calls in flight, answered in any order.
const MANY_CALLS: u32 = 1;
/// The type of the TLV that we know.
const CALLS: u8 = 6;

const HELLO_BYTES: usize = 32;
pub(crate) const TLV_HEADER_BYTES: usize = 3;

/// Bytes that tell one handshake from all others: random, new for every connection.
pub type Nonce = [u8; 16];

/// What an Antifreeze peer says of itself in the handshake.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Hello {
    pub(crate) node: u64,
    pub(crate) nonce: Nonce,
    /// How many calls it takes at once.
    pub(crate) calls: u16,
}

impl Hello {
    pub(crate) fn new(node: u64, nonce: Nonce, calls: usize) -> Self {
        Self {
            node,
            nonce,
            calls: u16::try_from(calls.max(1)).unwrap_or(u16::MAX),
        }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let many = self.calls > 1;
        let mut bytes = BytesMut::with_capacity(HELLO_BYTES + TLV_HEADER_BYTES + 2);
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 3);
        bytes.put_u64(self.node);
        bytes.put_slice(&self.nonce);
        bytes.put_u32(if many { MANY_CALLS } else { 0 });
        if many {
            put_tlv(&mut bytes, CALLS, &self.calls.to_be_bytes());
        }
        bytes.freeze()
    }

    /// None if the annotation is malformed.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, tlvs) = bytes.split_first_chunk::<HELLO_BYTES>()?;
        let calls = tlv::<2>(tlvs, CALLS)?.map(u16::from_be_bytes);
        let (version, capabilities) = (head[0], u32::from_be_bytes(at(head, 28)?));
        let many = capabilities & MANY_CALLS != 0;
        (version == VERSION).then_some(Self {
            node: u64::from_be_bytes(at(head, 4)?),
            nonce: at(head, 12)?,
            calls: calls.filter(|_| many).unwrap_or(1).max(1),
        })
    }
}

pub(crate) fn put_tlv(bytes: &mut BytesMut, kind: u8, value: &[u8]) {
    bytes.put_u8(kind);
    bytes.put_u16(value.len() as u16);
    bytes.put_slice(value);
}

/// The value of the last TLV of this type, if there is one; none at all if they are malformed.
fn tlv<const N: usize>(mut bytes: &[u8], wanted: u8) -> Option<Option<[u8; N]>> {
    let mut found = None;
    while let Some((kind, value)) = next_tlv(&mut bytes)? {
        if kind == wanted {
            found = Some(value.try_into().ok()?);
        }
    }
    Some(found)
}

/// Takes the next TLV, if there is one; none at all if it is malformed.
pub(crate) fn next_tlv<'a>(bytes: &mut &'a [u8]) -> Option<Option<(u8, &'a [u8])>> {
    if bytes.is_empty() {
        return Some(None);
    }
    let (&[kind, high, low], rest) = bytes.split_first_chunk::<TLV_HEADER_BYTES>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
    *bytes = rest;
    Some(Some((kind, value)))
}

pub(crate) fn at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO_OF_MANY: Hello = Hello {
        node: 0x0102_0304_0506_0708,
        nonce: [9; 16],
        calls: 300,
    };

    /// What `change` makes of a good annotation.
    fn changed(good: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        bytes
    }

    #[test]
    fn a_hello_is_these_bytes() {
        let mut expected = vec![1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        expected.extend([9; 16]);
        expected.extend([0, 0, 0, 1, 6, 0, 2, 1, 44]);
        assert_eq!(HELLO_OF_MANY.encode(), expected);
        assert_eq!(Hello::decode(&expected), Some(HELLO_OF_MANY));

        let of_one = Hello::new(7, [8; 16], 0);
        assert_eq!(of_one.encode().len(), HELLO_BYTES);
        assert_eq!(Hello::decode(&of_one.encode()), Some(of_one));
        assert_eq!(Hello::new(7, [8; 16], 1 << 20).calls, u16::MAX);
    }

    #[test]
    fn how_many_calls_a_hello_offers() {
        let good = HELLO_OF_MANY.encode();
        let check = |change: fn(&mut Vec<u8>), calls: Option<u16>| {
            let bytes = changed(&good, change);
            assert_eq!(
                Hello::decode(&bytes).map(|hello| hello.calls),
                calls,
                "{bytes:?}"
            );
        };
        check(|_| {}, Some(300));
        // Without the capability, or the number, it is one at a time.
        check(|bytes| bytes[31] = 0, Some(1));
        check(|bytes| bytes.truncate(32), Some(1));
        check(|bytes| bytes[35..].fill(0), Some(1));
        // What is not known is passed over.
        check(|bytes| bytes[1..4].fill(0xff), Some(300));
        check(|bytes| bytes[28..32].fill(0xff), Some(300));
        check(|bytes| bytes.extend([77, 0, 3, 1, 2, 3]), Some(300));
        check(|bytes| bytes.extend([77, 0, 0]), Some(300));
        check(|bytes| bytes.extend([6, 0, 2, 0, 5]), Some(5));
        // What is malformed does not count.
        check(|bytes| bytes[0] = 0, None);
        check(|bytes| bytes[0] = 2, None);
        check(|bytes| bytes[34] = 1, None);
        check(|bytes| bytes[34] = 3, None);
        check(|bytes| bytes.push(6), None);
        check(|bytes| bytes.extend([77, 0, 4, 1, 2, 3]), None);
        for length in (0..32).chain(33..37) {
            assert_eq!(Hello::decode(&good[..length]), None, "of {length} bytes");
        }
    }
}
