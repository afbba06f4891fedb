//! The alphabet of byte-level BPE: every byte written as one printable character, as GPT-2 does it.
//!
//! Printable Latin-1 characters stand for themselves; the 68 others (controls, space, DEL, 0x80–0xA0, soft
//! hyphen) take the code points from U+0100 on, in order. A space is written `Ġ`, a newline `Ċ`.

/// The bytes that a token's text stands for, appended to `out`; `false` (and `out` as it was) if a character is
/// not of the alphabet.
pub(crate) fn decode_into(text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let Ok(text) = std::str::from_utf8(text) else { return false };
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

/// How bytes are written in the alphabet.
#[cfg(test)]
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|&b| char_of(b)).collect()
}

fn stands_for_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

fn byte_of(c: char) -> Option<u8> {
    let code = c as u32;
    match code {
        0x00..=0xFF => stands_for_itself(code as u8).then_some(code as u8),
        // 33 bytes below '!', then 0x7F..=0xA0, then 0xAD.
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7F) as u8),
        0x143 => Some(0xAD),
        _ => None,
    }
}

#[cfg(test)]
fn char_of(byte: u8) -> char {
    let code = match byte {
        b if stands_for_itself(b) => b as u32,
        0x00..=0x20 => 0x100 + byte as u32,
        0x7F..=0xA0 => 0x121 + byte as u32 - 0x7F,
        _ => 0x143,
    };
    char::from_u32(code).expect("the alphabet lies below the surrogates")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_back() {
        for byte in 0..=255u8 {
            let mut out = Vec::new();
            assert!(decode_into(encode(&[byte]).as_bytes(), &mut out));
            assert_eq!(out, [byte]);
        }
        assert_eq!(encode(b" \n"), "ĠĊ");
    }

    #[test]
    fn text_outside_the_alphabet_is_not_decoded() {
        let mut out = vec![1];
        assert!(!decode_into("<｜begin▁of▁sentence｜>".as_bytes(), &mut out));
        assert!(!decode_into(b"a b", &mut out));
        assert!(!decode_into(b"\xff", &mut out));
        assert_eq!(out, [1]);
    }
}
