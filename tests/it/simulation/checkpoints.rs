//! The ids in a checkpoint's files, over many checkpoints, failed writes and starts, against a map.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::sync::Arc;

use caudal::coordinator::checkpoint::Checkpoints;
use caudal::coordinator::gather::Draft;
use caudal::core::columns::EventId;
use caudal::core::epoch::Cut;
use caudal::core::keygroup::{KeyGroup, Owners, SHARES, Share};
use caudal::core::ledger::Counts;
use caudal::core::units::{Epoch, LogId, Millis, Offset, TopicId};
use caudal::log::disk::Disk;
use caudal::wire::{Kind, Message, Restore, Section};
use rand::seq::IteratorRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::sim_disk::SimDisk;

const LOG: LogId = LogId(1);
const TOPICS: u16 = 3;
const SEEDS: u64 = 20;

/// By topic and id the bucket.
type Ids = BTreeMap<(u16, u128), u32>;

/// As `worker::snapshot` describes it.
fn sections(ids: &Ids) -> Vec<Section> {
    let mut by_group: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
    for ((topic, id), bucket) in ids {
        let bytes = by_group.entry(KeyGroup::of_id(EventId(*id)).0).or_default();
        bytes.extend(topic.to_le_bytes().into_iter().chain(bucket.to_le_bytes()).chain(id.to_le_bytes()));
    }
    by_group.into_iter().map(|(key_group, bytes)| Section { kind: Kind::Ids, key_group, bytes }).collect()
}

fn ids_of(section: &Section, into: &mut Ids) {
    for entry in section.bytes.chunks(22) {
        let topic = u16::from_le_bytes(entry[..2].try_into().unwrap());
        let bucket = u32::from_le_bytes(entry[2..6].try_into().unwrap());
        let id = u128::from_le_bytes(entry[6..].try_into().unwrap());
        let later = into.entry((topic, id)).or_insert(bucket);
        *later = bucket.max(*later);
    }
}

/// What a start takes up of the newest checkpoint, and after which epoch it is.
fn taken_up(checkpoints: &mut Checkpoints) -> Option<(u64, Ids)> {
    let found = checkpoints.load(Epoch(u64::MAX)).unwrap()?;
    let (epoch, mut ids) = (found.at().0.0, Ids::new());
    for restore in found.restores(Owners::new(1)) {
        if let (0, Message::Restore(Restore::Section(section))) = restore.unwrap() {
            ids_of(&section, &mut ids);
        }
    }
    Some((epoch, ids))
}

fn share_of(id: u128) -> Share {
    Share::of(KeyGroup::of_id(EventId(id)))
}

fn draft(epoch: u64, share: Share, retired: &[u16], ids: &Ids) -> Draft {
    let (ingest, up, end) = (Millis(0), Millis(0), Offset(epoch));
    let cut = Cut { epoch: Epoch(epoch), end, ingest, up, idle: None, emitted: Epoch(0) };
    let mut draft = Draft::new(cut, share, 1, "a pipeline".into());
    draft.counts = Some(Counts::default());
    draft.retired = retired.iter().copied().map(TopicId).collect();
    draft.take(b"common".to_vec(), sections(ids), true);
    draft
}

fn files(disk: &SimDisk) -> usize {
    disk.list().unwrap().iter().filter(|name| name.starts_with("ids-")).count()
}

