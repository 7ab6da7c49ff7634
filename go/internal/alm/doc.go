// Package alm is layer 3 as a service: a graph of weighted associations behind the methods of the local wire, kept on disk
// by snapshots.
package alm
