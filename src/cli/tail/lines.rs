//! Reads what a topic's stream is made of: `id:` and `data:` lines, an empty line after each event. It knows no connection.

/// What has come of a stream, piece by piece.
#[derive(Debug)]
pub struct Lines {
    /// Every event before this offset has come whole.
    next: u64,
    /// Of the event that is coming.
    id: Option<u64>,
    /// The beginning of a line.
    begun: Vec<u8>,
}

impl Lines {
    /// Of a stream that begins at this offset.
    pub fn new(next: u64) -> Self {
        Self { next, id: None, begun: Vec::new() }
    }

    /// Where a stream goes on that is asked for anew.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Hands out the events that end in this piece. An event whose data has come is handed out though its empty line may be lost.
    pub fn take<E>(&mut self, mut piece: &[u8], event: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            if self.begun.is_empty() {
                self.line(line, event)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.line(&whole, event)?;
                whole.clear();
                self.begun = whole;
            }
        }
        self.begun.extend_from_slice(piece);
        Ok(())
    }

    fn line<E>(&mut self, line: &[u8], event: &mut impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        if let Some(data) = line.strip_prefix(b"data: ") {
            if let Some(id) = self.id.take() {
                event(id, data)?;
                self.next = id + 1;
            }
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            self.id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        } else if line.is_empty()
            && let Some(id) = self.id.take()
        {
            // A mark: the topic has nothing up to there.
            self.next = id + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_same_events() {
        let text = b"retry: 1000\n\nid: 7\ndata: {\"a\":1}\n\n: keep-alive\nid: 11\n\nid: 12\ndata: {\"id: 3\":\"data: \"}\n\nid: 14\ndata: {\"cut";
        for size in 1..=text.len() {
            let (mut lines, mut events) = (Lines::new(5), Vec::new());
            for piece in text.chunks(size) {
                lines
                    .take(piece, &mut |offset, event: &[u8]| {
                        events.push((offset, String::from_utf8(event.to_vec()).unwrap()));
                        Ok::<(), ()>(())
                    })
                    .unwrap();
            }
            assert_eq!(events, [(7, r#"{"a":1}"#.to_owned()), (12, r#"{"id: 3":"data: "}"#.to_owned())], "{size}");
            assert_eq!(lines.next(), 13, "{size}: the last event has not come whole");
        }
    }

    #[test]
    fn a_mark_moves_the_place_and_a_lost_one_does_not() {
        let place = |text: &[u8]| {
            let mut lines = Lines::new(5);
            lines.take(text, &mut |_, _: &[u8]| Ok::<(), ()>(())).unwrap();
            lines.next()
        };
        assert_eq!(place(b": keep-alive\nid: 11\n\n"), 12);
        assert_eq!(place(b": keep-alive\nid: 11\n"), 5);
        assert_eq!(place(b"id: 11\ndata: {}\n"), 12);
        assert_eq!(place(b"id: 11\ndata: {}"), 5);
        assert_eq!(place(b"data: {}\n\n"), 5);
    }
}
