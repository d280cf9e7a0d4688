//! Events that are made of two: one of each of two topics, with one key and close to each other in time. `docs/semantics.md`, "Joins".
//! The halves of a key lie with the key's owner, until the watermark says that no other half can come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::core::emit::{Emitted, Fields, of_pair};
use crate::core::encoding::{NotAPane, put_count, put_text, take, take_count, take_text};
use crate::core::plan::{EmitPlan, JoinPlan, Plan, Source};
use crate::core::units::{Micros, Offset};
use crate::core::view::{Moment, put_moment, take_moment};

/// Halves of one side and key that may wait at once; each that comes to the other side meets all of them. `docs/semantics.md`, "Joins".
pub const HALVES_MAX: usize = 100;

/// An event on one side of a join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Half {
    /// The place in `Plan::emits`.
    pub emit: usize,
    pub key: Arc<str>,
    /// 0 or 1: the place in `JoinPlan::sides`.
    pub side: usize,
    pub moment: Moment,
    pub fields: Fields,
}

impl Half {
    /// Canonical bytes of (emit, key): the same for all that must meet at one owner.
    pub fn owner_bytes(&self, into: &mut Vec<u8>) {
        put_count(self.emit as u64, into);
        put_text(&self.key, into);
    }

    /// Self-delimiting bytes.
    pub fn encode(&self, into: &mut Vec<u8>) {
        self.owner_bytes(into);
        into.push(self.side as u8);
        put_moment(self.moment, into);
        put_count(self.fields.len() as u64, into);
        for field in self.fields.iter() {
            into.push(u8::from(field.is_some()));
            if let Some(json) = field {
                put_text(json, into);
            }
        }
    }

    /// Takes one off the front of `rest`.
    ///
    /// # Errors
    /// If the bytes are no half of this plan.
    pub fn decode(plan: &Plan, rest: &mut &[u8]) -> Result<Self, NotAPane> {
        let emit = usize::try_from(take_count(rest)?).map_err(|_| NotAPane("a join's number out of range"))?;
        let of_plan = plan.emits.get(emit).ok_or(NotAPane("a join that the plan does not have"))?;
        let key = take_text(rest)?;
        let [side] = take(rest)?;
        let side = usize::from(side);
        if !matches!(of_plan.source, Source::Join(_)) || side > 1 {
            return Err(NotAPane("a half of no join"));
        }
        let moment = take_moment(rest)?;
        if take_count(rest)? != of_plan.of_side(side).count() as u64 {
            return Err(NotAPane("a half of another join"));
        }
        let field = |_| match take(rest)? {
            [0] => Ok(None),
            [1] => Ok(Some(take_text(rest)?)),
            _ => Err(NotAPane("neither a value nor none")),
        };
        let fields = of_plan.of_side(side).map(field).collect::<Result<_, _>>()?;
        Ok(Self { emit, key, side, moment, fields })
    }
}

/// What is known of one key: by side, in order of time.
type OfKey = [BTreeMap<Moment, Fields>; 2];

/// The halves of one join.
#[derive(Debug, Default)]
struct Halves {
    keys: HashMap<Arc<str>, OfKey, foldhash::fast::RandomState>,
    /// Every half, in the order in which they are forgotten.
    by_time: BTreeSet<(Moment, usize, Arc<str>)>,
}

/// The halves of all keys that one worker owns.
#[derive(Debug)]
pub struct Joins {
    plan: Arc<Plan>,
    /// By emit; nothing where it is no join.
    halves: Vec<Halves>,
}

