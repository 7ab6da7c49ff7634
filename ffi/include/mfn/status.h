/* How a call ended: 0 is success, errors are negative.
 * Generated from ffi/protocol/constants.toml by `./make gen`; do not edit. */
#ifndef MFN_STATUS_H
#define MFN_STATUS_H

#include <stdint.h>

enum mfn_status {
    /* Success. */
    MFN_OK = 0,
    /* An argument is outside what the function accepts. */
    MFN_INVALID_ARGUMENT = -1,
    /* What was asked for is not here. */
    MFN_NOT_FOUND = -2,
    /* Something of that name is already here. */
    MFN_ALREADY_EXISTS = -3,
    /* The buffer is too small; the needed size was written. */
    MFN_NO_SPACE = -4,
    /* A configured limit would be exceeded. */
    MFN_LIMIT = -5,
    /* Memory could not be allocated. */
    MFN_OUT_OF_MEMORY = -6,
    /* This service does not know the method. */
    MFN_UNSUPPORTED = -7,
    /* The caller cancelled the request. */
    MFN_CANCELLED = -8,
    /* The deadline passed before the answer. */
    MFN_DEADLINE = -9,
    /* A bounded queue is full; try again later. */
    MFN_BUSY = -10,
    /* The connection or the handle is closed. */
    MFN_CLOSED = -11,
    /* The caller may not do this. */
    MFN_DENIED = -12,
    /* The component has nothing to serve yet. */
    MFN_NOT_READY = -13,
    /* The operating system reported an error. */
    MFN_IO = -14,
    /* Stored data does not match its checksum. */
    MFN_CORRUPT = -15,
    /* No peer that could answer was reached. */
    MFN_UNREACHABLE = -16,
    /* The store's quota or the disk is full. */
    MFN_QUOTA = -17,
    /* The destination is in the way or names collide there. */
    MFN_CONFLICT = -18,
    /* Calls like this one failed too often; none is made until a pause is over. */
    MFN_CIRCUIT_OPEN = -30,
    /* A broken invariant was caught at the border; the handle must be freed. */
    MFN_PANIC = -98,
    /* An error that should not happen; please report it. */
    MFN_INTERNAL = -99,
    /* The frame ends before its header does. */
    MFN_FRAME_SHORT = -100,
    /* The frame is longer than the limit. */
    MFN_FRAME_TOO_LARGE = -101,
    /* The length prefix and the bytes present disagree. */
    MFN_FRAME_LENGTH = -102,
    /* The header's version is not ours. */
    MFN_BAD_VERSION = -103,
    /* The frame's kind is unknown. */
    MFN_BAD_KIND = -104,
    /* The service is unknown. */
    MFN_BAD_SERVICE = -105,
    /* The content type is unknown, or `none` has a body. */
    MFN_BAD_CONTENT_TYPE = -106,
    /* A flag is set that this version does not define. */
    MFN_BAD_FLAGS = -107,
    /* The status does not fit the kind: errors are negative, all else is 0. */
    MFN_BAD_STATUS = -108,
    /* The request id does not fit the kind. */
    MFN_BAD_REQUEST_ID = -109,
    /* The credit is above the limit, or stands where none may. */
    MFN_BAD_CREDIT = -110,
    /* The TLV area or an entry in it runs past its end, or a known entry has a wrong length. */
    MFN_BAD_TLV = -111,
    /* A text body or text entry is not UTF-8. */
    MFN_BAD_UTF8 = -112,
    /* The body does not decode as the method's message. */
    MFN_BAD_BODY = -113,
    /* The frame does not fit the state of the connection. */
    MFN_UNEXPECTED_FRAME = -114,
};

