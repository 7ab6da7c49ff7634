//! The client of the local sockets, for C.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mfn_local::blocking::{Client, Pool, PooledStreaming, Streaming};
use mfn_local::{CallError, ConnectOptions, Item, LocalError, PoolOptions, Reply, Request};
use mfn_wire::{ContentType, Service, Status};

use crate::guard::{Problem, copy_text, guarded, problem};

/// Major version in the high 16 bits, minor in the low ones.
pub const MFN_CLIENT_ABI_VERSION: u32 = 0x0001_0001;

/// A connection to one socket. Made by mfn_client_connect, freed by mfn_client_close.
///
/// Threads: mfn_client_call, mfn_client_stream, mfn_client_cancel and the streams' functions may run at the same time as
/// each other, from any threads.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_client {
    client: Arc<Client>,
}

/// Few connections to one socket for many threads, repaired as they break, and a circuit breaker for each method: after too
/// many failures calls are refused with MFN_CIRCUIT_OPEN for a while, then a few try. Made by mfn_pool_new, freed by
/// mfn_pool_close.
///
/// Threads: mfn_pool_call, mfn_pool_stream and mfn_pool_cancel may run at the same time as each other, from any threads.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_pool {
    pool: Pool,
}

/// A streamed answer under way. Made by mfn_client_stream and mfn_pool_stream, freed by mfn_stream_close; it may outlive the
/// client or pool, whose connection it keeps. One thread at a time.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_stream {
    streaming: Stream,
}

#[derive(Debug)]
enum Stream {
    One(Streaming),
    Pooled(PooledStreaming),
}

impl Stream {
    fn next(&mut self) -> Option<Result<Item, CallError>> {
        match self {
            Self::One(streaming) => streaming.next(),
            Self::Pooled(streaming) => streaming.next(),
        }
    }
}

/// The answer to a call, or an event of a stream. Made by mfn_client_call and mfn_stream_next, freed by mfn_reply_free.
/// Any thread may read it.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_reply {
    reply: Reply,
}

impl From<LocalError> for Problem {
    fn from(error: LocalError) -> Self {
        let status = match &error {
            LocalError::PathTooLong { .. } => Status::INVALID_ARGUMENT,
            LocalError::Unsafe { .. } => Status::DENIED,
            LocalError::NotRunning { .. } => Status::UNREACHABLE,
            LocalError::Timeout { .. } => Status::DEADLINE,
            LocalError::Refused { status, .. } => *status,
            _ => Status::IO,
        };
        problem(status, error.to_string())
    }
}

/// The version of this header that the library was built with. Compare its high 16 bits with MFN_CLIENT_ABI_VERSION.
#[unsafe(no_mangle)]
pub extern "C" fn mfn_client_abi_version() -> u32 {
    MFN_CLIENT_ABI_VERSION
}

