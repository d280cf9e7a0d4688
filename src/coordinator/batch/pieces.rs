//! What of the inputs is handed out next: parts that workers read by themselves, and pieces of what must be read from its beginning, which a thread
//! of rank 0 reads ahead. All in the order of the inputs, and each with its position in the inputs laid end to end.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use crate::coordinator::batch::keep::PiecesStand;
use crate::core::plan::Plan;
use crate::core::units::Offset;
use crate::input::{self, Format, Group, Input, InputError, Layout, Piece, Stream};
use crate::wire::{Form, Message, Part, Split, WireChunk};

/// A worker reads NDJSON in ranges of this size: large enough for the disk, small enough to spread.
pub(super) const RANGE_BYTES: u64 = 2 << 20;
/// And Parquet in runs of so many rows: what is decoded of a round is in memory at once.
pub(super) const RUN_ROWS: u64 = 128 << 10;
/// Pieces that are read ahead of what is handed out.
const PIECES_AHEAD: usize = 8;
/// What a row counts where rows and bytes are put into one measure.
const ROW_BYTES: u64 = 64;

/// Something to hand out.
pub(super) struct Share {
    pub message: Message,
    /// The positions in it.
    pub start: Offset,
    pub end: Offset,
    /// How much work it is, about, in bytes.
    pub weight: u64,
    /// Bytes of the input's file.
    pub read_bytes: u64,
}

pub(super) enum Next {
    Part(Box<Share>),
    /// The thread that reads has nothing yet.
    Wait,
    End,
}

/// Where each input begins in the inputs laid end to end; of those that were begun.
#[derive(Clone, Debug, Default)]
pub struct Places(Vec<Offset>);

impl Places {
    /// The input, by its place in the list, and the position in it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> (usize, u64) {
        let after = self.0.partition_point(|begin| *begin <= offset);
        let input = after.saturating_sub(1);
        (input, offset.0 - self.0.get(input).map_or(0, |begin| begin.0))
    }
}

pub(super) struct Pieces<'a> {
    plan: &'a Plan,
    inputs: VecDeque<Input>,
    current: Option<(Input, Reading)>,
    places: Places,
    /// Where the current input begins, and what of it is handed out ends.
    base: Offset,
    end: Offset,
    /// Records that may still be handed out.
    left: Option<u64>,
}

enum Reading {
    /// From this byte on.
    Ranges(u64),
    /// The group, its number, and the row in it.
    Groups(VecDeque<Group>, u32, u64),
    Stream {
        pieces: Receiver<Result<Piece, InputError>>,
        read_bytes: u64,
        checked: bool,
    },
}

impl<'a> Pieces<'a> {
    /// With `limit`, no more than the first records.
    pub fn new(plan: &'a Plan, inputs: &[Input], limit: Option<u64>) -> Self {
        let inputs = inputs.iter().cloned().collect();
        let start = Offset(0);
        Self { plan, inputs, current: None, places: Places::default(), base: start, end: start, left: limit }
    }

    /// From where another one stood.
    ///
    /// # Errors
    /// If the input that was begun cannot be read.
    pub fn resume(plan: &'a Plan, inputs: &[Input], stand: &PiecesStand) -> Result<Self, InputError> {
        let mut pieces = Self::new(plan, inputs, stand.left);
        pieces.places = Places(stand.places.iter().copied().map(Offset).collect());
        pieces.end = Offset(stand.end);
        pieces.base = pieces.places.0.last().copied().unwrap_or_default();
        let begun = pieces.places.0.len().min(pieces.inputs.len());
        let last = pieces.inputs.drain(..begun).next_back();
        if let Some(input) = last.filter(|_| stand.within) {
            let reading = Reading::begin(&input, stand.left, stand.end - pieces.base.0)?;
            pieces.current = Some((input, reading));
        }
        Ok(pieces)
    }

    /// The position up to which all is handed out.
    pub fn end(&self) -> Offset {
        self.end
    }

    pub fn stand(&self) -> PiecesStand {
        PiecesStand {
            places: self.places.0.iter().map(|begin| begin.0).collect(),
            end: self.end.0,
            within: self.current.is_some(),
            left: self.left,
        }
    }

    pub fn places(&self) -> &Places {
        &self.places
    }

    /// # Errors
    /// If an input cannot be read.
    pub fn next(&mut self) -> Result<Next, InputError> {
        loop {
            if self.left == Some(0) {
                return Ok(Next::End);
            }
            let Some((input, reading)) = &mut self.current else {
                let Some(input) = self.inputs.pop_front() else { return Ok(Next::End) };
                let reading = Reading::begin(&input, self.left, 0)?;
                self.places.0.push(self.end);
                self.base = self.end;
                self.current = Some((input, reading));
                continue;
            };
            let taken = match reading {
                Reading::Ranges(at) => range(input, at, self.base),
                Reading::Groups(groups, number, at) => run(input, groups, number, at, self.end, self.left),
                Reading::Stream { pieces, read_bytes, checked } => match pieces.try_recv() {
                    Ok(piece) => {
                        let piece = piece?;
                        if !std::mem::replace(checked, true) {
                            check_header(self.plan, input, &piece)?;
                        }
                        if piece.records.count == 0 {
                            continue;
                        }
                        let before = std::mem::replace(read_bytes, piece.read_bytes);
                        let read_bytes = piece.read_bytes - before;
                        Some((piece.records.count.into(), chunk(input, piece, self.base, read_bytes)))
                    }
                    Err(TryRecvError::Empty) => return Ok(Next::Wait),
                    Err(TryRecvError::Disconnected) => None,
                },
            };
            match taken {
                Some((records, part)) => {
                    self.left = self.left.map(|left| left.saturating_sub(records));
                    self.end = part.end;
                    return Ok(Next::Part(Box::new(part)));
                }
                None => self.current = None,
            }
        }
    }
}

