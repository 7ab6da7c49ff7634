// Package alm is layer 3 as a service: pools, each a graph of links and a predictor of what is used together, behind the
// methods of the local wire, kept on disk by a journal.
//
// # Who waits for whom
//
// Questions never wait: the map of pools, the graphs and the models are read without locks. Changes are made one at a time
// under Service.mu, each as one record of the journal, in the order of the records; the lock is given back before the disk has
// the record, and the answer is sent when it has. So a question may see a change that is not acknowledged yet.
//
// # What is a record
//
// The body of the call, with its method, its pool and the moment. Replaying applies it as the call did. A call is checked as
// a whole before anything is changed: it is applied and recorded in full, or not at all.
package alm
