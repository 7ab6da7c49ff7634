//! Bytes that arrived, and the whole frames in them.

use bytes::{Buf, Bytes};
use mfn_wire::WireError;

/// Room at first. It is filled with zeros once and then read into again and again: the kernel copies into initialised
/// memory, and frames are copied out, which is cheaper than a new buffer per turn for all but long frames.
const ROOM_MIN: usize = 8 * 1024;
/// Room that a busy connection grows to. Only a longer frame grows it more, as its bytes arrive.
pub(crate) const ROOM: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new() -> Self {
        Self {
            buffer: vec![0; ROOM_MIN],
            start: 0,
            end: 0,
        }
    }

    /// Bytes that are not part of a frame handed out.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Where the next bytes go; never empty.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let was_full = self.end == self.buffer.len();
        if self.start > 0 && (self.start == self.end || was_full) {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() || (was_full && self.buffer.len() < ROOM) {
            // Twice what has really arrived, never what a length field promises.
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// That many bytes were put into the room.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end + count);
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether a whole frame is there.
    pub(crate) fn has_frame(&self) -> Result<bool, WireError> {
        Ok(mfn_wire::frame_length(self.bytes())?.is_some_and(|length| length <= self.len()))
    }

    /// Takes a whole frame, if one is there.
    pub(crate) fn frame(&mut self) -> Result<Option<Bytes>, WireError> {
        let length = match mfn_wire::frame_length(self.bytes())? {
            Some(length) if length <= self.len() => length,
            _ => return Ok(None),
        };
        if length > ROOM / 2 {
            return Ok(Some(self.split(length)));
        }
        let frame = self.bytes().get(..length).map(Bytes::copy_from_slice);
        self.start += length;
        Ok(frame)
    }

    /// Gives a long frame away with its buffer; what follows it moves to a new one.
    fn split(&mut self, length: usize) -> Bytes {
        let rest = self.bytes().get(length..).unwrap_or_default();
        let mut buffer = vec![0; ROOM.max(rest.len() * 2)];
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        let end = rest.len();
        let frame = Bytes::from(std::mem::replace(&mut self.buffer, buffer))
            .slice(self.start..self.start + length);
        (self.start, self.end) = (0, end);
        frame
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
