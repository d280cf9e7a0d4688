//! Messages between ranks: one enum and its grammar. Types of their own, so that core knows no encoding; bincode with fixed-width
//! integers, and plain little-endian bytes where a message is bulk (`Ids`, `Panes`, checkpoint sections, rows of windows: `packed`, in core's encoding of values).

mod cut;
mod packed;
mod rows;

use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode, config};
use bytes::Bytes;

use crate::core::columns::{Numbering, Slab};
use crate::core::keygroup::{KeyGroup, Owners};
use crate::core::units::{Millis, Offset, TopicId};

pub use cut::WireCut;
pub use packed::WireRows;
pub use rows::{
    WireAlert, WireAuditEvent, WireCounts, WireDeadLetter, WireEmitted, WireSlices, WireViewChange, WireViewRow,
};

/// Room for what stands before a message's bulk; other messages grow from it.
const HEAD_BYTES: usize = 64;
/// Messages of sections hold about this many bytes each.
const PART_BYTES_MAX: usize = 4 << 20;

/// What ranks say to each other.
///
/// Between the coordinator C and a worker W, in this order on one edge:
///
/// ```text
/// C → W   Open Restore* Begin (Slab* Configure? EndEpoch Adopt*)* Close   other workers' messages may come before Open
/// W → C   Ready (Consumed* Report CheckpointPart* Configured*)*            Consumed and Figures may stand anywhere
/// ```
///
/// After the EndEpoch that follows a Configure nothing is sent before all workers have answered Configured, but for Adopt, whose last one is answered
/// likewise.
///
/// Between workers (a worker also sends to itself), for each epoch, in the order of epochs:
///
/// ```text
/// W → owner   Ids      once its slabs of the epoch are decoded
/// owner → W   Verdicts once all workers' Ids are there and the owner has finished the epoch before
/// W → owner   Panes    once all owners' Verdicts are there
/// W → owner   Moved*   once it has finished an epoch before which Configure came; the last one says so
/// ```
///
/// An owner that has all Panes of an epoch has finished it and reports. One that has all Moved of it is Configured.
#[derive(Debug, Encode, Decode)]
pub enum Message {
    Open(Open),
    Restore(Restore),
    Begin,
    Slab(WireSlab),
    /// Batch: a part of an input for the worker to read itself; it then counts as a slab.
    Split(Split),
    /// Batch: text of an input that rank 0 has read.
    Chunk(WireChunk),
    /// The pipelines after this epoch, whose end comes next.
    Configure {
        epoch: u64,
        bundle: String,
    },
    /// `base`: the offset before which the epochs before it ended.
    EndEpoch {
        cut: WireCut,
        base: u64,
        /// The share of the key groups of which the checkpoint after the epoch brings all remembered ids; of the others those that came since the last one.
        checkpoint: Option<u8>,
    },
    /// State of a pipeline that begins with the log's past, as it is after the last epoch.
    Adopt {
        pipeline: u16,
        /// As in `CheckpointPart`, of one worker that had the pipeline alone.
        common: Vec<u8>,
        sections: Vec<Section>,
        last: bool,
    },
    Close,

    /// `newest`: per topic the largest time among the sender's valid events of the epoch.
    Ids {
        epoch: u64,
        newest: Vec<Option<i64>>,
        entries: Vec<u8>,
    },
    Verdicts {
        epoch: u64,
        duplicates: Vec<u8>,
    },
    Panes {
        epoch: u64,
        parts: Parts,
    },
    /// State whose owner is another one by the plan that holds after the epoch, or that stays where it is.
    Moved {
        epoch: u64,
        sections: Vec<Section>,
        last: bool,
    },

