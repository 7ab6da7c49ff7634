//! Content: put, get, ls, cat, stat, pin, unpin, roots, gc, fsck.

use std::path::Path;
use std::time::Duration;

use hypermesh_node::units::{format_duration, format_size};
use mfn_wire::{Service, method, pb};
use serde_json::{Value, json};

use super::{Context, order};
use crate::args::{Cat, Content, Fsck, Gc, Get, Ls, Put, RootArg, RootPath, Target};
use crate::connect::Step;
use crate::error::CliError;
use crate::output::{ago, json_bytes, printable, table};
use crate::progress::provider_json;

pub(crate) async fn put(context: &Context, arguments: Put) -> Result<(), CliError> {
    let path = absolute(&arguments.path)?;
    if !path.exists() && !path.is_symlink() {
        return Err(CliError::failed(format!(
            "there is nothing at {}",
            arguments.path.display()
        )));
    }
    let request = pb::PutRequest {
        path: bytes_of(&path),
        no_pin: arguments.no_pin,
    };
    let state = context.client(Service::State).await?;
    let reply: pb::PutReply = context
        .job(
            &state,
            method::state::PUT,
            &request,
            "run the same put again to go on: what is stored stays",
        )
        .await?;
    for skipped in &reply.skipped {
        context.out.remark(&format!(
            "left out: no file, directory or symlink, or this node's own directory, or a file that does not tell its size: {}",
            printable(skipped)
        ));
    }
    if reply.special_modes > 0 {
        context.out.remark(&format!(
            "left out the set-uid, set-gid or sticky bits of {} files and directories",
            reply.special_modes
        ));
    }
    context.out.remark(&format!(
        "{} files, {} directories, {} symlinks, {}; new: {} in {} blocks, {} on disk",
        reply.files,
        reply.directories,
        reply.symlinks,
        format_size(reply.content_bytes),
        format_size(reply.new_content_bytes),
        reply.new_blocks,
        format_size(reply.new_stored_bytes),
    ));
    context.out.result(
        || reply.root.clone(),
        || {
            json!({
                "root": reply.root,
                "files": reply.files,
                "directories": reply.directories,
                "symlinks": reply.symlinks,
                "content_bytes": reply.content_bytes,
                "new_blocks": reply.new_blocks,
                "new_content_bytes": reply.new_content_bytes,
                "new_stored_bytes": reply.new_stored_bytes,
                "special_modes": reply.special_modes,
                "skipped": reply.skipped.iter().map(|path| printable(path)).collect::<Vec<_>>(),
            })
        },
    )?;
    match arguments.name {
        Some(name) => {
            let any = pb::Expect {
                kind: "any".into(),
                root: String::new(),
            };
            order::set_name(context, name, reply.root, any).await
        }
        None => Ok(()),
    }
}

pub(crate) async fn get(context: &Context, arguments: Get) -> Result<(), CliError> {
    let root = match &arguments.content {
        Content::Root(root) => root.to_string(),
        Content::Name(name) => order::look_up(context, name).await?.root,
    };
    let destination = match &arguments.destination {
        Some(path) => {
            let path = absolute(path)?;
            if path.exists() || path.is_symlink() {
                return Err(CliError::failed(format!(
                    "{} exists already: choose a new path, or move it away",
                    path.display()
                )));
            }
            bytes_of(&path)
        }
        None => Vec::new(),
    };
    let request = pb::GetRequest {
        root: root.clone(),
        destination,
        pin: arguments.pin,
        providers: arguments
            .providers
            .iter()
            .map(ToString::to_string)
            .collect(),
        base: arguments
            .base
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    };
    let scheduler = context.client(Service::Scheduler).await?;
    let reply: pb::GetReply = context
        .job(
            &scheduler,
            method::scheduler::GET,
            &request,
            "run the same get again to go on: what arrived stays",
        )
        .await?;
    context.out.remark(&summary(&reply));
    if context.out.json {
        return context.out.result(String::new, || get_json(&root, &reply));
    }
    Ok(())
}

