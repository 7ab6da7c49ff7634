//! Rows of `bench-dsr-bytes`: which files are versions of each other, by their sketches alone.
//!
//! Positives are files of the same path in two versions of a package. Hard negatives are other files
//! of the same package and type and of similar length. Thresholds are fitted on one half of the
//! packages and scored on the other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use mfn_dsr::bytes::{Encoder, Options, Reservoir, SKETCH_BYTES, Sketch, resemblance};

use crate::corpus::{self, Version};
use crate::peers::sketches::{MinHash, Odess, equal, jaccard};
use crate::record::{BenchError, Ctx, Must, Samples};

/// Set before anything was measured, and not chosen by results.
const SEED: u64 = 0x6d66_6e2d_6473_7231;
const FILE_BYTES: std::ops::RangeInclusive<u64> = 512..=4 << 20;
const PAIRS_PER_VERSIONS: usize = 16;
const QUERIES: usize = 1_500;
/// Lengths of negatives differ at most by this factor.
const LENGTH_RATIO: f64 = 3.0;
const MB: f64 = 1e6;

struct Sample {
    package: usize,
    version: usize,
    second_half: bool,
    /// Below the version's directory, its number replaced.
    path: String,
    kind: &'static str,
    hash: blake3::Hash,
    data: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Label {
    Same,
    Hard,
    Easy,
}

struct Pair {
    a: usize,
    b: usize,
    label: Label,
    jaccard: f64,
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    if let Err(reason) = corpus::check() {
        println!("dsr-bytes: no rows: {reason}");
        return Ok(());
    }
    let samples = load(ctx.quick)?;
    let bytes: usize = samples.iter().map(|sample| sample.data.len()).sum();
    let pairs = pairs(&samples);
    println!(
        "{} files, {:.0} MB, {} pairs",
        samples.len(),
        bytes as f64 / MB,
        pairs.len()
    );
    let encoder = Encoder::new(SEED);
    decisions(ctx, &samples, &pairs, &encoder)?;
    speed(ctx, &samples, &pairs, &encoder)?;
    retrieval(ctx, &samples, &encoder)
}

fn load(quick: bool) -> Result<Vec<Sample>, BenchError> {
    let mut samples = Vec::new();
    let mut last = None;
    let (mut package, mut number) = (0, 0);
    for version in corpus::versions() {
        let name = (version.registry, version.name);
        let first = last.replace(name) != Some(name);
        package += usize::from(first && !samples.is_empty());
        number = if first { 0 } else { number + 1 };
        if quick && package % 6 != 0 {
            continue;
        }
        let directory = version.directory()?;
        gather(
            &directory,
            &directory,
            &version,
            (package, number),
            &mut samples,
        )?;
    }
    Ok(samples)
}

fn gather(
    top: &Path,
    path: &Path,
    version: &Version,
    (package, number): (usize, usize),
    into: &mut Vec<Sample>,
) -> Result<(), BenchError> {
    let mut entries: Vec<_> = fs::read_dir(path)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            gather(top, &entry.path(), version, (package, number), into)?;
        }
        if !kind.is_file() || !FILE_BYTES.contains(&entry.metadata()?.len()) {
            continue;
        }
        let full = entry.path();
        let below = full.strip_prefix(top).unwrap_or(&full).to_string_lossy();
        let below = below.replace(version.version, "V");
        // Lists of the other files' hashes: not what anyone wrote.
        if below.ends_with("RECORD") || below.contains(".cargo") {
            continue;
        }
        let data = fs::read(&full)?;
        into.push(Sample {
            package,
            version: number,
            second_half: version.second_half,
            kind: kind_of(&below, &data),
            path: below,
            hash: blake3::hash(&data),
            data,
        });
    }
    Ok(())
}

fn kind_of(path: &str, data: &[u8]) -> &'static str {
    if data.starts_with(b"\x7fELF") {
        return "elf";
    }
    match path.rsplit('.').next().unwrap_or_default() {
        "py" | "pyi" => "py",
        "js" | "mjs" | "cjs" | "ts" => "js",
        "rs" => "rs",
        "c" | "h" | "cc" | "cpp" | "S" | "pyx" | "pxd" => "c",
        "json" | "map" | "toml" | "yaml" | "yml" => "data",
        "md" | "rst" | "txt" | "METADATA" => "doc",
        "css" | "html" | "scss" | "less" => "web",
        _ if data.iter().take(4_096).any(|byte| *byte == 0) => "bin",
        _ => "text",
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % end.max(1) as u64) as usize
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
    }
}

