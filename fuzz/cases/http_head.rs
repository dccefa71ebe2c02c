//! Heads: nothing panics, and what is accepted reads the same after it was written anew.

use conf::limits::HTTP_FIELDS_MAX;
use protocols::http::{Body, Edits, Framing, Head, Method, Parse, judge, response_framing};

/// One input: a head and whatever follows it.
pub fn run(bytes: &[u8]) {
    let (mut head, mut again) = (Head::default(), Head::default());
    let request = head.parse_request(bytes, 8192) == Ok(Parse::Complete);
    // Two more are written.
    if request && head.fields.len() + 2 <= HTTP_FIELDS_MAX {
        assert!(head.len <= bytes.len());
        let mut edits = Edits::default();
        edits.add(b"Added", b"1");
        edits.settle(&head, bytes, true);
        let mut out = Vec::new();
        edits.render(&head, bytes, &mut out);
        assert_eq!(again.parse_request(&out, usize::MAX), Ok(Parse::Complete));
        assert_eq!(again.len, out.len());
        assert_eq!(again.framing, head.framing);
        assert_eq!(again.host(&out), head.host(bytes));
        assert_eq!(again.target.of(&out), head.target.of(bytes));
        assert!(!again.lf);
        let body = Body::new(head.framing, 8192);
        let _ = judge(&mut again, body, &bytes[head.len..], 8192);
    }
    if let Ok(Parse::Complete) = head.parse_response(bytes, 8192) {
        // One more field may be written than may be read.
        if head.fields.len() == HTTP_FIELDS_MAX {
            return;
        }
        for method in [Method::Get, Method::Head] {
            if let Ok(framing) = response_framing(&head, method) {
                let mut edits = Edits::default();
                edits.settle(&head, bytes, framing != Framing::Close);
                let mut out = Vec::new();
                edits.render(&head, bytes, &mut out);
                assert_eq!(again.parse_response(&out, usize::MAX), Ok(Parse::Complete));
                assert_eq!(response_framing(&again, method), Ok(framing));
            }
        }
    }
}
