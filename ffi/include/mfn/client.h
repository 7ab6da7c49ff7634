/* The client of the local sockets. Implemented in rust/capi; C11 and C++17.
 *
 * Generated from rust/capi/src/client.rs by `./make gen`; do not edit.
 *
 * Functions that return int32_t give MFN_OK or an error of mfn/status.h; outputs are written on success only, and
 * mfn_last_error has the text of the last error of the calling thread. */

#ifndef MFN_CLIENT_H
#define MFN_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include "status.h"

/*
 Major version in the high 16 bits, minor in the low ones.
 */
#define MFN_CLIENT_ABI_VERSION 65537

/*
 A connection to one socket. Made by mfn_client_connect, freed by mfn_client_close.

 Threads: mfn_client_call, mfn_client_stream, mfn_client_cancel and the streams' functions may run at the same time as
 each other, from any threads.
 */
struct mfn_client;

/*
 Few connections to one socket for many threads, repaired as they break, and a circuit breaker for each method: after too
 many failures calls are refused with MFN_CIRCUIT_OPEN for a while, then a few try. Made by mfn_pool_new, freed by
 mfn_pool_close.

 Threads: mfn_pool_call, mfn_pool_stream and mfn_pool_cancel may run at the same time as each other, from any threads.
 */
struct mfn_pool;

/*
 The answer to a call, or an event of a stream. Made by mfn_client_call and mfn_stream_next, freed by mfn_reply_free.
 Any thread may read it.
 */
struct mfn_reply;

/*
 A streamed answer under way. Made by mfn_client_stream and mfn_pool_stream, freed by mfn_stream_close; it may outlive the
 client or pool, whose connection it keeps. One thread at a time.
 */
struct mfn_stream;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 The version of this header that the library was built with. Compare its high 16 bits with MFN_CLIENT_ABI_VERSION.
 */
uint32_t mfn_client_abi_version(void);

/*
 Connects to the socket at a path and checks that it serves that service (MFN_SERVICE_*), at most for timeout_ms.

 On MFN_OK *client is a handle that the caller owns. The threads that call drive its connection; it has none of its own.
 Errors: MFN_INVALID_ARGUMENT, MFN_UNREACHABLE (nothing serves the path), MFN_DEADLINE, MFN_DENIED (another user's
 socket), MFN_IO, or the status with which the server refused.

 # Safety
 `path` is a string that ends with a zero byte; `client` points to a place for one pointer.
 */
int32_t mfn_client_connect(const char *path, uint8_t service, uint64_t timeout_ms, struct mfn_client **client);

/*
 Calls a method (MFN_METHOD_*) and waits for the answer, at most for timeout_ms; 0 waits without end.

 content_type is MFN_CONTENT_TYPE_*. The tag is the caller's name for the call, for mfn_client_cancel; several calls
 may share one. On MFN_OK *reply is a handle that the caller owns.
 Errors: MFN_DEADLINE, MFN_CANCELLED, MFN_CLOSED (the connection is over; connect again), MFN_BUSY, or the status of
 the server's answer; mfn_last_error has its text.

 # Safety
 `client` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `reply` points to a
 place for one pointer.
 */
int32_t mfn_client_call(const struct mfn_client *client,
                        uint64_t tag,
                        uint16_t method,
                        uint8_t content_type,
                        const uint8_t *body,
                        size_t body_bytes,
                        uint64_t timeout_ms,
                        struct mfn_reply **reply);

/*
 Calls a method that streams, as mfn_client_call; mfn_stream_next gives its events and its end.

 At most credit events (1 to MFN_CREDIT_MAX; others count as the nearest) are under way at once; taking them allows more.
 The timeout is that of the whole stream. On MFN_OK *stream is a handle that the caller owns.

 # Safety
 `client` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `stream` points to a
 place for one pointer.
 */
int32_t mfn_client_stream(const struct mfn_client *client,
                          uint64_t tag,
                          uint16_t method,
                          uint8_t content_type,
                          const uint8_t *body,
                          size_t body_bytes,
                          uint64_t timeout_ms,
                          uint32_t credit,
                          struct mfn_stream **stream);

/*
 Makes a pool of at most connections_max connections (at least one) to the socket at a path, without connecting: calls do,
 each for at most connect_timeout_ms, their own timeouts included.

 On MFN_OK *pool is a handle that the caller owns. Errors: MFN_INVALID_ARGUMENT, MFN_BAD_SERVICE.

 # Safety
 `path` is a string that ends with a zero byte; `pool` points to a place for one pointer.
 */