fn pairs(samples: &[Sample]) -> Vec<Pair> {
    let mut random = Random(1);
    let mut packages: BTreeMap<usize, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
    let mut kinds: HashMap<&str, Vec<usize>> = HashMap::new();
    for (number, sample) in samples.iter().enumerate() {
        let versions = packages.entry(sample.package).or_default();
        versions.entry(sample.version).or_default().push(number);
        kinds.entry(sample.kind).or_default().push(number);
    }
    let mut pairs = Vec::new();
    let mut add = |a: usize, b: usize, label| {
        let jaccard = jaccard(&samples[a].data, &samples[b].data);
        pairs.push(Pair {
            a,
            b,
            label,
            jaccard,
        });
    };
    for versions in packages.values() {
        let numbers: Vec<usize> = versions.keys().copied().collect();
        let mut steps: Vec<(usize, usize)> =
            numbers.windows(2).map(|pair| (pair[0], pair[1])).collect();
        if let [first, _, .., last] = numbers[..] {
            steps.push((first, last));
        }
        for (from, to) in steps {
            let old: HashMap<&str, usize> = versions[&from]
                .iter()
                .map(|number| (samples[*number].path.as_str(), *number))
                .collect();
            let mut changed: Vec<(usize, usize)> = versions[&to]
                .iter()
                .filter_map(|new| Some((*old.get(samples[*new].path.as_str())?, *new)))
                .filter(|(old, new)| samples[*old].hash != samples[*new].hash)
                .collect();
            random.shuffle(&mut changed);
            changed.truncate(PAIRS_PER_VERSIONS);
            for (count, (a, b)) in changed.into_iter().enumerate() {
                add(a, b, Label::Same);
                let hard = count % 2 == 0;
                let pool = if hard {
                    &versions[&to]
                } else {
                    &kinds[samples[a].kind]
                };
                if let Some(other) = negative(samples, a, pool, hard, &mut random) {
                    add(a, other, if hard { Label::Hard } else { Label::Easy });
                }
            }
        }
    }
    pairs
}

fn negative(
    samples: &[Sample],
    a: usize,
    pool: &[usize],
    same_package: bool,
    random: &mut Random,
) -> Option<usize> {
    (0..400).map(|_| pool[random.below(pool.len())]).find(|b| {
        let (a, b) = (&samples[a], &samples[*b]);
        let ratio = b.data.len() as f64 / a.data.len() as f64;
        b.kind == a.kind
            && b.path != a.path
            && b.hash != a.hash
            && (LENGTH_RATIO.recip()..=LENGTH_RATIO).contains(&ratio)
            && (b.package == a.package) == same_package
    })
}

/// A measure of similarity, by its name.
type Method<'a> = (&'static str, &'a dyn Fn(&Pair) -> f64);

/// Scores of the pairs that are decided, by half: (score, is it so).
type Scores = [Vec<(f64, bool)>; 2];