fn summary(reply: &pb::GetReply) -> String {
    let mut text = format!(
        "{} files, {} directories, {} symlinks, {} in {}; fetched {} in {} blocks ({} on the wire), {} blocks were here",
        reply.files,
        reply.directories,
        reply.symlinks,
        format_size(reply.content_bytes),
        format_duration(Duration::from_nanos(reply.elapsed_ns)),
        format_size(reply.fetched_content_bytes),
        reply.fetched_blocks,
        format_size(reply.wire_bytes),
        reply.present_blocks,
    );
    if reply.delta_blocks > 0 {
        text.push_str(&format!(
            "\n  {} of these blocks came as deltas: {} instead of {}",
            reply.delta_blocks,
            format_size(reply.delta_bytes),
            format_size(reply.delta_content_bytes),
        ));
    }
    for provider in &reply.providers {
        text.push_str(&format!(
            "\n  {} from {} ({} blocks{}{})",
            format_size(provider.bytes),
            provider.node_id,
            provider.blocks,
            if provider.state.is_empty() { "" } else { ", " },
            provider.state,
        ));
    }
    text
}

fn get_json(root: &str, reply: &pb::GetReply) -> Value {
    json!({
        "root": root,
        "files": reply.files,
        "directories": reply.directories,
        "symlinks": reply.symlinks,
        "content_bytes": reply.content_bytes,
        "fetched_blocks": reply.fetched_blocks,
        "fetched_content_bytes": reply.fetched_content_bytes,
        "wire_bytes": reply.wire_bytes,
        "asked_bytes": reply.asked_bytes,
        "answered_bytes": reply.answered_bytes,
        "delta_blocks": reply.delta_blocks,
        "delta_bytes": reply.delta_bytes,
        "delta_content_bytes": reply.delta_content_bytes,
        "present_blocks": reply.present_blocks,
        "providers": reply.providers.iter().map(provider_json).collect::<Vec<_>>(),
        "elapsed_ns": reply.elapsed_ns,
    })
}

pub(crate) async fn ls(context: &Context, arguments: Ls) -> Result<(), CliError> {
    let RootPath { root, path } = arguments.target.target;
    let request = pb::ListRequest {
        root: root.to_string(),
        path,
        recursive: arguments.recursive,
    };
    let state = context.client(Service::State).await?;
    let mut stream = context
        .stream(&state, method::state::LIST, &request, LIST_AHEAD)
        .await?;
    loop {
        match stream.step::<pb::Entry, pb::ListReply>().await? {
            Step::Event(entry) if context.out.json => {
                context
                    .out
                    .bytes(format!("{}\n", entry_json(&entry)).as_bytes())?;
            }
            Step::Event(entry) if arguments.null => {
                let mut line = entry.path.clone();
                line.push(0);
                context.out.bytes(&line)?;
            }
            Step::Event(entry) => {
                let line = if arguments.long {
                    long_line(&entry)
                } else {
                    name(&entry)
                };
                context.out.bytes(format!("{line}\n").as_bytes())?;
            }
            Step::Reply(_) => return Ok(()),
        }
    }
}

/// The path below what was listed; a file that was itself asked for has none.
fn name(entry: &pb::Entry) -> String {
    if entry.path.is_empty() {
        ".".into()
    } else {
        printable(&entry.path)
    }
}

fn long_line(entry: &pb::Entry) -> String {
    let kind = match entry.kind.as_str() {
        "directory" => 'd',
        "symlink" => 'l',
        _ => '-',
    };
    let mut line = format!(
        "{kind}{} {:>12} {}",
        mode_text(entry.mode),
        entry.size,
        name(entry)
    );
    if entry.kind == "symlink" {
        line.push_str(&format!(" -> {}", printable(&entry.target)));
    }
    line
}

fn mode_text(mode: u32) -> String {
    (0..9)
        .rev()
        .map(|bit| {
            if mode & (1 << bit) != 0 {
                ['x', 'w', 'r'][bit % 3]
            } else {
                '-'
            }
        })
        .collect()
}

fn entry_json(entry: &pb::Entry) -> Value {
    let mut value = json!({
        "kind": entry.kind,
        "mode": format!("{:04o}", entry.mode),
        "size": entry.size,
        "id": entry.id,
    });
    json_bytes(&mut value, "path", &entry.path);
    if entry.kind == "symlink" {
        json_bytes(&mut value, "target", &entry.target);
    }
    value
}

