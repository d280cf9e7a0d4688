//! A file that says which pipeline's past the store may have a part of: if the job dies before the pipeline is its own, that part is taken out again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;

use crate::coordinator::backfill::error::FillError;
use crate::core::plan::Plan;
use crate::core::units::LogId;
use crate::store::Leftover;

/// Where it is.
#[derive(Clone, Debug)]
pub struct Mark(pub PathBuf);

impl Mark {
    /// Puts it there, for good, before anything is stored.
    ///
    /// # Errors
    /// `Mark`; likewise below.
    pub fn put(&self, plan: &Plan, pipeline: usize) -> Result<(), FillError> {
        let name = plan.pipeline_name(pipeline);
        let views = plan.views.iter().filter(|view| view.pipeline == pipeline).map(|view| view.name.as_str());
        let text = json!({"pipeline": name, "views": views.collect::<Vec<_>>()}).to_string();
        let written = File::create(&self.0).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            self.sync_folder()
        });
        written.map_err(|error| self.failed(error))
    }

    pub fn read(&self, log: LogId) -> Result<Option<Leftover>, FillError> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        // One that was not written to its end was put before anything was stored.
        let Ok(mark) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(None) };
        let views = mark["views"].as_array().into_iter().flatten().filter_map(|view| view.as_str().map(str::to_owned));
        let pipeline = mark["pipeline"].as_str().unwrap_or_default().to_owned();
        Ok(Some(Leftover { log, pipeline, views: views.collect() }))
    }

    pub fn remove(&self) -> Result<(), FillError> {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.and_then(|()| self.sync_folder()).map_err(|error| self.failed(error)),
        }
    }

    fn sync_folder(&self) -> io::Result<()> {
        let folder = self.0.parent().map(File::open).transpose()?;
        folder.map_or(Ok(()), |folder| folder.sync_all())
    }

    fn failed(&self, error: io::Error) -> FillError {
        FillError::Mark { mark: self.0.clone(), error }
    }
}
