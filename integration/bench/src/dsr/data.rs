//! The vectors: GloVe words, one part as entries, another as queries, and the true neighbours.

use std::fs;
use std::path::{Path, PathBuf};

use hypermesh_testkit::Random;
use mfn_dsr::{Options, Precision, Scratch, Well};

use crate::record::{BenchError, Ctx};

/// Numbers of a GloVe vector.
const DIMS: usize = 100;
/// The file that `integration/bench/peers/fetch.sh` makes.
const FILE: &str = "glove-100d.f32";
/// Of the shuffle that takes queries from words.
const SEED: u64 = 20_261_126;

/// Entries, queries and the truth.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) dims: usize,
    /// Of unit length, row after row.
    pub(crate) base: Vec<f32>,
    pub(crate) queries: Vec<f32>,
    /// The ten nearest of each query, by comparing with all.
    pub(crate) truth: Vec<[u64; 10]>,
    /// Where it is from, for the rows' notes.
    pub(crate) note: String,
}

impl Data {
    /// 100,000 words and 1,000 queries; a tenth in a quick run, and there seeded clusters where the words are missing.
    pub(crate) fn load(ctx: &Ctx) -> Result<Self, BenchError> {
        let (entries, queries) = if ctx.quick {
            (10_000, 200)
        } else {
            (100_000, 1_000)
        };
        let (mut vectors, from) = match find(ctx.root()) {
            Some(path) => (read(&path)?, "GloVe words"),
            None if ctx.quick => (clusters(entries + queries), "seeded clusters"),
            None => {
                return Err(BenchError::new(format!(
                    "{FILE} is neither in $MFN_DATA/vectors nor in .tools/bench-data: \
                     run integration/bench/peers/fetch.sh"
                )));
            }
        };
        if vectors.len() < entries + queries {
            return Err(BenchError::new(format!(
                "{FILE} has {} vectors only",
                vectors.len()
            )));
        }
        let mut random = Random::new(SEED);
        for at in (1..vectors.len()).rev() {
            vectors.swap(at, random.below(at as u64 + 1) as usize);
        }
        let flat = |rows: &[Vec<f32>]| rows.iter().flatten().copied().collect::<Vec<f32>>();
        let mut data = Self {
            dims: DIMS,
            queries: flat(&vectors[..queries]),
            base: flat(&vectors[queries..queries + entries]),
            truth: Vec::new(),
            note: format!(
                "{entries} {from} of {DIMS} numbers, {queries} others as queries, cosine, one thread"
            ),
        };
        data.truth = data.nearest()?;
        Ok(data)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (u64, &[f32])> {
        (0..).zip(self.base.chunks_exact(self.dims))
    }

    /// By an exact well of 32-bit floats; a few are checked by hand.
    fn nearest(&self) -> Result<Vec<[u64; 10]>, BenchError> {
        let mut well = Well::new(Options {
            exact: true,
            precision: Precision::Floats,
            ..Options::new(self.dims)
        })?;
        for (id, vector) in self.entries() {
            well.insert(id, vector)?;
        }
        let mut scratch = Scratch::default();
        let mut truth = Vec::new();
        for (at, query) in self.queries.chunks_exact(self.dims).enumerate() {
            let mut ten = [0; 10];
            for (place, found) in ten
                .iter_mut()
                .zip(well.search(&mut scratch, query, 10, -1.0)?)
            {
                *place = found.id;
            }
            if at < 3 {
                let cosine = |vector: &[f32]| {
                    vector
                        .iter()
                        .zip(query)
                        .map(|(a, b)| f64::from(a * b))
                        .sum::<f64>()
                };
                let best = self
                    .entries()
                    .max_by(|a, b| cosine(a.1).total_cmp(&cosine(b.1)));
                if best.map(|(id, _)| id) != Some(ten[0]) {
                    return Err(BenchError::new("the truth is wrong"));
                }
            }
            truth.push(ten);
        }
        Ok(truth)
    }

    /// Writes what the peers read.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), BenchError> {
        let floats = |values: &[f32]| {
            values
                .iter()
                .flat_map(|x| x.to_le_bytes())
                .collect::<Vec<u8>>()
        };
        fs::write(directory.join("base.f32"), floats(&self.base))?;
        fs::write(directory.join("queries.f32"), floats(&self.queries))?;
        let truth: Vec<u8> = self
            .truth
            .iter()
            .flatten()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        fs::write(directory.join("truth.i64"), truth)?;
        Ok(())
    }
}

fn find(root: &Path) -> Option<PathBuf> {
    let data =
        std::env::var_os("MFN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    [data.join("vectors"), root.join(".tools/bench-data")]
        .into_iter()
        .map(|directory| directory.join(FILE))
        .find(|path| path.exists())
}

fn read(path: &Path) -> Result<Vec<Vec<f32>>, BenchError> {
    let bytes = fs::read(path)?;
    let rows = bytes.chunks_exact(4 * DIMS).map(|row| {
        let row = row
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        unit(row.collect())
    });
    Ok(rows.collect())
}

/// 300 clusters, for a run that only shows that the benchmark works.
fn clusters(count: usize) -> Vec<Vec<f32>> {
    let mut random = Random::new(SEED);
    let mut draw = |scale: f32| -> Vec<f32> {
        (0..DIMS)
            .map(|_| scale * (random.below(2001) as f32 / 1000.0 - 1.0))
            .collect()
    };
    let centres: Vec<Vec<f32>> = (0..300).map(|_| draw(1.0)).collect();
    (0..count)
        .map(|at| {
            unit(
                centres[at % 300]
                    .iter()
                    .zip(draw(1.2))
                    .map(|(a, b)| a + b)
                    .collect(),
            )
        })
        .collect()
}

fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let norm = vector
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    for x in &mut vector {
        *x /= norm;
    }
    vector
}