pub(crate) async fn cat(context: &Context, arguments: Cat) -> Result<(), CliError> {
    let RootPath { root, path } = arguments.target.target;
    let request = pb::CatRequest {
        root: root.to_string(),
        path,
        offset: arguments.offset,
        length: arguments.length.unwrap_or(0),
        reader: arguments.reader.unwrap_or_else(whoever_runs_this),
    };
    let state = context.client(Service::State).await?;
    let mut stream = context
        .stream(&state, method::state::CAT, &request, CAT_AHEAD)
        .await?;
    loop {
        match stream.step_bytes::<pb::CatReply>().await? {
            Step::Event(bytes) => context.out.bytes(&bytes)?,
            Step::Reply(_) => return Ok(()),
        }
    }
}

/// This process reads one file and ends; the script or shell that started it reads on.
fn whoever_runs_this() -> u64 {
    let parent = rustix::process::getppid().map(|parent| parent.as_raw_nonzero().get());
    parent
        .and_then(|parent| u64::try_from(parent).ok())
        .unwrap_or(0)
}

pub(crate) async fn stat(context: &Context, arguments: Target) -> Result<(), CliError> {
    let RootPath { root, path } = arguments.target;
    let request = pb::StatRequest {
        root: root.to_string(),
        path,
    };
    let state = context.client(Service::State).await?;
    let entry: pb::Entry = context.ask(&state, method::state::STAT, &request).await?;
    let text = || {
        let mut rows = vec![
            ("path", printable(&entry.path)),
            ("kind", entry.kind.clone()),
            ("mode", format!("{:04o}", entry.mode)),
        ];
        match entry.kind.as_str() {
            "symlink" => rows.push(("target", printable(&entry.target))),
            "directory" => rows.push(("entries", entry.size.to_string())),
            _ => rows.push((
                "size",
                format!("{} ({})", entry.size, format_size(entry.size)),
            )),
        }
        rows.push(("id", entry.id.clone()));
        rows.push((
            "here",
            format!("{:.1} %", f64::from(entry.local_permille) / 10.0),
        ));
        rows.iter()
            .map(|(name, value)| format!("{name:<8}{value}"))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let value = || {
        let mut value = entry_json(&entry);
        value["local_permille"] = json!(entry.local_permille);
        value
    };
    context.out.result(text, value)
}

pub(crate) async fn pin(
    context: &Context,
    arguments: RootArg,
    pinned: bool,
) -> Result<(), CliError> {
    let request = pb::PinRequest {
        root: arguments.root.to_string(),
    };
    let state = context.client(Service::State).await?;
    let method = if pinned {
        method::state::PIN
    } else {
        method::state::UNPIN
    };
    context.ask_empty(&state, method, &request).await?;
    context.out.remark(if pinned {
        "pinned"
    } else {
        "unpinned; the next gc may take it"
    });
    if context.out.json {
        return context.out.result(
            String::new,
            || json!({ "root": arguments.root.to_string(), "pinned": pinned }),
        );
    }
    Ok(())
}

pub(crate) async fn roots(context: &Context) -> Result<(), CliError> {
    let state = context.client(Service::State).await?;
    let list: pb::RootList = context.ask_nothing(&state, method::state::ROOTS).await?;
    if context.out.json {
        for root in &list.roots {
            context.out.result(String::new, || {
                let mut value = json!({
                    "root": root.root,
                    "pinned": root.pinned,
                    "complete": root.complete,
                    "added": root.added,
                    "content_bytes": root.content_bytes,
                });
                json_bytes(&mut value, "source", &root.source);
                value
            })?;
        }
        return Ok(());
    }
    if list.roots.is_empty() {
        context
            .out
            .remark("no roots yet: `hypermesh put PATH` makes the first");
        return Ok(());
    }
    let rows = list
        .roots
        .iter()
        .map(|root| {
            vec![
                root.root.clone(),
                (if root.pinned { "pinned" } else { "" }).into(),
                (if root.complete { "whole" } else { "partly" }).into(),
                format_size(root.content_bytes),
                ago(root.added),
                printable(&root.source),
            ]
        })
        .collect();
    context.out.result(
        || {
            table(
                &["root", "pin", "here", "size", "age", "source"],
                &[3, 4],
                rows,
            )
        },
        Value::default,
    )
}

pub(crate) async fn gc(context: &Context, arguments: Gc) -> Result<(), CliError> {
    let request = pb::GcRequest {
        dry_run: arguments.dry_run,
    };
    let state = context.client(Service::State).await?;
    let reply: pb::GcReply = context
        .job(
            &state,
            method::state::GC,
            &request,
            "run gc again at any time",
        )
        .await?;
    context.out.result(
        || {
            format!(
                "{} {} blocks, {}; kept {} blocks",
                if arguments.dry_run {
                    "would remove"
                } else {
                    "removed"
                },
                reply.removed_blocks,
                format_size(reply.freed_bytes),
                reply.kept_blocks
            )
        },
        || {
            json!({
                "dry_run": arguments.dry_run,
                "removed_blocks": reply.removed_blocks,
                "freed_bytes": reply.freed_bytes,
                "kept_blocks": reply.kept_blocks,
            })
        },
    )
}

pub(crate) async fn fsck(context: &Context, arguments: Fsck) -> Result<(), CliError> {
    let request = pb::FsckRequest {
        repair: arguments.repair,
    };
    let state = context.client(Service::State).await?;
    let mut stream = context
        .stream(&state, method::state::FSCK, &request, LIST_AHEAD)
        .await?;
    let reply = loop {
        match stream.step::<pb::FsckFinding, pb::FsckReply>().await? {
            Step::Event(finding) => context.out.result(
                || finding_line(&finding),
                || {
                    json!({
                        "event": "finding",
                        "block": finding.block,
                        "segment": finding.segment,
                        "offset": finding.offset,
                        "problem": finding.problem,
                        "outcome": finding.outcome,
                    })
                },
            )?,
            Step::Reply(reply) => break reply,
        }
    };
    context.out.result(
        || {
            format!(
                "checked {} blocks, {}: {} bad, {} healed",
                reply.checked_blocks,
                format_size(reply.checked_bytes),
                reply.bad_blocks,
                reply.healed_blocks
            )
        },
        || {
            json!({
                "event": "summary",
                "checked_blocks": reply.checked_blocks,
                "checked_bytes": reply.checked_bytes,
                "bad_blocks": reply.bad_blocks,
                "healed_blocks": reply.healed_blocks,
            })
        },
    )?;
    match reply.bad_blocks.saturating_sub(reply.healed_blocks) {
        0 => Ok(()),
        left if arguments.repair => Err(CliError::failed(format!(
            "{left} blocks stay damaged: no connected peer has them; try again when more peers are connected, \
             or put their files again"
        ))),
        left => Err(CliError::failed(format!(
            "{left} blocks are damaged: run `hypermesh fsck --repair` to fetch them from peers"
        ))),
    }
}

fn finding_line(finding: &pb::FsckFinding) -> String {
    // What is missing stands nowhere.
    let place = if finding.segment.is_empty() {
        String::new()
    } else {
        format!(" in segment {} at {}", finding.segment, finding.offset)
    };
    format!(
        "{} {}{place}: {}",
        finding.outcome, finding.block, finding.problem
    )
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, CliError> {
    std::path::absolute(path)
        .map_err(|error| CliError::usage(format!("'{}' is not a path: {error}", path.display())))
}

fn bytes_of(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

/// Entries that the node may send before one is printed.
const LIST_AHEAD: u32 = 1_024;
/// Pieces of content that the node may send before one is written.
const CAT_AHEAD: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_block_has_no_place() {
        let mut finding = pb::FsckFinding {
            block: "b".into(),
            problem: "missing".into(),
            outcome: "found".into(),
            ..Default::default()
        };
        assert_eq!(finding_line(&finding), "found b: missing");
        finding.segment = "7".into();
        finding.offset = 9;
        assert_eq!(finding_line(&finding), "found b in segment 7 at 9: missing");
    }

    #[test]
    fn modes_read_as_in_ls() {
        assert_eq!(mode_text(0o755), "rwxr-xr-x");
        assert_eq!(mode_text(0o640), "rw-r-----");
    }
}