impl Joins {
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { halves: plan.emits.iter().map(|_| Halves::default()).collect(), plan }
    }

    /// Takes in an epoch's halves: gives what is made of each two that meet, one of them or both new. `closing` says, by pipeline, up to where time has passed: what nothing that is still
    /// expected can meet is forgotten.
    pub fn finish(&mut self, mut halves: Vec<Half>, closing: impl Fn(usize) -> Micros) -> Vec<Emitted> {
        halves.sort_by_key(|half| half.moment.1);
        let mut emitted = Vec::new();
        for half in halves {
            if self.waiting(&half) >= HALVES_MAX {
                continue;
            }
            let (emit, join) = self.join(half.emit);
            for (other, fields) in self.near(&half, join.within) {
                let both = [(half.moment, &half.fields), (other, fields)];
                let [left, right] = if half.side == 0 { both } else { [both[1], both[0]] };
                emitted.push(Emitted {
                    emit: half.emit,
                    offset: half.moment.1.max(other.1),
                    other: Some(half.moment.1.min(other.1)),
                    line: of_pair(&self.plan, emit, left, right),
                });
            }
            self.put(half);
        }
        let plan = Arc::clone(&self.plan);
        for (halves, emit) in self.halves.iter_mut().zip(&plan.emits) {
            let Source::Join(join) = &emit.source else { continue };
            halves.forget(join.within, closing(emit.pipeline));
        }
        emitted
    }

    /// How many of its side and key are there already.
    fn waiting(&self, half: &Half) -> usize {
        let of_key = self.halves.get(half.emit).and_then(|halves| halves.keys.get(&half.key));
        of_key.and_then(|of_key| of_key.get(half.side)).map_or(0, BTreeMap::len)
    }

    fn join(&self, emit: usize) -> (&EmitPlan, &JoinPlan) {
        match self.plan.emits.get(emit) {
            Some(of_plan @ EmitPlan { source: Source::Join(join), .. }) => (of_plan, join),
            _ => panic!("emit {emit} is no join of the plan's"),
        }
    }

    /// The halves on the other side that are close enough, in order of time.
    fn near(&self, half: &Half, within: Micros) -> impl Iterator<Item = (Moment, &Fields)> {
        let others = self.halves.get(half.emit).and_then(|halves| halves.keys.get(&half.key));
        let others = others.and_then(|of_key| of_key.get(1 - half.side));
        let (time, _) = half.moment;
        let from = (time.minus(within), Offset(0));
        let near = others.map(|others| others.range(from..).take_while(move |(at, _)| at.0 <= time.plus(within)));
        near.into_iter().flatten().map(|(at, fields)| (*at, fields))
    }

    fn put(&mut self, Half { emit, key, side, moment, fields }: Half) {
        let Some(halves) = self.halves.get_mut(emit) else { panic!("emit {emit} is none of the plan's") };
        halves.by_time.insert((moment, side, Arc::clone(&key)));
        let of_key = halves.keys.entry(key).or_default();
        let Some(of_side) = of_key.get_mut(side) else { panic!("a join has two sides, {side} is none") };
        of_side.insert(moment, fields);
    }

    /// For a checkpoint: every half, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = Half> {
        self.halves.iter().enumerate().flat_map(|(emit, halves)| {
            halves.keys.iter().flat_map(move |(key, of_key)| {
                of_key.iter().enumerate().flat_map(move |(side, of_side)| {
                    of_side.iter().map(move |(moment, fields)| Half {
                        emit,
                        key: Arc::clone(key),
                        side,
                        moment: *moment,
                        fields: Arc::clone(fields),
                    })
                })
            })
        })
    }

    /// Puts a half out of a checkpoint in its place.
    pub fn restore(&mut self, half: Half) {
        self.put(half);
    }
}

impl Halves {
    fn forget(&mut self, within: Micros, closing: Micros) {
        while let Some((moment, side, key)) = self.by_time.pop_first() {
            if moment.0.plus(within) >= closing {
                self.by_time.insert((moment, side, key));
                return;
            }
            let Some(of_key) = self.keys.get_mut(&key) else { continue };
            if let Some(of_side) = of_key.get_mut(side) {
                of_side.remove(&moment);
            }
            if of_key.iter().all(BTreeMap::is_empty) {
                self.keys.remove(&key);
            }
        }
    }
}