/// Connects to the socket at a path and checks that it serves that service (MFN_SERVICE_*), at most for timeout_ms.
///
/// On MFN_OK *client is a handle that the caller owns. The threads that call drive its connection; it has none of its own.
/// Errors: MFN_INVALID_ARGUMENT, MFN_UNREACHABLE (nothing serves the path), MFN_DEADLINE, MFN_DENIED (another user's
/// socket), MFN_IO, or the status with which the server refused.
///
/// # Safety
/// `path` is a string that ends with a zero byte; `client` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_client_connect(
    path: *const c_char,
    service: u8,
    timeout_ms: u64,
    client: *mut *mut mfn_client,
) -> i32 {
    guarded(|| {
        if path.is_null() || client.is_null() {
            return Err(problem(
                Status::INVALID_ARGUMENT,
                "path and client must not be NULL",
            ));
        }
        // SAFETY: not NULL; the caller promises a string that ends.
        let path = unsafe { CStr::from_ptr(path) };
        let made = connect(
            Path::new(OsStr::from_bytes(path.to_bytes())),
            service_of(service)?,
            timeout_ms,
        )?;
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { client.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

fn service_of(number: u8) -> Result<Service, Problem> {
    Service::try_from(number).map_err(|number| {
        let text = format!("service {number} is unknown");
        problem(Status::BAD_SERVICE, text)
    })
}

fn connect_options(timeout_ms: u64) -> ConnectOptions {
    ConnectOptions {
        timeout: Duration::from_millis(timeout_ms),
        software: concat!("mfn-capi/", env!("CARGO_PKG_VERSION")).into(),
    }
}

fn connect(path: &Path, service: Service, timeout_ms: u64) -> Result<mfn_client, Problem> {
    let client = Client::connect(path, service, &connect_options(timeout_ms))?;
    Ok(mfn_client {
        client: Arc::new(client),
    })
}

/// Calls a method (MFN_METHOD_*) and waits for the answer, at most for timeout_ms; 0 waits without end.
///
/// content_type is MFN_CONTENT_TYPE_*. The tag is the caller's name for the call, for mfn_client_cancel; several calls
/// may share one. On MFN_OK *reply is a handle that the caller owns.
/// Errors: MFN_DEADLINE, MFN_CANCELLED, MFN_CLOSED (the connection is over; connect again), MFN_BUSY, or the status of
/// the server's answer; mfn_last_error has its text.
///
/// # Safety
/// `client` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `reply` points to a
/// place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_client_call(
    client: *const mfn_client,
    tag: u64,
    method: u16,
    content_type: u8,
    body: *const u8,
    body_bytes: usize,
    timeout_ms: u64,
    reply: *mut *mut mfn_reply,
) -> i32 {
    let asked = Asked {
        content_type,
        body,
        body_bytes,
        timeout_ms,
    };
    // SAFETY: what the caller promises.
    unsafe {
        asked.of(client, reply, "client and reply", |client, request| {
            let reply = client.client.call(tag, method, request)?;
            Ok(mfn_reply { reply })
        })
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        problem(error.status(), error.to_string())
    }
}

/// A request as C gives it: `body` points to `body_bytes` bytes, or is NULL when there are none.
struct Asked {
    content_type: u8,
    body: *const u8,
    body_bytes: usize,
    timeout_ms: u64,
}

impl Asked {
    /// Asks what a handle leads to, and hands out a new handle of what comes of it.
    ///
    /// # Safety
    /// The body is as said above; `handle` is NULL or live; `place` is NULL or has room for a pointer.
    unsafe fn of<H, T>(
        self,
        handle: *const H,
        place: *mut *mut T,
        names: &str,
        ask: impl FnOnce(&H, &Request) -> Result<T, Problem>,
    ) -> i32 {
        guarded(|| {
            if handle.is_null() || place.is_null() {
                let text = format!("{names} must not be NULL");
                return Err(problem(Status::INVALID_ARGUMENT, text));
            }
            // SAFETY: the caller promises that many bytes.
            let request = unsafe { self.request() }?;
            // SAFETY: not NULL; the caller promises a live handle.
            let made = ask(unsafe { &*handle }, &request)?;
            // SAFETY: not NULL; the caller promises room for a pointer.
            unsafe { place.write(Box::into_raw(Box::new(made))) };
            Ok(())
        })
    }

    /// # Safety
    /// The body is as said above.
    unsafe fn request(&self) -> Result<Request, Problem> {
        let Self {
            content_type,
            body,
            body_bytes,
            timeout_ms,
        } = *self;
        if body.is_null() && body_bytes > 0 {
            let text = "body must not be NULL";
            return Err(problem(Status::INVALID_ARGUMENT, text));
        }
        if body_bytes > mfn_wire::limits::FRAME_BYTES_MAX as usize {
            let text = "the body is longer than a frame may be";
            return Err(problem(Status::FRAME_TOO_LARGE, text));
        }
        let content_type = ContentType::try_from(content_type).map_err(|number| {
            let text = format!("content type {number} is unknown");
            problem(Status::BAD_CONTENT_TYPE, text)
        })?;
        let body = if body_bytes == 0 {
            Bytes::new()
        } else {
            // SAFETY: not NULL; the caller promises that many bytes, fewer than isize::MAX by the check above.
            Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(body, body_bytes) })
        };
        let request = Request::new(content_type, body);
        Ok(match timeout_ms {
            0 => request,
            ms => request.within(Duration::from_millis(ms)),
        })
    }
}

/// What a cancellation comes to that found so many calls.
fn cancelled(calls: usize, tag: u64) -> Result<(), Problem> {
    if calls > 0 {
        return Ok(());
    }
    let text = format!("no call with tag {tag} is in flight");
    Err(problem(Status::NOT_FOUND, text))
}

/// Calls a method that streams, as mfn_client_call; mfn_stream_next gives its events and its end.
///
/// At most credit events (1 to MFN_CREDIT_MAX; others count as the nearest) are under way at once; taking them allows more.
/// The timeout is that of the whole stream. On MFN_OK *stream is a handle that the caller owns.
///
/// # Safety
/// `client` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `stream` points to a
/// place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_client_stream(
    client: *const mfn_client,
    tag: u64,
    method: u16,
    content_type: u8,
    body: *const u8,
    body_bytes: usize,
    timeout_ms: u64,
    credit: u32,
    stream: *mut *mut mfn_stream,
) -> i32 {
    let asked = Asked {
        content_type,
        body,
        body_bytes,
        timeout_ms,
    };
    // SAFETY: what the caller promises.
    unsafe {
        asked.of(client, stream, "client and stream", |client, request| {
            let streaming = client.client.stream(tag, method, request, credit)?;
            let streaming = Stream::One(streaming);
            Ok(mfn_stream { streaming })
        })
    }
}

