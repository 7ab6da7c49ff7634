//! A node that breaks the rules on purpose, for the tests on built processes. Each word is one way; all speak real QUIC
//! with a real key.
//!
//!   rogue id                        prints the node id
//!   rogue serve KIND                prints ID@ADDRESS, claims to have every block, and answers as KIND says
//!   rogue knock ADDRESS COUNT       handshakes with keys that are no members, noise on each; prints how many came through
//!   rogue replay ADDRESS BLOCK      shows one member's token as another member; prints the status of the answer
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program of tests fails by panicking"
)]

#[path = "../tests/it/provider.rs"]
mod provider;
#[path = "../tests/it/raw.rs"]
mod raw;

use std::io::Read;
use std::net::SocketAddr;

use provider::{Rogue, serve};
use raw::{ask, bytes, caller, dial, listen, node};
use stoq_proto::{Message, Shard};
use tokio::task::JoinSet;

/// The key that serves; the next one is its accomplice.
const SEED: u32 = 1_000;
/// Handshakes that are under way at once.
const AT_ONCE: usize = 64;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["id"] => println!("{}\n{}", node(SEED), node(SEED + 1)),
        ["serve", kind] => {
            let how = Rogue::ALL
                .into_iter()
                .find(|how| format!("{how:?}") == kind)
                .unwrap_or_else(|| panic!("one of {:?}", Rogue::ALL));
            let socket = listen(SEED);
            println!("{}@{}", node(SEED), socket.local_addr().unwrap());
            tokio::spawn(serve(socket, how));
            // Until whoever started it is gone.
            let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
            let _ = end.await;
        }
        ["knock", to, count] => {
            println!(
                "{}",
                knock(to.parse().unwrap(), count.parse().unwrap()).await
            );
        }
        ["replay", to, block] => {
            println!("{}", replay(to.parse().unwrap(), block).await);
        }
        _ => panic!("see the head of this file"),
    }
}

async fn knock(to: SocketAddr, count: u32) -> u32 {
    let endpoint = quinn::Endpoint::client("[::1]:0".parse().unwrap()).unwrap();
    let mut under_way = JoinSet::new();
    let mut through = 0;
    for number in 0..count {
        if under_way.len() >= AT_ONCE {
            through += u32::from(under_way.join_next().await.unwrap().unwrap());
        }
        let endpoint = endpoint.clone();
        under_way.spawn(async move {
            // A few keys, each often: making one costs more than a handshake.
            let connecting = endpoint.connect_with(caller(number % 97), to, "stoq");
            let Ok(connection) = connecting.unwrap().await else {
                return false;
            };
            if let Ok((mut send, _)) = connection.open_bi().await {
                let noise: Vec<u8> = (0..number % 200).map(|byte| (byte * 41) as u8).collect();
                // It may be sent away before it has said all.
                let _ = send.write_all(&noise).await;
            }
            true
        });
    }
    while let Some(ended) = under_way.join_next().await {
        through += u32::from(ended.unwrap());
    }
    through
}

async fn replay(to: SocketAddr, block: &str) -> String {
    let (_one, owner) = dial(SEED, to).await;
    let (_other, thief) = dial(SEED + 1, to).await;
    let Some(Message::Token(Some(token))) = ask(&owner, &bytes(&Message::Token(None))).await else {
        panic!("no token");
    };
    let ids = vec![block.parse().unwrap()];
    let request = bytes(&Message::Shard(Shard::Blocks { token, ids }));
    let answer = |message: Option<Message>| match message {
        Some(Message::Shard(Shard::Block { .. })) => "served".to_owned(),
        Some(Message::Error { status, .. }) => format!("status {status}"),
        other => format!("{other:?}"),
    };
    let first = answer(ask(&owner, &request).await);
    let second = answer(ask(&thief, &request).await);
    format!("{first}, {second}")
}
