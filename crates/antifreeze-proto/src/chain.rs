//! What goes with a call between programs that look for deadlocks: the annotation AFCK.
//!
//! It goes with every call, whoever the daemon is, and says what chain of calls it belongs to, and who makes it.
//! A Python program hands it on with the calls that it makes meanwhile, and later by mistake, too; so
//! what it says must be checked with whom it names. How much time the caller has left is only written
//! to and believed from Antifreeze peers.
//!
//! # Wire
//!
//! All integers are big-endian. A type, length and value (TLV) of a type that is not known is
//! passed over; an annotation that is malformed does not count.
//!
//! ```text
//!  0  version 1
//!  1  flags: 1 begins a chain that nobody waits for, 2 the chain has passed foreign hands before,
//!     4 the path is cut off, 8 the caller is a task
//!  2  depth; 255 is that or more
//!  3  priority i8
//!  4  how often the chain was a victim
//!  5  reserved
//!  8  chain: node u64, frame u64 of its root
//! 24  birth u64: ms since 1970 << 16 | random
//! 32  node u64, frame u64, number of call u64
//! 56  TLVs: type u8, length u16, value
//!     1: path, the newest first, 16 times at most: node u64, frame u64, number of call u64,
//!        hash of where it went u32, bits u8: 1 the daemon there is not ours, 2 it runs one call at
//!        a time
//!     2: address of the caller's detector, text
//!     5: milliseconds left, u32
//!     7: where it goes: hash u32, bits u8
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::annotations::AnnotationId;
use crate::native::{TLV_HEADER_BYTES, at, next_tlv, put_tlv};

/// What goes with a call.
pub(crate) const CHAIN: AnnotationId = AnnotationId::known(b"AFCK");

/// The version of AFCK that we write and read.
const VERSION: u8 = 1;
/// The types of TLVs that we know.
const PATH: u8 = 1;
const ADDRESS: u8 = 2;
const TIME_LEFT: u8 = 5;
const TARGET: u8 = 7;

const FIXED_BYTES: usize = 56;
const STEP_BYTES: usize = 29;
/// A longer AFCK is malformed.
const MOST_BYTES: usize = 1024;
/// How many steps a path has at most.
const MOST_STEPS: usize = 16;
/// An address that is longer is not written.
const MOST_ADDRESS_BYTES: usize = 256;
/// The name and length of an annotation.
const CHUNK_BYTES: usize = 8;

static MALFORMED: AtomicU64 = AtomicU64::new(0);

/// How many annotations about chains were malformed, in all connections of this program.
pub fn malformed_chains() -> u64 {
    MALFORMED.load(Ordering::Relaxed)
}

/// What a call belongs to, and who makes it: AFCK.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Chain {
    /// The process and the frame that it began with. Zero is nobody.
    pub id: u128,
    /// When it began: milliseconds since 1970, above 16 random bits.
    pub birth: u64,
    /// It begins with this call, for whose end nobody waits.
    pub forked: bool,
    /// It has passed foreign hands before.
    pub was_opaque: bool,
    /// The caller is a task.
    pub from_task: bool,
    /// How many calls the caller is away from where it began.
    pub depth: u8,
    /// The higher, the later it has to fail.
    pub priority: i8,
    /// How often it was a victim.
    pub times_victim: u8,
    /// The process of the caller.
    pub node: u64,
    /// The caller, among those of its process.
    pub frame: u64,
    /// The call, among those of its process.
    pub call: u64,
    /// Where the call goes; of use to whom it comes through foreign hands.
    pub target: Option<Target>,
    /// The calls for which it is made, the newest first.
    pub path: Path,
    /// Where the caller's detector is, if the connection does not tell.
    pub address: Option<Bytes>,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Target {
    /// Tells places apart.
    pub hash: u32,
    /// The daemon there is not ours.
    pub opaque: bool,
    /// It runs one call at a time.
    pub single: bool,
}

