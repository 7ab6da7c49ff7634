//! The client of the local sockets, for C.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use mfn_local::blocking::Client;
use mfn_local::{ConnectOptions, LocalError, Reply, Request};
use mfn_wire::{ContentType, Service, Status};

use crate::guard::{Problem, copy_text, guarded, problem};

/// Major version in the high 16 bits, minor in the low ones.
pub const MFN_CLIENT_ABI_VERSION: u32 = 0x0001_0000;

/// A connection to one socket. Made by mfn_client_connect, freed by mfn_client_close.
///
/// Threads: mfn_client_call and mfn_client_cancel may run at the same time as each other, from any threads.
#[derive(Debug)]
#[expect(non_camel_case_types, reason = "its name in C")]
pub struct mfn_client {
    client: Client,
}

/// The answer to a call. Made by mfn_client_call, freed by mfn_reply_free. Any thread may read it.
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
        let service = Service::try_from(service).map_err(|number| {
            problem(Status::BAD_SERVICE, format!("service {number} is unknown"))
        })?;
        let made = connect(
            Path::new(OsStr::from_bytes(path.to_bytes())),
            service,
            timeout_ms,
        )?;
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { client.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
}

fn connect(path: &Path, service: Service, timeout_ms: u64) -> Result<mfn_client, Problem> {
    let options = ConnectOptions {
        timeout: Duration::from_millis(timeout_ms),
        software: concat!("mfn-capi/", env!("CARGO_PKG_VERSION")).into(),
    };
    let client = Client::connect(path, service, &options)?;
    Ok(mfn_client { client })
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
    guarded(|| {
        if client.is_null() || reply.is_null() || (body.is_null() && body_bytes > 0) {
            return Err(problem(
                Status::INVALID_ARGUMENT,
                "client, reply and body must not be NULL",
            ));
        }
        if body_bytes > mfn_wire::limits::FRAME_BYTES_MAX as usize {
            return Err(problem(
                Status::FRAME_TOO_LARGE,
                "the body is longer than a frame may be",
            ));
        }
        let content_type = ContentType::try_from(content_type).map_err(|number| {
            problem(
                Status::BAD_CONTENT_TYPE,
                format!("content type {number} is unknown"),
            )
        })?;
        let body = if body_bytes == 0 {
            Bytes::new()
        } else {
            // SAFETY: not NULL; the caller promises that many bytes, fewer than isize::MAX by the check above.
            Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(body, body_bytes) })
        };
        // SAFETY: not NULL; the caller promises a live handle.
        let client = unsafe { &*client };
        let mut request = Request::new(content_type, body);
        if timeout_ms > 0 {
            request = request.within(Duration::from_millis(timeout_ms));
        }
        let made = mfn_reply {
            reply: client
                .client
                .call(tag, method, &request)
                .map_err(|error| problem(error.status(), error.to_string()))?,
        };
        // SAFETY: not NULL; the caller promises room for a pointer.
        unsafe { reply.write(Box::into_raw(Box::new(made))) };
        Ok(())
    })
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
        match unsafe { &*client }.client.cancel(tag) {
            0 => Err(problem(
                Status::NOT_FOUND,
                format!("no call with tag {tag} is in flight"),
            )),
            _ => Ok(()),
        }
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
    shared::<mfn_reply>();
};
