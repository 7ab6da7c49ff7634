//! Rows of `bench-ask`: one memory over four layers, asked in three modes, beside a caller that knows nothing and asks them
//! in their order.
//!
//! The stream is a repository's history: every changed file is asked for in four ways before it is observed. *Recall*: its
//! very path. *Mistyped*: its path with a letter missing. *Together*: what changes with it. *Next*: what is changed next.
//! Which layer can answer which, nobody is told. All modes get the same questions of the same layers, one after another, and each
//! has measured only what it has asked itself.
//!
//! The rule of the adaptive walk was shaped on numpy's history. The others were chosen for this before it was ever run on them:
//! what it is worth is what it is worth there. (The layers below were compared on all of them, in their own benchmarks.)

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfn_memory::facade::{
    Answer, AskOptions, Decision, Door, Entry, Exact, InProcess, LayerId, Layers, Links, Mode,
    Observation, Probe, Question, Records, Reply, Streams, Vectors,
};
use mfn_memory::{Cpe, Dsr, Mfn};

use crate::record::{BenchError, Ctx, Must, Samples};

const POOL: u32 = 1;
const LAYER_BYTES: u64 = 256 << 20;
/// Files of one commit that are told to ALM as a group.
const GROUP_MAX: usize = 16;
const EVENTS: usize = 6_000;
const EVENTS_QUICK: usize = 300;
/// Later ones are left out of the rows: every mode has measured something by then.
const WARM_SHARE: usize = 4;

/// A repository whose history is asked about.
struct Repository {
    /// Its files' name.
    file: &'static str,
    name: &'static str,
    /// Whether the walk was shaped without it.
    held_out: bool,
}

const REPOSITORIES: [Repository; 3] = [
    Repository {
        file: "numpy+numpy",
        name: "numpy",
        held_out: false,
    },
    Repository {
        file: "rust-lang+rust-analyzer",
        name: "rust-analyzer",
        held_out: true,
    },
    Repository {
        file: "open-telemetry+opentelemetry.io",
        name: "opentelemetry.io",
        held_out: true,
    },
];

const KINDS: [&str; 4] = ["recall", "mistyped", "together", "next"];
const WAYS: [&str; 5] = [
    "fixed order",
    "sequential",
    "parallel",
    "adaptive",
    "adaptive, rated",
];
const PARALLEL: usize = 2;
/// The way that says after every answer whether it was right.
const RATED: usize = 4;

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let events = if ctx.quick { EVENTS_QUICK } else { EVENTS };
    for repository in &REPOSITORIES {
        let commits = commits(ctx.root(), repository, events)?;
        let place = tempfile::tempdir()?;
        let daemon = Daemon::start(place.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let tally = runtime.block_on(play(&commits, &daemon))?;
        rows(ctx, repository, &tally, daemon.is_some())?;
    }
    Ok(())
}

/// `almd` beside this program, for as long as this lives.
struct Daemon {
    child: Child,
    socket: PathBuf,
}

