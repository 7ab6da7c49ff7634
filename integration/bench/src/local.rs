//! Rows of `bench-local`: a round trip on the local wire beside a bare ping-pong, both between two processes.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mfn_local::{
    Answering, BoxFuture, Call, Client, ConnectOptions, Failure, Handler, LocalError, Reply,
    Request, Server, ServerConfig, blocking,
};
use mfn_wire::{ContentType, Service};

use crate::allocations;
use crate::cpu;
use crate::local_load;
use crate::peers::unix;
use crate::record::{BenchError, Ctx, Must, Samples};

/// The word that makes this binary the server on the local wire.
const CHILD: &str = "child-local-echo";
const BODY_BYTES: usize = 64;
const IN_FLIGHT: usize = 64;

/// The method that answers with the server's allocations, and counts them from the first time on.
pub(crate) const ALLOCATIONS: u16 = 2;

struct Echo;

impl Handler for Echo {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        Box::pin(std::future::ready(echo(call)))
    }

    fn answer(&self, call: Call) -> Answering {
        Answering::Now(echo(call))
    }
}

fn echo(call: Call) -> Result<Reply, Failure> {
    let body = if call.method == ALLOCATIONS {
        allocations::watch();
        allocations::count().to_le_bytes().to_vec().into()
    } else {
        call.body
    };
    Ok(Reply {
        content_type: ContentType::Bytes,
        body,
    })
}

/// A server in its own process.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }
}

/// The echo on the local wire.
pub(crate) fn start(path: &Path, processor: usize) -> Result<Process, BenchError> {
    let child = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .arg(path)
        .arg(processor.to_string())
        .spawn()?;
    Ok(Process(child))
}

/// A server that listens on TCP and says where.
#[cfg(feature = "http-peers")]
pub(crate) fn start_tcp(
    word: &str,
    processor: usize,
) -> Result<(Process, std::net::SocketAddr), BenchError> {
    use std::io::BufRead;
    let mut child = Command::new(std::env::current_exe()?)
        .arg(word)
        .arg(processor.to_string())
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        io::BufReader::new(output).read_line(&mut line)?;
    }
    let server = Process(child);
    Ok((server, line.trim().parse()?))
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has no state: killing it is its normal end.
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

/// Where both processes run. The scheduler's own choice flips between the two, with a factor of ten in what it measures.
pub(crate) struct Placement {
    pub(crate) name: &'static str,
    pub(crate) client: usize,
    pub(crate) server: usize,
}

/// What is measured in one placement.
struct Pair {
    placement: Placement,
    task: Client,
    thread: blocking::Client,
    bare: unix::Echo,
    _server: Process,
    p50: Samples,
    p99: Samples,
    task_p50: Samples,
    rate: Samples,
    bare_p50: Samples,
    bare_p99: Samples,
}

pub(crate) fn run(ctx: &mut Ctx) -> Result<(), BenchError> {
    let place = tempfile::tempdir()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut pairs = Vec::new();
    for placement in placements()? {
        let path = place.path().join(format!("run/{}.sock", placement.server));
        let server = start(&path, placement.server)?;
        pairs.push(Pair {
            task: runtime.block_on(connect(&path))?,
            thread: blocking::Client::connect(&path, Service::State, &ConnectOptions::default())?,
            bare: unix::Echo::start(place.path(), BODY_BYTES, placement.server)?,
            placement,
            _server: server,
            p50: Samples::default(),
            p99: Samples::default(),
            task_p50: Samples::default(),
            rate: Samples::default(),
            bare_p50: Samples::default(),
            bare_p99: Samples::default(),
        });
    }
    // Short rounds, and many: on one core a round trip takes one of two times, by how the kernel happens to hand the core
    // over, and keeps to it for a while.
    let rounds = if ctx.quick { 1_000 } else { 4_000 };
    for _ in 0..ctx.rounds() * 5 {
        for pair in &mut pairs {
            cpu::pin(pair.placement.client)?;
            let request = request();
            let mut times = timed(rounds, || pair.thread.call(0, 1, &request).map(drop))?;
            pair.p50.push(quantile(&mut times, 0.5));
            pair.p99.push(quantile(&mut times, 0.99));
            let mut times = timed(rounds, || pair.bare.ping())?;
            pair.bare_p50.push(quantile(&mut times, 0.5));
            pair.bare_p99.push(quantile(&mut times, 0.99));
            let client = pair.task.clone();
            let task = runtime.spawn(async move { round_trips(&client, rounds).await });
            let mut times = runtime.block_on(task)??;
            pair.task_p50.push(quantile(&mut times, 0.5));
            pair.rate
                .push(runtime.block_on(throughput(&pair.task, rounds))?);
        }
    }
    for pair in &pairs {
        let name = pair.placement.name;
        let note = "64-byte body, one call at a time of a thread; two processes";
        let peer = Some(("blocking ping-pong", &pair.bare_p50));
        let metric = format!("round trip, {name}, p50");
        ctx.row(
            &metric,
            "µs",
            &pair.p50,
            peer,
            Must::RatioAtMost(1.25),
            note,
        )?;
        let peer = Some(("blocking ping-pong", &pair.bare_p99));
        let metric = format!("round trip, {name}, p99");
        ctx.row(&metric, "µs", &pair.p99, peer, Must::Report, note)?;
        let note = "the same of a tokio task, on a runtime of one thread";
        let peer = Some(("blocking ping-pong", &pair.bare_p50));
        let metric = format!("round trip, {name}, of a task, p50");
        ctx.row(&metric, "µs", &pair.task_p50, peer, Must::Report, note)?;
        let note = "64-byte body, 64 calls in flight on one connection";
        let metric = format!("calls, {name}");
        ctx.row(&metric, "1/s", &pair.rate, None, Must::Report, note)?;
    }
    let placements: Vec<Placement> = pairs.into_iter().map(|pair| pair.placement).collect();
    local_load::run(ctx, place.path(), &placements)
}