/// Makes a pool of at most connections_max connections (at least one) to the socket at a path, without connecting: calls do,
/// each for at most connect_timeout_ms, their own timeouts included.
///
/// On MFN_OK *pool is a handle that the caller owns. Errors: MFN_INVALID_ARGUMENT, MFN_BAD_SERVICE.
///
/// # Safety
/// `path` is a string that ends with a zero byte; `pool` points to a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_pool_new(
    path: *const c_char,
    service: u8,
    connections_max: u32,
    connect_timeout_ms: u64,
    pool: *mut *mut mfn_pool,
) -> i32 {
    guarded(|| {
        if path.is_null() || pool.is_null() {
            let text = "path and pool must not be NULL";
            return Err(problem(Status::INVALID_ARGUMENT, text));
        }
        // SAFETY: not NULL; the caller promises a string that ends.
        let path = unsafe { CStr::from_ptr(path) };
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        let options = PoolOptions {
            connect: connect_options(connect_timeout_ms),
            connections_max: usize::try_from(connections_max).unwrap_or(usize::MAX),
            ..PoolOptions::new(service_of(service)?, path)
        };
        let made = mfn_pool {
            pool: Pool::new(options),
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { pool.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

/// Calls a method, as mfn_client_call, over one of the pool's connections; the timeout holds for connecting too. A call that
/// a server on its way out did not take is made again, any other happens at most once.
/// Errors beside those of mfn_client_call: MFN_UNREACHABLE (nothing serves the path), MFN_CIRCUIT_OPEN.
///
/// # Safety
/// `pool` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `reply` points to a place
/// for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_pool_call(
    pool: *const mfn_pool,
    tag: u64,
    method: u16,
    content_type: u8,
    body: *const u8,
    body_bytes: usize,
    timeout_ms: u64,
    reply: *mut *mut mfn_reply,
) -> i32 {
    let asked = Asked {
        content_type,
        body,
        body_bytes,
        timeout_ms,
    };
    // SAFETY: what the caller promises.
    unsafe {
        asked.of(pool, reply, "pool and reply", |pool, request| {
            let reply = pool.pool.call(tag, method, request)?;
            Ok(mfn_reply { reply })
        })
    }
}

/// Calls a method that streams, as mfn_client_stream, over one of the pool's connections. Errors: those of mfn_pool_call.
///
/// # Safety
/// `pool` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `stream` points to a place
/// for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_pool_stream(
    pool: *const mfn_pool,
    tag: u64,
    method: u16,
    content_type: u8,
    body: *const u8,
    body_bytes: usize,
    timeout_ms: u64,
    credit: u32,
    stream: *mut *mut mfn_stream,
) -> i32 {
    let asked = Asked {
        content_type,
        body,
        body_bytes,
        timeout_ms,
    };
    // SAFETY: what the caller promises.
    unsafe {
        asked.of(pool, stream, "pool and stream", |pool, request| {
            let streaming = pool.pool.stream(tag, method, request, credit)?;
            let streaming = Stream::Pooled(streaming);
            Ok(mfn_stream { streaming })
        })
    }
}

/// Cancels the calls with that tag that are in flight, as mfn_client_cancel.
///
/// # Safety
/// `pool` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_pool_cancel(pool: *const mfn_pool, tag: u64) -> i32 {
    guarded(|| {
        if pool.is_null() {
            return Err(problem(Status::INVALID_ARGUMENT, "pool must not be NULL"));
        }
        // SAFETY: not NULL; the caller promises a live handle.
        cancelled(unsafe { &*pool }.pool.cancel(tag), tag)
    })
}

/// Closes the pool and frees the handle. NULL is allowed. No call may be running or start.
///
/// # Safety
/// `pool` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_pool_close(pool: *mut mfn_pool) {
    guarded(|| {
        if !pool.is_null() {
            // SAFETY: not NULL; the caller gives the handle up.
            drop(unsafe { Box::from_raw(pool) });
        }
        Ok(())
    });
}

/// Waits for the next event or the end of a stream.
///
/// On MFN_OK *item is a handle that the caller owns, and *is_end is 0 for an event, 1 for the reply, after which nothing
/// comes. An error ends the stream as well: those of mfn_client_call, or MFN_NOT_FOUND: it had ended before.
///
/// # Safety
/// `stream` is a live handle that no other thread uses; `item` points to a place for one pointer, `is_end` to one byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_stream_next(
    stream: *mut mfn_stream,
    item: *mut *mut mfn_reply,
    is_end: *mut u8,
) -> i32 {
    guarded(|| {
        if stream.is_null() || item.is_null() || is_end.is_null() {
            let text = "stream, item and is_end must not be NULL";
            return Err(problem(Status::INVALID_ARGUMENT, text));
        }
        // SAFETY: not NULL; the caller promises a live handle that only this thread uses.
        let next = unsafe { &mut *stream }.streaming.next();
        let next = next.ok_or_else(|| problem(Status::NOT_FOUND, "the stream is over"))?;
        let (reply, end) = match next? {
            Item::Event(event) => {
                let (content_type, body) = (event.content_type, event.body);
                (Reply { content_type, body }, 0)
            }
            Item::Reply(reply) => (reply, 1),
        };
        // SAFETY: not NULL; the caller promises room for a pointer and a byte.
        unsafe {
            item.write(Box::into_raw(Box::new(mfn_reply { reply })));
            is_end.write(end);
        }
        Ok(())
    })
}