    Ready {
        pid: u32,
        host: String,
        facts: Facts,
    },
    Consumed {
        bytes: u64,
        events: u64,
    },
    /// After Ready and upon each Heartbeat of a live job.
    Figures(Figures),
    Report(Box<Report>),
    CheckpointPart {
        epoch: u64,
        common: Vec<u8>,
        sections: Vec<Section>,
        last: bool,
    },
    /// The worker works by the plan that holds after the epoch, or has adopted a pipeline's state.
    Configured {
        epoch: u64,
        facts: Facts,
    },
    /// The worker cannot go on, through no fault of its code (an input file that cannot be read).
    Failed {
        why: String,
    },

    /// On the control channel: rank 0 is there.
    Heartbeat,
}

/// Begins a worker's life.
#[derive(Debug, Encode, Decode)]
pub struct Open {
    pub worker: u32,
    pub workers: u32,
    /// The pipeline and its schemas, as `pipeline::Bundle` writes them into the log.
    pub bundle: String,
    /// Keys the hash of ids that are no UUIDs.
    pub id_key: u64,
    pub batch: bool,
    /// None: all remembered ids stay in memory.
    pub sealing: Option<Sealing>,
}

/// Where a worker keeps remembered ids beyond its memory.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Sealing {
    /// Ids that it keeps in memory.
    pub ids_in_memory_max: u64,
    /// A folder of the job's, on the worker's host.
    pub scratch: String,
}

/// State out of a checkpoint for a worker, before its first slab.
#[derive(Debug, Encode, Decode)]
pub enum Restore {
    Common(Vec<u8>),
    Section(Section),
}

/// What one worker's events of an epoch come to at one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Parts {
    pub panes: Vec<u8>,
    /// Entries of views.
    pub views: Vec<u8>,
    /// What patterns count.
    pub marks: Vec<u8>,
    /// What joins put together.
    pub halves: Vec<u8>,
}

/// What a section of a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Kind {
    Panes,
    Views,
    Alerts,
    Joins,
    /// Kept in files of their own.
    Ids,
}

/// What a checkpoint holds of one kind for one key group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Section {
    pub kind: Kind,
    pub key_group: u8,
    pub bytes: Vec<u8>,
}

/// What a worker that had a pipeline alone has made of the log's past, but for the ids.
#[derive(Clone, Debug)]
pub struct Past {
    /// As in `CheckpointPart`.
    pub common: Vec<u8>,
    pub sections: Vec<Section>,
}

/// By worker, the sections of the key groups that it owns.
#[must_use]
pub fn by_owner(sections: impl Iterator<Item = Section>, owners: Owners) -> Vec<Vec<Section>> {
    let mut by_owner: Vec<Vec<Section>> = (0..owners.workers()).map(|_| Vec::new()).collect();
    for section in sections {
        by_owner[owners.owner(KeyGroup(section.key_group))].push(section);
    }
    by_owner
}

/// Cuts sections into messages; the last one, which may be the only one and have none, says so.
pub fn in_parts(
    sections: impl Iterator<Item = Section>,
    message: impl Fn(Vec<Section>, bool) -> Message,
) -> Vec<Message> {
    let mut all = sections.peekable();
    let mut messages = Vec::new();
    loop {
        let (mut sections, mut bytes) = (Vec::new(), 0);
        while bytes < PART_BYTES_MAX
            && let Some(section) = all.next()
        {
            bytes += section.bytes.len();
            sections.push(section);
        }
        let last = all.peek().is_none();
        messages.push(message(sections, last));
        if last {
            return messages;
        }
    }
}

#[derive(Debug, Encode, Decode)]
pub struct WireSlab {
    first_offset: u64,
    count: u32,
    ingest_ms: u64,
    topic: Option<u16>,
    lines: Tail,
}

/// Bulk that stands behind the message, so that it is copied once when it is sent and not at all when it is received.
#[derive(Debug)]
struct Tail(Bytes);

impl Encode for Tail {
    fn encode<E: Encoder>(&self, _: &mut E) -> Result<(), EncodeError> {
        Ok(())
    }
}

