//! URL-safe base64 without padding (RFC 4648, section 5), for cursors and session tokens.
//!
//! What always holds: decoding accepts exactly what encoding gives.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// No letter has this value.
const NONE: u8 = 0xff;

/// The value of each letter.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut value = 0;
    while value < LETTERS.len() {
        values[LETTERS[value] as usize] = value as u8;
        value += 1;
    }
    values
};

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..chunk.len()].copy_from_slice(chunk);
        let word = u32::from_be_bytes([0, word[0], word[1], word[2]]);
        for place in 0..=chunk.len() {
            let letter = word >> (18 - 6 * place) & 63;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}

pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0_u32;
        for (place, letter) in chunk.iter().enumerate() {
            let value = VALUES[usize::from(*letter)];
            if value == NONE {
                return None;
            }
            word |= u32::from(value) << (18 - 6 * place);
        }
        let length = chunk.len() - 1;
        let bits = word.to_be_bytes();
        // A lone letter carries no byte, and bits beyond the last byte are another text's.
        if length == 0 || bits[length + 1..].iter().any(|rest| *rest != 0) {
            return None;
        }
        bytes.extend_from_slice(&bits[1..=length]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let check = |plain: &[u8], text: &str| {
            assert_eq!(encode(plain), text);
            assert_eq!(decode(text).as_deref(), Some(plain));
        };
        check(b"", "");
        check(b"f", "Zg");
        check(b"fo", "Zm8");
        check(b"foo", "Zm9v");
        check(b"foob", "Zm9vYg");
        check(&[0xfb, 0xff], "-_8");
        for bad in ["Z", "Zh", "Zm9v=", "Zm9vYg==", "Zm 9", "é"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