/// Microseconds of each round.
fn timed<E: Into<BenchError>>(
    rounds: usize,
    mut round: impl FnMut() -> Result<(), E>,
) -> Result<Vec<f64>, BenchError> {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        round().map_err(Into::into)?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(times)
}

/// Both on one processor; and each on its own, where there are two.
fn placements() -> Result<Vec<Placement>, BenchError> {
    let mut all = cpu::allowed()?.into_iter();
    let first = all.next().ok_or_else(|| BenchError::new("no processor"))?;
    let mut placements = vec![Placement {
        name: "one core",
        client: first,
        server: first,
    }];
    placements.extend(all.next().map(|second| Placement {
        name: "two cores",
        client: first,
        server: second,
    }));
    Ok(placements)
}

async fn connect(path: &Path) -> Result<Client, BenchError> {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        match Client::connect(path, Service::State, ConnectOptions::default()).await {
            // The server is still starting.
            Err(LocalError::NotRunning { .. }) if Instant::now() < until => {
                tokio::task::yield_now().await
            }
            other => return Ok(other?),
        }
    }
}

fn request() -> Request {
    static BODY: [u8; BODY_BYTES] = [7; BODY_BYTES];
    Request::new(ContentType::Bytes, &BODY[..])
}

async fn round_trips(client: &Client, count: usize) -> Result<Vec<f64>, BenchError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let start = Instant::now();
        client.call(1, request()).await?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    Ok(times)
}

async fn throughput(client: &Client, count: usize) -> Result<f64, BenchError> {
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..count / IN_FLIGHT {
                client.call(1, request()).await?;
            }
            Ok::<(), mfn_local::CallError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok((count / IN_FLIGHT * IN_FLIGHT) as f64 / start.elapsed().as_secs_f64())
}

fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(at).copied().unwrap_or_default()
}

/// Runs as a second process of this benchmark when the arguments say so.
pub(crate) fn child(arguments: &[String]) -> Option<ExitCode> {
    match arguments {
        [word, path, bytes, processor] if word == unix::CHILD => {
            Some(unix::serve(path, bytes, processor))
        }
        #[cfg(feature = "http-peers")]
        [word, processor]
            if word == crate::peers::http::HTTP_CHILD
                || word == crate::peers::http::TONIC_CHILD =>
        {
            Some(crate::peers::http::serve(word, processor))
        }
        [word, path, processor] if word == CHILD => Some(match serve(Path::new(path), processor) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{CHILD}: {error}");
                ExitCode::FAILURE
            }
        }),
        _ => None,
    }
}

fn serve(path: &Path, processor: &str) -> Result<(), BenchError> {
    cpu::pin(processor.parse().map_err(io::Error::other)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .event_interval(mfn_local::EVENT_INTERVAL)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = Server::bind(ServerConfig::new(Service::State, path))?;
        server
            .serve(Arc::new(Echo), std::future::pending::<()>())
            .await;
        Ok(())
    })
}
