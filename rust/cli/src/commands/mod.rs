//! The subcommands.

pub(crate) mod content;
pub(crate) mod ipc;
pub(crate) mod local;
pub(crate) mod mem;
pub(crate) mod network;
pub(crate) mod order;
pub(crate) mod sim;
pub(crate) mod status;

use std::process::ExitCode;

use hypermesh_node::NodeDir;

use crate::args::{Cli, Command, Global};
use crate::error::CliError;
use crate::output::Output;

/// What every subcommand that talks to a node has.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) dir: NodeDir,
    pub(crate) out: Output,
    pub(crate) global: Global,
}

/// Runs what was typed.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let global = cli.global;
    let out = Output {
        json: global.json,
        quiet: global.quiet,
    };
    if let Command::Completions(arguments) = &cli.command {
        local::completions(arguments);
        return Ok(ExitCode::SUCCESS);
    }
    if let Command::Sim(arguments) = &cli.command {
        return sim::sim(out, &global, arguments);
    }
    if let Command::Verify(arguments) = &cli.command {
        order::verify(out, &global, arguments)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = match &global.dir {
        Some(path) => path.clone(),
        None => NodeDir::default_path(|name| std::env::var_os(name))?,
    };
    let dir = NodeDir::new(&path)?;
    match cli.command {
        Command::Init => local::init(&dir, out)?,
        Command::Id => local::id(&dir, out)?,
        Command::Up(arguments) => local::up(&dir, out, arguments)?,
        Command::Component(arguments) => local::component(&dir, out, arguments)?,
        Command::Doctor => return local::doctor(&dir, out),
        Command::Fsck(arguments) if arguments.rebuild => local::rebuild(&dir, out)?,
        command => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| CliError::failed(format!("could not start: {error}")))?;
            runtime.block_on(ask(&Context { dir, out, global }, command))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What a running node answers.
async fn ask(context: &Context, command: Command) -> Result<(), CliError> {
    match command {
        Command::Put(arguments) => content::put(context, arguments).await,
        Command::Get(arguments) => content::get(context, arguments).await,
        Command::Ls(arguments) => content::ls(context, arguments).await,
        Command::Cat(arguments) => content::cat(context, arguments).await,
        Command::Stat(arguments) => content::stat(context, arguments).await,
        Command::Pin(arguments) => content::pin(context, arguments, true).await,
        Command::Unpin(arguments) => content::pin(context, arguments, false).await,
        Command::Roots => content::roots(context).await,
        Command::Gc(arguments) => content::gc(context, arguments).await,
        Command::Fsck(arguments) => content::fsck(context, arguments).await,
        Command::Peers => network::peers(context).await,
        Command::Ping(arguments) => network::ping(context, arguments).await,
        Command::Invite(arguments) => network::invite(context, arguments).await,
        Command::Join(arguments) => network::join(context, arguments).await,
        Command::Forget(arguments) => network::forget(context, &arguments).await,
        Command::Name(arguments) => order::name(context, arguments).await,
        Command::Members(arguments) => order::members(context, arguments).await,
        Command::Log(arguments) => order::log(context, arguments).await,
        Command::Proof(arguments) => order::proof(context, arguments).await,
        Command::Evidence(arguments) => order::evidence(context, arguments).await,
        Command::Status => status::status(context).await,
        Command::Mem(arguments) => mem::mem(context, arguments).await,
        Command::Ipc(arguments) => ipc::ipc(context, arguments).await,
        Command::Init
        | Command::Id
        | Command::Up(_)
        | Command::Component(_)
        | Command::Doctor
        | Command::Sim(_)
        | Command::Verify(_)
        | Command::Completions(_) => Err(CliError::failed("this command does not ask a node")),
    }
}