int32_t mfn_pool_new(const char *path,
                     uint8_t service,
                     uint32_t connections_max,
                     uint64_t connect_timeout_ms,
                     struct mfn_pool **pool);

/*
 Calls a method, as mfn_client_call, over one of the pool's connections; the timeout holds for connecting too. A call that
 a server on its way out did not take is made again, any other happens at most once.
 Errors beside those of mfn_client_call: MFN_UNREACHABLE (nothing serves the path), MFN_CIRCUIT_OPEN.

 # Safety
 `pool` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `reply` points to a place
 for one pointer.
 */
int32_t mfn_pool_call(const struct mfn_pool *pool,
                      uint64_t tag,
                      uint16_t method,
                      uint8_t content_type,
                      const uint8_t *body,
                      size_t body_bytes,
                      uint64_t timeout_ms,
                      struct mfn_reply **reply);

/*
 Calls a method that streams, as mfn_client_stream, over one of the pool's connections. Errors: those of mfn_pool_call.

 # Safety
 `pool` is a live handle; `body` points to `body_bytes` bytes, or is NULL when there are none; `stream` points to a place
 for one pointer.
 */
int32_t mfn_pool_stream(const struct mfn_pool *pool,
                        uint64_t tag,
                        uint16_t method,
                        uint8_t content_type,
                        const uint8_t *body,
                        size_t body_bytes,
                        uint64_t timeout_ms,
                        uint32_t credit,
                        struct mfn_stream **stream);

/*
 Cancels the calls with that tag that are in flight, as mfn_client_cancel.

 # Safety
 `pool` is a live handle.
 */
int32_t mfn_pool_cancel(const struct mfn_pool *pool, uint64_t tag);

/*
 Closes the pool and frees the handle. NULL is allowed. No call may be running or start.

 # Safety
 `pool` is a live handle or NULL; it is dead afterwards.
 */
void mfn_pool_close(struct mfn_pool *pool);

/*
 Waits for the next event or the end of a stream.

 On MFN_OK *item is a handle that the caller owns, and *is_end is 0 for an event, 1 for the reply, after which nothing
 comes. An error ends the stream as well: those of mfn_client_call, or MFN_NOT_FOUND: it had ended before.

 # Safety
 `stream` is a live handle that no other thread uses; `item` points to a place for one pointer, `is_end` to one byte.
 */
int32_t mfn_stream_next(struct mfn_stream *stream, struct mfn_reply **item, uint8_t *is_end);

/*
 Frees a stream. One that is not over is cancelled. NULL is allowed.

 # Safety
 `stream` is a live handle or NULL; it is dead afterwards.
 */
void mfn_stream_close(struct mfn_stream *stream);

/*
 Cancels the calls with that tag that are in flight; each ends with MFN_CANCELLED and the server stops working on it.
 MFN_NOT_FOUND: none is.

 # Safety
 `client` is a live handle.
 */
int32_t mfn_client_cancel(const struct mfn_client *client, uint64_t tag);

/*
 Closes the connection and frees the handle. NULL is allowed. No call may be running or start; cancel them first and
 wait for their return.

 # Safety
 `client` is a live handle or NULL; it is dead afterwards.
 */
void mfn_client_close(struct mfn_client *client);

/*
 What the reply's body is: MFN_CONTENT_TYPE_*. 0 for NULL.

 # Safety
 `reply` is a live handle or NULL.
 */
uint8_t mfn_reply_content_type(const struct mfn_reply *reply);

/*
 The reply's body and its length. The bytes live as long as the reply; NULL and 0 for NULL.

 # Safety
 `reply` is a live handle or NULL; `bytes` points to a place for a length, or is NULL.
 */
const uint8_t *mfn_reply_body(const struct mfn_reply *reply, size_t *bytes);

/*
 Frees a reply. NULL is allowed.

 # Safety
 `reply` is a live handle or NULL; it is dead afterwards.
 */
void mfn_reply_free(struct mfn_reply *reply);

/*
 Copies the text of this thread's last error, with a closing zero byte; empty after a success.

 *needed becomes the room that it takes. MFN_NO_SPACE: the buffer is smaller; nothing was copied.

 # Safety
 `buffer` points to `capacity` bytes, or is NULL when that is 0; `needed` points to a place for a length, or is NULL.
 */
int32_t mfn_last_error(char *buffer, size_t capacity, size_t *needed);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MFN_CLIENT_H */