impl Reading {
    /// Begins at this position, which is one at which a part of the input ended before. Where records are counted, all is read as a stream but Parquet, which
    /// knows how many it has.
    fn begin(input: &Input, left: Option<u64>, from: u64) -> Result<Self, InputError> {
        if input.kind.format == Format::Parquet {
            let (mut groups, mut number, mut at) = (VecDeque::from(input::groups(&input.path)?.0), 0, from);
            while let Some(group) = groups.pop_front_if(|group| group.rows <= at) {
                (number, at) = (number + 1, at - group.rows);
            }
            return Ok(Self::Groups(groups, number, at));
        }
        if input.kind.can_be_cut() && left.is_none() {
            return Ok(Self::Ranges(from));
        }
        let mut stream = Stream::open(input)?;
        let (send, pieces) = mpsc::sync_channel(PIECES_AHEAD);
        let read = move || {
            let mut at = 0;
            while at < from {
                match stream.next_piece(u64::MAX) {
                    Ok(Some(piece)) => at = piece.end,
                    Ok(None) => return,
                    Err(error) => return drop(send.send(Err(error))),
                }
            }
            let mut left = left.unwrap_or(u64::MAX);
            // A header is looked at though nothing follows it.
            if let Some(header) = stream.header().transpose() {
                let failed = header.is_err();
                if send.send(header).is_err() || failed {
                    return;
                }
            }
            while let Some(piece) = stream.next_piece(left).transpose() {
                left -= piece.as_ref().map_or(0, |piece| u64::from(piece.records.count));
                let failed = piece.is_err();
                if send.send(piece).is_err() || failed {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("input".to_owned()).spawn(read);
        thread.map_err(|error| InputError::Io { path: input.path.clone(), error })?;
        Ok(Self::Stream { pieces, read_bytes: 0, checked: false })
    }
}

type Taken = Option<(u64, Share)>;

fn range(input: &Input, at: &mut u64, base: Offset) -> Taken {
    let (start, end) = (*at, input.bytes.min(*at + RANGE_BYTES));
    if start >= end {
        return None;
    }
    *at = end;
    let split = Split {
        path: input.path.clone(),
        topic: input.topic.map(|topic| topic.0),
        at: base.0 + start,
        part: if input.kind.format == Format::Export {
            Part::Export { start, end }
        } else {
            Part::Bytes { start, end }
        },
    };
    let bytes = end - start;
    Some((
        0,
        Share {
            message: Message::Split(split),
            start: Offset(base.0 + start),
            end: Offset(base.0 + end),
            weight: bytes,
            read_bytes: bytes,
        },
    ))
}

/// `end` is the position of the run's first row.
fn run(
    input: &Input,
    groups: &mut VecDeque<Group>,
    number: &mut u32,
    at: &mut u64,
    end: Offset,
    left: Option<u64>,
) -> Taken {
    let group = loop {
        let group = *groups.front()?;
        if *at < group.rows {
            break group;
        }
        groups.pop_front();
        (*number, *at) = (*number + 1, 0);
    };
    let (first, rows) = (*at, (group.rows - *at).min(RUN_ROWS).min(left.unwrap_or(u64::MAX)));
    *at += rows;
    let split = Split {
        path: input.path.clone(),
        topic: input.topic.map(|topic| topic.0),
        at: end.0,
        part: Part::Rows { group: *number, first, rows },
    };
    // The runs of a group have its bytes between them.
    let read = |upto: u64| (u128::from(group.bytes) * u128::from(upto) / u128::from(group.rows)) as u64;
    let read_bytes = read(first + rows) - read(first);
    let part = Share {
        message: Message::Split(split),
        start: end,
        end: Offset(end.0 + rows),
        weight: rows * ROW_BYTES,
        read_bytes,
    };
    Some((rows, part))
}

fn chunk(input: &Input, piece: Piece, base: Offset, read_bytes: u64) -> Share {
    let form = match input.kind.format {
        Format::Csv { delimiter } => Form::Csv { delimiter, header: piece.header.to_vec() },
        Format::Export => Form::Export,
        Format::Lines | Format::Parquet => Form::Lines,
    };
    let weight = piece.records.text.len() as u64;
    let (at, end) = (Offset(base.0 + piece.start), Offset(base.0 + piece.end));
    let records = piece.records;
    let chunk = WireChunk::new(input.topic, at, form, records.count, records.refused, records.text);
    Share { message: Message::Chunk(chunk), start: at, end, weight, read_bytes }
}

fn check_header(plan: &Plan, input: &Input, piece: &Piece) -> Result<(), InputError> {
    let Format::Csv { delimiter } = input.kind.format else { return Ok(()) };
    let layout = Layout::of(plan, &piece.header, delimiter);
    layout.map(drop).map_err(|why| InputError::Unreadable { path: input.path.clone(), why })
}
