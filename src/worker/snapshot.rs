//! Panes and ids as bytes: on their way to their owner, and by key group in a checkpoint.
//!
//! Little-endian. Panes: for each, `PaneKey::encode`, `Partial::encode`; in a checkpoint then one byte of flags (1 changed,
//! 2 closed) and the revision (u32). Ids: topic (u16), bucket (u32), id (u128). Common: epoch (u64); W(e), W(e−1), W(e−2) (i64 each); the number of
//! topics (u32) and for each a byte (1: seen), largest time (i64), last up (u64); the number of windows (u32) and for each its last emit (u64).

use crate::core::aggregate::{PaneKey, Partial};
use crate::core::columns::EventId;
use crate::core::dedup::{Bucket, Seen, SeenId};
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, Owners};
use crate::core::plan::Plan;
use crate::core::units::{Epoch, Micros, Millis, TopicId};
use crate::core::watermark::{TopicClock, Watermark};
use crate::core::window::{Pane, Panes};
use crate::wire::{Ids, Message, Section};

/// A checkpoint's messages hold about this many bytes each.
const PART_BYTES_MAX: usize = 4 << 20;
const ID_BYTES: usize = 22;

/// A worker's panes of one epoch by owner. The whole key finds the owner, so that one group's windows spread over them.
#[must_use]
pub fn pack_panes(panes: Vec<(PaneKey, Partial)>, owners: Owners) -> Vec<Vec<u8>> {
    let mut packed = vec![Vec::new(); owners.workers()];
    let mut key_bytes = Vec::new();
    for (key, partial) in panes {
        key_bytes.clear();
        key.encode(&mut key_bytes);
        let owner = &mut packed[owners.owner(KeyGroup::of_group(&key_bytes))];
        owner.extend_from_slice(&key_bytes);
        partial.encode(owner);
    }
    packed
}

/// The panes of a `Panes` message.
#[must_use]
pub fn unpack_panes(bytes: &[u8], plan: &Plan) -> Vec<(PaneKey, Partial)> {
    let mut rest = bytes;
    let mut panes = Vec::new();
    while !rest.is_empty() {
        panes.push(take_pane(&mut rest, plan));
    }
    panes
}

fn take_pane(rest: &mut &[u8], plan: &Plan) -> (PaneKey, Partial) {
    let key = PaneKey::decode(rest).unwrap_or_else(|error| panic!("a pane between ranks of one build: {error}"));
    let Some(window) = plan.windows.get(key.window) else { panic!("window {} is none of the plan's", key.window) };
    let partial = Partial::decode(plan, window, rest)
        .unwrap_or_else(|error| panic!("a pane between ranks of one build: {error}"));
    (key, partial)
}

