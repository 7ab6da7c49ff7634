//! A series as bytes, and back; checked like a stream's.

use super::levels::{Level, Levels};
use super::window::Window;
use super::{
    FORECASTERS, Given, HORIZONS, Lane, PinballScore, SAMPLE_MAX, SCALES, Series, SeriesOptions,
};
use crate::codec::{Reader, Writer};
use crate::error::CpeError;
use crate::grow::make_room;

const VERSION: u32 = 1;
/// Fewest bytes of an encoded lane.
const LANE_BYTES: usize = 64;

impl Series {
    /// The whole state as bytes, in a form that only this version reads.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.u32(VERSION);
        self.write(&mut writer);
        writer.bytes
    }

    /// The series that `snapshot` was taken of. Errors and limits as for a stream.
    pub fn restore(snapshot: &[u8]) -> Result<Self, CpeError> {
        let mut reader = Reader::new(snapshot, "a series");
        let version = reader.u32()?;
        if version != VERSION {
            return Err(CpeError::Version {
                what: "a series",
                version,
                known: VERSION,
            });
        }
        let series = Self::read(&mut reader)?;
        reader.end()?;
        Ok(series)
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.f64(self.options.change_min);
        writer.u8(u8::from(self.options.repeats_are_stale));
        writer.u32(self.options.lanes_max as u32);
        for horizon in 0..HORIZONS.len() {
            for scale in 0..SCALES {
                for weight in self.weights[horizon][scale] {
                    writer.f64(weight);
                }
                writer.f64(self.scale[horizon][scale]);
                let score = self.scores.pinball[horizon][scale];
                writer.u64(score.count);
                writer.f64(score.loss);
                writer.u64(score.covered);
            }
        }
        for count in [
            self.scores.samples,
            self.scores.stale,
            self.scores.gaps,
            self.scores.changes,
        ] {
            writer.u64(count);
        }
        writer.u32(self.lanes.len() as u32);
        for lane in &self.lanes {
            write_lane(lane, writer);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CpeError> {
        reader.what = "a series";
        let options = SeriesOptions {
            change_min: reader.f64()?,
            repeats_are_stale: reader.bool()?,
            lanes_max: reader.u32()? as usize,
        };
        let mut series = Series::new(options).map_err(|_| reader.invalid())?;
        for horizon in 0..HORIZONS.len() {
            for scale in 0..SCALES {
                let mut sum = 0.0;
                for forecaster in 0..FORECASTERS {
                    let weight = reader.f64()?;
                    reader.check((0.0..=1.0).contains(&weight))?;
                    series.weights[horizon][scale][forecaster] = weight;
                    sum += weight;
                }
                reader.check((sum - 1.0).abs() < 1e-6)?;
                let usual = reader.f64()?;
                series.scale[horizon][scale] = usual;
                let score = PinballScore {
                    count: reader.u64()?,
                    loss: reader.f64()?,
                    covered: reader.u64()?,
                };
                reader.check(usual >= 0.0 && score.loss >= 0.0)?;
                reader.check(score.count < 1 << 62 && score.covered <= score.count)?;
                series.scores.pinball[horizon][scale] = score;
            }
        }
        let scores = &mut series.scores;
        for count in [
            &mut scores.samples,
            &mut scores.stale,
            &mut scores.gaps,
            &mut scores.changes,
        ] {
            *count = reader.u64()?;
            reader.check(*count < 1 << 62)?;
        }
        let lanes = reader.count(LANE_BYTES, series.options.lanes_max)?;
        for _ in 0..lanes {
            let lane = read_lane(reader)?;
            reader.check(series.places.insert(lane.id, series.lanes.len()).is_none())?;
            series.bytes += lane.heap_bytes();
            make_room(&mut series.lanes, series.options.lanes_max);
            series.lanes.push(lane);
        }
        Ok(series)
    }
}

fn write_window(window: &Window, writer: &mut Writer) {
    writer.u32(window.len() as u32);
    for value in &window.values {
        writer.f64(*value);
    }
}

fn read_window(length: usize, reader: &mut Reader<'_>) -> Result<Window, CpeError> {
    let mut window = Window::new(length);
    for _ in 0..reader.count(8, length)? {
        window.push(sample(reader)?);
    }
    Ok(window)
}

/// A number that a sample, or the difference of two, may be.
fn sample(reader: &mut Reader<'_>) -> Result<f64, CpeError> {
    let value = reader.f64()?;
    reader.check(value.abs() <= 4.0 * SAMPLE_MAX)?;
    Ok(value)
}

fn write_lane(lane: &Lane, writer: &mut Writer) {
    writer.u32(lane.id);
    writer.u64(lane.time);
    writer.f64(lane.last);
    writer.u64(lane.samples);
    writer.u64(lane.used);
    writer.f64(lane.spacing);
    writer.f64(lane.mean);
    for window in &lane.windows {
        write_window(window, writer);
    }
    writer.u8(lane.levels.known.len() as u8);
    for level in &lane.levels.known {
        writer.u64(level.left);
        write_window(&level.window, writer);
    }
    writer.u8(lane.levels.recent.len() as u8);
    for value in &lane.levels.recent {
        writer.f64(*value);
    }
    for window in lane.errors.iter().flatten() {
        write_window(window, writer);
    }
    for pending in &lane.pending {
        writer.u8(pending.len() as u8);
        for (bases, given) in pending {
            for value in bases.iter().chain(given.iter().flatten()) {
                writer.f64(*value);
            }
        }
    }
}

fn read_lane(reader: &mut Reader<'_>) -> Result<Lane, CpeError> {
    let mut lane = Lane::new(reader.u32()?);
    lane.time = reader.u64()?;
    lane.last = sample(reader)?;
    lane.samples = reader.u64()?;
    lane.used = reader.u64()?;
    reader.check(lane.samples < 1 << 62 && lane.used < 1 << 62)?;
    lane.spacing = reader.f64()?;
    reader.check(lane.spacing >= 0.0)?;
    lane.mean = sample(reader)?;
    for window in &mut lane.windows {
        *window = read_window(window.length(), reader)?;
    }
    let mut levels = Levels::new();
    levels.known.clear();
    let known = reader.u8()?;
    reader.check((1..=super::levels::LEVELS).contains(&usize::from(known)))?;
    for _ in 0..known {
        let left = reader.u64()?;
        let window = read_window(Level::new().window.length(), reader)?;
        levels.known.push(Level { window, left });
    }
    let recent = reader.u8()?;
    reader.check(recent < super::levels::RECENT_MAX)?;
    for _ in 0..recent {
        levels.recent.push(sample(reader)?);
    }
    lane.levels = levels;
    for window in lane.errors.iter_mut().flatten() {
        *window = read_window(window.length(), reader)?;
    }
    for (pending, ahead) in lane.pending.iter_mut().zip(HORIZONS) {
        let count = usize::from(reader.u8()?);
        reader.check(count <= ahead)?;
        for _ in 0..count {
            let mut bases = [0.0; 2];
            let mut given: Given = [[0.0; FORECASTERS]; SCALES];
            for value in bases.iter_mut().chain(given.iter_mut().flatten()) {
                *value = sample(reader)?;
            }
            pending.push_back((bases, given));
        }
    }
    Ok(lane)
}
