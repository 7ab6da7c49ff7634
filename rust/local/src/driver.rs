//! Moves bytes between one connection and its side: the same loop for server and client.
//!
//! One task per connection reads, hands over whole frames, and writes what the outbox holds: one write for all frames
//! that were ready together.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mfn_wire::{ContentType, Header, Kind, Service, Status, WireError, limits};
use tokio::time::{Instant, Sleep};

use crate::error::{CallError, LocalError};
use crate::input::{self, Input};
use crate::link::Reading;
use crate::outbox::{Flushed, Lane, Outbox};

/// Frames handed over in one turn, where nothing is gained by fewer.
pub(crate) const FRAMES_PER_TURN: usize = 256;
/// How long a last word (an error frame) may take to be written.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The other side closed it, or we did when the time to drain was up.
    Closed,
    /// We stopped, and everything that was accepted is answered.
    Drained,
    Io(io::Error),
    /// The other side broke a rule; it is told so.
    Refused(Status, String),
    /// The other side said that we broke a rule.
    Told(Status, String),
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Self::Refused(error.status(), error.to_string())
    }
}

impl End {
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Closed | Self::Drained => "it was closed".into(),
            Self::Io(error) => error.to_string(),
            Self::Refused(_, text) | Self::Told(_, text) => text.clone(),
        }
    }
}

impl End {
    /// An answer with an id that was never given out breaks the wire.
    pub(crate) fn unasked(request_id: u64) -> Self {
        let text = format!("no request {request_id} was made");
        Self::Refused(Status::BAD_REQUEST_ID, text)
    }

    /// What a call says that was under way. A server that says CLOSED at its end has answered all that it accepted.
    pub(crate) fn of_call(&self) -> CallError {
        match self {
            Self::Told(Status::CLOSED, text) => CallError::NotAccepted(text.clone()),
            other => CallError::Closed(other.text()),
        }
    }

    /// What a connect says that ended so.
    pub(crate) fn of_connect(self, path: &Path) -> LocalError {
        let path = path.to_path_buf();
        match self {
            Self::Closed | Self::Drained => LocalError::NotRunning { path },
            // It went away while we greeted it.
            Self::Io(source)
                if matches!(
                    source.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                ) =>
            {
                LocalError::NotRunning { path }
            }
            Self::Io(source) => LocalError::Io {
                what: "talk to",
                path,
                source,
            },
            Self::Refused(status, text) | Self::Told(status, text) => {
                LocalError::Refused { path, status, text }
            }
        }
    }
}

/// One side of a connection.
pub(crate) trait Side {
    /// A whole frame arrived; not decoded yet.
    fn frame(&mut self, frame: Bytes) -> Result<(), End>;
    /// Whether frames are read while the outbox is full. A server does not: its answers would pile up. A client does: if
    /// neither side read, both would wait for ever.
    const READS_WHILE_FULL: bool;
    /// Whether those that the frames of a turn wake run before the next turn.
    const LETS_RUN: bool;
    /// Frames handed over before what they caused is written.
    fn frames_per_turn(&self) -> usize;
    /// Bytes arrived. What follows of them need not look at the clock.
    fn arrived(&mut self, at: Instant);
    /// Whether HELLO arrived.
    fn greeted(&self) -> bool;
    /// The process stops: no new work.
    fn stop(&mut self);
    /// Whether all work is done, after [`Side::stop`].
    fn is_idle(&self) -> bool;
    /// The time to drain is up: what is not done is answered so.
    fn cut_off(&mut self);
    /// When [`Side::expire`] is due.
    fn due(&self) -> Option<Instant>;
    /// Ends what has passed its deadline.
    fn expire(&mut self);
    /// The connection has ended; a last word may still be on its way.
    fn ended(&mut self, end: &End);
}

/// Bytes of incomplete frames, over all connections that share it.
#[derive(Debug)]
pub(crate) struct Partial {
    used: AtomicUsize,
    limit: usize,
}

impl Partial {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            limit,
        })
    }
}

/// One connection's share of [`Partial`]; given back when dropped.
struct Share {
    of: Arc<Partial>,
    held: usize,
}

