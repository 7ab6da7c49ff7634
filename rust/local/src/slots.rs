//! The calls of one connection that are not over: a slab, so that a call costs no allocation and no hashing.
//!
//! A slot is taken until two things are over: the server owes no answer any more, and nobody waits for one. So the calls
//! in flight are counted as the server counts them, also those whose caller has given up.

use std::task::{Context, Poll, Waker};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::call::Reply;
use crate::client::{Event, Item};
use crate::error::CallError;

/// Low bits of a request id that name the slot; the others count, so that an id never comes twice.
const INDEX_BITS: u32 = 16;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// Who waits.
#[derive(Debug)]
pub(crate) enum Owner {
    Call {
        waker: Option<Waker>,
        result: Option<Result<Reply, CallError>>,
    },
    /// Unbounded, but the server may send only what `allowed` counts.
    Stream {
        to: mpsc::UnboundedSender<Result<Item, CallError>>,
        allowed: u32,
    },
    Gone,
}

impl Owner {
    pub(crate) fn call() -> Self {
        Self::Call {
            waker: None,
            result: None,
        }
    }

    /// Gives the end, once. `false`: it had one, or nobody waits.
    fn end(&mut self, end: Result<Reply, CallError>) -> bool {
        match self {
            Self::Call {
                waker,
                result: result @ None,
            } => {
                *result = Some(end);
                if let Some(waker) = waker.take() {
                    waker.wake();
                }
                true
            }
            Self::Stream { to, .. } => {
                // A receiver that is gone wants no end.
                let _ = to.send(end.map(Item::Reply));
                *self = Self::Gone;
                true
            }
            Self::Call { .. } | Self::Gone => false,
        }
    }
}

#[derive(Debug)]
struct Slot {
    /// 0: free.
    request_id: u64,
    /// The server owes an answer.
    is_owed: bool,
    deadline: Option<Instant>,
    owner: Owner,
}

#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
    in_flight: usize,
    count: u64,
}

impl Slots {
    /// Calls that the server has not answered.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Takes a slot and gives the id. `None`: as many calls wait as ids can name.
    pub(crate) fn insert(&mut self, owner: Owner, deadline: Option<Instant>) -> Option<u64> {
        let index = match self.free.pop() {
            Some(index) => index as usize,
            None if (self.slots.len() as u64) <= INDEX_MASK => {
                self.slots.push(Slot {
                    request_id: 0,
                    is_owed: false,
                    deadline: None,
                    owner: Owner::Gone,
                });
                self.slots.len() - 1
            }
            None => return None,
        };
        self.count += 1;
        let request_id = (self.count << INDEX_BITS) | index as u64;
        *self.slots.get_mut(index)? = Slot {
            request_id,
            is_owed: true,
            deadline,
            owner,
        };
        self.in_flight += 1;
        Some(request_id)
    }

    /// Whether that id was ever given: an answer to any other breaks the wire.
    pub(crate) fn was_given(&self, request_id: u64) -> bool {
        ((request_id & INDEX_MASK) as usize) < self.slots.len()
            && (1..=self.count).contains(&(request_id >> INDEX_BITS))
    }

    fn get(&mut self, request_id: u64) -> Option<&mut Slot> {
        let slot = self.slots.get_mut((request_id & INDEX_MASK) as usize)?;
        (slot.request_id == request_id).then_some(slot)
    }

    fn free_if_over(&mut self, request_id: u64) {
        let Some(slot) = self.get(request_id) else {
            return;
        };
        if !slot.is_owed && matches!(slot.owner, Owner::Gone) {
            slot.request_id = 0;
            self.free.push((request_id & INDEX_MASK) as u32);
        }
    }

    /// The server's answer.
    pub(crate) fn answered(&mut self, request_id: u64, result: Result<Reply, CallError>) {
        let Some(slot) = self.get(request_id) else {
            return;
        };
        if !std::mem::take(&mut slot.is_owed) {
            return;
        }
        slot.deadline = None;
        slot.owner.end(result);
        self.in_flight -= 1;
        self.free_if_over(request_id);
    }

    /// An event. `false`: it came without credit.
    pub(crate) fn event(&mut self, request_id: u64, event: Event) -> bool {
        match self.get(request_id).map(|slot| &mut slot.owner) {
            Some(Owner::Stream { to, allowed }) if *allowed > 0 => {
                *allowed -= 1;
                // A receiver that is gone has cancelled.
                let _ = to.send(Ok(Item::Event(event)));
                true
            }
            Some(Owner::Stream { .. } | Owner::Call { result: None, .. }) => false,
            // It crossed with the cancel.
            Some(_) | None => true,
        }
    }

    /// Allows more events. `false`: the stream is over.
    pub(crate) fn allow(&mut self, request_id: u64, credit: u32) -> bool {
        match self.get(request_id).map(|slot| &mut slot.owner) {
            Some(Owner::Stream { allowed, .. }) => {
                *allowed += credit;
                true
            }
            _ => false,
        }
    }

