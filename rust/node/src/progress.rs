//! Carries progress from blocking work to whoever asked for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hypermesh_blocks::{Observer, Progress};
use mfn_local::EventSink;
use mfn_wire::{ContentType, pb};
use prost::Message;

use crate::answer::progress_message;
use crate::doors::Watcher;

/// Progress is shown to people and steers a demo: more often than this it is only cost.
pub(crate) const EVERY: Duration = Duration::from_millis(50);

/// Where the progress of one job goes: to the caller's events, and to the list of jobs.
#[derive(Clone, Debug)]
pub(crate) struct ProgressSink {
    events: EventSink,
    /// Makes an event of it.
    event: fn(&pb::Progress) -> Vec<u8>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sent: Option<Instant>,
    latest: pb::Progress,
}

impl ProgressSink {
    pub(crate) fn new(events: EventSink) -> Self {
        Self::within(events, pb::Progress::encode_to_vec)
    }

    /// For calls whose events are a message around it.
    pub(crate) fn within(events: EventSink, event: fn(&pb::Progress) -> Vec<u8>) -> Self {
        Self {
            events,
            event,
            state: Arc::default(),
        }
    }

    /// Takes note, and tells the caller if the last word is old or of another phase. Never waits.
    pub(crate) fn report(&self, progress: pb::Progress) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let due = state.latest.phase != progress.phase
            || state.sent.is_none_or(|sent| sent.elapsed() >= EVERY);
        state.latest = progress;
        if due {
            let body = (self.event)(&state.latest);
            // A caller that is gone, or that is slow, is told the next time.
            if let Ok(true) = self.events.try_send(ContentType::Protobuf, &body) {
                state.sent = Some(Instant::now());
            }
        }
    }

    pub(crate) fn latest(&self) -> pb::Progress {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .latest
            .clone()
    }
}

impl Watcher for ProgressSink {
    fn report(&self, progress: pb::Progress) {
        Self::report(self, progress);
    }

    fn is_cancelled(&self) -> bool {
        self.events.is_cancelled()
    }
}

impl Observer for ProgressSink {
    fn progress(&self, progress: &Progress) {
        self.report(progress_message(progress));
    }

    fn cancelled(&self) -> bool {
        self.events.is_cancelled()
    }
}
