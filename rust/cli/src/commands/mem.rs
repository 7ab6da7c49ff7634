//! `hypermesh mem`: the four layers as one memory, asked over the sockets of a running node.

mod sample;
mod screen;
mod values;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mfn_memory::Mfn;
use mfn_memory::facade::{
    Answer, AskOptions, At, Estimates, Item, LayerError, LayerId, Layers, Like, Mode, Noted,
    Observation, Probe, Question, Said,
};
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};

use super::Context;
use crate::args::{
    Mem, MemAsk, MemCommand, MemContent, MemExplain, MemGet, MemKeyBytes, MemMode, MemPut,
    MemSimilar,
};
use crate::connect::{dir_option, software};
use crate::error::CliError;
use crate::output::{json_bytes, printable, table};

/// How long a change may take: it waits for the disk.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a plain question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a layer that the node has just started may take until it serves.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one that has ended may take until it runs again.
const AGAIN_TIMEOUT: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// What `mem ask` has measured of the layers, beside the node's sockets.
const MEASURED: &str = "mem-measured";
/// How much of a value is compared with others.
const COMPARED_BYTES: u64 = 1 << 20;

pub(crate) async fn mem(context: &Context, arguments: Mem) -> Result<(), CliError> {
    match arguments.command {
        MemCommand::Put(arguments) => put(context, &arguments).await,
        MemCommand::Get(arguments) => get(context, &arguments).await,
        MemCommand::Forget(arguments) => forget(context, &arguments.key.0).await,
        MemCommand::Similar(arguments) => similar(context, arguments).await,
        MemCommand::Link(arguments) => {
            let mfn = memory(context).await?;
            let (from, to) = (&arguments.from.0, &arguments.to.0);
            mfn.link(from, to, arguments.strength, CHANGE_TIMEOUT)
                .await
                .map_err(|error| of_layer(LayerId::Alm, &error))?;
            context
                .out
                .remark(&format!("{} → {}", printable(from), printable(to)));
            Ok(())
        }
        MemCommand::Path(arguments) => {
            let (from, to) = (&arguments.from.0, &arguments.to.0);
            paths(context, from, to, arguments.count).await
        }
        MemCommand::Related(arguments) => {
            let (key, limit) = (&arguments.key.key.0, arguments.limit.limit);
            let mfn = memory(context).await?;
            let items = mfn.relate(key, limit, ANSWER_TIMEOUT).await;
            let items = items.map_err(|error| of_layer(LayerId::Alm, &error))?;
            let nothing = format!(
                "nothing is known to go with '{0}': `hypermesh mem link{1} {0} OTHER` states it",
                printable(key),
                dir_option(&context.dir)
            );
            list(context, LayerId::Alm, &items, nothing)
        }
        MemCommand::Next(arguments) => {
            let stream = arguments.stream.stream;
            let mfn = memory(context).await?;
            let at = At {
                stream: stream.clone().into_bytes(),
                lane: 0,
            };
            let limit = arguments.limit.limit;
            let items = mfn.foresee(at, limit, ANSWER_TIMEOUT).await;
            let items = items.map_err(|error| of_layer(LayerId::Cpe, &error))?;
            let nothing = format!(
                "nothing is claimed of what comes next in '{stream}': too little came in it; `mem put` and `mem get` teach it"
            );
            list(context, LayerId::Cpe, &items, nothing)
        }
        MemCommand::Ask(arguments) => ask(context, arguments).await,
        MemCommand::Explain(arguments) => explain(context, arguments).await,
        MemCommand::Stats => {
            let mut watch = sample::Watch::open(context).await?;
            let one = watch.sample(context).await?;
            context.out.result(|| one.text(None), || one.json(None))
        }
        MemCommand::Top(arguments) => screen::top(context, &arguments).await,
    }
}

