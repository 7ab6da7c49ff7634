//! The four layers as one memory: in this process, on their threads, behind sockets, absent, failing, hanging.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mfn_local::{Server, ServerConfig};
use mfn_memory::facade::{
    AskOptions, At, Carrier, Door, Exact, Finding, Foreseeing, InProcess, Item, LayerError,
    LayerId, Layers, Like, Linked, Mode, Noted, Observation, Probe, Question, Records, Reply, Said,
    Similar, Socket, Streams, Vectors,
};
use mfn_memory::{Cpe, Dsr, Memory, Mfn};
use mfn_wire::Service;

const POOL: u32 = 9;
const AMPLE: Duration = Duration::from_secs(20);
const MODES: [Mode; 3] = [Mode::Sequential, Mode::Parallel, Mode::Adaptive];

fn ample(mode: Mode) -> AskOptions {
    AskOptions {
        mode,
        within: AMPLE,
        budget: AMPLE * 4,
        enough: 0.5,
    }
}

fn vectors(carrier: Arc<dyn Carrier>) -> Door<dyn Similar> {
    Door::Here(Arc::new(Vectors::new(carrier, POOL)))
}

fn streams(carrier: Arc<dyn Carrier>) -> Door<dyn Foreseeing> {
    Door::Here(Arc::new(Streams::new(carrier, POOL)))
}

fn records() -> Door<dyn Exact> {
    Door::Here(Arc::new(Records::new(1 << 20).unwrap()))
}

/// All layers in this process, but ALM, which is a daemon.
fn in_process() -> Layers {
    Layers {
        ifr: records(),
        dsr: vectors(Arc::new(InProcess::<Dsr>::new(64 << 20))),
        alm: Door::Absent("there is no almd here".into()),
        cpe: streams(Arc::new(InProcess::<Cpe>::new(64 << 20))),
    }
}

/// A layer 3 as a list of groups.
#[derive(Debug, Default)]
struct Groups(std::sync::Mutex<Vec<Vec<Vec<u8>>>>);

