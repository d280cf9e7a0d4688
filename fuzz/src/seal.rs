//! Checksums made right: what changed a file would else come no further than its checksum, and what reads behind it would never be tried.

/// Where a segment's frames may begin.
const PAGE: usize = 4096;
const SEGMENT_HEADER_BYTES: usize = 76;
const FRAME_HEADER_BYTES: usize = 48;
const FILE_HEADER_BYTES: usize = 20;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |found| u32::from_le_bytes([found[0], found[1], found[2], found[3]]))
}

/// A segment of the log: its header and each frame whose length can be one, chained by their checksums. `docs/log-format.md`
pub fn segment(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if bytes.len() < SEGMENT_HEADER_BYTES {
        return bytes;
    }
    let len = (bytes.len() as u64).to_le_bytes();
    put(&mut bytes, 64, &len);
    let crc = crc32c::crc32c(&bytes[12..SEGMENT_HEADER_BYTES]).to_le_bytes();
    put(&mut bytes, 8, &crc);
    let (log, number) = (bytes[16..32].to_vec(), bytes[32..40].to_vec());
    let mut previous = u32_at(&bytes, 72);
    let mut at = PAGE;
    while at + FRAME_HEADER_BYTES <= bytes.len() {
        let len = u32_at(&bytes, at) as usize;
        if len < FRAME_HEADER_BYTES || len > bytes.len() - at {
            break;
        }
        put(&mut bytes, at + 28, &previous.to_le_bytes());
        let seed = crc32c::crc32c_append(crc32c::crc32c(&log), &number);
        let seed = crc32c::crc32c_append(seed, &(at as u64).to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &bytes[at..at + 4]);
        previous = crc32c::crc32c_append(crc, &bytes[at + 8..at + len]);
        put(&mut bytes, at + 4, &previous.to_le_bytes());
        at += len.next_multiple_of(PAGE);
    }
    bytes
}

/// A file of a checkpoint: magic, length, checksum, body.
pub fn checkpoint(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Some(body) = data.get(FILE_HEADER_BYTES..) {
        put(&mut bytes, 8, &(body.len() as u64).to_le_bytes());
        put(&mut bytes, 16, &crc32c::crc32c(body).to_le_bytes());
    }
    bytes
}

/// A file of remembered ids: magic, length, and for each section its length, checksum and bytes.
pub fn ids(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    put(&mut bytes, 8, &(data.len() as u64).to_le_bytes());
    let mut at = 16;
    while at + 8 <= bytes.len() {
        let len = (u32_at(&bytes, at) as usize).min(bytes.len() - at - 8);
        let crc = crc32c::crc32c(&bytes[at + 8..at + 8 + len]).to_le_bytes();
        put(&mut bytes, at, &(len as u32).to_le_bytes());
        put(&mut bytes, at + 4, &crc);
        at += 8 + len;
    }
    bytes
}

/// A file of the index: magic, checksum, all else.
pub fn index(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    if let Some(covered) = data.get(12..) {
        put(&mut bytes, 8, &crc32c::crc32c(covered).to_le_bytes());
    }
    bytes
}