/// Frees a stream. One that is not over is cancelled. NULL is allowed.
///
/// # Safety
/// `stream` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_stream_close(stream: *mut mfn_stream) {
    guarded(|| {
        if !stream.is_null() {
            // SAFETY: not NULL; the caller gives the handle up.
            drop(unsafe { Box::from_raw(stream) });
        }
        Ok(())
    });
}

/// Cancels the calls with that tag that are in flight; each ends with MFN_CANCELLED and the server stops working on it.
/// MFN_NOT_FOUND: none is.
///
/// # Safety
/// `client` is a live handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_client_cancel(client: *const mfn_client, tag: u64) -> i32 {
    guarded(|| {
        if client.is_null() {
            return Err(problem(Status::INVALID_ARGUMENT, "client must not be NULL"));
        }
        // SAFETY: not NULL; the caller promises a live handle.
        cancelled(unsafe { &*client }.client.cancel(tag), tag)
    })
}

/// Closes the connection and frees the handle. NULL is allowed. No call may be running or start; cancel them first and
/// wait for their return.
///
/// # Safety
/// `client` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_client_close(client: *mut mfn_client) {
    guarded(|| {
        if !client.is_null() {
            // SAFETY: not NULL; the caller gives the handle up.
            drop(unsafe { Box::from_raw(client) });
        }
        Ok(())
    });
}

/// What the reply's body is: MFN_CONTENT_TYPE_*. 0 for NULL.
///
/// # Safety
/// `reply` is a live handle or NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_reply_content_type(reply: *const mfn_reply) -> u8 {
    // SAFETY: the caller promises a live handle or NULL.
    unsafe { reply.as_ref() }.map_or(0, |reply| reply.reply.content_type.as_u8())
}

/// The reply's body and its length. The bytes live as long as the reply; NULL and 0 for NULL.
///
/// # Safety
/// `reply` is a live handle or NULL; `bytes` points to a place for a length, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_reply_body(reply: *const mfn_reply, bytes: *mut usize) -> *const u8 {
    // SAFETY: the caller promises a live handle or NULL.
    let body = unsafe { reply.as_ref() }.map(|reply| &reply.reply.body);
    if !bytes.is_null() {
        // SAFETY: not NULL; the caller promises room for a length.
        unsafe { bytes.write(body.map_or(0, Bytes::len)) };
    }
    body.map_or(std::ptr::null(), |body| body.as_ptr())
}

/// Frees a reply. NULL is allowed.
///
/// # Safety
/// `reply` is a live handle or NULL; it is dead afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_reply_free(reply: *mut mfn_reply) {
    if !reply.is_null() {
        // SAFETY: not NULL; the caller gives the handle up.
        drop(unsafe { Box::from_raw(reply) });
    }
}

/// Copies the text of this thread's last error, with a closing zero byte; empty after a success.
///
/// *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied.
///
/// # Safety
/// `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mfn_last_error(
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> i32 {
    // SAFETY: the caller promises what `copy_text` asks for.
    unsafe { copy_text(buffer, capacity, needed) }
}

/// The handle may be used from several threads at once.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<mfn_client>();
    shared::<mfn_pool>();
    shared::<mfn_reply>();
    fn moved<T: Send>() {}
    moved::<mfn_stream>();
};
