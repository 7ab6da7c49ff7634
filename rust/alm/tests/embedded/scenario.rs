//! One script over both ways to the layer.

use std::path::PathBuf;
use std::time::Duration;

use mfn_alm::{
    Alm, AlmError, AssociatesQuery, Edge, EmbeddedOptions, Filter, Path, PathQuery, Pool,
    SocketAlm, Supervisor, SupervisorOptions,
};

use crate::{open, run};

/// What was answered: words that must be equal, and numbers that may differ by what fades between two runs.
type Line = (String, Vec<f64>);

#[test]
fn both_ways_answer_alike() {
    let place = tempfile::tempdir().unwrap();
    run(async {
        let embedded = open(&EmbeddedOptions::new(place.path().join("embedded"))).unwrap();
        let here = script(&embedded).await;
        embedded.close().await;

        let socket = place.path().join("mfn_alm.sock");
        let daemon = Supervisor::start(SupervisorOptions::new(
            almd(),
            vec![
                "--socket".into(),
                socket.clone().into(),
                "--dir".into(),
                place.path().join("daemon").into(),
                "--exit-on-stdin-eof".into(),
            ],
        ));
        let client = SocketAlm::new(&socket);
        answering(&client).await;
        let there = script(&client).await;
        daemon.stop().await;

        assert_eq!(here.len(), there.len());
        for ((words, numbers), (wanted, exact)) in here.iter().zip(&there) {
            assert_eq!(words, wanted);
            assert_eq!(numbers.len(), exact.len(), "{words}");
            for (number, exact) in numbers.iter().zip(exact) {
                // The half-life is hours, and a run takes seconds.
                let near = (number - exact).abs() <= 0.01 * exact.abs().max(0.01);
                assert!(near, "{words}: {number} here, {exact} there");
            }
        }
        // Both could be empty alike.
        let text = format!("{here:?}");
        for part in [
            "home office shop",
            "parse.h together 3",
            "associates shop",
            "pool 7",
            "long 900",
            "refused INVALID_ARGUMENT",
        ] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    });
}

/// Built beside this program by the task that runs it.
fn almd() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.ancestors().nth(2).unwrap().join("almd");
    let by_hand = "cargo make test-ffi builds it";
    assert!(
        program.is_file(),
        "{} is not there: {by_hand}",
        program.display()
    );
    program
}

/// Asks until the daemon answers.
async fn answering(client: &SocketAlm) {
    let asked = async {
        while client.stats().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, asked).await.unwrap();
}

async fn script(alm: &dyn Alm) -> Vec<Line> {
    let mut lines = Vec::new();
    links(alm, &mut lines).await;
    paths(alm, &mut lines).await;
    together(alm, &mut lines).await;
    pools(alm, &mut lines).await;
    refusals(alm, &mut lines).await;
    lines
}

async fn links(alm: &dyn Alm, lines: &mut Vec<Line>) {
    let edges = [
        ("home", "office", 0.9),
        ("office", "shop", 0.9),
        ("home", "shop", 0.5),
    ];
    let edges = edges.map(|(from, to, strength)| Edge::new(from, to, strength));
    alm.add(edges.to_vec()).await.unwrap();
    alm.reinforce(vec![Edge::new("home", "shop", 0.2)])
        .await
        .unwrap();
    let typed = Edge {
        kind: 3,
        bandwidth: 100.0,
        ..Edge::new("home", "lake", 0.4)
    };
    alm.add(vec![typed]).await.unwrap();
    for edge in alm.neighbours(b"home".to_vec(), 10).await.unwrap() {
        let words = format!(
            "neighbour {} kind {} evidence {}",
            text(&edge.to),
            edge.kind,
            edge.evidence
        );
        lines.push((words, vec![edge.strength, edge.bandwidth]));
    }
    // Longer than what an answer is first given room for.
    let many = (0..900).map(|i| Edge::new("hub", format!("spoke {i:04}"), 0.5));
    alm.add(many.collect()).await.unwrap();
    let long = alm.neighbours(b"hub".to_vec(), 1000).await.unwrap();
    lines.push((format!("long {}", long.len()), Vec::new()));
    alm.remove(vec![Edge::new("hub", "", 0.0)]).await.unwrap();
    let gone = alm.neighbours(b"hub".to_vec(), 10).await.unwrap();
    lines.push((format!("forgotten {}", gone.len()), Vec::new()));
}

