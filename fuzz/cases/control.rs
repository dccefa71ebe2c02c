//! The control socket: frames are cut the same however the bytes come, and a request that is read can be written.

use conf::limits::CONTROL_MESSAGE_MAX;
use protocols::control::{Decoder, Frame, Request};

/// One input: the size of the pieces, then what a client sends.
pub fn run(input: &[u8]) {
    let [step, bytes @ ..] = input else {
        return;
    };
    let mut whole = Decoder::new();
    whole.push(bytes);
    let mut frames = Vec::new();
    let fault = loop {
        match whole.next_frame() {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let mut pieces = Decoder::new();
    let mut again = Vec::new();
    'bytes: for piece in bytes.chunks(usize::from(*step).max(1)) {
        pieces.push(piece);
        loop {
            match pieces.next_frame() {
                Ok(Some(frame)) => again.push(frame),
                Ok(None) => break,
                Err(_) => break 'bytes,
            }
        }
        assert!(pieces.pending() < CONTROL_MESSAGE_MAX);
    }
    assert_eq!(frames, again);
    assert_eq!(fault, pieces.next_frame().is_err());
    for frame in &frames {
        request(frame);
    }
}

fn request(frame: &Frame) {
    if let Ok(request) = Request::from_frame(frame) {
        let written = request.to_frame(frame.pid);
        assert_eq!(written.kind, frame.kind);
        assert!(written.len() <= CONTROL_MESSAGE_MAX || frame.kind >= 0x1_0000);
        assert!(Request::from_frame(&written).is_ok(), "{request:?}");
    }
}