impl Share {
    /// Holds that many bytes from now on.
    fn hold(&mut self, bytes: usize) -> Result<(), End> {
        // What fits the buffer that every connection has is not counted: the connections are.
        let bytes = if bytes <= input::ROOM { 0 } else { bytes };
        if bytes > self.held {
            let used =
                self.of.used.fetch_add(bytes - self.held, Ordering::Relaxed) + (bytes - self.held);
            self.held = bytes;
            if used > self.of.limit {
                return Err(End::Refused(
                    Status::BUSY,
                    "too many bytes of unfinished frames; send fewer at once".into(),
                ));
            }
        } else if bytes < self.held {
            self.of.used.fetch_sub(self.held - bytes, Ordering::Relaxed);
            self.held = bytes;
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

/// How a connection is driven.
pub(crate) struct Drive {
    pub(crate) service: Service,
    pub(crate) partial: Arc<Partial>,
    pub(crate) hello_by: Instant,
    pub(crate) drain_timeout: Duration,
}

/// Runs the connection to its end. `stop` ends it after the accepted work.
pub(crate) async fn drive(
    reading: Reading,
    outbox: &Outbox,
    side: &mut impl Side,
    drive: Drive,
    stop: impl Future<Output = ()>,
) -> End {
    let end = exchange(&reading, outbox, side, &drive, stop).await;
    side.ended(&end);
    match &end {
        End::Refused(status, text) => last_word(outbox, drive.service, *status, text).await,
        End::Drained => {
            let text = "the program has stopped; what it accepted is answered";
            last_word(outbox, drive.service, Status::CLOSED, text).await;
        }
        End::Closed | End::Io(_) | End::Told(..) => {}
    }
    outbox.close();
    end
}

async fn exchange(
    reading: &Reading,
    outbox: &Outbox,
    side: &mut impl Side,
    drive: &Drive,
    stop: impl Future<Output = ()>,
) -> End {
    tokio::pin!(stop);
    // For HELLO, later for the drain. Between them there is none: a timer that is armed costs each wait of the thread.
    let mut timer = Some(Box::pin(tokio::time::sleep_until(drive.hello_by)));
    // For the deadlines of calls: one for all, moved seldom.
    let mut deadlines = Box::pin(tokio::time::sleep_until(drive.hello_by));
    let mut share = Share {
        of: Arc::clone(&drive.partial),
        held: 0,
    };
    let mut input = Input::new();
    let mut stopping = false;
    loop {
        let more = match hand_over(&mut input, outbox, side) {
            Ok(more) => more,
            Err(end) => return end,
        };
        if let Err(end) = share.hold(input.len()) {
            return end;
        }
        let flushed = match outbox.flush() {
            Ok(flushed) => flushed,
            Err(error) => {
                return match last_frames(reading, &mut input, outbox, side).await {
                    Ok(()) => End::Io(error),
                    Err(end) => end,
                };
            }
        };
        if stopping && flushed == Flushed::All && side.is_idle() && outbox.is_empty() {
            return End::Drained;
        }
        if side.greeted() && !stopping {
            timer = None;
        }
        let held_up = held_up(outbox, side);
        let due = side.due();
        if let Some(due) = due
            && deadlines.deadline() != due
        {
            deadlines.as_mut().reset(due);
        }
        tokio::select! {
            biased;
            // Before the bytes: a side that always has some would else put these off for ever.
            () = &mut stop, if !stopping => {
                stopping = true;
                side.stop();
                timer = Some(Box::pin(tokio::time::sleep(drive.drain_timeout)));
            }
            () = &mut deadlines, if due.is_some() => side.expire(),
            result = reading.read(input.room()), if !more && !held_up => match result {
                Ok(0) => return End::Closed,
                Ok(count) => {
                    input.filled(count);
                    side.arrived(Instant::now());
                }
                Err(error) => return End::Io(error),
            },
            () = next_turn(side), if more && !held_up => {}
            // What is wrong with the socket, the next flush finds as well.
            _ = outbox.writable(), if flushed == Flushed::Blocked => {}
            () = std::future::poll_fn(|context| outbox.poll_rung(context)), if flushed != Flushed::Blocked => {}
            Some(()) = expired(&mut timer) => {
                if stopping {
                    side.cut_off();
                    // Who does not read is not waited for.
                    let _ = outbox.flush();
                    return End::Closed;
                }
                return End::Refused(Status::DEADLINE, "no HELLO arrived in time; send it first".into());
            }
        }
    }
}

/// Ready at once, or after all tasks that were woken before.
async fn next_turn<S: Side>(_side: &S) {
    let mut has_waited = !S::LETS_RUN;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        // Not the runtime's own yield, which asks the kernel for events first.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the timer; `None` at once when there is none.
async fn expired(timer: &mut Option<Pin<Box<Sleep>>>) -> Option<()> {
    timer.as_mut()?.await;
    Some(())
}

/// Whether no frame is taken from the other side now.
fn held_up<S: Side>(outbox: &Outbox, _side: &S) -> bool {
    // Events in their lane hold up nobody: without room there, none is made.
    !S::READS_WHILE_FULL && outbox.is_full(Lane::Main)
}

/// The other side takes nothing more; it may have said why before.
async fn last_frames(
    reading: &Reading,
    input: &mut Input,
    outbox: &Outbox,
    side: &mut impl Side,
) -> Result<(), End> {
    let until = Instant::now() + LAST_WORD;
    let until = side.due().map_or(until, |due| due.min(until));
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout_at(until, reading.read(input.room())).await
    {
        input.filled(count);
        while hand_over(input, outbox, side)? {}
    }
    Ok(())
}

/// Hands whole frames to the side. `true`: more may be there already.
fn hand_over(input: &mut Input, outbox: &Outbox, side: &mut impl Side) -> Result<bool, End> {
    for _ in 0..side.frames_per_turn() {
        match input.frame()? {
            Some(frame) => side.frame(frame)?,
            None => return Ok(false),
        }
        if held_up(outbox, side) {
            break;
        }
    }
    Ok(input.has_frame()?)
}

/// Appends why the connection ends, for the other side; the next flush says it.
pub(crate) fn say_why(outbox: &Outbox, service: Service, status: Status, text: &str) {
    let header = Header {
        content_type: ContentType::Text,
        status,
        ..Header::new(Kind::Error, service)
    };
    // It fits by construction.
    let _ = outbox.append(&header, &[], cut(text).as_bytes());
}

/// Tells the other side why the connection ends, if it takes it soon.
async fn last_word(outbox: &Outbox, service: Service, status: Status, text: &str) {
    say_why(outbox, service, status, text);
    let written = async {
        loop {
            match outbox.flush() {
                Ok(Flushed::All) | Err(_) => return,
                Ok(Flushed::Blocked) if outbox.writable().await.is_err() => return,
                Ok(Flushed::Blocked) => {}
            }
        }
    };
    // It is lost when the other side does not read; the connection ends either way.
    let _ = tokio::time::timeout(LAST_WORD, written).await;
}

/// At most as much text as an error frame may carry.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(limits::ERROR_TEXT_BYTES_MAX as usize);
    text.get(..end).unwrap_or_default()
}
