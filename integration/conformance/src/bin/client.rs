//! The client of the conformance tests in Rust: commands on standard input, one answer each on standard output, as
//! ../../README.md has them.
#![forbid(unsafe_code)]

#[path = "client/records.rs"]
mod records;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, Write as _};
use std::path::Path;
use std::time::Duration;

use mfn_local::{
    CallError, Client, ConnectOptions, Item, LocalError, Pool, PoolOptions, PooledStreaming, Reply,
    Request, Streaming,
};
use mfn_wire::{ContentType, Service, Status, Tlv};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Where calls go.
#[derive(Clone)]
enum Door {
    Client(Client),
    Pool(Pool),
}

enum Call {
    One(JoinHandle<std::result::Result<Reply, CallError>>),
    Stream(Streaming),
    Pooled(PooledStreaming),
    /// It is over; how.
    Over(std::result::Result<Reply, CallError>),
}

#[derive(Default)]
struct State {
    door: Option<Door>,
    calls: HashMap<String, Call>,
    flows: Option<mfn_ifr_client::IfrClient>,
}

/// Commands, one a line, until the input ends.
fn commands() -> mpsc::UnboundedReceiver<String> {
    let (to, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin()
            .lock()
            .lines()
            .map_while(std::io::Result::ok)
        {
            if to.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let (mut commands, mut state) = (commands(), State::default());
    while let Some(line) = commands.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = state.obey(&words).await;
        let answer = answer.unwrap_or_else(|error| format!("failed {error}"));
        writeln!(std::io::stdout(), "{answer}")?;
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "-".into();
    }
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A string takes all.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Result<Vec<u8>> {
    if text == "-" {
        return Ok(Vec::new());
    }
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

fn end(result: &std::result::Result<Reply, CallError>) -> String {
    match result {
        Ok(reply) => format!("end 0 {} {}", reply.content_type.as_u8(), hex(&reply.body)),
        Err(error) => {
            let (status, text) = (error.status().0, error.to_string());
            format!("end {status} 4 {}", hex(text.as_bytes()))
        }
    }
}

fn cancelled() -> CallError {
    CallError::Failed {
        status: Status::CANCELLED,
        text: "the caller cancelled it".into(),
    }
}

impl State {
    async fn obey(&mut self, words: &[&str]) -> Result<String> {
        match *words {
            ["vectors", path] => vectors(path),
            ["connect", path, ms] => {
                let options = ConnectOptions {
                    timeout: Duration::from_millis(ms.parse()?),
                    ..ConnectOptions::default()
                };
                self.door = None;
                match Client::connect(Path::new(path), Service::State, options).await {
                    Ok(client) => {
                        self.door = Some(Door::Client(client));
                        Ok("ok".into())
                    }
                    Err(error) => {
                        let status = match error {
                            LocalError::Refused { status, .. } => status.0,
                            LocalError::Timeout { .. } => Status::DEADLINE.0,
                            _ => Status::UNREACHABLE.0,
                        };
                        Ok(format!("failed {status} {error}"))
                    }
                }
            }
            ["pool", path] => {
                let options = PoolOptions::new(Service::State, path);
                self.door = Some(Door::Pool(Pool::new(options)));
                Ok("ok".into())
            }
            ["start", tag, method, content_type, body, ms, credit] => {
                let number: u8 = content_type.parse()?;
                let content_type =
                    ContentType::try_from(number).map_err(|_| "no such content type")?;
                let mut request = Request::new(content_type, unhex(body)?);
                let ms: u64 = ms.parse()?;
                if ms > 0 {
                    request = request.within(Duration::from_millis(ms));
                }
                let call = self
                    .start(method.parse()?, request, credit.parse()?)
                    .await?;
                self.calls.insert(tag.into(), call);
                Ok("ok".into())
            }
            ["item", tag] => self.item(tag).await,
            ["wait", tag] => loop {
                let item = self.item(tag).await?;
                if item.starts_with("end") {
                    return Ok(item);
                }
            },
            ["cancel", tag] => {
                let call = self.calls.get_mut(tag).ok_or("no such call")?;
                match call {
                    Call::One(task) => task.abort(),
                    // Dropping it cancels it.
                    Call::Stream(_) | Call::Pooled(_) => *call = Call::Over(Err(cancelled())),
                    Call::Over(_) => {}
                }
                // The cancel goes out with the connection's next turn.
                tokio::task::yield_now().await;
                Ok("ok".into())
            }
            ["flows", path] => {
                let options = mfn_ifr_client::Options::default();
                self.flows = Some(mfn_ifr_client::IfrClient::connect(
                    Path::new(path),
                    options,
                )?);
                Ok("ok".into())
            }
            ["records", "vectors", path] => records::vectors(path),
            ["records", verb, ref words @ ..] => {
                records::obey(self.flows.as_ref().ok_or("not connected")?, verb, words)
            }
            ["close"] => {
                self.door = None;
                Ok("ok".into())
            }
            _ => Err(format!("no command {words:?}").into()),
        }
    }

    async fn start(&self, method: u16, request: Request, credit: u32) -> Result<Call> {
        let door = self.door.clone().ok_or("not connected")?;
        Ok(match (door, credit) {
            (Door::Client(client), 0) => {
                Call::One(tokio::spawn(
                    async move { client.call(method, request).await },
                ))
            }
            (Door::Pool(pool), 0) => {
                Call::One(tokio::spawn(
                    async move { pool.call(method, request).await },
                ))
            }
            (Door::Client(client), _) => match client.stream(method, request, credit).await {
                Ok(streaming) => Call::Stream(streaming),
                Err(error) => Call::Over(Err(error)),
            },
            (Door::Pool(pool), _) => match pool.stream(method, request, credit).await {
                Ok(streaming) => Call::Pooled(streaming),
                Err(error) => Call::Over(Err(error)),
            },
        })
    }

    async fn item(&mut self, tag: &str) -> Result<String> {
        let call = self.calls.get_mut(tag).ok_or("no such call")?;
        let next = match call {
            Call::Over(result) => return Ok(end(result)),
            Call::One(task) => {
                let result = match task.await {
                    Ok(result) => result,
                    Err(_) => Err(cancelled()),
                };
                let text = end(&result);
                *call = Call::Over(result);
                return Ok(text);
            }
            Call::Stream(streaming) => streaming.next().await,
            Call::Pooled(streaming) => streaming.next().await,
        };
        Ok(match next.ok_or("the stream is over")? {
            Ok(Item::Event(event)) => {
                let (kind, body) = (event.content_type.as_u8(), hex(&event.body));
                format!("event {kind} {body}")
            }
            Ok(Item::Reply(reply)) => end(&Ok(reply)),
            Err(error) => end(&Err(error)),
        })
    }
}

/// Reads all golden vectors and writes the good ones again.
fn vectors(path: &str) -> Result<String> {
    let (mut good, mut bad) = (0, 0);
    for line in std::fs::read_to_string(path)?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, status, body, ..] = *words else {
            continue;
        };
        if name == "#" {
            continue;
        }
        let (bytes, status) = (unhex(body)?, status.parse::<i32>()?);
        match mfn_wire::decode(&bytes) {
            Ok(frame) => {
                let entries: Vec<Tlv<'_>> = frame.tlv.iter().collect();
                let mut again = Vec::new();
                mfn_wire::encode(&frame.header, &entries, frame.body, &mut again)?;
                // An area without entries is not what an encoder writes.
                let is_empty_area = entries.is_empty() && again.len() < bytes.len();
                if status != 0 || (again != bytes && !is_empty_area) {
                    return Err(format!("{name}: not the same again").into());
                }
                good += 1;
            }
            Err(error) if error.status().0 == status => bad += 1,
            Err(error) => return Err(format!("{name}: {error}").into()),
        }
    }
    Ok(format!("vectors {good} {bad}"))
}
