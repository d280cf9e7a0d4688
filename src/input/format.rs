//! What a file's name says of what is in it.

use std::path::Path;

/// What the events of a file are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object a line.
    Lines,
    /// As `caudal export` writes the log: a topic, a tab and a JSON object a line.
    Export,
    /// The first record names the fields.
    Csv {
        delimiter: u8,
    },
    Parquet,
}

/// How a file is compressed as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    pub format: Format,
    pub compression: Compression,
}

impl Kind {
    pub const LINES: Self = Self { format: Format::Lines, compression: Compression::None };

    /// By the endings of the file's name; `format` where the caller knows better.
    ///
    /// # Errors
    /// For people, what the endings may be.
    pub fn of(path: &Path, format: Option<Format>) -> Result<Self, String> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let (stem, compression) = match name.rsplit_once('.') {
            Some((stem, "gz" | "gzip")) => (stem, Compression::Gzip),
            Some((stem, "zst" | "zstd")) => (stem, Compression::Zstd),
            _ => (name.as_str(), Compression::None),
        };
        let of_name = match stem.rsplit_once('.').map(|(_, ending)| ending) {
            Some("ndjson" | "jsonl" | "json" | "log" | "txt") => Some(Format::Lines),
            Some("events") => Some(Format::Export),
            Some("csv") => Some(Format::Csv { delimiter: b',' }),
            Some("tsv") => Some(Format::Csv { delimiter: b'\t' }),
            Some("parquet" | "pq") => Some(Format::Parquet),
            _ => None,
        };
        let format = format.or(of_name).ok_or_else(|| {
            format!(
                "{}: the name does not say what is in it: .ndjson, .jsonl, .json, .events, .csv, .tsv (each also with .gz or .zst behind it) or .parquet; \
                 --format says it for all",
                path.display()
            )
        })?;
        if format == Format::Parquet && compression != Compression::None {
            return Err(format!("{}: a Parquet file is compressed inside; unpack it first", path.display()));
        }
        Ok(Self { format, compression })
    }

    /// Whether parts of the file can be read without what stands before them.
    #[must_use]
    pub fn can_be_cut(self) -> bool {
        match (self.format, self.compression) {
            (Format::Lines | Format::Export, Compression::None) | (Format::Parquet, _) => true,
            (Format::Lines | Format::Export | Format::Csv { .. }, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_name_says_what_is_in_it() {
        let csv = Format::Csv { delimiter: b',' };
        for (name, given, expected) in [
            ("a.ndjson", None, Some((Format::Lines, Compression::None))),
            ("/x.csv/A.JSONL.GZ", None, Some((Format::Lines, Compression::Gzip))),
            ("a.events.gz", None, Some((Format::Export, Compression::Gzip))),
            ("a.b.csv.zst", None, Some((csv, Compression::Zstd))),
            ("a.tsv", None, Some((Format::Csv { delimiter: b'\t' }, Compression::None))),
            ("a.parquet", None, Some((Format::Parquet, Compression::None))),
            ("a.parquet.gz", None, None),
            ("a.xml", None, None),
            ("a.gz", None, None),
            ("csv", None, None),
            ("a.xml", Some(csv), Some((csv, Compression::None))),
            ("a.gz", Some(csv), Some((csv, Compression::Gzip))),
        ] {
            let kind = Kind::of(Path::new(name), given).map(|kind| (kind.format, kind.compression));
            assert_eq!(kind.as_ref().ok(), expected.as_ref(), "{name}: {kind:?}");
        }
    }
}