impl Linked for Groups {
    fn together(&self, keys: Vec<Vec<u8>>, _within: Duration) -> Reply<()> {
        self.0.lock().unwrap().push(keys);
        Box::pin(std::future::ready(Ok(())))
    }
    fn link(&self, from: Vec<u8>, to: Vec<u8>, _strength: f64, within: Duration) -> Reply<()> {
        self.together(vec![from, to], within)
    }
    fn related(&self, key: Vec<u8>, _limit: u32, _within: Duration) -> Reply<Option<Finding>> {
        let groups = self.0.lock().unwrap();
        let with = groups.iter().filter(|group| group.contains(&key)).flatten();
        let item = |key: &Vec<u8>| Item {
            key: key.clone(),
            score: 0.7,
            value: None,
            why: "in one group".into(),
        };
        let items = with.filter(|other| **other != key).map(item).collect();
        Box::pin(std::future::ready(Ok(Finding::of(items))))
    }
    fn paths(
        &self,
        _from: Vec<u8>,
        _to: Vec<u8>,
        _count: u32,
        _within: Duration,
    ) -> Reply<Vec<mfn_alm::Path>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

/// A layer that fails, or never answers.
#[derive(Debug)]
enum Broken {
    Fails,
    Hangs,
}

impl Carrier for Broken {
    fn call(&self, _method: u16, _body: Bytes, _within: Duration) -> Reply<Bytes> {
        match self {
            Self::Fails => Box::pin(std::future::ready(Err(LayerError::Away("it broke".into())))),
            Self::Hangs => Box::pin(std::future::pending()),
        }
    }
}

fn seen(key: &str, text: &str) -> Observation {
    Observation {
        key: key.into(),
        value: Some([text.len() as u8; 16]),
        probe: Some(Probe::Bytes(text.into())),
        stream: b"seen".to_vec(),
        ..Observation::default()
    }
}

fn asked(key: &str, text: &str) -> Question {
    Question {
        key: key.into(),
        probe: (!text.is_empty()).then(|| Probe::Bytes(text.into())),
        stream: b"seen".to_vec(),
        ..Question::default()
    }
}

async fn teach(mfn: &Mfn) {
    for _ in 0..20 {
        for (key, text) in [
            ("fox", "the quick brown fox jumps over the lazy dog"),
            ("route", "a route is direct or through one relay"),
            ("salt", "two teaspoons of salt, and a pinch of pepper"),
        ] {
            let noted = mfn.observe(&seen(key, text), AMPLE).await;
            assert_eq!([&noted[0], &noted[1], &noted[3]], [&Noted::Kept; 3]);
        }
    }
}

/// Each layer answers what is its own, whatever the mode and wherever it is.
async fn every_layer_answers(mfn: &Mfn) {
    teach(mfn).await;
    for mode in MODES {
        let exact = mfn.ask(&asked("fox", ""), ample(mode)).await;
        assert_eq!(exact.by, Some(LayerId::Ifr), "{mode:?} {exact:?}");
        assert_eq!(exact.finding().unwrap().items[0].value, Some([43; 16]));
        assert_eq!(exact.finding().unwrap().confidence, 1.0);

        let mut alike = asked("foxes", "quick brown foxes jumped over lazy dogs");
        alike.stream.clear();
        let similar = mfn.ask(&alike, ample(mode)).await;
        assert_eq!(similar.by, Some(LayerId::Dsr), "{mode:?} {similar:?}");
        assert_eq!(similar.finding().unwrap().items[0].key, b"fox");

        let next = mfn.ask(&asked("", ""), ample(mode)).await;
        assert_eq!(next.by, Some(LayerId::Cpe), "{mode:?} {next:?}");
        assert_eq!(next.finding().unwrap().items[0].key, b"fox");
        assert!(matches!(next.report(LayerId::Ifr).said, Said::NotAsked(_)));
    }
    assert_eq!(mfn.recall(b"salt", AMPLE).await, Ok(Some([44; 16])));
    assert_eq!(mfn.recall(b"pepper", AMPLE).await, Ok(None));
    let like = Like::Key(b"fox".to_vec());
    let all = mfn.resemble(like, 5, -1.0, AMPLE).await.unwrap();
    assert_eq!(all.len(), 2);
    let at = At {
        stream: b"seen".to_vec(),
        lane: 0,
    };
    let next = mfn.foresee(at, 1, AMPLE).await.unwrap();
    assert_eq!(next[0].key, b"fox");
    assert_eq!(mfn.forget(b"salt", AMPLE).await, Ok(true));
    assert_eq!(mfn.forget(b"salt", AMPLE).await, Ok(false));
    assert_eq!(mfn.recall(b"salt", AMPLE).await, Ok(None));
    let why = mfn.explain(&asked("fox", "brown foxes"), AMPLE).await;
    let Said::Found(found) = &why.report(LayerId::Dsr).said else {
        panic!("{why:?}")
    };
    assert!(found.items[0].why.contains("compared exactly"), "{found:?}");
    assert!(matches!(why.report(LayerId::Ifr).said, Said::Found(_)));
    assert!(matches!(why.report(LayerId::Cpe).said, Said::Found(_)));
}

#[tokio::test]
async fn layers_in_the_process_answer() {
    let mfn = Mfn::new(in_process());
    every_layer_answers(&mfn).await;
    // ALM is named as absent in every answer, and refused where it alone could do it.
    let answer = mfn.ask(&asked("fox", ""), ample(Mode::Parallel)).await;
    assert_eq!(
        answer.report(LayerId::Alm).said,
        Said::Absent("there is no almd here".into())
    );
    let refused = mfn.relate(b"fox", 1, AMPLE).await;
    assert!(matches!(refused, Err(LayerError::Absent(_))));
}

#[tokio::test]
async fn layers_with_a_journal_answer_and_remember() {
    let place = tempfile::tempdir().unwrap();
    let layers = || {
        let open = |name: &str| place.path().join(name);
        let dsr = Memory::open::<Dsr>(&open("dsr"), 64 << 20).unwrap();
        let cpe = Memory::open::<Cpe>(&open("cpe"), 64 << 20).unwrap();
        Layers {
            ifr: records(),
            dsr: vectors(Arc::new(dsr)),
            cpe: streams(Arc::new(cpe)),
            ..Layers::default()
        }
    };
    let mfn = Mfn::new(layers());
    every_layer_answers(&mfn).await;
    drop(mfn);
    let again = Mfn::new(layers());
    let question = Question {
        stream: Vec::new(),
        ..asked("", "the brown fox")
    };
    let answer = again.ask(&question, ample(Mode::Sequential)).await;
    assert_eq!(answer.finding().unwrap().items[0].key, b"fox");
}

#[tokio::test]
async fn layers_behind_sockets_answer_and_their_end_is_said() {
    let place = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    let serve = |memory: Memory, service: Service| {
        let path = place.path().join(service.socket_name());
        let server = Server::bind(ServerConfig::new(service, &path)).unwrap();
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let served = server.serve(Arc::new(memory), async move {
            let _ = ended.await;
        });
        (end, tokio::spawn(served), path)
    };
    let dsr = Memory::open::<Dsr>(&place.path().join("dsr"), 64 << 20).unwrap();
    let cpe = Memory::open::<Cpe>(&place.path().join("cpe"), 64 << 20).unwrap();
    let (end, serving, dsr_path) = serve(dsr, Service::Dsr);
    ends.push(end);
    let (end, _, cpe_path) = serve(cpe, Service::Cpe);
    ends.push(end);
    let socket =
        |service, path| Arc::new(Socket::new(service, path, "test", false)) as Arc<dyn Carrier>;
    let layers = Layers {
        ifr: records(),
        dsr: vectors(socket(Service::Dsr, &dsr_path)),
        cpe: streams(socket(Service::Cpe, &cpe_path)),
        ..Layers::default()
    };
    let mfn = Mfn::new(layers);
    every_layer_answers(&mfn).await;
    // DSR goes away: it is named as failed, and the others answer.
    drop(ends.remove(0));
    serving.await.unwrap();
    let question = |kind| Question {
        // Of a new kind each time: of one that is known, IFR's decision leads around a layer that fails.
        kind,
        ..asked("no such key", "brown foxes")
    };
    for (mode, kind) in MODES.into_iter().zip(100..) {
        let answer = mfn.ask(&question(kind), ample(mode)).await;
        assert_eq!(answer.by, Some(LayerId::Cpe), "{mode:?} {answer:?}");
        if mode == Mode::Sequential {
            assert!(matches!(answer.report(LayerId::Dsr).said, Said::Failed(_)));
        }
    }
    // The breaker stands between: the layer is asked no more for a while, and that is said at once.
    let answer = mfn.ask(&question(200), ample(Mode::Sequential)).await;
    assert!(matches!(answer.report(LayerId::Dsr).said, Said::Failed(_)));
}

#[tokio::test]
async fn what_fails_or_hangs_is_named_and_the_others_answer() {
    let healthy = in_process();
    teach(&Mfn::new(healthy.clone())).await;
    for mode in MODES {
        for broken in [Broken::Fails, Broken::Hangs] {
            let hangs = matches!(broken, Broken::Hangs);
            let layers = Layers {
                // Its decisions learn, and would lead around a layer that failed before.
                ifr: records(),
                dsr: vectors(Arc::new(broken)),
                ..healthy.clone()
            };
            let options = AskOptions {
                within: Duration::from_millis(300),
                budget: Duration::from_millis(300),
                ..ample(mode)
            };
            let question = asked("no such key", "brown foxes");
            let answer = Mfn::new(layers).ask(&question, options).await;
            assert_eq!(answer.by, Some(LayerId::Cpe), "{mode:?} {answer:?}");
            let said = &answer.report(LayerId::Dsr).said;
            match said {
                Said::Late | Said::Cut => assert!(hangs, "{mode:?} {said:?}"),
                Said::Failed(why) => assert!(!hangs && why == "it broke", "{mode:?} {said:?}"),
                _ => panic!("{mode:?} {said:?}"),
            }
        }
    }
}

#[tokio::test]
async fn nothing_is_asked_without_time_or_budget() {
    let mfn = Mfn::new(in_process());
    teach(&mfn).await;
    for (within, budget) in [(Duration::ZERO, AMPLE), (AMPLE, Duration::ZERO)] {
        for mode in MODES {
            let options = AskOptions {
                within,
                budget,
                ..ample(mode)
            };
            let answer = mfn.ask(&asked("fox", ""), options).await;
            assert_eq!((answer.by, answer.order.len()), (None, 0), "{answer:?}");
            assert_eq!(answer.worked, Duration::ZERO);
        }
    }
}

#[tokio::test]
async fn a_memory_without_layers_says_so() {
    let mfn = Mfn::new(Layers::default());
    let answer = mfn.ask(&asked("fox", "foxes"), AskOptions::default()).await;
    assert_eq!(answer.by, None);
    let absent = |layer: &LayerId| matches!(answer.report(*layer).said, Said::Absent(_));
    assert!(LayerId::ALL.iter().all(absent));
    let noted = mfn.observe(&seen("fox", "foxes"), AMPLE).await;
    assert!(matches!(noted[0], Noted::Not(LayerError::Absent(_))));
    assert_eq!(noted[2], Noted::NothingForIt);
}

#[tokio::test]
async fn what_goes_together_is_told_and_asked() {
    let groups = Arc::new(Groups::default());
    let layers = Layers {
        alm: Door::Here(groups),
        ..in_process()
    };
    let mfn = Mfn::new(layers);
    let mut together = seen("fox", "");
    together.with = vec![b"dog".to_vec(), b"hen".to_vec()];
    let noted = mfn.observe(&together, AMPLE).await;
    // There is no word to compare by.
    assert_eq!([&noted[1], &noted[2]], [&Noted::NothingForIt, &Noted::Kept]);
    let question = Question {
        key: b"hen".to_vec(),
        ..Question::default()
    };
    let answer = mfn.ask(&question, ample(Mode::Sequential)).await;
    assert_eq!(answer.by, Some(LayerId::Alm));
    assert_eq!(answer.finding().unwrap().items.len(), 2);
}

/// IFR in the process learns where to lead, and a record whose time is over is a partial answer.
#[tokio::test]
async fn the_decision_of_ifr_leads() {
    let mfn = Mfn::new(in_process());
    teach(&mfn).await;
    let question = |kind| Question {
        kind,
        ..asked("no such key", "")
    };
    // DSR has no such key, CPE always knows something: after a while it is asked first.
    for _ in 0..50 {
        mfn.ask(&question(7), ample(Mode::Sequential)).await;
    }
    let answer = mfn.ask(&question(7), ample(Mode::Sequential)).await;
    assert_eq!(answer.order, [LayerId::Ifr, LayerId::Cpe]);
    assert!(mfn.measured(7, LayerId::Cpe).value() > 0.5);

    let mut short = seen("brief", "");
    short.lives = Some(Duration::from_nanos(1));
    mfn.observe(&short, AMPLE).await;
    let mut partial = asked("brief", "");
    partial.stream.clear();
    let answer = mfn.ask(&partial, ample(Mode::Sequential)).await;
    let Said::Found(found) = &answer.report(LayerId::Ifr).said else {
        panic!("{answer:?}")
    };
    assert!(found.confidence < 1.0 && found.items[0].why.contains("over"));
    assert_eq!(answer.by, Some(LayerId::Ifr));
    assert!(answer.order.len() > 1, "better answers are looked for");
}

/// What is sure and wrong is found out by who asks, and others are listened to.
#[tokio::test]
async fn ratings_change_who_is_believed() {
    let mfn = Mfn::new(in_process());
    teach(&mfn).await;
    // CPE is sure of the next key, which is not what is meant here: DSR knows, and is less sure.
    let question = Question {
        kind: 3,
        ..asked("no such key", "brown foxes")
    };
    let options = AskOptions {
        enough: 0.6,
        ..ample(Mode::Adaptive)
    };
    let first = mfn.ask(&question, options).await;
    assert_eq!(first.by, Some(LayerId::Cpe), "{first:?}");
    for _ in 0..30 {
        let answer = mfn.ask(&question, options).await;
        mfn.rate(question.kind, &answer, answer.by == Some(LayerId::Dsr));
    }
    let answer = mfn.ask(&question, options).await;
    assert_eq!(answer.by, Some(LayerId::Dsr), "{answer:?}");
    assert!(answer.trusted > answer.finding().unwrap().confidence);
    // Of another kind nothing was said.
    let other = mfn
        .ask(
            &Question {
                kind: 4,
                ..question
            },
            options,
        )
        .await;
    assert_eq!(other.by, Some(LayerId::Cpe));
}
