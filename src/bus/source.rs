//! The way to the log, which may be there before the log is open; and where in it a reader begins.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::watch;

use crate::bus::error::BusError;
use crate::bus::events::Events;
use crate::bus::export::Export;
use crate::bus::index::Index;
use crate::core::decode::Decoder;
use crate::core::decode::identities::Kind;
use crate::core::plan::Plan;
use crate::core::time;
use crate::core::units::{Micros, Millis, Offset, TopicId};
use crate::log::Access;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest event that is retained.
    Beginning,
    /// What comes from now on.
    End,
    Offset(Offset),
    /// The first event that was taken in then or later.
    Time(Millis),
}

/// What a `Start` is written as.
pub const START_FORMS: &str = "beginning, end, an offset, or an RFC 3339 time with its zone, as 2026-11-22T12:00:00Z";

/// The log, once it is open. Shared by all who read.
#[derive(Default)]
pub struct Source {
    access: OnceLock<Access>,
    index: OnceLock<Arc<Index>>,
    end: watch::Sender<Offset>,
    /// Of the plan that was asked for last: making one costs more than a small page.
    decoder: Mutex<Option<(Arc<Plan>, Arc<Decoder>)>>,
}

impl Start {
    /// As `START_FORMS` says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "beginning" => Some(Self::Beginning),
            "end" => Some(Self::End),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok().map(|offset| Self::Offset(Offset(offset)))
            }
            _ => time::parse(text.as_bytes()).map(|time| Self::Time(millis(time))),
        }
    }
}

/// The first millisecond that is not before this.
fn millis(time: Micros) -> Millis {
    Millis(u64::try_from(time.0).unwrap_or(0).div_ceil(1000))
}

impl Source {
    /// The log is open. Only once.
    pub fn open(&self, access: Access) {
        self.end.send_replace(access.end());
        assert!(self.access.set(access).is_ok(), "a job has one log");
    }

    /// By which events are found by their ids. Only once.
    pub fn indexed(&self, index: Arc<Index>) {
        assert!(self.index.set(index).is_ok(), "a log has one index");
    }

    /// The events that are likely to have an id of this fingerprint: `Index::find`.
    ///
    /// # Errors
    /// `Starting`, `GivenUp`, `Log`.
    pub fn find(
        &self,
        plan: &Arc<Plan>,
        id: (Kind, u64),
        from: Offset,
        is_waited_for: &dyn Fn() -> bool,
    ) -> Result<Vec<Offset>, BusError> {
        self.index.get().ok_or(BusError::Starting)?.find(plan, id, from, is_waited_for)
    }

    /// So many events are on disk: whoever waits for more is woken.
    pub fn advance(&self, end: Offset) {
        self.end.send_if_modified(|known| {
            let moved = *known < end;
            *known = end.max(*known);
            moved
        });
    }

    /// How many events there are to read; 0 before the log is open.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.access.get().map_or(Offset(0), Access::end)
    }

    /// Changes whenever there is more to read.
    pub fn subscribe(&self) -> watch::Receiver<Offset> {
        self.end.subscribe()
    }

    /// # Errors
    /// `Starting`.
    pub fn access(&self) -> Result<&Access, BusError> {
        self.access.get().ok_or(BusError::Starting)
    }

    /// The offset at which a reader begins. A time may have to be looked for on the disk.
    ///
    /// # Errors
    /// All of `BusError`.
    pub fn offset(&self, start: Start) -> Result<Offset, BusError> {
        let access = self.access()?;
        match start {
            Start::Beginning => Ok(access.begin()),
            Start::End => Ok(access.end()),
            Start::Time(time) => {
                let found = access.first_at(time).map_err(BusError::Log)?;
                // Asked afterwards, since segments go meanwhile.
                if access.has_all_since(time) { Ok(found) } else { Err(BusError::GoneSince { oldest: access.begin() }) }
            }
            Start::Offset(asked) => {
                self.retained(asked)?;
                let end = access.end();
                if asked > end { Err(BusError::Ahead { asked, end }) } else { Ok(asked) }
            }
        }
    }

    /// # Errors
    /// `Starting`; `Gone` where the event of this offset may have been deleted.
    pub fn retained(&self, asked: Offset) -> Result<(), BusError> {
        let oldest = self.access()?.begin();
        if asked < oldest { Err(BusError::Gone { asked, oldest }) } else { Ok(()) }
    }

    /// The topic's events from an offset on.
    ///
    /// # Errors
    /// `Starting`.
    pub fn events(&self, plan: &Arc<Plan>, topic: TopicId, from: Offset) -> Result<Events, BusError> {
        Ok(Events::new(self.access()?.clone(), self.decoder(plan), topic, from))
    }

    /// All events from an offset on, up to another one, or to the log's end as it is now.
    ///
    /// # Errors
    /// All of `BusError`.
    pub fn export(&self, from: Start, until: Option<Start>) -> Result<Export, BusError> {
        // Events come meanwhile.
        let from = self.offset(from)?;
        let until = self.offset(until.unwrap_or(Start::End))?;
        if until < from {
            Err(BusError::Backwards { from, until })
        } else {
            Ok(Export::new(self.access()?, from, until))
        }
    }

    pub(super) fn decoder(&self, plan: &Arc<Plan>) -> Arc<Decoder> {
        let mut last = self.decoder.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((of, decoder)) if Arc::ptr_eq(of, plan) => decoder.clone(),
            _ => {
                // Identities are not looked at here, so the key of their hash is no matter.
                let decoder = Arc::new(Decoder::new(plan.clone(), 0));
                *last = Some((plan.clone(), decoder.clone()));
                decoder
            }
        }
    }
}
