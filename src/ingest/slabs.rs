//! From submissions to slabs: what is too large is cut at line ends, small neighbours are put together.

use bytes::{Bytes, BytesMut};
use memchr::{memchr, memchr_iter, memrchr};

use crate::core::columns::{Numbering, Slab};
use crate::core::units::{Millis, Offset, TopicId};

/// A slab is at most this large, unless one event is larger: the unit of dispatch, small enough to spread over workers.
const SLAB_BYTES_MAX: usize = 1 << 20;
/// Where two pieces are both as large as this, each is a slab of its own: copying them together would cost more than it saves.
const SHARED_BYTES_MAX: usize = 128 << 10;

/// A slab or a part of one: some lines of one submission.
pub struct Piece {
    pub topic: Option<TopicId>,
    pub lines: Bytes,
    pub count: u32,
}

/// Cuts at line ends what is larger than a slab.
pub fn split(whole: Piece, pieces: &mut Vec<Piece>) {
    let Piece { topic, lines: mut rest, count } = whole;
    let mut left = count;
    while rest.len() > SLAB_BYTES_MAX {
        let (window, beyond) = rest.split_at(SLAB_BYTES_MAX);
        let end = memrchr(b'\n', window).or_else(|| memchr(b'\n', beyond).map(|at| SLAB_BYTES_MAX + at));
        let lines = rest.split_to(end.map_or(rest.len(), |at| at + 1));
        let count = memchr_iter(b'\n', &lines).count() as u32;
        assert!(count <= left, "a submission has as many lines as it says");
        left -= count;
        pieces.push(Piece { topic, lines, count });
    }
    assert_eq!(left == 0, rest.is_empty(), "a submission has as many lines as it says");
    if left > 0 {
        pieces.push(Piece { topic, lines: rest, count: left });
    }
}

/// Small neighbours of one topic share a slab as far as they fit; only they are copied.
pub fn slabs(pieces: Vec<Piece>, mut first: Offset, ingest: Millis) -> Vec<Slab> {
    let mut groups: Vec<(usize, Vec<Piece>)> = Vec::new();
    for piece in pieces {
        let bytes = piece.lines.len();
        match groups.last_mut() {
            Some((size, group))
                if *size + bytes <= SLAB_BYTES_MAX
                    && (*size).min(bytes) < SHARED_BYTES_MAX
                    && group.iter().all(|p| p.topic == piece.topic) =>
            {
                *size += bytes;
                group.push(piece);
            }
            _ => groups.push((bytes, vec![piece])),
        }
    }
    let mut slabs = Vec::with_capacity(groups.len());
    for (size, group) in groups {
        let topic = group.first().and_then(|p| p.topic);
        let count = group.iter().map(|p| p.count).sum();
        let bytes = match <[Piece; 1]>::try_from(group) {
            Ok([one]) => one.lines,
            Err(several) => {
                let mut bytes = BytesMut::with_capacity(size);
                for piece in &several {
                    bytes.extend_from_slice(&piece.lines);
                }
                bytes.freeze()
            }
        };
        slabs.push(Slab { first_offset: first, count, ingest, topic, bytes, numbering: Numbering::Dense });
        first = Offset(first.0 + u64::from(count));
    }
    slabs
}