#[test]
fn a_start_has_the_ids_that_were_remembered() {
    let (mut starts, mut failed, mut dropped) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let disk = SimDisk::new(seed);
        let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
        let (mut ids, mut fresh, mut retired) = (Ids::new(), Ids::new(), BTreeSet::new());
        // What the newest checkpoint has: the last that was written, or one whose writing failed at the very end.
        let mut may_be: Vec<Option<(u64, Ids)>> = vec![None];
        for epoch in 1..400 {
            for _ in 0..rng.random_range(0..20) {
                let (key, bucket) = ((rng.random_range(0..TOPICS), rng.random()), rng.random_range(0..9));
                fresh.insert(key, bucket);
                ids.insert(key, bucket);
            }
            if rng.random_bool(0.1) {
                // It was forgotten and came anew.
                if let Some((key, before)) = ids.iter().choose(&mut rng).map(|(key, bucket)| (*key, *bucket)) {
                    let bucket = before + rng.random_range(1..4);
                    fresh.insert(key, bucket);
                    ids.insert(key, bucket);
                }
            }
            if rng.random_bool(0.01) {
                let topic = rng.random_range(0..TOPICS);
                ids.retain(|(of, _), _| *of != topic);
                fresh.retain(|(of, _), _| *of != topic);
                retired.insert(topic);
            }
            if rng.random_bool(0.05) {
                disk.fail_sync_after(rng.random_range(0..4));
            }
            let share = checkpoints.next_share();
            let whole = ids.iter().filter(|((_, id), _)| share_of(*id) == share);
            let brings = fresh.iter().chain(whole).map(|(key, bucket)| (*key, *bucket)).collect();
            let retired = std::mem::take(&mut retired).into_iter().collect::<Vec<_>>();
            fresh.clear();
            let mut draft = draft(epoch, share, &retired, &brings);
            if rng.random_bool(0.3) {
                // As for a batch, where what comes before it may fail.
                checkpoints.owe(&mut draft);
            }
            if checkpoints.write(draft).is_ok() {
                // Those of two checkpoints.
                assert!(files(&disk) <= SHARES + 2, "seed {seed}: {} files", files(&disk));
                may_be = vec![Some((epoch, ids.clone()))];
            } else {
                may_be.push(Some((epoch, ids.clone())));
                failed += 1;
            }
            if rng.random_bool(0.03) {
                let mut next = Checkpoints::new(disk.clone(), LOG);
                let found = taken_up(&mut next);
                assert!(may_be.contains(&found), "seed {seed}, after epoch {epoch}: {found:?} is none of {may_be:?}");
                may_be = vec![found.clone()];
                starts += 1;
                // It goes on from there; what came since is computed again, and is other ids here.
                checkpoints = next;
                (ids, fresh) = (found.unwrap_or_default().1, Ids::new());
            }
        }
        dropped += 400 - files(&disk);
    }
    assert!(
        starts > 100 && failed > 100 && dropped > SEEDS as usize * 300,
        "{starts} starts, {failed} failed, {dropped} dropped"
    );
}

/// A start has no more of a file in memory than a section, however many ids there are: they come as they are asked for.
#[test]
fn ids_are_read_when_they_are_asked_for() {
    let disk: Arc<SimDisk> = SimDisk::new(0);
    let mut checkpoints = Checkpoints::new(disk.clone(), LOG);
    let ids = (0..500u128).map(|n| ((0, n << 64), 1)).collect();
    checkpoints.write(draft(1, Share(0), &[], &ids)).unwrap();
    let mut restores = checkpoints.load(Epoch(1)).unwrap().unwrap().restores(Owners::new(1));
    assert!(matches!(restores.next(), Some(Ok((0, Message::Restore(Restore::Common(_)))))));
    assert!(matches!(restores.next(), Some(Ok((0, Message::Restore(Restore::Section(_)))))));
    // The last byte is of a section that has not been asked for.
    let file = disk.open("ids-00000000000000000001").unwrap();
    let (last, mut byte) = (file.len().unwrap() - 1, [0]);
    file.read_at(last, &mut byte).unwrap();
    file.write_at(last, &mut [IoSlice::new(&[!byte[0]])]).unwrap();
    let (read, damaged): (Vec<_>, Vec<_>) = restores.partition(Result::is_ok);
    assert!(read.len() > 50 && damaged.len() == 1, "{} sections, {} errors", read.len(), damaged.len());
    let again = Checkpoints::new(disk, LOG).load(Epoch(1)).unwrap();
    assert!(again.is_none(), "it is read whole before it is taken up");
}
