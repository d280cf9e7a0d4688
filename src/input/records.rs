//! Where a record of a text ends: the line end of a line, and of a CSV record the first one that stands in no quotes.

use crate::core::decode::FILE_LINE_BYTES_MAX;
use crate::input::Format;

/// Where the record that begins at the text's beginning ends, its line end included; None if no end of it is there.
pub(super) fn end(format: Format, text: &[u8]) -> Option<usize> {
    match format {
        Format::Csv { delimiter } => csv_end(text, delimiter),
        Format::Lines | Format::Export | Format::Parquet => memchr::memchr(b'\n', text).map(|at| at + 1),
    }
}

/// Blank lines are no records; but one of lines that is too long is refused, whatever is in it.
pub(super) fn is_blank(format: Format, record: &[u8]) -> bool {
    let line = record.strip_suffix(b"\n").unwrap_or(record);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let is_long = format == Format::Lines && line.len() > FILE_LINE_BYTES_MAX;
    !is_long && record.iter().all(u8::is_ascii_whitespace)
}

/// A quote opens at a cell's beginning only, and one that is doubled stands for itself.
fn csv_end(text: &[u8], delimiter: u8) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\n', text.get(at..)?)?;
        if text.get(found) == Some(&b'\n') {
            return Some(found + 1);
        }
        let opens = found.checked_sub(1).is_none_or(|before| text.get(before) == Some(&delimiter));
        at = found + 1;
        if !opens {
            continue;
        }
        // On to the quote that closes it.
        loop {
            at += memchr::memchr(b'"', text.get(at..)?)? + 1;
            match text.get(at) {
                Some(b'"') => at += 1,
                Some(_) => break,
                // Whether it is doubled is not known yet.
                None => return None,
            }
        }
    }
}

/// Whether the record, which has no end, ends within quotes: a line end at its end would not end it.
pub(super) fn is_open(format: Format, record: &[u8]) -> bool {
    let Format::Csv { .. } = format else { return false };
    let mut ended = record.to_vec();
    ended.push(b'\n');
    end(format, &ended).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CSV: Format = Format::Csv { delimiter: b',' };

    #[test]
    fn records_end_at_line_ends_that_stand_in_no_quotes() {
        for (text, expected) in [
            ("a,b\nc", Some(4)),
            ("a,\"b\nc\"\nd", Some(8)),
            ("a,\"b\"\"\n\"\"c\"\nd", Some(12)),
            ("\"\"\nx", Some(3)),
            ("5\" pipe,x\ny\"", Some(10)),
            ("\"a\"b\"c\n", Some(7)),
            ("\"open\nmore\n", None),
            ("none", None),
            ("\n", Some(1)),
        ] {
            assert_eq!(end(CSV, text.as_bytes()), expected, "{text:?}");
        }
        assert!(is_open(CSV, b"a,\"b"));
        assert!(!is_open(CSV, b"a,\"b\""));
        assert!(!is_open(Format::Lines, b"\""));
    }

    proptest! {
        /// The csv crate finds the same records.
        #[test]
        fn the_reader_of_cells_sees_the_same_records(text in "[ab,\" \r\n]{0,40}") {
            let mut text = text.into_bytes();
            text.push(b'\n');
            let (mut rest, mut own) = (text.as_slice(), Vec::new());
            while let Some(end) = end(CSV, rest) {
                let (record, more) = rest.split_at(end);
                if !is_blank(CSV, record) {
                    own.push(record.to_vec());
                }
                rest = more;
            }
            let whole = text.len() - rest.len();
            let mut reader = crate::input::cells::reader(&text[..whole], b',');
            let mut record = csv::ByteRecord::new();
            let (mut start, mut found) = (0, Vec::new());
            while reader.read_byte_record(&mut record).unwrap() {
                let end = reader.position().byte() as usize;
                // With the blank lines before it.
                found.extend(Some(text[start..end].trim_ascii_start()).filter(|record| !record.is_empty()));
                start = end;
            }
            let own: Vec<&[u8]> = own.iter().map(|record| record.trim_ascii_start()).collect();
            prop_assert_eq!(found, own);
        }
    }
}
