//! Bit tricks that block codecs share, in the form the auto-vectorizer understands: whole arrays, no branches.

/// The first N bytes as an array: lets the compiler see a block's length.
#[inline(always)]
pub(crate) fn head<const N: usize, T>(bytes: &[T]) -> &[T; N] {
    bytes.first_chunk().expect("the caller passes a whole block")
}

/// The first N elements of a target as an array.
#[inline(always)]
pub(crate) fn head_mut<const N: usize, T>(out: &mut [T]) -> &mut [T; N] {
    out.first_chunk_mut().expect("the caller passes room for a whole block")
}

/// `N` bytes from byte `at`.
#[inline(always)]
pub(crate) fn part<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("the part lies inside the block")
}

/// Little-endian half-precision number at byte `at`.
#[inline(always)]
pub(crate) fn f16_at(bytes: &[u8], at: usize) -> f32 {
    crate::float::f16_to_f32(u16::from_le_bytes(*part(bytes, at)))
}

/// Little-endian 32-bit number at byte `at`.
#[inline(always)]
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*part(bytes, at))
}

/// Little-endian 16-bit number at byte `at`.
#[inline(always)]
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*part(bytes, at))
}

/// Eight bytes for eight bits, low bits first: 0xff where the bit is set, else 0.
///
/// A table of 2 KiB and 64-bit words beat what the vectorizer makes of bit tests.
pub(crate) static BIT_MASKS: [u64; 256] = {
    let mut masks = [0; 256];
    let mut i = 0;
    while i < 8 * 256 {
        if ((i / 8) >> (i % 8)) & 1 == 1 {
            masks[i / 8] |= 0xff << (8 * (i % 8));
        }
        i += 1;
    }
    masks
};

/// A byte repeated eight times.
pub(crate) const fn splat(byte: u8) -> u64 {
    byte as u64 * 0x0101_0101_0101_0101
}

/// Writes a word as eight codes.
#[inline(always)]
pub(crate) fn put8(q: &mut [i8], at: usize, word: u64) {
    *head_mut(&mut q[at..]) = word.to_le_bytes().map(|x| x as i8);
}

/// The four 2-bit codes of a byte, low bits first, each minus one.
#[inline(always)]
pub(crate) fn quads_minus_one(byte: u8) -> [i8; 4] {
    let b = u32::from(byte);
    let codes = (b | b << 6 | b << 12 | b << 18) & 0x0303_0303;
    // A byte-wise subtraction: the borrowed top bits keep the bytes apart.
    let less = ((codes | 0x8080_8080) - 0x0101_0101) ^ 0x8080_8080;
    less.to_le_bytes().map(|x| x as i8)
}

/// Half-precision numbers of L rows from their low and high bytes.
#[inline(always)]
pub(crate) fn halves<const L: usize>(low: &[u8; L], high: &[u8; L]) -> [f32; L] {
    let mut out = [0.0; L];
    for l in 0..L {
        out[l] = crate::float::f16_to_f32(u16::from_le_bytes([low[l], high[l]]));
    }
    out
}

/// `0..groups`, hidden from the vectorizer, which would otherwise take the groups for its lanes and scatter what the rows
/// inside keep together.
#[inline(always)]
pub(crate) fn rows(groups: usize) -> impl Iterator<Item = usize> {
    (0..groups).map(std::hint::black_box)
}

/// The eight 6-bit scales and eight 6-bit minimums of `Q4_K` and `Q5_K`, of L rows.
///
/// Twelve bytes: the low six bits of bytes 0–3 and 4–7 are the first four scales and minimums; bytes 8–11 hold the low
/// nibbles of the last four scales (low) and minimums (high), whose upper two bits sit on top of bytes 0–7.
#[inline(always)]
pub(crate) fn k_scales<const L: usize>(bytes: &[[u8; L]; 12]) -> ([[u8; L]; 8], [[u8; L]; 8]) {
    let (mut scales, mut mins) = ([[0; L]; 8], [[0; L]; 8]);
    for i in 0..4 {
        for l in 0..L {
            let (a, b, c) = (bytes[i][l], bytes[4 + i][l], bytes[8 + i][l]);
            scales[i][l] = a & 63;
            mins[i][l] = b & 63;
            scales[4 + i][l] = c & 15 | a >> 6 << 4;
            mins[4 + i][l] = c >> 4 | b >> 6 << 4;
        }
    }
    (scales, mins)
}

/// Looks 4-bit codes up, each through a tree of selections by one bit: an array lookup would be scalar code.
#[inline(always)]
pub fn lookup4(table: &[i8; 16], code: u8) -> i8 {
    let mask = |bit: u32| 0i8.wrapping_sub((code >> bit & 1) as i8);
    let pick = |mask: i8, a: i8, b: i8| a ^ (mask & (a ^ b));
    let mut v = *table;
    for (bit, left) in [(0, 8), (1, 4), (2, 2), (3, 1)] {
        for k in 0..left {
            v[k] = pick(mask(bit), v[2 * k], v[2 * k + 1]);
        }
    }
    v[0]
}

/// The values of binary codes, for [`super::Values::Table`].
pub(crate) const SIGNS: [i8; 16] = [-1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
