// Package ipc serves and asks the local wire on a Unix socket.
//
// A Server owns one socket: its directory is closed to other users, the socket has mode 0600 and a lock beside it, a stale
// one is replaced. Callers are checked by SO_PEERCRED. Each connection has one goroutine that reads and one that writes;
// each call has one more. Queues, frames, calls and connections are bounded by Limits.
//
// A Client is the other side: many calls share one connection, deadlines and cancellation travel, streams have credit.
// A Pool keeps a few of them, replaces those that end or grow old, and has a circuit breaker for each method.
package ipc
