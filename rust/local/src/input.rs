//! Bytes that arrived, and the whole frames in them.
//!
//! Frames are lent out of the buffer, not copied: in the steady state reading costs no allocation. A buffer is used again
//! when all frames lent out of it are gone. Frames that are kept for long pin few buffers: when [`LENT_MAX`]
//! are pinned, frames are copied until one comes back.

use bytes::{Buf, Bytes, BytesMut};
use mfn_wire::WireError;

/// Room at first. It is filled with zeros once and then read into again and again.
const ROOM_MIN: usize = 8 * 1024;
/// Room that a busy connection grows to. Only a longer frame grows it more, as its bytes arrive.
pub(crate) const ROOM: usize = 64 * 1024;
/// Buffers with frames that somebody still holds, besides the one that is read into.
const LENT_MAX: usize = 3;

#[derive(Debug)]
pub(crate) struct Input {
    /// Bytes that arrived, then room. As long as it is, it is initialised.
    buffer: BytesMut,
    /// How many arrived and are not handed out.
    filled: usize,
    /// What the buffer is made as long as when it starts anew.
    room: usize,
    lent: Vec<BytesMut>,
    copies: bool,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self {
            buffer: BytesMut::zeroed(ROOM_MIN),
            filled: 0,
            room: ROOM_MIN,
            lent: Vec::new(),
            copies: false,
        }
    }

    /// Bytes that are not part of a frame handed out.
    pub(crate) fn len(&self) -> usize {
        self.filled
    }

    /// Where the next bytes go; never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.filled == self.buffer.len() {
            self.make_room();
        }
        self.buffer.get_mut(self.filled..).unwrap_or_default()
    }

    fn make_room(&mut self) {
        if self.room < ROOM {
            self.room *= 2;
        }
        // Twice what has really arrived, never what a length field promises.
        let wanted = self.room.max(2 * self.filled);
        // Nobody holds a frame of it: what is left moves to the start.
        if self.copies || !self.buffer.try_reclaim(wanted - self.filled) {
            match self.free_one(wanted) {
                Some(next) => {
                    let old = self.read_into(next);
                    // One that frames were copied from is let go.
                    if !std::mem::take(&mut self.copies) {
                        self.lent.push(old);
                    }
                }
                None if self.copies => {
                    if !self.buffer.try_reclaim(wanted - self.filled) {
                        self.read_into(BytesMut::with_capacity(wanted));
                    }
                }
                None => {
                    let old = self.read_into(BytesMut::with_capacity(wanted));
                    self.lent.push(old);
                    self.copies = self.lent.len() > LENT_MAX;
                }
            }
        }
        self.buffer.resize(wanted, 0);
    }

    /// A buffer of those lent that is whole again. One that is too short is let go then.
    fn free_one(&mut self, wanted: usize) -> Option<BytesMut> {
        self.lent.retain_mut(|buffer| {
            buffer.clear();
            !buffer.try_reclaim(ROOM_MIN) || buffer.try_reclaim(wanted)
        });
        let at = self
            .lent
            .iter_mut()
            .position(|buffer| buffer.try_reclaim(wanted))?;
        Some(self.lent.swap_remove(at))
    }

    /// Goes on in another buffer; gives the old one.
    fn read_into(&mut self, mut next: BytesMut) -> BytesMut {
        next.extend_from_slice(self.buffer.get(..self.filled).unwrap_or_default());
        std::mem::replace(&mut self.buffer, next)
    }

    /// That many bytes were put into the room.
    pub(crate) fn filled(&mut self, count: usize) {
        self.filled = self.buffer.len().min(self.filled + count);
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.filled).unwrap_or_default()
    }

    /// Whether a whole frame is there.
    pub(crate) fn has_frame(&self) -> Result<bool, WireError> {
        Ok(mfn_wire::frame_length(self.bytes())?.is_some_and(|length| length <= self.len()))
    }

    /// Takes a whole frame, if one is there.
    pub(crate) fn frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let length = match mfn_wire::frame_length(self.bytes())? {
            Some(length) if length <= self.filled => length,
            _ => return Ok(None),
        };
        self.filled -= length;
        if self.copies && length <= ROOM / 2 {
            let frame = self.buffer.get(..length).map(Bytes::copy_from_slice);
            self.buffer.advance(length);
            return Ok(frame);
        }
        let frame = self.buffer.split_to(length).freeze();
        if length > ROOM / 2 {
            // A long frame takes its buffer with it; what follows it moves to a new one.
            let room = self.room.max(2 * self.filled);
            self.read_into(BytesMut::with_capacity(room));
            self.buffer.resize(room, 0);
        }
        Ok(Some(frame))
    }
}
/// The last bytes of a frame: its body. The rest is given up with it, which costs no second allocation.
pub(crate) fn tail(mut frame: Bytes, count: usize) -> Bytes {
    frame.advance(frame.len().saturating_sub(count));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use mfn_wire::{ContentType, Header, Kind, Service};
    use proptest::prelude::*;

    fn frame(id: u64, body: usize) -> Vec<u8> {
        let header = Header {
            content_type: if body == 0 {
                ContentType::None
            } else {
                ContentType::Bytes
            },
            request_id: id,
            ..Header::new(Kind::Reply, Service::State)
        };
        let mut bytes = Vec::new();
        mfn_wire::encode(&header, &[], &vec![id as u8; body], &mut bytes).expect("it fits");
        bytes
    }

    /// Frames that are never given back pin a few buffers, whatever arrives; given back, they are lent again.
    #[test]
    fn kept_frames_pin_few_buffers() {
        let (mut input, mut kept) = (Input::new(), Vec::new());
        let arrive = |input: &mut Input, id: u64| {
            let bytes = frame(id, 40);
            let mut at = 0;
            while at < bytes.len() {
                let room = input.room();
                let count = room.len().min(bytes.len() - at);
                room[..count].copy_from_slice(&bytes[at..at + count]);
                at += count;
                input.filled(count);
            }
            input
                .frame()
                .expect("it is well formed")
                .expect("it is whole")
        };
        for id in 1..20_000 {
            kept.push(arrive(&mut input, id));
            assert!(input.lent.len() <= LENT_MAX + 1);
        }
        assert!(input.copies);
        for (id, bytes) in (1..).zip(&kept) {
            assert_eq!(bytes[..], frame(id, 40));
        }
        kept.clear();
        for id in 1..5_000 {
            arrive(&mut input, id);
        }
        assert!(!input.copies);
    }

    proptest! {
        /// Whatever the pieces, the same frames come out, and room stays in proportion to what arrived.
        #[test]
        fn frames_come_out_whole(
            bodies in prop::collection::vec(prop_oneof![0usize..300, 30_000usize..200_000], 1..8),
            pieces in prop::collection::vec(1usize..100_000, 1..40),
        ) {
            let frames: Vec<Vec<u8>> = bodies.iter().enumerate().map(|(id, body)| frame(id as u64 + 1, *body)).collect();
            let sent = frames.concat();
            let (mut input, mut got, mut at, mut pieces) = (Input::new(), Vec::new(), 0, pieces.iter().cycle());
            while at < sent.len() {
                let room = input.room();
                prop_assert!(!room.is_empty());
                let count = room.len().min(sent.len() - at).min(*pieces.next().expect("it cycles"));
                room[..count].copy_from_slice(&sent[at..at + count]);
                at += count;
                input.filled(count);
                while let Some(frame) = input.frame().expect("all are well formed") {
                    got.push(frame.to_vec());
                }
                prop_assert!(!input.has_frame().expect("all are well formed"));
                prop_assert!(input.buffer.len() <= ROOM.max(4 * input.len()).max(2 * 200_100));
            }
            prop_assert_eq!(got, frames);
            prop_assert_eq!(input.len(), 0);
        }
    }
}
