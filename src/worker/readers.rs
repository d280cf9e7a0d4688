//! Batch: reads the parts of inputs that a worker is given, and decodes them over the rank's cores.

use rayon::prelude::*;

use crate::core::columns::{Numbering, Reason};
use crate::core::decode::{Decoded, Decoder};
use crate::core::plan::Plan;
use crate::core::units::{Offset, TopicId};
use crate::input::{self, InputError, Layout, Lines, Records, Table};
use crate::wire::{Form, Part, Split, WireChunk};
use crate::worker::rows::DecodedSlab;

/// What is kept from one part to the next: parts of one file mostly come together.
#[derive(Debug, Default)]
pub struct Readers {
    table: Option<Table>,
    layout: Option<(Form, Layout)>,
}

impl Readers {
    /// # Errors
    /// `InputError`.
    pub fn split(&mut self, decoder: &Decoder, split: &Split) -> Result<Vec<DecodedSlab>, InputError> {
        let (topic, at) = (split.topic.map(TopicId), Offset(split.at));
        let range = |start, end, numbering| {
            let lines = input::read_range(&split.path, topic, (start, end), at, numbering)?;
            Ok(vec![decode(decoder, lines)])
        };
        match split.part {
            Part::Bytes { start, end } => range(start, end, Numbering::Bytes),
            Part::Export { start, end } => range(start, end, Numbering::Addressed),
            Part::Rows { group, first, rows } => {
                let mut run = self.table(&split.path)?.run(group as usize, first, rows)?;
                let (mut next, mut decoded) = (at, Vec::new());
                loop {
                    // One for each core: what is read is decoded while it is in the cache, and its memory used again.
                    let batches = run.batches(rayon::current_num_threads())?;
                    if batches.is_empty() {
                        return Ok(decoded);
                    }
                    let starts = batches.iter().map(|batch| {
                        let start = next;
                        next.0 += batch.num_rows() as u64;
                        start
                    });
                    let placed: Vec<_> = starts.zip(&batches).collect();
                    let decode = |(start, batch)| {
                        let (slab, decoded) = decoder.decode_table(batch, start, topic);
                        DecodedSlab { slab, decoded }
                    };
                    if placed.len() > 1 {
                        decoded.par_extend(placed.into_par_iter().map(decode));
                    } else {
                        decoded.extend(placed.into_iter().map(decode));
                    }
                }
            }
        }
    }

    /// # Errors
    /// `InputError`.
    pub fn chunk(&mut self, plan: &Plan, decoder: &Decoder, chunk: &WireChunk) -> Result<Vec<DecodedSlab>, InputError> {
        let (topic, at) = (chunk.topic.map(TopicId), Offset(chunk.at));
        let records = Records { text: chunk.text(), count: chunk.records, refused: chunk.refused.clone() };
        let lines = match &chunk.form {
            Form::Lines => input::lines_of(topic, &records, at, Numbering::Bytes),
            Form::Export => input::lines_of(topic, &records, at, Numbering::Addressed),
            Form::Csv { delimiter, header } => {
                if self.layout.as_ref().is_none_or(|(form, _)| *form != chunk.form) {
                    let layout = Layout::of(plan, header, *delimiter);
                    // The coordinator made one of the same header before.
                    let layout = layout.unwrap_or_else(|why| panic!("a header was taken that is none: {why}"));
                    self.layout = Some((chunk.form.clone(), layout));
                }
                let Some((_, layout)) = &self.layout else { panic!("a layout has just been made") };
                layout.lines(plan, topic, &records, at)
            }
        };
        Ok(vec![decode(decoder, lines)])
    }

    fn table(&mut self, path: &str) -> Result<&Table, InputError> {
        let table = match self.table.take() {
            Some(table) if table.path() == path => table,
            _ => Table::open(path)?,
        };
        Ok(self.table.insert(table))
    }
}

fn decode(decoder: &Decoder, Lines { slab, refused }: Lines) -> DecodedSlab {
    let mut decoded: Decoded = decoder.decode(&slab);
    // What is known of a record from before says more than that its line is no event.
    for (row, why) in refused {
        let offset = Offset(slab.first_offset.0 + u64::from(row));
        if let Ok(at) = decoded.rejects.binary_search_by_key(&offset, |reject| reject.offset)
            && let Some(reject) = decoded.rejects.get_mut(at)
        {
            (reject.reason, reject.detail) = (Reason::Json, why);
        }
    }
    DecodedSlab { slab, decoded }
}
