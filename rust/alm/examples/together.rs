//! Tells layer 3 some links and what is used together, and asks about both: `together SOCKET`.

use mfn_alm::{Alm, AlmError, AssociatesQuery, Edge, PathQuery, SocketAlm};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), AlmError> {
    let Some(socket) = std::env::args_os().nth(1) else {
        eprintln!("usage: together SOCKET");
        return Ok(());
    };
    let alm = SocketAlm::new(socket.as_ref());
    let links = [
        ("home", "office", 0.9),
        ("office", "shop", 0.9),
        ("home", "shop", 0.5),
    ];
    alm.add(
        links
            .map(|(from, to, strength)| Edge::new(from, to, strength))
            .to_vec(),
    )
    .await?;
    let query = PathQuery {
        from: b"home".to_vec(),
        to: b"shop".to_vec(),
        ..PathQuery::default()
    };
    for path in alm.best_paths(query, 2).await? {
        let nodes: Vec<_> = path
            .nodes
            .iter()
            .map(|node| String::from_utf8_lossy(node))
            .collect();
        println!("{} at {:.2}", nodes.join(" "), path.strength);
    }
    let near = alm
        .associates(AssociatesQuery {
            node: b"home".to_vec(),
            ..AssociatesQuery::default()
        })
        .await?;
    for (node, score) in near.list {
        println!("{} {score:.2}", String::from_utf8_lossy(&node));
    }
    for _ in 0..3 {
        alm.observe(0, vec![b"parse.c".to_vec(), b"parse.h".to_vec()])
            .await?;
    }
    for one in alm.predict(0, b"parse.c".to_vec(), 1).await? {
        println!(
            "{} seen {} times",
            String::from_utf8_lossy(&one.key),
            one.together
        );
    }
    Ok(())
}
