//! A worker's state as bytes: on its way to its owner, and by key group in a checkpoint.
//!
//! Little-endian. `core::window`, `core::view`, `core::alert` and `core::join` say how their own are written. `core::dedup` how ids are. Common: epoch (u64),
//! up (u64); the number of pipelines (u32) and for each W(e), W(e−1), W(e−2) (i64 each), the number of its earlier watermarks (u32) and for each its
//! first epoch (u64) and W (i64); the number of topics (u32) and for each a byte (1: seen), largest time
//! (i64), last up (u64); the number of windows (u32) and for each its last emit (u64).

use std::sync::Arc;

use crate::core::aggregate::Contribution;
use crate::core::alert::{Alerts, Mark};
use crate::core::dedup::runs::RunsError;
use crate::core::dedup::{Seen, SeenId};
use crate::core::encoding::NotAPane;
use crate::core::join::{Half, Joins};
use crate::core::keygroup::{KEY_GROUPS, KeyGroup, Owners, Share};
use crate::core::plan::Plan;
use crate::core::plan::carry::Carry;
use crate::core::units::{Epoch, Micros, Millis};
use crate::core::view::{Keyed, Views};
use crate::core::watermark::{Kept, TopicClock, Watermark, Watermarks};
use crate::core::window::{Panes, owner_bytes};
use crate::wire::{Kind, Message, Past, Section, by_owner, in_parts};

/// A section holds at most so many ids (704 KiB), so that a start has never many of them at once.
const SECTION_IDS_MAX: usize = 32 << 10;

/// A worker's panes of one epoch by owner.
#[must_use]
pub fn pack_panes(plan: &Plan, contributions: &[Contribution], owners: Owners) -> Vec<Vec<u8>> {
    let owner = |contribution: &Contribution, into: &mut Vec<u8>| {
        let Some(window) = plan.windows.get(contribution.key.window) else {
            panic!("a window that the plan does not have")
        };
        owner_bytes(window, &contribution.key, into);
    };
    pack(contributions, owners, owner, |contribution, into| contribution.encode(plan, into))
}

/// Its entries of views.
#[must_use]
pub fn pack_views(entries: &[Keyed], owners: Owners) -> Vec<Vec<u8>> {
    pack(entries, owners, Keyed::owner_bytes, Keyed::encode)
}

/// What patterns count of its events.
#[must_use]
pub fn pack_marks(marks: &[Mark], owners: Owners) -> Vec<Vec<u8>> {
    pack(marks, owners, Mark::owner_bytes, Mark::encode)
}

/// What joins put together of them.
#[must_use]
pub fn pack_halves(halves: &[Half], owners: Owners) -> Vec<Vec<u8>> {
    pack(halves, owners, Half::owner_bytes, Half::encode)
}

fn pack<T>(
    items: &[T],
    owners: Owners,
    owner_bytes: impl Fn(&T, &mut Vec<u8>),
    encode: impl Fn(&T, &mut Vec<u8>),
) -> Vec<Vec<u8>> {
    let mut packed = vec![Vec::new(); owners.workers()];
    let mut key_bytes = Vec::new();
    for item in items {
        key_bytes.clear();
        owner_bytes(item, &mut key_bytes);
        encode(item, &mut packed[owners.owner(KeyGroup::of_group(&key_bytes))]);
    }
    packed
}

/// What `decode` takes off the front of these bytes, until there are no more: of a message, or of a checkpoint's section.
#[must_use]
pub fn unpack<T>(bytes: &[u8], decode: impl Fn(&mut &[u8]) -> Result<T, NotAPane>) -> Vec<T> {
    let mut rest = bytes;
    let mut items = Vec::new();
    while !rest.is_empty() {
        let item = decode(&mut rest);
        items
            .push(item.unwrap_or_else(|error| panic!("bytes of ranks of one build, or with a good checksum: {error}")));
    }
    items
}

/// What an owner keeps by key group, but for the ids.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    pub panes: &'a Panes,
    pub views: &'a Views,
    pub alerts: &'a Alerts,
    pub joins: &'a Joins,
}

/// The checkpoint of a worker after `epoch`, cut into messages; the last one says so. Of the key groups in `share` it brings all remembered ids, of the others those that
/// came since the last checkpoint.
///
/// # Errors
/// If remembered ids cannot be had.
pub fn parts(
    epoch: Epoch,
    share: Share,
    watermarks: &Watermarks,
    owned: &Owned,
    seen: &mut Seen,
) -> Result<Vec<Message>, RunsError> {
    let common = common(epoch, watermarks, owned.panes);
    let ids = id_sections(seen, share)?;
    let part = |sections, last| Message::CheckpointPart { epoch: epoch.0, common: common.clone(), sections, last };
    Ok(in_parts(owned_sections(owned).chain(ids), part))
}