    /// Takes the result, or leaves word whom to wake.
    pub(crate) fn poll(
        &mut self,
        request_id: u64,
        context: &Context<'_>,
    ) -> Poll<Option<Result<Reply, CallError>>> {
        let Some(slot) = self.get(request_id) else {
            return Poll::Ready(None);
        };
        let Owner::Call { waker, result } = &mut slot.owner else {
            return Poll::Ready(None);
        };
        if let Some(result) = result.take() {
            slot.owner = Owner::Gone;
            self.free_if_over(request_id);
            return Poll::Ready(Some(result));
        }
        match waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Nobody waits any more. `true`: the server works on it and must be told.
    pub(crate) fn give_up(&mut self, request_id: u64) -> bool {
        let Some(slot) = self.get(request_id) else {
            return false;
        };
        let had_end = match &slot.owner {
            Owner::Call { result, .. } => result.is_some(),
            Owner::Stream { .. } => false,
            Owner::Gone => true,
        };
        slot.owner = Owner::Gone;
        slot.deadline = None;
        let must_tell = slot.is_owed && !had_end;
        self.free_if_over(request_id);
        must_tell
    }

    /// Forgets a call whose request was not sent.
    pub(crate) fn remove(&mut self, request_id: u64) {
        if let Some(slot) = self.get(request_id) {
            slot.owner = Owner::Gone;
            if std::mem::take(&mut slot.is_owed) {
                self.in_flight -= 1;
            }
            self.free_if_over(request_id);
        }
    }

    /// Ends the calls whose deadline has come and says which to cancel; gives the earliest deadline that is left.
    pub(crate) fn expire(&mut self, now: Instant, mut cancel: impl FnMut(u64)) -> Option<Instant> {
        let mut earliest: Option<Instant> = None;
        for slot in &mut self.slots {
            match slot.deadline {
                Some(deadline) if deadline <= now => {
                    slot.deadline = None;
                    if slot.owner.end(Err(CallError::Deadline)) {
                        cancel(slot.request_id);
                    }
                }
                Some(deadline) => {
                    earliest = Some(earliest.map_or(deadline, |other| other.min(deadline)));
                }
                None => {}
            }
        }
        earliest
    }

    /// Ends all: no answer comes any more.
    pub(crate) fn end(&mut self, error: &CallError) {
        self.in_flight = 0;
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            if slot.request_id == 0 {
                continue;
            }
            slot.is_owed = false;
            slot.deadline = None;
            slot.owner.end(Err(error.clone()));
            let request_id = slot.request_id;
            self.free_if_over(request_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    #[derive(Clone, Debug)]
    enum Step {
        Ask(Option<u64>),
        Answer(usize),
        Take(usize),
        GiveUp(usize),
        Time(u64),
        End,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => prop::option::of(1u64..50).prop_map(Step::Ask),
            4 => (0usize..16).prop_map(Step::Answer),
            3 => (0usize..16).prop_map(Step::Take),
            2 => (0usize..16).prop_map(Step::GiveUp),
            1 => (1u64..20).prop_map(Step::Time),
            1 => Just(Step::End),
        ];
        prop::collection::vec(step, 0..80)
    }

    #[derive(Debug)]
    struct Model {
        deadline: Option<u64>,
        owed: bool,
        waits: bool,
        ends: u32,
    }

    proptest! {
        /// Against a map that does everything the long way: each call ends once, what is in flight is counted as the
        /// server counts it, and slots are used again.
        #[test]
        fn every_call_ends_once(steps in steps()) {
            let start = Instant::now();
            let at = |ms| start + Duration::from_millis(ms);
            let (mut slots, mut model, mut now) = (Slots::default(), BTreeMap::<u64, Model>::new(), 0);
            let mut all = BTreeSet::new();
            for step in steps {
                let ids: Vec<u64> = model.keys().copied().collect();
                let pick = |index: usize| ids.get(index % ids.len().max(1)).copied();
                match step {
                    Step::Ask(deadline) => {
                        let deadline = deadline.map(|left| now + left);
                        let id = slots.insert(Owner::call(), deadline.map(at)).expect("there is room");
                        prop_assert!(all.insert(id), "an id came twice");
                        model.insert(id, Model { deadline, owed: true, waits: true, ends: 0 });
                    }
                    Step::Answer(index) => if let Some(id) = pick(index) {
                        slots.answered(id, Ok(Reply::empty()));
                        let call = model.get_mut(&id).expect("it is there");
                        if call.owed && call.waits && call.ends == 0 { call.ends = 1; }
                        call.owed = false;
                        call.deadline = None;
                    },
                    Step::Take(index) => if let Some(id) = pick(index) {
                        let call = model.get_mut(&id).expect("it is there");
                        if call.waits {
                            let polled = slots.poll(id, &Context::from_waker(Waker::noop()));
                            prop_assert_eq!(polled.is_ready(), call.ends == 1);
                            call.waits = call.ends == 0;
                        }
                    },
                    Step::GiveUp(index) => if let Some(id) = pick(index) {
                        let call = model.get_mut(&id).expect("it is there");
                        if call.waits {
                            prop_assert_eq!(slots.give_up(id), call.owed && call.ends == 0);
                            (call.waits, call.deadline) = (false, None);
                        }
                    },
                    Step::Time(passed) => {
                        now += passed;
                        let mut cancelled = Vec::new();
                        let left = slots.expire(at(now), |id| cancelled.push(id));
                        let mut expected = Vec::new();
                        for (id, call) in &mut model {
                            if call.deadline.is_some_and(|deadline| deadline <= now) {
                                call.deadline = None;
                                if call.waits && call.ends == 0 { call.ends = 1; expected.push(*id); }
                            }
                        }
                        cancelled.sort_unstable();
                        prop_assert_eq!(cancelled, expected);
                        prop_assert_eq!(left, model.values().filter_map(|call| call.deadline).min().map(at));
                    }
                    Step::End => {
                        slots.end(&CallError::Deadline);
                        for call in model.values_mut() {
                            if call.waits && call.ends == 0 { call.ends = 1; }
                            (call.owed, call.deadline) = (false, None);
                        }
                    }
                }
                prop_assert_eq!(slots.in_flight(), model.values().filter(|call| call.owed).count());
                model.retain(|_, call| call.owed || call.waits);
                prop_assert_eq!(slots.slots.len() - slots.free.len(), model.len());
                for id in model.keys() { prop_assert!(slots.was_given(*id)); }
            }
        }
    }
}