impl Target {
    fn encode(self) -> [u8; 5] {
        let [a, b, c, d] = self.hash.to_be_bytes();
        let bits = u8::from(self.opaque) | u8::from(self.single) << 1;
        [a, b, c, d, bits]
    }

    fn decode([a, b, c, d, bits]: [u8; 5]) -> Self {
        Self {
            hash: u32::from_be_bytes([a, b, c, d]),
            opaque: bits & 1 != 0,
            single: bits & 2 != 0,
        }
    }
}

/// The calls for which a call is made, the newest first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Path {
    /// As on the wire.
    steps: Bytes,
    cut_off: bool,
}

/// One of the calls for which another one is made.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Step {
    /// The process of the caller.
    pub node: u64,
    /// The caller, among those of its process.
    pub frame: u64,
    /// The call, among those of its process.
    pub call: u64,
    /// Where it went.
    pub target: Target,
}

impl Path {
    /// The path of calls that are made for `chain`, which is served now.
    pub fn after(chain: &Chain) -> Self {
        let newest = Step {
            node: chain.node,
            frame: chain.frame,
            call: chain.call,
            target: chain.target.unwrap_or_default(),
        };
        let old = &chain.path.steps[..];
        let kept = old.len().min((MOST_STEPS - 1) * STEP_BYTES);
        let mut steps = BytesMut::with_capacity(STEP_BYTES + kept);
        newest.put(&mut steps);
        steps.put_slice(&old[..kept]);
        Self {
            steps: steps.freeze(),
            cut_off: chain.path.cut_off || kept < old.len(),
        }
    }

    /// Its steps, the newest first.
    pub fn steps(&self) -> impl Iterator<Item = Step> + '_ {
        let steps = self.steps.chunks_exact(STEP_BYTES);
        steps.filter_map(Step::take)
    }

    /// Whether it has no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether older steps are missing.
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }
}

impl Step {
    fn put(self, bytes: &mut BytesMut) {
        bytes.put_u64(self.node);
        bytes.put_u64(self.frame);
        bytes.put_u64(self.call);
        bytes.put_slice(&self.target.encode());
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            node: u64::from_be_bytes(at(bytes, 0)?),
            frame: u64::from_be_bytes(at(bytes, 8)?),
            call: u64::from_be_bytes(at(bytes, 16)?),
            target: Target::decode(at(bytes, 24)?),
        })
    }
}

/// How long the part of an AFCK is that comes first, with its name and length.
pub(crate) const LEAD_BYTES: usize = CHUNK_BYTES + FIXED_BYTES + TLV_HEADER_BYTES + 4;

/// AFCK on the wire, name and length included, as the first of several annotations.
///
/// Most of it has a size that is known, and most calls have no more than that.
pub(crate) struct ChainChunk {
    lead: [u8; LEAD_BYTES],
    lead_bytes: usize,
    /// What follows.
    pub(crate) tail: Bytes,
}