/// The memory of the running node; layers that it does not serve are absent in it.
async fn memory(context: &Context) -> Result<Mfn, CliError> {
    let metrics = context.client(Service::Metrics).await?;
    let until = Instant::now() + AGAIN_TIMEOUT;
    let status = loop {
        let status: pb::NodeStatus = context
            .ask_nothing(&metrics, method::metrics::STATUS)
            .await?;
        // A process that the node starts, or starts again, is back after a moment as a rule.
        let away = |one: &pb::LayerStatus| one.detail.starts_with("away");
        if !status.layers.iter().any(away) || Instant::now() > until {
            break status;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    let run_dir = context.run_dir()?;
    let absent = |layer: LayerId| absent(&status, layer);
    // Its client does not wait for a socket that a node has not made yet.
    if absent(LayerId::Alm).is_none() {
        let socket = run_dir.join(Service::Alm.socket_name());
        let until = Instant::now() + START_TIMEOUT;
        while !socket.exists() && Instant::now() < until {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    let layers = Layers::of_node(&run_dir, &software(), absent);
    let measured = std::fs::read(run_dir.join(MEASURED));
    let measured = measured.ok().and_then(|bytes| Estimates::decode(&bytes));
    Ok(Mfn::with_estimates(layers, measured.unwrap_or_default()))
}

/// Leaves what was measured to the next command, as long as the machine runs. Two at once may lose one's measurements.
fn keep_measured(context: &Context, mfn: &Mfn) -> Result<(), CliError> {
    let run_dir = context.run_dir()?;
    let new = run_dir.join(format!("{MEASURED}-{}", std::process::id()));
    let kept = std::fs::write(&new, mfn.all_measured().encode())
        .and_then(|()| std::fs::rename(&new, run_dir.join(MEASURED)));
    kept.map_err(|error| CliError::failed(format!("{}: {error}", new.display())))
}

/// Why the node does not serve a layer; `None` where it does.
fn absent(status: &pb::NodeStatus, layer: LayerId) -> Option<String> {
    let name = name_in_status(layer);
    match status.layers.iter().find(|one| one.name == name) {
        Some(one) if one.state == "in use" => None,
        Some(one) => Some(format!("{}: {}", one.state, one.detail)),
        None => Some("the node is of an older version and does not serve it".into()),
    }
}

/// The node's own index is a table of its own: what it serves is `ifrd`.
fn name_in_status(layer: LayerId) -> &'static str {
    match layer {
        LayerId::Ifr => "ifrd",
        other => other.name(),
    }
}

fn of_layer(layer: LayerId, error: &LayerError) -> CliError {
    let status = match error {
        LayerError::Refused { status, .. } => Some(status.name().into()),
        _ => None,
    };
    let name = layer.name();
    CliError {
        status,
        ..CliError::failed(format!(
            "{name} {}: `hypermesh status` shows the layers",
            match error {
                LayerError::Absent(why) => format!("is absent ({why})"),
                LayerError::Away(why) => format!("is away ({why})"),
                LayerError::Late => "did not answer in time".into(),
                LayerError::Refused { text, .. } => format!("refused: {text}"),
            }
        ))
    }
}

fn no_key(context: &Context, key: &[u8]) -> CliError {
    let (key, dir) = (printable(key), dir_option(&context.dir));
    CliError {
        status: Some("NOT_FOUND".into()),
        ..CliError::failed(format!(
            "'{key}' is not in the memory: put it with `hypermesh mem put{dir} {key} VALUE`, or see what is near with `hypermesh mem ask{dir} {key}`"
        ))
    }
}

async fn put(context: &Context, arguments: &MemPut) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let key = &arguments.key.0;
    let (root, begin) = match (&arguments.value, &arguments.file) {
        (Some(text), _) => values::store(context, text.as_encoded_bytes()).await?,
        (None, Some(path)) if path == Path::new("-") => {
            values::store(context, std::io::stdin().lock()).await?
        }
        (None, Some(path)) => (values::store_file(context, path).await?, read_file(path)?),
        (None, None) => return Err(CliError::usage("name a VALUE or a --file")),
    };
    let before = values::find(&mfn, key, ANSWER_TIMEOUT).await;
    let before = before.map_err(|error| of_layer(LayerId::Ifr, &error))?;
    // First, and alone: what follows is advice about a value that must be there.
    values::name(&mfn, key, root, CHANGE_TIMEOUT)
        .await
        .map_err(|error| of_layer(LayerId::Ifr, &error))?;
    let seen = Observation {
        key: key.clone(),
        probe: Some(Probe::Bytes(begin)),
        with: arguments.with.iter().map(|one| one.0.clone()).collect(),
        stream: arguments.stream.stream.clone().into_bytes(),
        ..Observation::default()
    };
    let noted = mfn.observe(&seen, CHANGE_TIMEOUT).await;
    remark_not(context, &noted);
    if let Some(before) = before.filter(|before| *before != root) {
        context.out.remark(&format!(
            "its value was {before}, which stays in the store until `hypermesh unpin{} {before}`",
            dir_option(&context.dir)
        ));
    }
    let layers = noted_json(&noted);
    context.out.result(
        || root.to_string(),
        || {
            let mut value = json!({ "root": root.to_string(), "replaced": before.map(|root| root.to_string()), "layers": layers });
            value["layers"]["ifr"] = json!("kept");
            json_bytes(&mut value, "key", key);
            value
        },
    )
}

async fn get(context: &Context, arguments: &MemGet) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let several = arguments.keys.len() > 1;
    for MemKeyBytes(key) in &arguments.keys {
        let root = values::find(&mfn, key, ANSWER_TIMEOUT).await;
        let root = root.map_err(|error| of_layer(LayerId::Ifr, &error))?;
        let root = root.ok_or_else(|| no_key(context, key))?;
        if context.out.json {
            let bytes = values::load(context, root).await?;
            let mut value = json!({ "root": root.to_string(), "bytes": bytes.len() });
            json_bytes(&mut value, "key", key);
            json_bytes(&mut value, "value", &bytes);
            context.out.result(String::new, || value)?;
        } else {
            values::print(context, root).await?;
            if several {
                context.out.bytes(b"\n")?;
            }
        }
    }
    if arguments.no_learn {
        return Ok(());
    }
    let keys: Vec<Vec<u8>> = arguments.keys.iter().map(|one| one.0.clone()).collect();
    for (at, key) in keys.iter().enumerate() {
        let seen = Observation {
            key: key.clone(),
            // Once for all of them: they were used together once.
            with: if at == 0 {
                keys[1..].to_vec()
            } else {
                Vec::new()
            },
            stream: arguments.stream.stream.clone().into_bytes(),
            ..Observation::default()
        };
        remark_not(context, &mfn.observe(&seen, CHANGE_TIMEOUT).await);
    }
    Ok(())
}

async fn forget(context: &Context, key: &[u8]) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let failed = |error: LayerError| of_layer(LayerId::Ifr, &error);
    let root = values::find(&mfn, key, ANSWER_TIMEOUT)
        .await
        .map_err(failed)?;
    let was_here = mfn.forget(key, CHANGE_TIMEOUT).await.map_err(failed)?;
    let Some(root) = root.filter(|_| was_here) else {
        return Err(no_key(context, key));
    };
    context.out.result(
        || root.to_string(),
        || {
            let mut value = json!({ "root": root.to_string() });
            json_bytes(&mut value, "key", key);
            value
        },
    )
}