fn decisions(
    ctx: &mut Ctx,
    samples: &[Sample],
    pairs: &[Pair],
    encoder: &Encoder,
) -> Result<(), BenchError> {
    let (odess, minhash) = (Odess::new(), MinHash::new());
    let used: HashSet<usize> = pairs.iter().flat_map(|pair| [pair.a, pair.b]).collect();
    let each = |number: &usize| {
        let data = &samples[*number].data;
        let sketches = (
            encoder.sketch(data),
            odess.sketch(data),
            minhash.sketch(data),
        );
        (*number, sketches)
    };
    type Three = (Sketch, [u64; 12], [u32; 128]);
    let sketches: HashMap<usize, Three> = used.iter().map(each).collect();
    let methods: [Method<'_>; 4] = [
        ("ours", &|pair| {
            f64::from(resemblance(&sketches[&pair.a].0, &sketches[&pair.b].0))
        }),
        ("Odess, 12 features, 96 B", &|pair| {
            equal(&sketches[&pair.a].1, &sketches[&pair.b].1)
        }),
        ("MinHash-128, 512 B", &|pair| {
            equal(&sketches[&pair.a].2, &sketches[&pair.b].2)
        }),
        ("exact Jaccard", &|pair| pair.jaccard),
    ];
    let related = |method: &dyn Fn(&Pair) -> f64| {
        scores(samples, pairs, method, |pair| {
            (pair.label != Label::Easy).then_some(pair.label == Label::Same)
        })
    };
    let near = |method: &dyn Fn(&Pair) -> f64| {
        scores(samples, pairs, method, |pair| {
            (pair.jaccard > 0.6 && pair.jaccard < 0.98).then_some(pair.jaccard >= 0.85)
        })
    };
    let (ours_related, ours_near) = (related(methods[0].1), near(methods[0].1));
    for (number, (name, method)) in methods.iter().enumerate().skip(1) {
        let (peer_related, peer_near) = (related(method), near(method));
        // Asked once, beside the first peer.
        let must = if number == 1 {
            Must::AtLeast(0.942)
        } else {
            Must::Report
        };
        let note =
            format!("{SKETCH_BYTES} B each; threshold fitted on the other half of the packages");
        let row = |ctx: &mut Ctx, metric: &str, a: f64, b: f64, must, note: &str| {
            let (a, b) = (Samples::from(a), Samples::from(b));
            ctx.row(metric, "", &a, Some((name, &b)), must, note)
        };
        row(
            ctx,
            "versions among hard negatives, balanced accuracy",
            fitted(&ours_related, 1),
            fitted(&peer_related, 1),
            must,
            &note,
        )?;
        row(
            ctx,
            "the same, halves swapped",
            fitted(&ours_related, 0),
            fitted(&peer_related, 0),
            must,
            &note,
        )?;
        row(
            ctx,
            "resemblance of .85 or not, between .6 and .98, balanced accuracy",
            fitted(&ours_near, 1),
            fitted(&peer_near, 1),
            Must::Report,
            "threshold fitted on the other half",
        )?;
    }
    let error = |pair: &Pair| (methods[0].1(pair) - pair.jaccard).abs();
    let error = pairs.iter().map(error).sum::<f64>() / pairs.len() as f64;
    let note = "against the exact Jaccard index of 16-byte shingles, all pairs";
    let error = Samples::from(error);
    ctx.row(
        "resemblance, mean error",
        "",
        &error,
        None,
        Must::Report,
        note,
    )
}

fn scores(
    samples: &[Sample],
    pairs: &[Pair],
    method: &dyn Fn(&Pair) -> f64,
    truth: impl Fn(&Pair) -> Option<bool>,
) -> Scores {
    let mut scores = Scores::default();
    for pair in pairs {
        if let Some(truth) = truth(pair) {
            let half = usize::from(samples[pair.b].second_half);
            scores[half].push((method(pair), truth));
        }
    }
    scores
}

/// Balanced accuracy on one half at the threshold that is best on the other.
fn fitted(scores: &Scores, half: usize) -> f64 {
    let fit = &scores[1 - half];
    let mut thresholds: Vec<f64> = fit.iter().map(|(score, _)| *score).collect();
    thresholds.sort_by(f64::total_cmp);
    thresholds.dedup();
    let best = thresholds
        .into_iter()
        .max_by(|a, b| balanced(fit, *a).total_cmp(&balanced(fit, *b)));
    balanced(&scores[half], best.unwrap_or_default())
}

fn balanced(scores: &[(f64, bool)], threshold: f64) -> f64 {
    let right = |wanted: bool| {
        let of: Vec<_> = scores
            .iter()
            .filter(|(_, truth)| *truth == wanted)
            .collect();
        let hits = of
            .iter()
            .filter(|(score, _)| (*score >= threshold) == wanted);
        hits.count() as f64 / of.len().max(1) as f64
    };
    f64::midpoint(right(true), right(false))
}

