//! Base64 with padding, which is how bytes travel in serpent.

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

/// Appends `bytes` in base64.
pub(crate) fn encode(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len().div_ceil(3) * 4);
    let letter = |bits: u32| ALPHABET[(bits & 63) as usize];
    let mut triples = bytes.chunks_exact(3);
    for triple in &mut triples {
        let bits = u32::from(triple[0]) << 16 | u32::from(triple[1]) << 8 | u32::from(triple[2]);
        out.extend_from_slice(&[
            letter(bits >> 18),
            letter(bits >> 12),
            letter(bits >> 6),
            letter(bits),
        ]);
    }
    match *triples.remainder() {
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
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in letters.chunks(4) {
        let mut bits = 0;
        for &letter in group {
            let value = VALUES[usize::from(letter)];
            if value == 64 {
                return None;
            }
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let [_, bytes @ ..] = bits.to_be_bytes();
        out.extend_from_slice(&bytes[..group.len() - 1]);
    }
    Some(out)
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
