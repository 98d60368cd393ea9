//! Base64 with padding, which is how bytes travel in serpent.

use crate::memory;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The value of each letter; 64 for the others.
const VALUES: [u8; 256] = {
    let mut values = [64; 256];
    let mut i = 0;
    while i < 64 {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// The letters of each twelve bits.
const PAIRS: [[u8; 2]; 4096] = {
    let mut pairs = [[0; 2]; 4096];
    let mut i = 0;
    while i < 4096 {
        pairs[i] = [ALPHABET[i >> 6], ALPHABET[i & 63]];
        i += 1;
    }
    pairs
};

/// Appends `bytes` in base64.
pub(crate) fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    let (triples, rest) = bytes.as_chunks::<3>();
    memory::reserve(out, bytes.len().div_ceil(3) * 4);
    let start = out.len();
    out.resize(start + triples.len() * 4, 0);
    let (quads, _) = out[start..].as_chunks_mut::<4>();
    for (quad, &[x, y, z]) in quads.iter_mut().zip(triples) {
        let bits = u32::from_be_bytes([0, x, y, z]) as usize;
        let ([a, b], [c, d]) = (PAIRS[bits >> 12], PAIRS[bits & 0xfff]);
        *quad = [a, b, c, d];
    }
    let letter = |bits: u32| ALPHABET[(bits & 63) as usize];
    match *rest {
        [a] => {
            let bits = u32::from(a) << 16;
            out.extend_from_slice(&[letter(bits >> 18), letter(bits >> 12), b'=', b'=']);
        }
        [a, b] => {
            let bits = u32::from(a) << 16 | u32::from(b) << 8;
            out.extend_from_slice(&[
                letter(bits >> 18),
                letter(bits >> 12),
                letter(bits >> 6),
                b'=',
            ]);
        }
        _ => {}
    }
}

/// Reads base64; anything but letters with the right padding is refused.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.as_bytes();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let letters = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let (quads, rest) = letters.as_chunks::<4>();
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    out.resize(quads.len() * 3, 0);
    let mut seen = 0;
    let mut triple = |quad: &[u8; 4]| {
        let [a, b, c, d] = quad.map(|letter| VALUES[usize::from(letter)]);
        seen |= a | b | c | d;
        let [a, b, c, d] = [a, b, c, d].map(u32::from);
        let [_, x, y, z] = (a << 18 | b << 12 | c << 6 | d).to_be_bytes();
        [x, y, z]
    };
    let (triples, _) = out.as_chunks_mut::<3>();
    for (place, quad) in triples.iter_mut().zip(quads) {
        *place = triple(quad);
    }
    match *rest {
        [a, b] => out.extend_from_slice(&triple(&[a, b, b'A', b'A'])[..1]),
        [a, b, c] => out.extend_from_slice(&triple(&[a, b, c, b'A'])[..2]),
        [_] => return None,
        _ => {}
    }
    (seen < 64).then_some(out)
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(bytes: &[u8], text: &str) {
        let mut out = Vec::new();
        super::encode(&mut out, bytes);
        assert_eq!(out, text.as_bytes());
        assert_eq!(super::decode(text).as_deref(), Some(bytes));
    }

    #[test]
    fn base64_goes_both_ways() {
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foob", "Zm9vYg==");
        check(&[0xff, 0xfe, 0x00, 0x3e], "//4APg==");
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        for text in ["Z", "Zg", "Zg=", "Zm9v!A==", "====", "Z===", "Zg==Zg=="] {
            assert_eq!(super::decode(text), None, "{text}");
        }
    }
}