impl ChainChunk {
    /// The chunk of a call whose caller has this much time left, if that is limited; parts of a
    /// millisecond count as one.
    pub(crate) fn new(chain: &Chain, left: Option<Duration>) -> Self {
        let path = &chain.path.steps;
        let address = chain
            .address
            .as_ref()
            .filter(|a| a.len() <= MOST_ADDRESS_BYTES);
        let mut tail = Bytes::new();
        if !path.is_empty() || address.is_some() || chain.target.is_some() {
            let steps = Some(path.len()).filter(|bytes| *bytes > 0);
            let parts = [steps, address.map(Bytes::len), chain.target.map(|_| 5)];
            let parts = parts
                .into_iter()
                .flatten()
                .map(|part| TLV_HEADER_BYTES + part);
            let mut bytes = BytesMut::with_capacity(parts.sum());
            if !path.is_empty() {
                put_tlv(&mut bytes, PATH, path);
            }
            if let Some(address) = address {
                put_tlv(&mut bytes, ADDRESS, address);
            }
            if let Some(target) = chain.target {
                put_tlv(&mut bytes, TARGET, &target.encode());
            }
            tail = bytes.freeze();
        }
        let mut lead = [0; LEAD_BYTES];
        let mut lead_bytes = CHUNK_BYTES + FIXED_BYTES;
        if let Some(left) = left {
            let millis = u32::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
            lead[lead_bytes..][..3].copy_from_slice(&[TIME_LEFT, 0, 4]);
            lead[lead_bytes + 3..][..4].copy_from_slice(&millis.to_be_bytes());
            lead_bytes = LEAD_BYTES;
        }
        let length = (lead_bytes - CHUNK_BYTES + tail.len()) as u32;
        lead[..4].copy_from_slice(CHAIN.as_bytes());
        lead[4..8].copy_from_slice(&length.to_be_bytes());
        let head = &mut lead[CHUNK_BYTES..];
        head[0] = VERSION;
        head[1] = u8::from(chain.forked)
            | u8::from(chain.was_opaque) << 1
            | u8::from(chain.path.cut_off) << 2
            | u8::from(chain.from_task) << 3;
        head[2] = chain.depth;
        head[3] = chain.priority.cast_unsigned();
        head[4] = chain.times_victim;
        head[8..24].copy_from_slice(&chain.id.to_be_bytes());
        head[24..32].copy_from_slice(&chain.birth.to_be_bytes());
        head[32..40].copy_from_slice(&chain.node.to_be_bytes());
        head[40..48].copy_from_slice(&chain.frame.to_be_bytes());
        head[48..56].copy_from_slice(&chain.call.to_be_bytes());
        Self {
            lead,
            lead_bytes,
            tail,
        }
    }

    /// The part of it that comes first.
    pub(crate) fn lead(&self) -> &[u8] {
        &self.lead[..self.lead_bytes]
    }

    /// How many bytes it takes on the wire.
    pub(crate) fn wire_bytes(&self) -> u64 {
        (self.lead_bytes + self.tail.len()) as u64
    }
}

/// What an AFCK says: the chain, unless it is nobody's, and how much time the caller has left, if that
/// is limited. None if it is malformed, which is counted.
pub(crate) fn decode(bytes: &Bytes) -> Option<(Option<Chain>, Option<Duration>)> {
    let chain = read(bytes);
    if chain.is_none() {
        MALFORMED.fetch_add(1, Ordering::Relaxed);
    }
    chain
}