fn owned_sections(owned: &Owned) -> impl Iterator<Item = Section> {
    let Owned { panes, views, alerts, joins } = *owned;
    let views = keyed_sections(Kind::Views, views.iter(), Keyed::owner_bytes, Keyed::encode);
    let joins = keyed_sections(Kind::Joins, joins.iter(), Half::owner_bytes, Half::encode);
    let panes = sections_of(Kind::Panes, |entry| panes.save(entry));
    let alerts = sections_of(Kind::Alerts, |entry| alerts.save(entry));
    [panes, views, alerts, joins].into_iter().flatten()
}

/// What a worker has made of the log's past.
#[must_use]
pub fn past(epoch: Epoch, watermarks: &Watermarks, owned: &Owned) -> Past {
    Past { common: common(epoch, watermarks, owned.panes), sections: owned_sections(owned).collect() }
}

/// Takes up of a past what all workers share of this pipeline.
pub fn adopt_common(bytes: &[u8], pipeline: usize, plan: &Arc<Plan>, watermarks: &mut Watermarks, panes: &mut Panes) {
    let (mut then, mut of_panes) = (Watermarks::new(plan), Panes::new(Arc::clone(plan)));
    restore_common(bytes, &mut then, &mut of_panes);
    watermarks.adopt(pipeline, &then);
    panes.adopt_common(pipeline, &of_panes);
}

/// What goes on in the next plan, by its owner there, cut into messages; the last one for each says so.
pub fn moved(epoch: Epoch, owned: &Owned, carry: &Carry, to: &Plan, owners: Owners) -> Vec<Vec<Message>> {
    let Owned { panes, views, alerts, joins } = *owned;
    let place = |places: &[Option<usize>], at: usize| places.get(at).copied().flatten();
    let views = views.iter().filter_map(|keyed| Some(Keyed { view: place(&carry.views, keyed.view)?, ..keyed }));
    let joins = joins.iter().filter_map(|half| Some(Half { emit: place(&carry.emits, half.emit)?, ..half }));
    let all = [
        sections_of(Kind::Panes, |entry| panes.save_as(to, |at| place(&carry.windows, at), entry)),
        keyed_sections(Kind::Views, views, Keyed::owner_bytes, Keyed::encode),
        sections_of(Kind::Alerts, |entry| alerts.save_as(to, |at| place(&carry.alerts, at), entry)),
        keyed_sections(Kind::Joins, joins, Half::owner_bytes, Half::encode),
    ];
    let by_owner = by_owner(all.into_iter().flatten(), owners).into_iter();
    let moved = |sections, last| Message::Moved { epoch: epoch.0, sections, last };
    by_owner.map(|sections| in_parts(sections.into_iter(), moved)).collect()
}

fn sections(kind: Kind, by_group: Vec<Vec<u8>>) -> Vec<Section> {
    let numbered = by_group.into_iter().enumerate().filter(|(_, bytes)| !bytes.is_empty());
    numbered.map(|(group, bytes)| Section { kind, key_group: group as u8, bytes }).collect()
}

/// Of what `save` calls with the owner's bytes and the entry.
fn sections_of(kind: Kind, save: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]))) -> Vec<Section> {
    let mut by_group = vec![Vec::new(); KEY_GROUPS];
    save(&mut |owner, entry| by_group[usize::from(KeyGroup::of_group(owner).0)].extend_from_slice(entry));
    sections(kind, by_group)
}

fn keyed_sections<T>(
    kind: Kind,
    items: impl Iterator<Item = T>,
    owner_bytes: impl Fn(&T, &mut Vec<u8>),
    encode: impl Fn(&T, &mut Vec<u8>),
) -> Vec<Section> {
    let mut by_group = vec![Vec::new(); KEY_GROUPS];
    let mut key_bytes = Vec::new();
    for item in items {
        key_bytes.clear();
        owner_bytes(&item, &mut key_bytes);
        encode(&item, &mut by_group[usize::from(KeyGroup::of_group(&key_bytes).0)]);
    }
    sections(kind, by_group)
}

