//! Chunks: wherever the stream is cut, the same body comes out.

use protocols::http::{Body, Framing};

/// One input: the size of the pieces, a length in two bytes, the stream.
pub fn run(input: &[u8]) {
    let [step, high, low, bytes @ ..] = input else {
        return;
    };
    let (step, length) = (*step, u16::from_be_bytes([*high, *low]));
    for framing in [
        Framing::Chunked,
        Framing::Length(length.into()),
        Framing::Close,
    ] {
        let mut whole = Body::new(framing, 256);
        let expected = whole.advance(bytes);
        let mut cut = Body::new(framing, 256);
        let mut taken = 0;
        let mut result = Ok(());
        for part in bytes.chunks(usize::from(step).max(1)) {
            let opaque = cut.opaque();
            match cut.advance(part) {
                Ok(count) => {
                    assert!(count <= part.len());
                    assert!(count as u64 >= opaque.min(part.len() as u64));
                    taken += count;
                    if count < part.len() {
                        assert!(cut.is_done());
                        break;
                    }
                }
                Err(refusal) => {
                    result = Err(refusal);
                    break;
                }
            }
        }
        match expected {
            Ok(count) => {
                assert_eq!(result, Ok(()));
                assert_eq!(taken, count);
                assert_eq!(whole.is_done(), cut.is_done());
            }
            Err(refusal) => assert_eq!(result, Err(refusal)),
        }
    }
}
