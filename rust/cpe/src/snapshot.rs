//! A stream as bytes, and back. What is read is checked until it cannot lead out of a table, whoever wrote it; whether
//! it is what was written is for the host's checksum.

use crate::codec::{Reader, Writer};
use crate::contexts::{Contexts, INLINE, Node, POOLED, SLOTS_MIN, SUCCESSORS_MAX, Slot};
use crate::error::CpeError;
use crate::features::{SILENT, WEIGHTS};
use crate::gaps::{Gaps, SIZES};
use crate::grow::make_room;
use crate::history::{Event, History};
use crate::lane::{HEADS, Head, Lane, MRU, RECENT};
use crate::mixer::{RATE, Weight};
use crate::panel::COUNT;
use crate::score::{BINS, Bin, Scores};
use crate::stream::{Stream, StreamOptions};
use crate::symbols::{Record, Symbols};
use crate::trust::{KNOTS, Rate};

const VERSION: u32 = 1;

impl Stream {
    /// The whole state as bytes, in a form that only this version reads.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u32(VERSION);
        self.write(&mut writer);
        writer.bytes
    }

    /// The stream that `snapshot` was taken of: it predicts and learns exactly as that one did.
    ///
    /// Errors: [`CpeError::Version`], [`CpeError::Truncated`], [`CpeError::Invalid`]. Takes no more memory than the
    /// options in the snapshot allow and its length accounts for.
    pub fn restore(snapshot: &[u8]) -> Result<Self, CpeError> {
        let mut reader = Reader::new(snapshot, "a stream");
        let version = reader.u32()?;
        if version != VERSION {
            return Err(CpeError::Version {
                what: "a stream",
                version,
                known: VERSION,
            });
        }
        let stream = Self::read(&mut reader)?;
        reader.end()?;
        Ok(stream)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.u64(self.options.bytes_max as u64);
        writer.u32(self.asked_lanes as u32);
        writer.f32(self.options.claim_min);
        write_symbols(&self.symbols, writer);
        write_contexts(&self.contexts, writer);
        write_history(&self.history, writer);
        for weight in self.mixer.weights.iter() {
            writer.f32(weight.value);
            writer.f32(weight.rate);
        }
        writer.u32(self.mixer.lot);
        for knot in 0..KNOTS {
            writer.f32(self.correction.knots[knot]);
            writer.f32(self.correction.tries[knot]);
        }
        for rate in self.rates.all() {
            writer.f32(rate.hits);
            writer.f32(rate.tries);
        }
        for expert in 0..COUNT {
            writer.f64(self.panel.weights[expert]);
            writer.f64(self.panel.losses[expert]);
            writer.f64(self.panel.pending[expert]);
        }
        writer.u64(self.panel.events);
        writer.u32(self.lanes.len() as u32);
        for lane in &self.lanes {
            write_lane(lane, writer);
        }
        write_scores(&self.scores, writer);
        writer.f32(self.novelty);
        writer.f32(self.unseen);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CpeError> {
        reader.what = "a stream's options";
        let bytes_max = usize::try_from(reader.u64()?).map_err(|_| reader.invalid())?;
        let lanes_max = reader.u32()? as usize;
        let claim_min = reader.f32()?;
        let mut stream = Stream::new(StreamOptions {
            bytes_max,
            lanes_max,
            claim_min,
        })
        .map_err(|_| reader.invalid())?;
        read_symbols(&mut stream.symbols, reader)?;
        read_contexts(&mut stream.contexts, reader)?;
        read_history(&mut stream.history, reader)?;
        reader.what = "a stream's weights";
        for weight in stream.mixer.weights.iter_mut() {
            *weight = Weight {
                value: reader.f32()?,
                rate: reader.f32()?,
            };
            // Far beyond what learning reaches, and still far from overflow when added up.
            reader.check(weight.value.abs() < 1e6 && weight.rate > 0.0 && weight.rate <= RATE)?;
        }
        reader.check(stream.mixer.weights[usize::from(SILENT)].value == 0.0)?;
        stream.mixer.lot = reader.u32()?;
        for knot in 0..KNOTS {
            stream.correction.knots[knot] = reader.f32()?;
            stream.correction.tries[knot] = reader.f32()?;
            reader.check((0.0..=1.0).contains(&stream.correction.knots[knot]))?;
            reader.check((1.0..1e6).contains(&stream.correction.tries[knot]))?;
        }
        for rate in stream.rates.all_mut() {
            *rate = Rate {
                hits: reader.f32()?,
                tries: reader.f32()?,
            };
            reader.check(rate.hits >= 0.0 && rate.hits <= rate.tries && rate.tries < 1e6)?;
        }
        let mut sum = 0.0;
        for expert in 0..COUNT {
            stream.panel.weights[expert] = reader.f64()?;
            stream.panel.losses[expert] = reader.f64()?;
            stream.panel.pending[expert] = reader.f64()?;
            reader.check((0.0..=1.0).contains(&stream.panel.weights[expert]))?;
            reader.check((1e-300..=1.0).contains(&stream.panel.pending[expert]))?;
            reader.check(stream.panel.losses[expert] >= 0.0)?;
            sum += stream.panel.weights[expert];
        }
        reader.check((sum - 1.0).abs() < 1e-6)?;
        stream.panel.events = reader.u64()?;
        reader.check(stream.panel.events < 1 << 62)?;
        reader.what = "a stream's lanes";
        let lanes = reader.count(64, stream.options.lanes_max)?;
        for _ in 0..lanes {
            let lane = read_lane(reader)?;
            reader.check(stream.places.insert(lane.id, stream.lanes.len()).is_none())?;
            make_room(&mut stream.lanes, stream.options.lanes_max);
            stream.lanes.push(lane);
        }
        reader.what = "a stream's scores";
        stream.scores = read_scores(reader)?;
        stream.novelty = reader.f32()?;
        stream.unseen = reader.f32()?;
        reader.check((0.0..=1.0).contains(&stream.novelty))?;
        reader.check((0.0..=1.0).contains(&stream.unseen))?;
        Ok(stream)
    }
}

