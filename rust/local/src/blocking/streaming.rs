//! Streamed answers for threads that block.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use mfn_wire::{Header, Kind, Status, limits};

use super::{Client, State};
use crate::client::{Event, Item};
use crate::driver::End;
use crate::error::CallError;
use crate::request::Request;

/// The events of one call.
#[derive(Debug)]
pub(super) struct Flow {
    credit: u32,
    /// Events that the server may still send. Those that wait here and those on their way are never more than the credit.
    allowed: u32,
    /// Events taken whose credit is not given back yet.
    taken: u32,
    events: VecDeque<Event>,
}

impl Flow {
    pub(super) fn new(credit: u32) -> Self {
        Self {
            credit,
            allowed: credit,
            taken: 0,
            events: VecDeque::new(),
        }
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
    }

    /// The next event, and how much credit goes back with it: half of it at a time.
    fn take(&mut self) -> Option<(Event, u32)> {
        let event = self.events.pop_front()?;
        self.taken += 1;
        if self.taken * 2 < self.credit {
            return Some((event, 0));
        }
        let back = std::mem::take(&mut self.taken);
        self.allowed += back;
        Some((event, back))
    }
}

impl State {
    /// An event arrived.
    pub(super) fn event(&mut self, request_id: u64, event: Event) -> Result<(), End> {
        if request_id >= self.next_id {
            return Err(End::unasked(request_id));
        }
        // Of one that nobody waits for, it was on its way.
        let Some(call) = self.call(request_id) else {
            return Ok(());
        };
        let Some(flow) = call.flow.as_mut().filter(|flow| flow.allowed > 0) else {
            let text = "an event without credit".into();
            return Err(End::Refused(Status::BAD_CREDIT, text));
        };
        flow.allowed -= 1;
        if call.result.is_none() {
            flow.events.push_back(event);
            if call.waits {
                call.thread.unpark();
            }
        }
        Ok(())
    }

    /// What comes next of a stream: its events, then its end.
    fn take_item(&mut self, request_id: u64) -> Option<Result<(Item, u32), CallError>> {
        let call = self.call(request_id)?;
        let is_over = call.result.is_some();
        if let Some((event, back)) = call.flow.as_mut().and_then(Flow::take) {
            return Some(Ok((Item::Event(event), if is_over { 0 } else { back })));
        }
        let result = self.take_result(request_id)?;
        Some(result.map(|reply| (Item::Reply(reply), 0)))
    }
}

impl Client {
    /// Asks for a streamed answer, of which at most `credit` events are under way at once. Nothing is read while nobody
    /// waits for an item: the server is held up.
    pub fn stream(
        self: &Arc<Self>,
        tag: u64,
        method: u16,
        request: &Request,
        credit: u32,
    ) -> Result<Streaming, CallError> {
        let credit = credit.clamp(1, limits::CREDIT_MAX);
        let request_id = self.begin(tag, method, request, credit)?;
        Ok(Streaming {
            client: Arc::clone(self),
            request_id,
            method,
            until: request.deadline,
            is_over: false,
        })
    }
}

/// A streamed answer. Dropped before its end, the call is cancelled.
#[derive(Debug)]
pub struct Streaming {
    client: Arc<Client>,
    request_id: u64,
    method: u16,
    until: Option<Instant>,
    is_over: bool,
}

impl Streaming {
    /// The next event, then the reply or an error, then `None`. Waits at most to the deadline of the request.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would go on after an error"
    )]
    pub fn next(&mut self) -> Option<Result<Item, CallError>> {
        if self.is_over {
            return None;
        }
        let (client, request_id) = (&self.client, self.request_id);
        let taken = client.wait_for(request_id, self.until, |state| state.take_item(request_id));
        match taken {
            Some(Ok((Item::Event(event), back))) => {
                if back > 0 {
                    let header = Header {
                        method: self.method,
                        request_id,
                        credit: back,
                        ..Header::new(Kind::Credit, client.service)
                    };
                    client.say_alone(&header);
                }
                Some(Ok(Item::Event(event)))
            }
            Some(end) => {
                self.is_over = true;
                Some(end.map(|(item, _)| item))
            }
            None => {
                self.is_over = true;
                Some(Err(client.give_up(request_id)))
            }
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        if !self.is_over {
            self.client.abandon(self.request_id);
        }
    }
}
