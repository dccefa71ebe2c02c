//! Numbers and names at fixed places of a memory image.
//! Owns bounds checking: a place outside the image reads as zero and is not written.
//! Must never panic, whatever offset or length it is given.

/// Writes `value` at `offset` if it fits.
pub(super) fn put(image: &mut [u8], offset: usize, value: &[u8]) {
    if let Some(place) = offset
        .checked_add(value.len())
        .and_then(|end| image.get_mut(offset..end))
    {
        place.copy_from_slice(value);
    }
}

/// Writes `text` into a field of `size` bytes, cut so that a NUL follows.
pub(super) fn put_text(image: &mut [u8], offset: usize, size: usize, text: &str) {
    let bytes = text.as_bytes();
    let kept = bytes.get(..size.saturating_sub(1)).unwrap_or(bytes);
    put(image, offset, kept);
}

fn get<const N: usize>(image: &[u8], offset: usize) -> [u8; N] {
    offset
        .checked_add(N)
        .and_then(|end| image.get(offset..end))
        .and_then(|bytes| bytes.try_into().ok())
        .unwrap_or([0; N])
}

/// A `u32`.
pub(super) fn get_u32(image: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(get(image, offset))
}

/// An `i32`.
pub(super) fn get_i32(image: &[u8], offset: usize) -> i32 {
    i32::from_ne_bytes(get(image, offset))
}

/// A `u16`.
pub(super) fn get_u16(image: &[u8], offset: usize) -> u16 {
    u16::from_ne_bytes(get(image, offset))
}

/// A `u16` in network byte order.
pub(super) fn get_port(image: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes(get(image, offset))
}

/// A `u64`.
pub(super) fn get_u64(image: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(get(image, offset))
}

/// An `i64`.
pub(super) fn get_i64(image: &[u8], offset: usize) -> i64 {
    i64::from_ne_bytes(get(image, offset))
}

/// Text up to the first NUL of a field of `size` bytes; what is not UTF-8 is replaced.
pub(super) fn get_text(image: &[u8], offset: usize, size: usize) -> String {
    let field = offset
        .checked_add(size)
        .and_then(|end| image.get(offset..end.min(image.len())))
        .unwrap_or_default();
    let text = field.split(|b| *b == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
