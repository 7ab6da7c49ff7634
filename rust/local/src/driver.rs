//! Moves bytes between one connection and its side: the same loop for server and client.
//!
//! One task per connection reads, hands over whole frames, and writes what the outbox holds: one write for all frames
//! that were ready together.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mfn_wire::{ContentType, Header, Kind, Service, Status, WireError, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::ReadHalf;
use tokio::time::Instant;

use crate::outbox::Outbox;

/// Room that is kept for reading; a longer frame grows it as its bytes arrive, never on the word of its length.
const READ_BYTES: usize = 64 * 1024;
/// Frames handed over before what they caused is written.
const FRAMES_PER_TURN: usize = 64;
/// How long a last word (an error frame) may take to be written.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The other side closed it, or we did after the drain.
    Closed,
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
            Self::Closed => "it was closed".into(),
            Self::Io(error) => error.to_string(),
            Self::Refused(_, text) | Self::Told(_, text) => text.clone(),
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
    /// Whether HELLO arrived.
    fn greeted(&self) -> bool;
    /// The process stops: no new work.
    fn stop(&mut self);
    /// Whether all work is done, after [`Side::stop`].
    fn is_idle(&self) -> bool;
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
        let bytes = if bytes <= READ_BYTES { 0 } else { bytes };
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
    mut stream: UnixStream,
    outbox: &Outbox,
    side: &mut impl Side,
    drive: Drive,
    stop: impl Future<Output = ()>,
) -> End {
    let end = exchange(&mut stream, outbox, side, &drive, stop).await;
    if let End::Refused(status, text) = &end {
        last_word(&mut stream, outbox, drive.service, *status, text).await;
    }
    outbox.close();
    end
}

async fn exchange(
    stream: &mut UnixStream,
    outbox: &Outbox,
    side: &mut impl Side,
    drive: &Drive,
    stop: impl Future<Output = ()>,
) -> End {
    tokio::pin!(stop);
    let hello_timer = tokio::time::sleep_until(drive.hello_by);
    tokio::pin!(hello_timer);
    let drain_timer = tokio::time::sleep_until(drive.hello_by);
    tokio::pin!(drain_timer);
    let (mut reader, mut writer) = stream.split();
    let mut share = Share {
        of: Arc::clone(&drive.partial),
        held: 0,
    };
    let mut input = BytesMut::with_capacity(READ_BYTES);
    let (mut output, mut written) = (Vec::new(), 0);
    let mut stopping = false;
    loop {
        let more = match hand_over(&mut input, outbox, side) {
            Ok(more) => more,
            Err(end) => return end,
        };
        if let Err(end) = share.hold(input.len()) {
            return end;
        }
        if written == output.len() {
            output.clear();
            written = 0;
            outbox.take(&mut output);
        }
        if stopping && output.is_empty() && side.is_idle() && outbox.is_empty() {
            return End::Closed;
        }
        if input.capacity() - input.len() < READ_BYTES / 2 {
            input.reserve(READ_BYTES);
        }
        let may_read = !more && !held_up(outbox, side);
        tokio::select! {
            biased;
            result = writer.write(output.get(written..).unwrap_or_default()), if written < output.len() => match result {
                Ok(0) => return End::Closed,
                Ok(count) => written += count,
                Err(error) => {
                    return match last_frames(&mut reader, &mut input, outbox, side).await {
                        Ok(()) => End::Io(error),
                        Err(end) => end,
                    };
                }
            },
            result = reader.read_buf(&mut input), if may_read => match result {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(error) => return End::Io(error),
            },
            () = std::future::ready(()), if more && !held_up(outbox, side) => {}
            () = outbox.filled(), if written == output.len() => {}
            () = &mut hello_timer, if !side.greeted() => {
                return End::Refused(Status::DEADLINE, "no HELLO arrived in time; send it first".into());
            }
            () = &mut stop, if !stopping => {
                stopping = true;
                side.stop();
                drain_timer.as_mut().reset(Instant::now() + drive.drain_timeout);
            }
            () = &mut drain_timer, if stopping => return End::Closed,
        }
    }
}

/// Whether no frame is taken from the other side now.
fn held_up<S: Side>(outbox: &Outbox, _side: &S) -> bool {
    !S::READS_WHILE_FULL && outbox.is_full()
}

/// The other side takes nothing more; it may have said why before.
async fn last_frames(
    reader: &mut ReadHalf<'_>,
    input: &mut BytesMut,
    outbox: &Outbox,
    side: &mut impl Side,
) -> Result<(), End> {
    let until = Instant::now() + LAST_WORD;
    while let Ok(Ok(1..)) = tokio::time::timeout_at(until, reader.read_buf(input)).await {
        while hand_over(input, outbox, side)? {}
    }
    Ok(())
}

/// Hands whole frames to the side. `true`: more may be there already.
fn hand_over(input: &mut BytesMut, outbox: &Outbox, side: &mut impl Side) -> Result<bool, End> {
    for _ in 0..FRAMES_PER_TURN {
        match mfn_wire::frame_length(input)? {
            Some(length) if length <= input.len() => side.frame(input.split_to(length).freeze())?,
            _ => return Ok(false),
        }
        if held_up(outbox, side) {
            break;
        }
    }
    Ok(mfn_wire::frame_length(input)?.is_some_and(|length| length <= input.len()))
}

/// Tells the other side why the connection ends, if it takes it soon.
async fn last_word(
    stream: &mut UnixStream,
    outbox: &Outbox,
    service: Service,
    status: Status,
    text: &str,
) {
    let mut bytes = Vec::new();
    outbox.take(&mut bytes);
    let header = Header {
        content_type: ContentType::Text,
        status,
        ..Header::new(Kind::Error, service)
    };
    if mfn_wire::encode(&header, &[], cut(text).as_bytes(), &mut bytes).is_err() {
        return;
    }
    // It is lost when the other side does not read; the connection ends either way.
    let _ = tokio::time::timeout(LAST_WORD, stream.write_all(&bytes)).await;
}

/// At most as much text as an error frame may carry.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(limits::ERROR_TEXT_BYTES_MAX as usize);
    text.get(..end).unwrap_or_default()
}
