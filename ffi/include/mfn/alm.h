/* Layer 3, the Associative Link Mesh, in the caller's process. Implemented in go/ (go/cmd/libalm), C11 and C++17.
 *
 * The usual way to layer 3 is its daemon, almd, and mfn/client.h. This archive is for programs that want no second process.
 * It brings the Go runtime along: threads of its own, a garbage collector, and about 6 MB. One Go archive per process.
 *
 * Handles are numbers. Methods and messages are those of the socket: MFN_METHOD_ALM_* of mfn/protocol.h, bodies in protobuf
 * (ffi/protocol/local.proto).
 *
 * Threads: every function may be called from any thread at any time. mfn_alm_close waits for calls that are under way.
 *
 * Signals: the Go runtime handles SIGSEGV, SIGBUS, SIGFPE and SIGURG. A host's own handler of any signal must be installed
 * with SA_ONSTACK: one without, on a thread of Go's, runs on a stack that is too small for it and corrupts memory. A runtime
 * that installs handlers without it (tokio's signal handling does) needs them set again with SA_ONSTACK after it has.
 * Do not fork without exec.
 *
 * Broken invariants are caught at this border and answered with MFN_PANIC, then and by every later call; close the handle then.
 * Its memory is not freed. Its directory can be opened again, unless the panic left a lock of the journal's held: then it stays
 * locked until the process ends. What the Go runtime calls fatal nobody can catch, and it ends the process: no memory left, a
 * stack of 1 GB, a map that two threads write at once. */
#ifndef MFN_ALM_H
#define MFN_ALM_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Major version in the high 16 bits, minor in the low ones. */
#define MFN_ALM_ABI_VERSION 0x00010000u

/* Flags of mfn_alm_open. An acknowledged change survives the process and not a power cut. */
#define MFN_ALM_DURABLE_NONE 1u
/* A damaged directory gives way to an empty one, renamed beside it, instead of MFN_CORRUPT. */
#define MFN_ALM_SET_ASIDE 2u

/* The version that the archive was built with. */
uint32_t mfn_alm_abi_version(void);

/* Opens the memory in a directory, which is made if it is not there and may be open once at a time. bytes_max bounds all
 * that is remembered; 0 is 1 GiB. On MFN_OK *handle is to be closed by the caller.
 * Errors: MFN_INVALID_ARGUMENT (a NULL, an unknown flag, a bytes_max that is too small), MFN_CORRUPT, MFN_IO; standard error
 * says more. */
int32_t mfn_alm_open(const char *directory, uint32_t flags, uint64_t bytes_max, uint64_t *handle);

/* Calls a method and waits for the answer, for timeout_ms at most; 0 waits without end. body may be NULL when body_bytes is 0.
 *
 * *needed becomes the length of the answer, and as much of it as fits is written to out, which may be NULL when capacity is 0.
 * MFN_NO_SPACE says that not all of it did: call again with more. That is for questions; the answer to a change is empty.
 * On any other error the answer is a text that says what is wrong, UTF-8 without a closing zero.
 * Errors: MFN_CLOSED (no such handle), MFN_INVALID_ARGUMENT, MFN_NO_SPACE, MFN_DEADLINE, or those of the method. */
int32_t mfn_alm_call(uint64_t handle, uint16_t method, const uint8_t *body, size_t body_bytes, uint64_t timeout_ms, uint8_t *out,
                     size_t capacity, size_t *needed);

/* Writes a snapshot and ends. MFN_CLOSED says that there is no such handle, MFN_PANIC that it broke earlier and wrote none: what
 * was acknowledged is in its log. */
int32_t mfn_alm_close(uint64_t handle);

#ifdef __cplusplus
}
#endif

#endif