fn write_symbols(symbols: &Symbols, writer: &mut Writer) {
    writer.u32(symbols.records.len() as u32);
    for record in &symbols.records {
        writer.u64(record.value);
        writer.u32(record.last);
        writer.u32(record.gap);
        writer.u16(record.count);
        writer.u8(record.streak);
        writer.u8(record.generation);
    }
    writer.u32(symbols.hand as u32);
}

fn read_symbols(symbols: &mut Symbols, reader: &mut Reader<'_>) -> Result<(), CpeError> {
    reader.what = "a stream's symbols";
    let count = reader.count(20, symbols.records_max)?;
    for _ in 0..count {
        let record = Record {
            value: reader.u64()?,
            last: reader.u32()?,
            gap: reader.u32()?,
            count: reader.u16()?,
            streak: reader.u8()?,
            generation: reader.u8()?,
        };
        reader.check(record.count > 0 && symbols.restore(record))?;
    }
    let hand = reader.u32()? as usize;
    reader.check(hand < count.max(1))?;
    symbols.hand = hand;
    Ok(())
}

fn write_contexts(contexts: &Contexts, writer: &mut Writer) {
    writer.u32(contexts.slots.len() as u32);
    writer.u32(contexts.live as u32);
    for (at, slot) in contexts
        .slots
        .iter()
        .enumerate()
        .filter(|(_, slot)| slot.kind != 0)
    {
        writer.u32(at as u32);
        writer.u32(slot.check);
        writer.u32(slot.next[0]);
        writer.u32(slot.next[1]);
        writer.u8(slot.counts[0]);
        writer.u8(slot.counts[1]);
        writer.u8(slot.worth);
        writer.u8(slot.kind);
    }
    writer.u32(contexts.nodes.len() as u32);
    for node in &contexts.nodes {
        writer.u8(node.len);
        writer.u8(u8::from(node.used));
        writer.u16(node.novel);
        writer.u16(node.total);
        writer.u32(node.owner);
        for at in 0..usize::from(node.len) {
            writer.u32(node.next[at]);
            writer.u8(node.counts[at]);
        }
    }
    writer.u32(contexts.free_nodes.len() as u32);
    for place in &contexts.free_nodes {
        writer.u32(*place);
    }
    writer.u32(contexts.hand as u32);
}