async fn similar(context: &Context, arguments: MemSimilar) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let failed = |error: LayerError| of_layer(LayerId::Dsr, &error);
    let limit = arguments.limit.limit;
    let like = match (content(&arguments.content)?, arguments.key) {
        (Some(bytes), _) => Like::Vector(
            mfn_memory::facade::gist(&bytes)
                .ok_or_else(|| CliError::failed("there is no word in it to compare by"))?,
        ),
        (None, Some(MemKeyBytes(key))) => Like::Key(key),
        (None, None) => return Err(CliError::usage("name a KEY, a --text or a --file")),
    };
    let least = arguments.least;
    let items = mfn.resemble(like, limit, least, ANSWER_TIMEOUT).await;
    let nothing =
        format!("nothing is known to be so similar (at least {least}): lower --least, or put more");
    list(context, LayerId::Dsr, &items.map_err(failed)?, nothing)
}

async fn paths(context: &Context, from: &[u8], to: &[u8], count: u32) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let found = mfn.paths(from, to, count, ANSWER_TIMEOUT).await;
    let found = found.map_err(|error| of_layer(LayerId::Alm, &error))?;
    if found.is_empty() {
        return Err(CliError::failed(format!(
            "no way is known from '{0}' to '{1}': `hypermesh mem link{2} {0} {1}` states one",
            printable(from),
            printable(to),
            dir_option(&context.dir)
        )));
    }
    for path in &found {
        context.out.result(
            || {
                let nodes: Vec<String> = path.nodes.iter().map(|node| printable(node)).collect();
                format!("{:.3}  {}", path.strength, nodes.join(" → "))
            },
            || {
                let node = |bytes: &Vec<u8>| {
                    let mut value = json!({});
                    json_bytes(&mut value, "key", bytes);
                    value
                };
                json!({
                    "strength": path.strength,
                    "cost": path.cost,
                    "nodes": path.nodes.iter().map(node).collect::<Vec<_>>(),
                    "links": path.links.iter().map(|link| json!({
                        "strength": link.strength, "kind": link.kind, "evidence": link.evidence,
                    })).collect::<Vec<_>>(),
                })
            },
        )?;
    }
    Ok(())
}

