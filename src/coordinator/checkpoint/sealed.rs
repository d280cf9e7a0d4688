//! A sealed file of remembered ids: magic (8 bytes), length of the file (u64), and for each section its length (u32), crc32c (u32) and bytes (bincode,
//! fixed-width integers). It is written and read section by section: all ids of a job are more than rank 0 need ever have in memory.

use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::core::keygroup::KEY_GROUPS;
use crate::log::disk::{Disk, DiskFile};
use crate::wire::{Kind, Section, decode_within, encode_alone};

const MAGIC: &[u8; 8] = b"caudalI1";
const HEADER_BYTES: u64 = 16;
const FRAME_BYTES: usize = 8;
/// No section is longer: workers cut them shorter by far.
const SECTION_BYTES_MAX: usize = 16 << 20;

/// Writes a file under the name `tmp`, and syncs it whenever `sync_bytes` are written.
pub(super) fn write(disk: &dyn Disk, tmp: &str, sections: &[Section], sync_bytes: usize) -> io::Result<()> {
    let len =
        HEADER_BYTES + sections.iter().map(|section| (FRAME_BYTES + encode_alone(section).len()) as u64).sum::<u64>();
    let file = disk.create(tmp, len)?;
    file.write_at(0, &mut [IoSlice::new(MAGIC), IoSlice::new(&len.to_le_bytes())])?;
    let (mut at, mut unsynced) = (HEADER_BYTES, 0);
    for section in sections {
        let body = encode_alone(section);
        assert!(body.len() <= SECTION_BYTES_MAX, "a section that no start would take");
        let (len, crc) = ((body.len() as u32).to_le_bytes(), crc32c::crc32c(&body).to_le_bytes());
        file.write_at(at, &mut [IoSlice::new(&len), IoSlice::new(&crc), IoSlice::new(&body)])?;
        at += (FRAME_BYTES + body.len()) as u64;
        unsynced += FRAME_BYTES + body.len();
        if unsynced >= sync_bytes {
            file.sync()?;
            unsynced = 0;
        }
    }
    file.sync()
}

/// The sections of a file, one after the other. After an error there are no more.
pub(super) struct Sections {
    file: Arc<dyn DiskFile>,
    path: String,
    at: u64,
    len: u64,
}

impl Sections {
    pub(super) fn open(disk: &dyn Disk, name: &str) -> io::Result<Self> {
        let file = disk.open(name)?;
        let (path, len) = (disk.path(name), file.len()?);
        let mut sections = Self { file, path, at: 0, len };
        let header: [u8; HEADER_BYTES as usize] = sections.bytes(HEADER_BYTES as usize)?.try_into().unwrap_or_default();
        let (magic, said) = header.split_at(MAGIC.len());
        if magic == MAGIC && said == len.to_le_bytes() { Ok(sections) } else { Err(sections.damaged()) }
    }

    fn damaged(&self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", self.path))
    }

    fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        if len as u64 > self.len - self.at {
            return Err(self.damaged());
        }
        let mut bytes = vec![0; len];
        if self.file.read_at(self.at, &mut bytes)? < len {
            return Err(self.damaged());
        }
        self.at += len as u64;
        Ok(bytes)
    }

    fn section(&mut self) -> io::Result<Section> {
        let frame = self.bytes(FRAME_BYTES)?;
        let (len, crc) = frame.split_first_chunk::<4>().ok_or_else(|| self.damaged())?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > SECTION_BYTES_MAX {
            return Err(self.damaged());
        }
        let body = self.bytes(len)?;
        if crc != crc32c::crc32c(&body).to_le_bytes() {
            return Err(self.damaged());
        }
        let (section, read): (Section, usize) = decode_within(&body).map_err(|_| self.damaged())?;
        let is_of_ids = section.kind == Kind::Ids && usize::from(section.key_group) < KEY_GROUPS;
        if read == len && is_of_ids { Ok(section) } else { Err(self.damaged()) }
    }
}

impl Iterator for Sections {
    type Item = io::Result<Section>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.len {
            return None;
        }
        let section = self.section();
        if section.is_err() {
            self.at = self.len;
        }
        Some(section)
    }
}
