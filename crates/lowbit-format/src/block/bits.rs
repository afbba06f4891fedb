//! Bit tricks that block codecs share, in the form the auto-vectorizer understands: whole arrays, no branches.

/// The first N bytes as an array: lets the compiler see a block's length.
#[inline(always)]
pub(crate) fn head<const N: usize>(bytes: &[u8]) -> &[u8; N] {
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

/// One byte for each of 32 bits, low bits first: `value` where the bit is set, else 0.
///
/// Every source byte is repeated eight times and tested against the eight single bits: three vector instructions,
/// where shifting a 32-bit word bit by bit would stay scalar.
#[inline(always)]
pub(crate) fn spread_bits(bits: [u8; 4], value: u8) -> [u8; 32] {
    let mut bytes = [0u8; 32];
    for i in 0..4 {
        *part_mut::<8>(&mut bytes, 8 * i) = [bits[i]; 8];
    }
    for j in 0..32 {
        bytes[j] = if bytes[j] & (1 << (j % 8)) != 0 { value } else { 0 };
    }
    bytes
}

#[inline(always)]
fn part_mut<const N: usize>(bytes: &mut [u8], at: usize) -> &mut [u8; N] {
    bytes[at..].first_chunk_mut().expect("the part lies inside the array")
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

/// The eight 6-bit scales and eight 6-bit minimums of `Q4_K` and `Q5_K`.
///
/// Twelve bytes: the low six bits of bytes 0–3 and 4–7 are the first four scales and minimums; bytes 8–11 hold the low
/// nibbles of the last four scales (low) and minimums (high), whose upper two bits sit on top of bytes 0–7.
#[inline(always)]
pub(crate) fn k_scales(bytes: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let (a, b, c) = (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8));
    let scales = [a & 0x3f3f_3f3f, (c & 0x0f0f_0f0f) | (a >> 2 & 0x3030_3030)];
    let mins = [b & 0x3f3f_3f3f, (c >> 4 & 0x0f0f_0f0f) | (b >> 2 & 0x3030_3030)];
    (pair(scales), pair(mins))
}

#[inline(always)]
fn pair([low, high]: [u32; 2]) -> [u8; 8] {
    (u64::from(low) | u64::from(high) << 32).to_le_bytes()
}

/// `16 · low-or-high` nibbles of `N` bytes as codes: the low ones to `low`, the high ones to `high`.
#[inline(always)]
pub(crate) fn nibbles<const N: usize>(bytes: &[u8; N]) -> ([u8; N], [u8; N]) {
    let (mut low, mut high) = ([0u8; N], [0u8; N]);
    for j in 0..N {
        low[j] = bytes[j] & 15;
        high[j] = bytes[j] >> 4;
    }
    (low, high)
}