async fn ask(context: &Context, arguments: MemAsk) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let stream = if arguments.next {
        arguments.stream.stream.into_bytes()
    } else {
        Vec::new()
    };
    let mut question = Question {
        key: arguments.key.map(|key| key.0).unwrap_or_default(),
        probe: content(&arguments.content)?.map(Probe::Bytes),
        stream,
        limit: arguments.limit.limit,
        ..Question::default()
    };
    // Questions that name the same things are of one kind.
    let names = [
        !question.key.is_empty(),
        question.probe.is_some(),
        !question.stream.is_empty(),
    ];
    question.kind = names
        .iter()
        .fold(0, |kind, named| kind * 2 + u16::from(*named));
    let options = AskOptions {
        mode: match arguments.mode {
            MemMode::Sequential => Mode::Sequential,
            MemMode::Parallel => Mode::Parallel,
            MemMode::Adaptive => Mode::Adaptive,
        },
        within: arguments.within,
        budget: arguments.budget.unwrap_or(arguments.within),
        enough: arguments.enough,
    };
    let answer = mfn.ask(&question, options).await;
    keep_measured(context, &mfn)?;
    said(context, &answer, false)?;
    if answer.by.is_none() {
        return Err(CliError {
            silent: context.out.json,
            ..CliError::failed("no layer has an answer: put more, or give more time with --within")
        });
    }
    Ok(())
}

async fn explain(context: &Context, arguments: MemExplain) -> Result<(), CliError> {
    let mfn = memory(context).await?;
    let key = arguments.key.key.0;
    let mut probe = content(&arguments.content)?;
    if probe.is_none() {
        // What the key's own value is like: then the layer can say why each match is one.
        let root = values::find(&mfn, &key, ANSWER_TIMEOUT).await;
        if let Ok(Some(root)) = root {
            probe = Some(values::load(context, root).await?);
        }
    }
    let question = Question {
        key,
        probe: probe.map(Probe::Bytes),
        stream: arguments.stream.stream.into_bytes(),
        limit: arguments.limit.limit,
        ..Question::default()
    };
    let answer = mfn.explain(&question, ANSWER_TIMEOUT).await;
    said(context, &answer, true)
}

/// An answer with what became of every layer; with all items, or the best one of who answered.
fn said(context: &Context, answer: &Answer, all: bool) -> Result<(), CliError> {
    context.out.result(
        || {
            let mut parts = Vec::new();
            let shown = |layer| all || answer.by == Some(layer);
            for report in answer.reports.iter().filter(|one| shown(one.layer)) {
                if let Said::Found(finding) = &report.said {
                    let layer = report.layer.name();
                    parts.push(format!("{layer}, {:.3} sure", finding.confidence));
                    parts.push(items_table(&finding.items));
                    parts.push(String::new());
                }
            }
            let rows = answer.reports.iter().map(|report| {
                vec![
                    report.layer.name().into(),
                    what_became(&report.said),
                    micros(report.took),
                ]
            });
            parts.push(table(&["layer", "said", "took"], &[2], rows.collect()));
            parts.push(format!(
                "in {} of time and {} of work",
                micros(answer.took),
                micros(answer.worked)
            ));
            parts.join("\n")
        },
        || answer_json(answer),
    )
}