async fn paths(alm: &dyn Alm, lines: &mut Vec<Line>) {
    let best = alm.best_path(b"home".to_vec(), b"shop".to_vec(), 0).await;
    lines.push(path(&best.unwrap().unwrap()));
    let none = alm.best_path(b"shop".to_vec(), b"moon".to_vec(), 0).await;
    lines.push((format!("no path {:?}", none.unwrap()), Vec::new()));
    let query = PathQuery {
        from: b"home".to_vec(),
        to: b"shop".to_vec(),
        ..PathQuery::default()
    };
    for one in alm.best_paths(query.clone(), 4).await.unwrap() {
        lines.push(path(&one));
    }
    let one_hop = PathQuery {
        hops_max: 1,
        ..query.clone()
    };
    lines.push(path(&alm.path(one_hop).await.unwrap().unwrap()));
    let filtered = PathQuery {
        filter: Filter {
            kinds: vec![3],
            bandwidth_min: 0.0,
        },
        ..query
    };
    lines.push((format!("{:?}", alm.path(filtered).await.unwrap()), vec![]));
    alm.prepare(0).await.unwrap();
    let candidates = vec![b"moon".to_vec(), b"shop".to_vec(), b"office".to_vec()];
    for one in alm.rank(b"home".to_vec(), candidates).await.unwrap() {
        let cost = if one.known { one.cost } else { 0.0 };
        lines.push((
            format!("rank {} {}", text(&one.node), one.known),
            vec![cost],
        ));
    }
    for spread in [false, true] {
        let query = AssociatesQuery {
            node: b"home".to_vec(),
            spread,
            ..AssociatesQuery::default()
        };
        let found = alm.associates(query).await.unwrap();
        for (node, score) in found.list {
            lines.push((format!("associates {}", text(&node)), vec![score]));
        }
        lines.push((format!("cut {}", found.cut), vec![found.bound]));
    }
}

async fn together(alm: &dyn Alm, lines: &mut Vec<Line>) {
    for _ in 0..3 {
        let keys = vec![b"parse.c".to_vec(), b"parse.h".to_vec()];
        alm.observe(0, keys).await.unwrap();
    }
    for one in alm.predict(0, b"parse.c".to_vec(), 3).await.unwrap() {
        let words = format!("{} together {}", text(&one.key), one.together);
        lines.push((words, vec![one.share]));
    }
}

async fn pools(alm: &dyn Alm, lines: &mut Vec<Line>) {
    let pool = Pool {
        id: 7,
        links_bytes_max: 1 << 20,
        predict_bytes_max: 1 << 20,
        half_life: Duration::from_secs(3600),
    };
    alm.pool_set(pool).await.unwrap();
    alm.add_to(7, vec![Edge::new("a", "b", 0.5)]).await.unwrap();
    alm.reinforce_in(7, vec![Edge::new("a", "c", 0.25)])
        .await
        .unwrap();
    alm.remove_from(7, vec![Edge::new("a", "b", 0.0)])
        .await
        .unwrap();
    let query = AssociatesQuery {
        node: b"a".to_vec(),
        pool: 7,
        ..AssociatesQuery::default()
    };
    for (node, score) in alm.associates(query).await.unwrap().list {
        lines.push((format!("in the pool {}", text(&node)), vec![score]));
    }
    for pool in alm.pools().await.unwrap() {
        lines.push((
            format!("pool {} half-life {:?}", pool.id, pool.half_life),
            vec![],
        ));
    }
    alm.pool_drop(7).await.unwrap();
    let stats = alm.stats().await.unwrap();
    lines.push((
        format!("{} edges, {} pools", stats.edges, stats.pools),
        vec![],
    ));
    alm.snapshot().await.unwrap();
}

async fn refusals(alm: &dyn Alm, lines: &mut Vec<Line>) {
    for strength in [f64::NAN, -0.5, 1.5, f64::INFINITY] {
        refused(alm.add(vec![Edge::new("a", "b", strength)]).await, lines);
    }
    refused(alm.add(vec![Edge::new("", "b", 0.5)]).await, lines);
    let long = vec![b'k'; 70_000];
    refused(alm.add(vec![Edge::new(long, "b", 0.5)]).await, lines);
    refused(alm.add_to(99, vec![Edge::new("a", "b", 0.5)]).await, lines);
    refused(alm.predict(99, b"a".to_vec(), 1).await, lines);
    refused(alm.pool_drop(99).await, lines);
    refused(alm.pool_drop(0).await, lines);
    refused(alm.best_paths(PathQuery::default(), 1000).await, lines);
    let tiny = Pool {
        id: 8,
        links_bytes_max: 1,
        ..Pool::default()
    };
    refused(alm.pool_set(tiny).await, lines);
}

fn refused<T: std::fmt::Debug>(answer: Result<T, AlmError>, lines: &mut Vec<Line>) {
    let words = match answer {
        Ok(answer) => format!("answered {answer:?}"),
        Err(AlmError::Refused { status, text }) => format!("refused {}: {text}", status.name()),
        Err(AlmError::Away(text)) => panic!("away: {text}"),
    };
    lines.push((words, Vec::new()));
}

fn path(path: &Path) -> Line {
    let nodes: Vec<_> = path.nodes.iter().map(|node| text(node)).collect();
    (nodes.join(" "), vec![path.strength, path.cost])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