impl Daemon {
    fn start(place: &Path) -> Result<Option<Self>, BenchError> {
        let program = std::env::current_exe()?.with_file_name("almd");
        if !program.is_file() {
            println!("ask: no almd beside this program; layer 3 is absent in this run");
            return Ok(None);
        }
        let socket = place.join("run/mfn_alm.sock");
        let child = Command::new(program)
            .args([
                "--durability=none",
                "--exit-on-stdin-eof",
                "--log-time=false",
            ])
            .arg("--socket")
            .arg(&socket)
            .arg("--dir")
            .arg(place.join("alm"))
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let daemon = Self { child, socket };
        let until = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&daemon.socket).is_err() {
            if Instant::now() > until {
                return Err(BenchError::new("almd does not serve its socket"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(daemon))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended or not, it is waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The paths of each commit, in order.
fn commits(
    root: &Path,
    repository: &Repository,
    events_max: usize,
) -> Result<Vec<Vec<String>>, BenchError> {
    let data =
        std::env::var_os("MFN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let directory = data.join("content/gitregion");
    let read = |name: &str| -> Result<String, BenchError> {
        let path = directory.join(name);
        let missing = |error| {
            BenchError::new(format!(
                "{}: {error}; MFN_DATA names the data",
                path.display()
            ))
        };
        let packed = std::fs::read(&path).map_err(missing)?;
        let bytes = zstd::decode_all(&packed[..])?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let paths = read(&format!("{}.paths.zst", repository.file))?;
    let paths: Vec<&str> = paths.lines().collect();
    let mut commits: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for line in read(&format!("{}.tsv.zst", repository.file))?
        .lines()
        .take(events_max)
    {
        let mut words = line.split_ascii_whitespace();
        let time = words.next().map(str::to_owned);
        let number: Option<usize> = words.nth(1).and_then(|word| word.parse().ok());
        let Some(path) = number.and_then(|number| paths.get(number)) else {
            continue;
        };
        if time != last {
            commits.push(Vec::new());
            last = time;
        }
        if let Some(commit) = commits.last_mut()
            && !commit.iter().any(|known| known == path)
        {
            commit.push((*path).to_owned());
        }
    }
    Ok(commits)
}

/// What one way reached with one kind of question.
#[derive(Clone, Debug, Default)]
struct Reached {
    asked: u64,
    sure: u64,
    right: u64,
    work: Duration,
    time: Vec<f64>,
}

type Tally = [[Reached; KINDS.len()]; WAYS.len()];

async fn play(commits: &[Vec<String>], daemon: &Option<Daemon>) -> Result<Tally, BenchError> {
    let layers = layers(daemon);
    let mut memories = Vec::new();
    for way in WAYS {
        let records = Records::new(LAYER_BYTES)?;
        let ifr: Arc<dyn Exact> = if way == WAYS[0] {
            Arc::new(Hintless(records))
        } else {
            Arc::new(records)
        };
        memories.push(Mfn::new(Layers {
            ifr: Door::Here(ifr),
            ..layers.clone()
        }));
    }
    let mut tally = Tally::default();
    let events: usize = commits.iter().map(Vec::len).sum();
    let (mut event, mut turn) = (0, 0);
    let following = commits.iter().skip(1).map(|next| next.first());
    for (commit, next_first) in commits.iter().zip(following.chain([None])) {
        for (at, path) in commit.iter().enumerate() {
            event += 1;
            let next = commit.get(at + 1).or(next_first);
            for (kind, _) in KINDS.iter().enumerate() {
                let question = question(kind, path);
                // Who is asked first finds colder caches: everybody is in turn.
                for shift in 0..WAYS.len() {
                    let way = (turn + shift) % WAYS.len();
                    let answer = memories[way].ask(&question, options(way)).await;
                    if way == PARALLEL {
                        // What it cut off is still under way, and would be paid for by who asks next: an unmeasured call
                        // over the same connection comes back after it. No answer is as good as one.
                        let _ = memories[0].relate(b"nobody", 1, AMPLE).await;
                    }
                    let right = is_right(kind, &answer, path, commit, next);
                    if way == RATED {
                        memories[way].rate(question.kind, &answer, right);
                    }
                    if event * WARM_SHARE > events {
                        tally[way][kind].add(&answer, right);
                    }
                }
                turn += 1;
            }
            observe(&memories, path).await?;
        }
        together(&memories[0], commit).await;
    }
    Ok(tally)
}

/// Layers 2 to 4, which all ways share.
fn layers(daemon: &Option<Daemon>) -> Layers {
    Layers {
        ifr: Door::default(),
        dsr: Door::Here(Arc::new(Vectors::new(
            Arc::new(InProcess::<Dsr>::new(LAYER_BYTES)),
            POOL,
        ))),
        alm: match daemon {
            Some(daemon) => Door::Here(Arc::new(Links::behind(&daemon.socket, POOL))),
            None => Door::Absent("almd was not built".into()),
        },
        cpe: Door::Here(Arc::new(Streams::new(
            Arc::new(InProcess::<Cpe>::new(LAYER_BYTES)),
            POOL,
        ))),
    }
}

/// Without a decision of where to go next: what a caller without this memory knows.
struct Hintless(Records);

impl Exact for Hintless {
    fn route(&self, key: &[u8], kind: u16, now_ns: u64, within: Duration) -> Reply<Decision> {
        let decision = self.0.route(key, kind, now_ns, within);
        Box::pin(async move {
            Ok(match decision.await? {
                Decision::RouteToLayers { confidence, .. } => Decision::RouteToLayers {
                    next: None,
                    confidence,
                },
                found => found,
            })
        })
    }
    fn put(&self, entry: Entry<'_>, now_ns: u64, within: Duration) -> Reply<()> {
        self.0.put(entry, now_ns, within)
    }
    fn remove(&self, key: &[u8], within: Duration) -> Reply<bool> {
        self.0.remove(key, within)
    }
    fn learn(&self, _kind: u16, _layer: LayerId, _found: bool) {}
}

const AMPLE: Duration = Duration::from_secs(10);

fn options(way: usize) -> AskOptions {
    AskOptions {
        mode: match way {
            PARALLEL => Mode::Parallel,
            3 | RATED => Mode::Adaptive,
            _ => Mode::Sequential,
        },
        within: AMPLE,
        budget: AMPLE * 4,
        ..AskOptions::default()
    }
}

/// Values and vectors are under the path as a file, links and streams under the path alone: so that no layer is given away by
/// what the others know.
fn file(path: &str) -> Vec<u8> {
    format!("file {path}").into_bytes()
}

fn question(kind: usize, path: &str) -> Question {
    let mut question = Question {
        kind: kind as u16,
        stream: b"changes".to_vec(),
        limit: 3,
        ..Question::default()
    };
    match kind {
        0 => question.key = file(path),
        1 => {
            let middle = path.char_indices().nth(path.chars().count() / 2);
            let mut mistyped = path.to_owned();
            if let Some((at, _)) = middle {
                mistyped.remove(at);
            }
            question.key = file(&mistyped);
            question.probe = Some(Probe::Bytes(mistyped.into_bytes()));
        }
        2 => question.key = path.into(),
        _ => question.key = b"what is changed next".to_vec(),
    }
    question
}

fn is_right(
    kind: usize,
    answer: &Answer,
    path: &str,
    commit: &[String],
    next: Option<&String>,
) -> bool {
    let Some(finding) = answer.finding() else {
        return false;
    };
    let named = |key: &[u8]| match kind {
        0 | 1 => key == file(path),
        2 => commit
            .iter()
            .any(|other| other != path && other.as_bytes() == key),
        _ => next.is_some_and(|next| next.as_bytes() == key),
    };
    finding.items.iter().any(|item| named(&item.key))
}

async fn observe(memories: &[Mfn], path: &str) -> Result<(), BenchError> {
    let seen = Observation {
        key: file(path),
        value: Some([1; 16]),
        ..Observation::default()
    };
    for memory in memories {
        memory.observe(&seen, AMPLE).await;
    }
    let like = Observation {
        key: file(path),
        probe: Some(Probe::Bytes(path.into())),
        ..Observation::default()
    };
    let came = Observation {
        key: path.into(),
        stream: b"changes".to_vec(),
        ..Observation::default()
    };
    for seen in [like, came] {
        memories[0].observe(&seen, AMPLE).await;
    }
    Ok(())
}

async fn together(memory: &Mfn, commit: &[String]) {
    let commit = &commit[..commit.len().min(GROUP_MAX)];
    let Some((first, others)) = commit.split_first() else {
        return;
    };
    if others.is_empty() {
        return;
    }
    let seen = Observation {
        key: first.as_bytes().to_vec(),
        with: others.iter().map(|path| path.as_bytes().to_vec()).collect(),
        ..Observation::default()
    };
    memory.observe(&seen, AMPLE).await;
}

impl Reached {
    fn add(&mut self, answer: &Answer, right: bool) {
        self.asked += 1;
        self.right += u64::from(right);
        let enough = AskOptions::default().enough;
        self.sure += u64::from(
            answer
                .finding()
                .is_some_and(|finding| finding.confidence >= enough),
        );
        self.work += answer.worked;
        self.time.push(answer.took.as_nanos() as f64 / 1e3);
    }

    fn work_us(&self) -> f64 {
        self.work.as_nanos() as f64 / 1e3 / self.asked.max(1) as f64
    }

    fn share(&self, count: u64) -> f64 {
        count as f64 * 100.0 / self.asked.max(1) as f64
    }

    fn median_us(&self) -> f64 {
        let mut sorted = self.time.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

fn rows(
    ctx: &mut Ctx,
    repository: &Repository,
    tally: &Tally,
    with_alm: bool,
) -> Result<(), BenchError> {
    let absent = if with_alm { "" } else { "; layer 3 absent" };
    let (name, role) = match repository.held_out {
        true => (
            format!("{}, held out: ", repository.name),
            "the walk was shaped without it",
        ),
        false => (String::new(), "the walk was shaped on it"),
    };
    let repository = format!("{}'s history ({role})", repository.name);
    let note = format!("{repository}, one question of each kind per change{absent}");
    let fixed = &tally[0];
    for (way, reached) in WAYS.iter().zip(tally).skip(1) {
        let mut works = (Samples::default(), Samples::default());
        let mut rights = (Samples::default(), Samples::default());
        for (kind, asked) in KINDS.iter().enumerate() {
            let (ours, peer) = (&reached[kind], &fixed[kind]);
            ctx.row(
                &format!("{name}{way}, {asked}: work of the layers per question"),
                "µs",
                &ours.work_us().into(),
                Some((WAYS[0], &peer.work_us().into())),
                Must::Report,
                &format!(
                    "{repository}; {:.1} % sure enough, fixed order {:.1} %",
                    ours.share(ours.sure),
                    peer.share(peer.sure)
                ),
            )?;
            ctx.row(
                &format!("{name}{way}, {asked}: time to the answer, median"),
                "µs",
                &ours.median_us().into(),
                Some((WAYS[0], &peer.median_us().into())),
                Must::Report,
                &note,
            )?;
            works.0.push(ours.work_us());
            works.1.push(peer.work_us());
            rights.0.push(ours.share(ours.right));
            rights.1.push(peer.share(peer.right));
            ctx.row(
                &format!("{name}{way}, {asked}: right answers in three items"),
                "%",
                &ours.share(ours.right).into(),
                Some((WAYS[0], &peer.share(peer.right).into())),
                Must::Report,
                &note,
            )?;
        }
        let mean = |samples: &Samples| -> Samples {
            (samples.0.iter().sum::<f64>() / samples.0.len() as f64).into()
        };
        let must = match *way {
            "adaptive, rated" => Must::RatioAtMost(1.0),
            _ => Must::Report,
        };
        ctx.row(
            &format!("{name}{way}, all kinds: work of the layers per question"),
            "µs",
            &mean(&works.0),
            Some((WAYS[0], &mean(&works.1))),
            must,
            &note,
        )?;
        let must = match *way {
            "adaptive" | "adaptive, rated" => Must::RatioAtLeast(0.99),
            _ => Must::Report,
        };
        ctx.row(
            &format!("{name}{way}, all kinds: right answers in three items"),
            "%",
            &mean(&rights.0),
            Some((WAYS[0], &mean(&rights.1))),
            must,
            &format!("{repository}; recall and mistyped: that file; together: of the same commit; next: the next change"),
        )?;
    }
    Ok(())
}