fn what_became(said: &Said) -> String {
    match said {
        Said::Found(finding) => format!("{:.3} sure", finding.confidence),
        Said::Nothing => "knows nothing".into(),
        Said::NotAsked(why) => format!("not asked: {why}"),
        Said::Absent(why) => format!("absent: {why}"),
        Said::Failed(why) => format!("failed: {why}"),
        Said::Late => "late".into(),
        Said::Cut => "cut off: another was sure enough, or the time was over".into(),
    }
}

fn answer_json(answer: &Answer) -> Value {
    let report = |report: &mfn_memory::facade::Report| {
        let mut value = json!({
            "layer": report.layer.name(),
            "took_ns": report.took.as_nanos() as u64,
        });
        let (state, detail) = match &report.said {
            Said::Found(finding) => {
                value["confidence"] = json!(finding.confidence);
                value["items"] = finding.items.iter().map(item_json).collect();
                ("found", None)
            }
            Said::Nothing => ("nothing", None),
            Said::NotAsked(why) => ("not asked", Some((*why).to_owned())),
            Said::Absent(why) => ("absent", Some(why.clone())),
            Said::Failed(why) => ("failed", Some(why.clone())),
            Said::Late => ("late", None),
            Said::Cut => ("cut", None),
        };
        value["said"] = json!(state);
        if let Some(detail) = detail {
            value["detail"] = json!(detail);
        }
        value
    };
    json!({
        "by": answer.by.map(LayerId::name),
        "took_ns": answer.took.as_nanos() as u64,
        "worked_ns": answer.worked.as_nanos() as u64,
        "order": answer.order.iter().map(|layer| layer.name()).collect::<Vec<_>>(),
        "layers": answer.reports.iter().map(report).collect::<Vec<_>>(),
    })
}

/// One line or object for each item; `nothing` is the failure when there is none.
fn list(
    context: &Context,
    layer: LayerId,
    items: &[Item],
    nothing: String,
) -> Result<(), CliError> {
    if items.is_empty() {
        return Err(CliError {
            status: Some("NOT_FOUND".into()),
            ..CliError::failed(nothing)
        });
    }
    if !context.out.json {
        return context.out.result(|| items_table(items), Value::default);
    }
    for item in items {
        context.out.result(String::new, || {
            let mut value = item_json(item);
            value["layer"] = json!(layer.name());
            value
        })?;
    }
    Ok(())
}

fn items_table(items: &[Item]) -> String {
    let rows = items.iter().map(|item| {
        vec![
            printable(&item.key),
            format!("{:.3}", item.score),
            item.why.clone(),
        ]
    });
    table(&["key", "score", "why"], &[1], rows.collect())
}

fn item_json(item: &Item) -> Value {
    let mut value = json!({ "score": item.score, "why": item.why });
    json_bytes(&mut value, "key", &item.key);
    value
}

/// Names the layers that did not take what happened.
fn remark_not(context: &Context, noted: &[Noted; 4]) {
    for (layer, noted) in LayerId::ALL.iter().zip(noted) {
        if let Noted::Not(error) = noted {
            context
                .out
                .remark(&format!("not learnt: {}", of_layer(*layer, error).text));
        }
    }
}

fn noted_json(noted: &[Noted; 4]) -> Value {
    let mut value = json!({});
    for (layer, noted) in LayerId::ALL.iter().zip(noted) {
        value[layer.name()] = match noted {
            Noted::Kept => json!("kept"),
            Noted::NothingForIt => json!("nothing for it"),
            Noted::Not(error) => json!(error.to_string()),
        };
    }
    value
}

/// The bytes that the options name.
fn content(content: &MemContent) -> Result<Option<Vec<u8>>, CliError> {
    match (&content.text, &content.file) {
        (Some(text), _) => Ok(Some(text.clone().into_bytes())),
        (None, Some(path)) => read_file(path).map(Some),
        (None, None) => Ok(None),
    }
}

/// As much of a file as is compared.
fn read_file(path: &PathBuf) -> Result<Vec<u8>, CliError> {
    if path == Path::new("-") {
        return read_all(std::io::stdin().lock(), path, COMPARED_BYTES);
    }
    let file = std::fs::File::open(path)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    read_all(file, path, COMPARED_BYTES)
}

fn read_all(from: impl Read, path: &Path, most: u64) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    from.take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))?;
    Ok(bytes)
}

fn micros(duration: Duration) -> String {
    format!("{} µs", duration.as_micros())
}