fn read_contexts(contexts: &mut Contexts, reader: &mut Reader<'_>) -> Result<(), CpeError> {
    reader.what = "a stream's contexts";
    let slots = reader.u32()? as usize;
    reader.check(slots.is_power_of_two() && (SLOTS_MIN..=contexts.slots_max).contains(&slots))?;
    let live = reader.count(20, slots)?;
    // A table grows when it is three quarters full, and buckets lose little before: one that is much too large for
    // what is in it was not written by us, and would cost memory that the length does not account for.
    reader.check(slots <= SLOTS_MIN || live >= slots / 8)?;
    contexts.slots = vec![Slot::default(); slots];
    contexts.live = live;
    let mut pooled = 0;
    for _ in 0..live {
        let at = reader.u32()? as usize;
        let slot = Slot {
            check: reader.u32()?,
            next: [reader.u32()?, reader.u32()?],
            counts: [reader.u8()?, reader.u8()?],
            worth: reader.u8()?,
            kind: reader.u8()?,
        };
        let fresh = contexts.slots.get(at).is_some_and(|slot| slot.kind == 0);
        reader.check(fresh && contexts.belongs(at, slot.check))?;
        reader.check(match slot.kind {
            INLINE => slot.counts[0] > 0 && slot.counts.iter().all(|count| *count < u8::MAX),
            POOLED => true,
            _ => false,
        })?;
        pooled += usize::from(slot.kind == POOLED);
        contexts.slots[at] = slot;
    }
    let nodes = reader.count(10, contexts.nodes_max)?;
    let mut owned = 0;
    for place in 0..nodes {
        let node = read_node(reader)?;
        if node.len > 0 {
            let slot = contexts.slots.get(node.owner as usize);
            // Each node points to the slot that points to it, so no two can share one.
            reader.check(
                slot.is_some_and(|slot| slot.kind == POOLED && slot.next[0] as usize == place),
            )?;
            owned += 1;
        }
        make_room(&mut contexts.nodes, contexts.nodes_max);
        contexts.nodes.push(node);
    }
    reader.check(owned == pooled)?;
    let free = reader.count(4, nodes)?;
    reader.check(free + owned == nodes)?;
    let mut given = vec![false; nodes];
    for _ in 0..free {
        let place = reader.u32()? as usize;
        let unowned = contexts.nodes.get(place).is_some_and(|node| node.len == 0);
        reader.check(unowned && !given[place])?;
        given[place] = true;
        make_room(&mut contexts.free_nodes, contexts.nodes_max);
        contexts.free_nodes.push(place as u32);
    }
    let hand = reader.u32()? as usize;
    reader.check(hand < nodes.max(1))?;
    contexts.hand = hand;
    Ok(())
}

fn read_node(reader: &mut Reader<'_>) -> Result<Node, CpeError> {
    let mut node = Node {
        len: reader.u8()?,
        ..Node::EMPTY
    };
    reader.check(usize::from(node.len) <= SUCCESSORS_MAX && node.len != 1)?;
    node.used = reader.bool()?;
    node.novel = reader.u16()?;
    node.total = reader.u16()?;
    node.owner = reader.u32()?;
    for at in 0..usize::from(node.len) {
        node.next[at] = reader.u32()?;
        node.counts[at] = reader.u8()?;
        reader.check((1..u8::MAX).contains(&node.counts[at]))?;
    }
    Ok(node)
}

fn write_history(history: &History, writer: &mut Writer) {
    writer.u32(history.ring.len() as u32);
    for (event, seen) in history.ring.iter().zip(&history.seen) {
        writer.u32(event.handle);
        writer.u32(event.next);
        writer.u32(*seen);
    }
    for handle in &history.due {
        writer.u32(*handle);
    }
    writer.u32(history.events);
}

fn read_history(history: &mut History, reader: &mut Reader<'_>) -> Result<(), CpeError> {
    reader.what = "a stream's history";
    let count = reader.count(12, history.ring_max)?;
    reader.check(count.is_power_of_two() && count >= history.ring.len())?;
    history.ring = Vec::with_capacity(count);
    history.seen = Vec::with_capacity(count);
    for _ in 0..count {
        history.ring.push(Event {
            handle: reader.u32()?,
            next: reader.u32()?,
        });
        history.seen.push(reader.u32()?);
    }
    for handle in &mut history.due {
        *handle = reader.u32()?;
    }
    history.events = reader.u32()?;
    // A ring is larger than the smallest only once it was full.
    reader.check(history.events < u32::MAX)
}