impl<Context> Decode<Context> for Tail {
    fn decode<D: Decoder<Context = Context>>(_: &mut D) -> Result<Self, DecodeError> {
        Ok(Self(Bytes::new()))
    }
}

bincode::impl_borrow_decode!(Tail);

/// A part of a file. Its first line or row has the position `at` in the inputs laid end to end.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Split {
    pub path: String,
    /// None: each event names its own.
    pub topic: Option<u16>,
    pub at: u64,
    pub part: Part,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Part {
    /// Lines that begin in `[start, end)` of an NDJSON file; `at` is the position of the byte `start`.
    Bytes { start: u64, end: u64 },
    /// Likewise of an export.
    Export { start: u64, end: u64 },
    /// Rows of a row group of a Parquet file.
    Rows { group: u32, first: u64, rows: u64 },
}

/// Whole records of one file.
#[derive(Debug, Encode, Decode)]
pub struct WireChunk {
    pub topic: Option<u16>,
    /// The position of the first record.
    pub at: u64,
    pub form: Form,
    pub records: u32,
    /// The only record, and why it is none.
    pub refused: Option<String>,
    text: Tail,
}

/// What records are written in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Form {
    Lines,
    Export,
    Csv { delimiter: u8, header: Vec<u8> },
}

impl WireChunk {
    #[must_use]
    pub fn new(
        topic: Option<TopicId>,
        at: Offset,
        form: Form,
        records: u32,
        refused: Option<String>,
        text: Bytes,
    ) -> Self {
        Self { topic: topic.map(|t| t.0), at: at.0, form, records, refused, text: Tail(text) }
    }

    #[must_use]
    pub fn text(&self) -> Bytes {
        self.text.0.clone()
    }
}

/// What a worker made of an epoch: the fates of the events it decoded, and the rows of the key groups it owns.
#[derive(Debug, Default, Encode, Decode)]
pub struct Report {
    pub epoch: u64,
    pub counts: [u64; 5],
    /// The same by topic; the last are of events that name no topic of the job's.
    pub by_topic: Vec<[u64; 5]>,
    pub rows: WireRows,
    /// Ids of rows that are no more.
    pub removed: Vec<u128>,
    pub dead_letters: Vec<WireDeadLetter>,
    pub events: Vec<WireAuditEvent>,
    /// Offsets of the duplicates among the events it decoded.
    pub duplicates: Vec<u64>,
    /// Offsets of those that no pipeline let through.
    pub filtered: Vec<u64>,
    /// Events that were late for some window, by window, whether or not another took them.
    pub late_by_window: Vec<u64>,
    /// By pipeline: values that expressions could not give.
    pub expression_errors: Vec<u64>,
    /// Entries of views that changed.
    pub views: Vec<WireViewRow>,
    /// Alerts that were raised or cleared.
    pub alerts: Vec<WireAlert>,
    /// What events said to views that keep their history.
    pub history: Vec<WireViewChange>,
    /// The slices of windows that events it decoded went into, of pipelines with `audit: compact`.
    pub lineage: Vec<WireSlices>,
    /// Events that were made of events it decoded, or that met with it.
    pub emitted: Vec<WireEmitted>,
    pub facts: Facts,
}

/// Where a worker stands after an epoch (or after its state was restored): what the coordinator needs for the next cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Facts {
    /// By pipeline.
    pub clocks: Vec<Clock>,
    /// The earliest ingest time at which rows that changed may be shown.
    pub next_emit_ms: Option<u64>,
    pub ids: u64,
    /// By window: slices and sessions that are kept.
    pub panes: Vec<u64>,
    /// Keys in views.
    pub keys: u64,
}

/// What a rank's process uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Figures {
    pub memory_bytes: u64,
    /// Time on a core, of all its threads.
    pub cpu_ms: u64,
}