fn speed(
    ctx: &mut Ctx,
    samples: &[Sample],
    pairs: &[Pair],
    encoder: &Encoder,
) -> Result<(), BenchError> {
    let odess = Odess::new();
    let used: HashSet<usize> = pairs.iter().flat_map(|pair| [pair.a, pair.b]).collect();
    let blocks: Vec<&[u8]> = used
        .iter()
        .map(|number| &samples[*number].data[..])
        .collect();
    let bytes: usize = blocks.iter().map(|block| block.len()).sum();
    let (mut ours, mut peer) = (Samples::default(), Samples::default());
    let mut sum = 0_u64;
    for _ in 0..ctx.rounds() {
        let start = crate::cpu::thread_time();
        for block in &blocks {
            sum += u64::from(encoder.sketch(block).to_bytes()[9]);
        }
        ours.push(bytes as f64 / (crate::cpu::thread_time() - start) / MB);
        let start = crate::cpu::thread_time();
        for block in &blocks {
            sum = sum.wrapping_add(odess.sketch(block)[3]);
        }
        peer.push(bytes as f64 / (crate::cpu::thread_time() - start) / MB);
    }
    let note = format!(
        "{:.0} MB of the pairs' files, processor time of one thread (sum {})",
        bytes as f64 / MB,
        sum % 10
    );
    let peer = Some(("Odess", &peer));
    ctx.row(
        "sketch, one core",
        "MB/s",
        &ours,
        peer,
        Must::AtLeast(500.0),
        &note,
    )
}

/// Changed files of the newest versions ask an index of all older ones for the file they come from.
fn retrieval(ctx: &mut Ctx, samples: &[Sample], encoder: &Encoder) -> Result<(), BenchError> {
    let mut newest: HashMap<usize, usize> = HashMap::new();
    for sample in samples {
        let version = newest.entry(sample.package).or_default();
        *version = sample.version.max(*version);
    }
    let is_newest = |sample: &Sample| newest[&sample.package] == sample.version;
    let small = |sample: &&Sample| sample.data.len() <= 1 << 20;
    let mut seen = HashSet::new();
    let index: Vec<&Sample> = samples
        .iter()
        .filter(|sample| !is_newest(sample) && seen.insert(sample.hash))
        .filter(small)
        .collect();
    let paths: HashSet<(usize, &str)> = index
        .iter()
        .map(|sample| (sample.package, sample.path.as_str()))
        .collect();
    let mut queries: Vec<&Sample> = samples
        .iter()
        .filter(|sample| is_newest(sample) && !seen.contains(&sample.hash))
        .filter(|sample| paths.contains(&(sample.package, sample.path.as_str())))
        .filter(small)
        .collect();
    Random(1).shuffle(&mut queries);
    queries.truncate(QUERIES);
    let mut reservoir = Reservoir::new(Options {
        seed: SEED,
        ..Options::default()
    });
    let owners: HashMap<[u8; 32], &Sample> = index
        .iter()
        .map(|sample| (*sample.hash.as_bytes(), *sample))
        .collect();
    for sample in &index {
        reservoir.insert(*sample.hash.as_bytes(), encoder.sketch(&sample.data));
    }
    let odess = Odess::new();
    let features: Vec<[u64; 12]> = index
        .iter()
        .map(|sample| odess.sketch(&sample.data))
        .collect();
    let (mut first, mut eighth, mut peer_first) = (0, 0, 0);
    let mut micros = Vec::new();
    for query in &queries {
        let is_it = |sample: &Sample| sample.package == query.package && sample.path == query.path;
        let sketch = encoder.sketch(&query.data);
        let start = Instant::now();
        let top = reservoir.top(&sketch, 8);
        micros.push(start.elapsed().as_secs_f64() * 1e6);
        first += usize::from(top.first().is_some_and(|hit| is_it(owners[&hit.id])));
        eighth += usize::from(top.iter().any(|hit| is_it(owners[&hit.id])));
        let asked = odess.sketch(&query.data);
        let scores = features.iter().map(|other| equal(&asked, other));
        let best = scores
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        peer_first += usize::from(best.is_some_and(|(number, _)| is_it(index[number])));
    }
    let share = |count: usize| Samples::from(count as f64 / queries.len().max(1) as f64);
    let note = format!(
        "{} changed files ask {} older ones",
        queries.len(),
        index.len()
    );
    let peer = share(peer_first);
    let peer = Some(("Odess, every entry compared", &peer));
    ctx.row(
        "its older version first",
        "",
        &share(first),
        peer,
        Must::Report,
        &note,
    )?;
    ctx.row(
        "its older version among eight",
        "",
        &share(eighth),
        None,
        Must::Report,
        &note,
    )?;
    micros.sort_by(f64::total_cmp);
    let note = format!(
        "{note}; 99th percentile {:.0} µs",
        micros[micros.len() * 99 / 100]
    );
    ctx.row("query", "µs", &Samples(micros), None, Must::Report, &note)
}