fn write_lane(lane: &Lane, writer: &mut Writer) {
    writer.u32(lane.id);
    writer.u64(lane.events);
    writer.u64(lane.used);
    for handle in lane.recent.iter().chain(&lane.mru) {
        writer.u32(*handle);
    }
    writer.u64(lane.value);
    writer.i64(lane.steps[0]);
    writer.i64(lane.steps[1]);
    writer.u16(lane.run);
    for head in &lane.heads {
        writer.u64(head.value);
        writer.i64(head.step);
        writer.u16(head.run);
    }
    writer.u32(lane.match_at);
    writer.u32(lane.match_len);
    writer.u64(lane.time);
    writer.u16(lane.burst);
    writer.u32(lane.position);
    for class in &lane.gaps.sizes {
        let known = class
            .iter()
            .enumerate()
            .filter(|(_, (weight, _))| *weight > 0.0);
        writer.u8(known.clone().count() as u8);
        for (size, (weight, sum)) in known {
            writer.u8(size as u8);
            writer.f32(*weight);
            writer.f32(*sum);
        }
    }
    writer.f32(lane.gaps.totals[0]);
    writer.f32(lane.gaps.totals[1]);
    writer.u8(lane.gaps.last);
    writer.f32(lane.gaps.usual);
}

fn read_lane(reader: &mut Reader<'_>) -> Result<Lane, CpeError> {
    let mut lane = Lane::new(reader.u32()?);
    lane.events = reader.u64()?;
    lane.used = reader.u64()?;
    reader.check(lane.events < 1 << 62 && lane.used < 1 << 62)?;
    let mut recent = [0; RECENT];
    let mut mru = [0; MRU];
    for handle in recent.iter_mut().chain(&mut mru) {
        *handle = reader.u32()?;
    }
    (lane.recent, lane.mru) = (recent, mru);
    lane.value = reader.u64()?;
    lane.steps = [reader.i64()?, reader.i64()?];
    lane.run = reader.u16()?;
    let mut heads = [Head::default(); HEADS];
    for head in &mut heads {
        *head = Head {
            value: reader.u64()?,
            step: reader.i64()?,
            run: reader.u16()?,
        };
    }
    lane.heads = heads;
    lane.match_at = reader.u32()?;
    lane.match_len = reader.u32()?;
    lane.time = reader.u64()?;
    lane.burst = reader.u16()?;
    lane.position = reader.u32()?;
    let mut gaps = Gaps::new();
    for class in &mut gaps.sizes {
        for _ in 0..reader.u8()? {
            let size = usize::from(reader.u8()?);
            let known = (reader.f32()?, reader.f32()?);
            reader.check(size < SIZES && known.0 > 0.0 && known.0 < 1e6 && known.1 >= 0.0)?;
            class[size] = known;
        }
    }
    gaps.totals = [reader.f32()?, reader.f32()?];
    gaps.last = reader.u8()?;
    gaps.usual = reader.f32()?;
    reader.check(gaps.totals.iter().all(|total| (0.0..1e6).contains(total)))?;
    reader.check(usize::from(gaps.last) < SIZES && (0.0..=64.0).contains(&gaps.usual))?;
    lane.gaps = gaps;
    Ok(lane)
}

fn write_scores(scores: &Scores, writer: &mut Writer) {
    for number in scores.counters() {
        writer.u64(number);
    }
    writer.f64(scores.log_loss_bits);
    writer.f64(scores.brier);
    for bin in &scores.bins {
        writer.u64(bin.count);
        writer.f64(bin.confidence);
        writer.u64(bin.hits);
    }
}

fn read_scores(reader: &mut Reader<'_>) -> Result<Scores, CpeError> {
    let mut scores = Scores {
        events: reader.u64()?,
        hits_at_1: reader.u64()?,
        hits_at_5: reader.u64()?,
        none: reader.u64()?,
        unseen: reader.u64()?,
        silent: reader.u64()?,
        backwards: reader.u64()?,
        log_loss_bits: reader.f64()?,
        brier: reader.f64()?,
        bins: [Bin::default(); BINS],
    };
    // Counters that could overflow within a lifetime are not ours.
    reader.check(scores.counters().iter().all(|number| *number < 1 << 62))?;
    reader.check(scores.log_loss_bits >= 0.0 && scores.brier >= 0.0)?;
    for bin in &mut scores.bins {
        *bin = Bin {
            count: reader.u64()?,
            confidence: reader.f64()?,
            hits: reader.u64()?,
        };
        reader.check(bin.count < 1 << 62 && bin.hits <= bin.count && bin.confidence >= 0.0)?;
    }
    Ok(scores)
}

const _: () = assert!(WEIGHTS <= 1 << 16, "a feature is a u16");
