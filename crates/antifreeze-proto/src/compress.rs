//! Zlib of a payload, and never more memory for the inflated one than is allowed.

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use crate::error::ProtocolError;
use crate::segments::Segments;

/// Payloads up to this size are sent as they are: Pyro5's own threshold.
pub(crate) const THRESHOLD_BYTES: usize = 100;

/// Pyro5's level; the peer cannot see it.
const LEVEL: u32 = 4;

/// Inflates one zlib stream to at most `limit` bytes.
///
/// Bytes after the end of the stream are ignored, as Python does.
pub(crate) fn inflate(payload: &[u8], limit: u64) -> Result<Bytes, ProtocolError> {
    let bad = || ProtocolError::BadCompression {
        size: payload.len() as u64,
    };
    // One byte more than allowed tells "exactly the limit" from "too much".
    let most = usize::try_from(limit)
        .unwrap_or(usize::MAX)
        .saturating_add(1);
    let mut stream = Decompress::new(true);
    let mut inflated =
        Vec::with_capacity(payload.len().saturating_mul(4).clamp(64, 65_536).min(most));
    loop {
        let read = usize::try_from(stream.total_in()).map_err(|_| bad())?;
        let before = (read, inflated.len());
        let status = stream
            .decompress_vec(&payload[read..], &mut inflated, FlushDecompress::None)
            .map_err(|_| bad())?;
        if inflated.len() >= most {
            return Err(ProtocolError::InflatesTooLarge { limit });
        }
        if status == Status::StreamEnd {
            return Ok(inflated.into());
        }
        if inflated.len() == inflated.capacity() {
            let more = inflated.len().min(most - inflated.len());
            inflated.reserve_exact(more);
        } else if (stream.total_in() as usize, inflated.len()) == before {
            // Room on both sides and still no step: the stream is cut.
            return Err(bad());
        }
    }
}

/// Compresses all pieces into one zlib stream.
pub(crate) fn deflate(payload: &Segments) -> Bytes {
    let mut stream = Compress::new(Compression::new(LEVEL), true);
    let mut deflated = Vec::with_capacity(payload.len() / 2 + 64);
    for piece in payload.iter() {
        let mut left: &[u8] = piece;
        while !left.is_empty() {
            let before = stream.total_in();
            step(&mut stream, left, &mut deflated, FlushCompress::None);
            left = &left[(stream.total_in() - before) as usize..];
        }
    }
    while step(&mut stream, &[], &mut deflated, FlushCompress::Finish) != Status::StreamEnd {}
    deflated.into()
}

fn step(stream: &mut Compress, input: &[u8], output: &mut Vec<u8>, flush: FlushCompress) -> Status {
    if output.capacity() - output.len() < 64 {
        output.reserve(output.len().max(64));
    }
    // It fails only if the stream's own state is damaged, which safe code cannot do.
    stream
        .compress_vec(input, output, flush)
        .expect("an intact zlib state")
}