/// Where a pipeline stands in event time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Clock {
    pub watermark_us: i64,
    /// The furthest of its topics' watermarks, to which silence is added when all are idle.
    pub idle_base_us: Option<i64>,
    /// `up` of the newest epoch that had a valid event of one.
    pub last_up_ms: Option<u64>,
    /// The earliest moment at which time alone changes something: the end of a pane that is not closed, or of an alert.
    pub next_close_us: Option<i64>,
    /// The watermark as it will be after further epochs, though nothing come and no time pass.
    pub coming_us: i64,
}

/// A message that no rank of this version sends: ranks of different builds, or a torn transport.
#[derive(Debug, thiserror::Error)]
#[error("a message between ranks cannot be read: {0}; all ranks must run the same build of caudal")]
pub struct WireError(pub(crate) String);

/// The message's bytes.
#[must_use]
pub fn encode(message: &Message) -> Vec<u8> {
    let tail = match message {
        Message::Slab(slab) => slab.lines.0.as_ref(),
        Message::Chunk(chunk) => chunk.text.0.as_ref(),
        _ => &[],
    };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + tail.len());
    if let Err(error) = bincode::encode_into_std_write(message, &mut bytes, layout()) {
        panic!("every message has an encoding: {error}");
    }
    bytes.extend_from_slice(tail);
    bytes
}

/// The message in these bytes.
///
/// # Errors
/// If they are no whole message.
pub fn decode(bytes: Vec<u8>) -> Result<Message, WireError> {
    let (mut message, read) = decode_within(&bytes).map_err(|e| WireError(e.to_string()))?;
    match &mut message {
        Message::Slab(slab) => slab.lines = Tail(Bytes::from(bytes).slice(read..)),
        Message::Chunk(chunk) => chunk.text = Tail(Bytes::from(bytes).slice(read..)),
        _ if read < bytes.len() => return Err(WireError(format!("{} bytes too many", bytes.len() - read))),
        _ => {}
    }
    Ok(message)
}

/// A value's bytes, as `decode_within` reads them.
pub fn encode_alone(value: &impl Encode) -> Vec<u8> {
    bincode::encode_to_vec(value, layout()).unwrap_or_else(|error| panic!("every value has an encoding: {error}"))
}

fn layout() -> config::Configuration<config::LittleEndian, config::Fixint> {
    config::standard().with_fixed_int_encoding()
}

/// A value, and how many of the bytes it took. A container is made as long as it says that it is, before its items are read: one that says that it needs more than
/// some times these bytes is refused instead. (No item takes up more memory than 32 times its encoding.)
///
/// # Errors
/// If they are none.
pub fn decode_within<T: Decode<()>>(bytes: &[u8]) -> Result<(T, usize), DecodeError> {
    const SMALL: usize = 64 << 10;
    const MEDIUM: usize = 4 << 20;
    const LARGE: usize = 256 << 20;
    let len = bytes.len();
    if len <= SMALL {
        bincode::decode_from_slice(bytes, layout().with_limit::<{ 32 * SMALL }>())
    } else if len <= MEDIUM {
        bincode::decode_from_slice(bytes, layout().with_limit::<{ 32 * MEDIUM }>())
    } else if len <= LARGE {
        bincode::decode_from_slice(bytes, layout().with_limit::<{ 32 * LARGE }>())
    } else {
        bincode::decode_from_slice(bytes, layout())
    }
}

impl From<&Slab> for WireSlab {
    fn from(slab: &Slab) -> Self {
        Self {
            first_offset: slab.first_offset.0,
            count: slab.count,
            ingest_ms: slab.ingest.0,
            topic: slab.topic.map(|t| t.0),
            lines: Tail(slab.bytes.clone()),
        }
    }
}

impl From<WireSlab> for Slab {
    fn from(slab: WireSlab) -> Self {
        Self {
            first_offset: Offset(slab.first_offset),
            count: slab.count,
            ingest: Millis(slab.ingest_ms),
            topic: slab.topic.map(TopicId),
            bytes: slab.lines.0,
            numbering: Numbering::Dense,
        }
    }
}