/// The checkpoint of a worker after `epoch`, cut into messages; the last one says so.
pub fn parts(epoch: Epoch, which: Ids, watermark: &Watermark, panes: &Panes, seen: &mut Seen) -> Vec<Message> {
    let common = common(epoch, watermark, panes);
    let fresh = seen.seal();
    let ids = match which {
        Ids::Fresh => id_sections(fresh.into_iter()),
        Ids::All => id_sections(seen.iter()),
    };
    let panes = pane_sections(panes).into_iter().map(|s| (true, s));
    let mut sections = panes.chain(ids.into_iter().map(|s| (false, s))).peekable();
    let mut messages = Vec::new();
    loop {
        let (mut panes, mut ids, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < PART_BYTES_MAX
            && let Some((is_pane, section)) = sections.next()
        {
            bytes += section.bytes.len();
            if is_pane { &mut panes } else { &mut ids }.push(section);
        }
        let last = sections.peek().is_none();
        messages.push(Message::CheckpointPart { epoch: epoch.0, common: common.clone(), panes, ids, last });
        if last {
            return messages;
        }
    }
}

fn sections(by_group: Vec<Vec<u8>>) -> Vec<Section> {
    let numbered = by_group.into_iter().enumerate();
    numbered.filter(|(_, b)| !b.is_empty()).map(|(g, bytes)| Section { key_group: g as u8, bytes }).collect()
}

fn pane_sections(panes: &Panes) -> Vec<Section> {
    let mut by_group = vec![Vec::new(); KEY_GROUPS];
    let mut key_bytes = Vec::new();
    for (key, pane) in panes.iter() {
        key_bytes.clear();
        key.encode(&mut key_bytes);
        let bytes = &mut by_group[usize::from(KeyGroup::of_group(&key_bytes).0)];
        bytes.extend_from_slice(&key_bytes);
        pane.partial.encode(bytes);
        bytes.push(u8::from(pane.changed) | u8::from(pane.closed) << 1);
        bytes.extend_from_slice(&pane.revision.to_le_bytes());
    }
    sections(by_group)
}

fn id_sections(ids: impl Iterator<Item = SeenId>) -> Vec<Section> {
    let mut by_group = vec![Vec::new(); KEY_GROUPS];
    for seen in ids {
        let bytes = &mut by_group[usize::from(KeyGroup::of_id(seen.id).0)];
        bytes.extend_from_slice(&seen.topic.0.to_le_bytes());
        bytes.extend_from_slice(&seen.bucket.0.to_le_bytes());
        bytes.extend_from_slice(&seen.id.0.to_le_bytes());
    }
    sections(by_group)
}

fn common(epoch: Epoch, watermark: &Watermark, panes: &Panes) -> Vec<u8> {
    let (topics, watermarks) = watermark.state();
    let mut bytes = epoch.0.to_le_bytes().to_vec();
    for w in watermarks {
        bytes.extend_from_slice(&w.0.to_le_bytes());
    }
    bytes.extend_from_slice(&(topics.len() as u32).to_le_bytes());
    for topic in topics {
        let (largest, up) = topic.seen.unwrap_or_default();
        bytes.push(u8::from(topic.seen.is_some()));
        bytes.extend_from_slice(&largest.0.to_le_bytes());
        bytes.extend_from_slice(&up.0.to_le_bytes());
    }
    let emits = panes.last_emits();
    bytes.extend_from_slice(&(emits.len() as u32).to_le_bytes());
    for emit in emits {
        bytes.extend_from_slice(&emit.0.to_le_bytes());
    }
    bytes
}

/// Takes up what all workers share; gives the epoch after which it was.
pub fn restore_common(bytes: &[u8], watermark: &mut Watermark, panes: &mut Panes) -> Epoch {
    let mut rest = bytes;
    let epoch = Epoch(u64::from_le_bytes(take(&mut rest)));
    let watermarks = [(); 3].map(|()| Micros(i64::from_le_bytes(take(&mut rest))));
    let topics = u32::from_le_bytes(take(&mut rest));
    let topics = (0..topics).map(|_| {
        let [seen] = take(&mut rest);
        let largest = Micros(i64::from_le_bytes(take(&mut rest)));
        let up = Millis(u64::from_le_bytes(take(&mut rest)));
        TopicClock { seen: (seen == 1).then_some((largest, up)) }
    });
    let topics = topics.collect();
    watermark.restore(topics, watermarks);
    let emits = u32::from_le_bytes(take(&mut rest));
    let emits: Vec<Millis> = (0..emits).map(|_| Millis(u64::from_le_bytes(take(&mut rest)))).collect();
    panes.restore_last_emits(&emits);
    epoch
}

/// Takes up one key group's panes.
pub fn restore_panes(section: &Section, plan: &Plan, panes: &mut Panes) {
    let mut rest = section.bytes.as_slice();
    while !rest.is_empty() {
        let (key, partial) = take_pane(&mut rest, plan);
        let [flags] = take(&mut rest);
        let revision = u32::from_le_bytes(take(&mut rest));
        panes.restore(key, Pane { partial, changed: flags & 1 != 0, closed: flags & 2 != 0, revision });
    }
}

/// Takes up one key group's ids; those that a later checkpoint brings again are the same.
pub fn restore_ids(section: &Section, seen: &mut Seen) {
    for entry in section.bytes.chunks_exact(ID_BYTES) {
        let mut rest = entry;
        let topic = TopicId(u16::from_le_bytes(take(&mut rest)));
        let bucket = Bucket(u32::from_le_bytes(take(&mut rest)));
        let id = EventId(u128::from_le_bytes(take(&mut rest)));
        seen.restore(KeyGroup(section.key_group), SeenId { topic, id, bucket });
    }
}

/// The next bytes of a checkpoint, whose checksum was right: too few of them is a bug.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((bytes, after)) = rest.split_first_chunk() else { panic!("a checkpoint that ends too early") };
    *rest = after;
    *bytes
}