fn read(bytes: &Bytes) -> Option<(Option<Chain>, Option<Duration>)> {
    let (head, mut tlvs) = bytes.split_first_chunk::<FIXED_BYTES>()?;
    if head[0] != VERSION || bytes.len() > MOST_BYTES {
        return None;
    }
    let number = |place| Some(u64::from_be_bytes(at(head, place)?));
    let flags = head[1];
    let mut chain = Chain {
        id: u128::from_be_bytes(at(head, 8)?),
        birth: number(24)?,
        forked: flags & 1 != 0,
        was_opaque: flags & 2 != 0,
        from_task: flags & 8 != 0,
        depth: head[2],
        priority: head[3].cast_signed(),
        times_victim: head[4],
        node: number(32)?,
        frame: number(40)?,
        call: number(48)?,
        ..Chain::default()
    };
    chain.path.cut_off = flags & 4 != 0;
    let mut left = None;
    while let Some((kind, value)) = next_tlv(&mut tlvs)? {
        match kind {
            PATH if value.len() % STEP_BYTES != 0 || value.len() > MOST_STEPS * STEP_BYTES => {
                return None;
            }
            PATH => chain.path.steps = bytes.slice_ref(value),
            ADDRESS => chain.address = Some(bytes.slice_ref(value)),
            TARGET => chain.target = Some(Target::decode(value.try_into().ok()?)),
            TIME_LEFT => {
                let millis = u32::from_be_bytes(value.try_into().ok()?);
                left = Some(Duration::from_millis(millis.into()));
            }
            _ => {}
        }
    }
    Some(((chain.id != 0).then_some(chain), left))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `change` makes of a good annotation.
    fn changed(good: &Bytes, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = good.to_vec();
        change(&mut bytes);
        bytes
    }

    fn whole() -> Chain {
        Chain {
            id: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10,
            birth: 0x1112_1314_1516_1718,
            forked: true,
            was_opaque: true,
            from_task: true,
            depth: 3,
            priority: -2,
            times_victim: 5,
            node: 0x2122_2324_2526_2728,
            frame: 0x3132_3334_3536_3738,
            call: 0x4142_4344_4546_4748,
            ..Chain::default()
        }
    }

    fn encoded(chain: &Chain, left: Option<Duration>) -> Bytes {
        let chunk = ChainChunk::new(chain, left);
        assert_eq!(
            chunk.wire_bytes() as usize,
            chunk.lead().len() + chunk.tail.len()
        );
        let bytes = [chunk.lead(), &chunk.tail].concat();
        let (name, rest) = bytes.split_at(8);
        let length = u32::try_from(rest.len()).unwrap().to_be_bytes();
        assert_eq!(name, [b"AFCK", &length[..]].concat());
        Bytes::copy_from_slice(rest)
    }

    fn step(n: u64) -> Step {
        Step {
            node: n,
            frame: 2 * n,
            call: 3 * n,
            target: Target {
                hash: 7,
                opaque: true,
                single: n.is_multiple_of(2),
            },
        }
    }

    /// A chain after so many calls, each of which was made for the one before.
    fn after(calls: u64) -> Chain {
        let begin = |n, path| Chain {
            node: step(n).node,
            frame: step(n).frame,
            call: step(n).call,
            target: Some(step(n).target),
            path,
            ..whole()
        };
        (2..=calls).fold(begin(1, Path::default()), |chain, n| {
            begin(n, Path::after(&chain))
        })
    }

    #[test]
    fn a_chain_is_these_bytes() {
        let good = encoded(&whole(), None);
        let mut expected = vec![1, 0b1011, 3, 0xfe, 5, 0, 0, 0];
        expected.extend(1..=0x18);
        expected.extend(0x21..=0x28);
        expected.extend(0x31..=0x38);
        expected.extend(0x41..=0x48);
        assert_eq!(good, expected);
        let long = Chain {
            address: Some(Bytes::from_static(b"here:1")),
            ..after(2)
        };
        let long = encoded(&long, Some(Duration::from_millis(258)));
        let mut expected = vec![5, 0, 4, 0, 0, 1, 2, 1, 0, 29];
        for number in [1_u64, 2, 3] {
            expected.extend(number.to_be_bytes());
        }
        expected.extend([0, 0, 0, 7, 1, 2, 0, 6]);
        expected.extend(b"here:1");
        expected.extend([7, 0, 5, 0, 0, 0, 7, 3]);
        assert_eq!(long[56..], expected);
    }

    #[test]
    fn a_chain_is_read_as_it_was_written() {
        let check = |chain: &Chain, left| {
            let decoded = decode(&encoded(chain, left));
            assert_eq!(decoded, Some((Some(chain.clone()), left)));
        };
        let left = Some(Duration::from_millis(7));
        check(&whole(), None);
        check(&whole(), left);
        check(&after(1), None);
        check(&after(17), left);
        check(&after(40), left);
        let addressed = |length| Chain {
            address: Some(vec![b'x'; length].into()),
            ..after(40)
        };
        check(&addressed(256), left);
        assert!(encoded(&addressed(256), left).len() <= MOST_BYTES);
        let decoded = decode(&encoded(&addressed(257), left)).unwrap();
        assert_eq!(decoded.0.unwrap().address, None);
        let nobody = decode(&encoded(&Chain::default(), left));
        assert_eq!(nobody, Some((None, left)));
    }

    #[test]
    fn a_path_has_its_newest_steps() {
        let check = |calls: u64, steps: &[u64], cut_off| {
            let path = after(calls).path;
            let expected: Vec<_> = steps.iter().copied().map(step).collect();
            assert_eq!(path.steps().collect::<Vec<_>>(), expected);
            assert_eq!(path.is_cut_off(), cut_off, "after {calls}");
            assert_eq!(path.is_empty(), steps.is_empty());
        };
        check(1, &[], false);
        check(3, &[2, 1], false);
        let down_to = |calls: u64, last: u64| (last..calls).rev().collect::<Vec<_>>();
        check(17, &down_to(17, 1), false);
        check(18, &down_to(18, 2), true);
        check(40, &down_to(40, 24), true);
    }

    #[test]
    fn a_chain_that_is_malformed_does_not_count_and_is_counted() {
        let good = encoded(&after(2), Some(Duration::ZERO));
        let check = |change: fn(&mut Vec<u8>), counts: bool| {
            let before = malformed_chains();
            let bytes = changed(&good, change);
            let decoded = decode(&bytes.clone().into());
            assert_eq!(decoded.is_some(), counts, "{bytes:?}");
            // Other tests count at the same time.
            assert!(counts || malformed_chains() > before);
        };
        check(|_| {}, true);
        check(|bytes| bytes[1] = 0xff, true);
        check(|bytes| bytes[5..8].fill(0xff), true);
        check(|bytes| bytes.extend([77, 0, 1, 9]), true);
        check(|bytes| bytes.extend([77, 0, 2, 9]), false);
        check(|bytes| bytes.extend([77, 0]), false);
        check(|bytes| bytes[0] = 2, false);
        check(
            |bytes| bytes.extend([1, 0, 28].iter().chain(&[0; 28])),
            false,
        );
        check(
            |bytes| bytes.extend([1, 1, 237].iter().chain(&[0; 493])),
            false,
        );
        check(|bytes| bytes.extend([7, 0, 4, 0, 0, 0, 0]), false);
        check(
            |bytes| bytes.extend([77, 4, 0].iter().chain(&[0; 1024])),
            false,
        );
        let ends = [56, 63, 95, 103];
        for length in 0..good.len() {
            let cut = good.slice(..length);
            assert_eq!(decode(&cut).is_some(), ends.contains(&length), "{length}");
        }
    }

    fn time_left(bytes: impl Into<Bytes>) -> Option<Duration> {
        decode(&bytes.into())?.1
    }

    #[test]
    fn how_much_time_is_left() {
        let good = encoded(&Chain::default(), Some(Duration::from_millis(258)));
        let mut expected = vec![0; 63];
        expected[0] = 1;
        expected[56..].copy_from_slice(&[5, 0, 4, 0, 0, 1, 2]);
        assert_eq!(good, expected);

        let check = |change: fn(&mut Vec<u8>), millis: Option<u64>| {
            let bytes = changed(&good, change);
            let left = time_left(bytes.clone());
            assert_eq!(left, millis.map(Duration::from_millis), "{bytes:?}");
        };
        check(|_| {}, Some(258));
        check(|bytes| bytes[59..].fill(0), Some(0));
        check(|bytes| bytes[1..56].fill(0xff), Some(258));
        check(|bytes| bytes.extend([77, 0, 1, 9]), Some(258));
        check(|bytes| bytes.truncate(56), None);
        check(|bytes| bytes[0] = 2, None);
        check(|bytes| bytes[58] = 3, None);
        check(|bytes| bytes.push(5), None);
        for length in 0..63 {
            assert_eq!(time_left(good.slice(..length)), None, "of {length} bytes");
        }
    }

    #[test]
    fn time_left_is_rounded_up_and_bounded() {
        let check = |left, millis| {
            let decoded = time_left(encoded(&Chain::default(), Some(left)));
            assert_eq!(decoded, Some(Duration::from_millis(millis)));
        };
        check(Duration::ZERO, 0);
        check(Duration::from_nanos(1), 1);
        check(Duration::from_micros(1001), 2);
        check(Duration::MAX, u32::MAX.into());
    }
}