fn id_sections(seen: &mut Seen, share: Share) -> Result<Vec<Section>, RunsError> {
    let mut by_group = vec![Vec::new(); KEY_GROUPS];
    for seen in seen.take_fresh() {
        let group = KeyGroup::of_id(seen.id);
        if Share::of(group) != share {
            seen.put(&mut by_group[usize::from(group.0)]);
        }
    }
    for group in share.groups() {
        let bytes = &mut by_group[usize::from(group.0)];
        seen.each(group, |seen| seen.put(bytes))?;
    }
    let whole = sections(Kind::Ids, by_group).into_iter();
    let pieces = whole.flat_map(|Section { kind, key_group, bytes }| {
        let pieces: Vec<Vec<u8>> = bytes.chunks(SECTION_IDS_MAX * SeenId::BYTES).map(<[u8]>::to_vec).collect();
        pieces.into_iter().map(move |bytes| Section { kind, key_group, bytes })
    });
    Ok(pieces.collect())
}

fn common(epoch: Epoch, watermarks: &Watermarks, panes: &Panes) -> Vec<u8> {
    let (up, topics, pipelines) = watermarks.state();
    let mut bytes = epoch.0.to_le_bytes().to_vec();
    bytes.extend_from_slice(&up.0.to_le_bytes());
    bytes.extend_from_slice(&(pipelines.len() as u32).to_le_bytes());
    for Kept { watermark: Watermark { now, closing, lateness }, past } in pipelines {
        for w in [now, closing, lateness] {
            bytes.extend_from_slice(&w.0.to_le_bytes());
        }
        bytes.extend_from_slice(&(past.len() as u32).to_le_bytes());
        for (epoch, w) in past {
            bytes.extend_from_slice(&epoch.0.to_le_bytes());
            bytes.extend_from_slice(&w.0.to_le_bytes());
        }
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
pub fn restore_common(bytes: &[u8], watermarks: &mut Watermarks, panes: &mut Panes) -> Epoch {
    let mut rest = bytes;
    let epoch = Epoch(u64::from_le_bytes(take(&mut rest)));
    let up = Millis(u64::from_le_bytes(take(&mut rest)));
    let pipelines = u32::from_le_bytes(take(&mut rest));
    let of_pipelines = (0..pipelines).map(|_| {
        let [now, closing, lateness] = [(); 3].map(|()| Micros(i64::from_le_bytes(take(&mut rest))));
        let past = u32::from_le_bytes(take(&mut rest));
        let mut earlier = |_| (Epoch(u64::from_le_bytes(take(&mut rest))), Micros(i64::from_le_bytes(take(&mut rest))));
        Kept { watermark: Watermark { now, closing, lateness }, past: (0..past).map(&mut earlier).collect() }
    });
    let of_pipelines = of_pipelines.collect();
    let topics = u32::from_le_bytes(take(&mut rest));
    let topics = (0..topics).map(|_| {
        let [seen] = take(&mut rest);
        let largest = Micros(i64::from_le_bytes(take(&mut rest)));
        let up = Millis(u64::from_le_bytes(take(&mut rest)));
        TopicClock { seen: (seen == 1).then_some((largest, up)) }
    });
    let topics = topics.collect();
    watermarks.restore(up, topics, of_pipelines);
    let emits = u32::from_le_bytes(take(&mut rest));
    let emits: Vec<Millis> = (0..emits).map(|_| Millis(u64::from_le_bytes(take(&mut rest)))).collect();
    panes.restore_common(&emits, |pipeline| watermarks.of(pipeline).closing);
    epoch
}

/// Takes up what a section of a checkpoint holds, entry by entry.
pub fn restore(section: &Section, mut entry: impl FnMut(&mut &[u8]) -> Result<(), NotAPane>) {
    let mut rest = section.bytes.as_slice();
    while !rest.is_empty() {
        entry(&mut rest).unwrap_or_else(|error| panic!("a checkpoint whose checksum was right: {error}"));
    }
}

/// Takes up one key group's ids; those that a later checkpoint brings again are the same.
///
/// # Errors
/// If they cannot be kept.
pub fn restore_ids(section: &Section, seen: &mut Seen) -> Result<(), RunsError> {
    SeenId::all(&section.bytes).try_for_each(|id| seen.restore(KeyGroup(section.key_group), id))
}

/// The next bytes of a checkpoint, whose checksum was right: too few of them is a bug.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let Some((bytes, after)) = rest.split_first_chunk() else { panic!("a checkpoint that ends too early") };
    *rest = after;
    *bytes
}