/* Name of a status; never NULL. */
static inline const char *mfn_status_name(int32_t status) {
    switch (status) {
    case MFN_OK:
        return "OK";
    case MFN_INVALID_ARGUMENT:
        return "INVALID_ARGUMENT";
    case MFN_NOT_FOUND:
        return "NOT_FOUND";
    case MFN_ALREADY_EXISTS:
        return "ALREADY_EXISTS";
    case MFN_NO_SPACE:
        return "NO_SPACE";
    case MFN_LIMIT:
        return "LIMIT";
    case MFN_OUT_OF_MEMORY:
        return "OUT_OF_MEMORY";
    case MFN_UNSUPPORTED:
        return "UNSUPPORTED";
    case MFN_CANCELLED:
        return "CANCELLED";
    case MFN_DEADLINE:
        return "DEADLINE";
    case MFN_BUSY:
        return "BUSY";
    case MFN_CLOSED:
        return "CLOSED";
    case MFN_DENIED:
        return "DENIED";
    case MFN_NOT_READY:
        return "NOT_READY";
    case MFN_IO:
        return "IO";
    case MFN_CORRUPT:
        return "CORRUPT";
    case MFN_UNREACHABLE:
        return "UNREACHABLE";
    case MFN_QUOTA:
        return "QUOTA";
    case MFN_CONFLICT:
        return "CONFLICT";
    case MFN_CIRCUIT_OPEN:
        return "CIRCUIT_OPEN";
    case MFN_PANIC:
        return "PANIC";
    case MFN_INTERNAL:
        return "INTERNAL";
    case MFN_FRAME_SHORT:
        return "FRAME_SHORT";
    case MFN_FRAME_TOO_LARGE:
        return "FRAME_TOO_LARGE";
    case MFN_FRAME_LENGTH:
        return "FRAME_LENGTH";
    case MFN_BAD_VERSION:
        return "BAD_VERSION";
    case MFN_BAD_KIND:
        return "BAD_KIND";
    case MFN_BAD_SERVICE:
        return "BAD_SERVICE";
    case MFN_BAD_CONTENT_TYPE:
        return "BAD_CONTENT_TYPE";
    case MFN_BAD_FLAGS:
        return "BAD_FLAGS";
    case MFN_BAD_STATUS:
        return "BAD_STATUS";
    case MFN_BAD_REQUEST_ID:
        return "BAD_REQUEST_ID";
    case MFN_BAD_CREDIT:
        return "BAD_CREDIT";
    case MFN_BAD_TLV:
        return "BAD_TLV";
    case MFN_BAD_UTF8:
        return "BAD_UTF8";
    case MFN_BAD_BODY:
        return "BAD_BODY";
    case MFN_UNEXPECTED_FRAME:
        return "UNEXPECTED_FRAME";
    default:
        return "UNKNOWN";
    }
}

/* One sentence for people; never NULL. */
static inline const char *mfn_status_text(int32_t status) {
    switch (status) {
    case MFN_OK:
        return "Success.";
    case MFN_INVALID_ARGUMENT:
        return "An argument is outside what the function accepts.";
    case MFN_NOT_FOUND:
        return "What was asked for is not here.";
    case MFN_ALREADY_EXISTS:
        return "Something of that name is already here.";
    case MFN_NO_SPACE:
        return "The buffer is too small; the needed size was written.";
    case MFN_LIMIT:
        return "A configured limit would be exceeded.";
    case MFN_OUT_OF_MEMORY:
        return "Memory could not be allocated.";
    case MFN_UNSUPPORTED:
        return "This service does not know the method.";
    case MFN_CANCELLED:
        return "The caller cancelled the request.";
    case MFN_DEADLINE:
        return "The deadline passed before the answer.";
    case MFN_BUSY:
        return "A bounded queue is full; try again later.";
    case MFN_CLOSED:
        return "The connection or the handle is closed.";
    case MFN_DENIED:
        return "The caller may not do this.";
    case MFN_NOT_READY:
        return "The component has nothing to serve yet.";
    case MFN_IO:
        return "The operating system reported an error.";
    case MFN_CORRUPT:
        return "Stored data does not match its checksum.";
    case MFN_UNREACHABLE:
        return "No peer that could answer was reached.";
    case MFN_QUOTA:
        return "The store's quota or the disk is full.";
    case MFN_CONFLICT:
        return "The destination is in the way or names collide there.";
    case MFN_CIRCUIT_OPEN:
        return "Calls like this one failed too often; none is made until a pause is over.";
    case MFN_PANIC:
        return "A broken invariant was caught at the border; the handle must be freed.";
    case MFN_INTERNAL:
        return "An error that should not happen; please report it.";
    case MFN_FRAME_SHORT:
        return "The frame ends before its header does.";
    case MFN_FRAME_TOO_LARGE:
        return "The frame is longer than the limit.";
    case MFN_FRAME_LENGTH:
        return "The length prefix and the bytes present disagree.";
    case MFN_BAD_VERSION:
        return "The header's version is not ours.";
    case MFN_BAD_KIND:
        return "The frame's kind is unknown.";
    case MFN_BAD_SERVICE:
        return "The service is unknown.";
    case MFN_BAD_CONTENT_TYPE:
        return "The content type is unknown, or `none` has a body.";
    case MFN_BAD_FLAGS:
        return "A flag is set that this version does not define.";
    case MFN_BAD_STATUS:
        return "The status does not fit the kind: errors are negative, all else is 0.";
    case MFN_BAD_REQUEST_ID:
        return "The request id does not fit the kind.";
    case MFN_BAD_CREDIT:
        return "The credit is above the limit, or stands where none may.";
    case MFN_BAD_TLV:
        return "The TLV area or an entry in it runs past its end, or a known entry has a wrong length.";
    case MFN_BAD_UTF8:
        return "A text body or text entry is not UTF-8.";
    case MFN_BAD_BODY:
        return "The body does not decode as the method's message.";
    case MFN_UNEXPECTED_FRAME:
        return "The frame does not fit the state of the connection.";
    default:
        return "A status that this version does not know.";
    }
}

#endif
