use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// How a simulated provider behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Nature {
    /// Bytes per millisecond.
    Honest(u64),
    /// Every so many blocks wrong.
    Liar(u64),
    /// Stops answering after so many blocks.
    Stalls(u64),
    /// Fails each request.
    Broken,
    /// Has only blocks whose first byte is even.
    Half,
}

fn node(at: usize) -> NodeId {
    NodeId([at as u8; 32])
}

fn block(at: u64) -> BlockRef {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&at.to_le_bytes());
    BlockRef {
        id: BlockId(id),
        raw_len: 1_000 + (at % 7) as u32 * 10_000,
    }
}

struct Outcome {
    stored: BTreeSet<BlockId>,
    lost: Option<BlockId>,
    report: Vec<ProviderReport>,
    elapsed: Duration,
    stored_twice: bool,
}

/// Runs a transfer in virtual time, one millisecond a step.
fn run(natures: &[Nature], count: u64) -> Outcome {
    let nodes: Vec<NodeId> = (0..natures.len()).map(node).collect();
    let mut transfer = Transfer::new(TransferLimits::default(), &nodes, Duration::ZERO);
    let mut to_add = (0..count).map(block).peekable();
    let mut requests: Vec<(Request, usize, u64)> = Vec::new();
    let mut served = vec![0u64; natures.len()];
    let (mut stored, mut stored_twice) = (BTreeSet::new(), false);
    for step in 0..600_000u64 {
        let now = Duration::from_millis(step);
        let room = transfer.room();
        transfer.add(to_add.by_ref().take(room));
        if transfer.poll_timeout().is_some_and(|at| at <= now) {
            transfer.timeout(now);
        }
        while let Some(request) = transfer.next_request(now) {
            assert!(request.blocks.len() <= 64);
            requests.push((request, 0, 0));
        }
        let cancelled = transfer.take_cancelled();
        requests.retain(|(request, ..)| !cancelled.contains(&request.id));
        let mut ended = Vec::new();
        for (request, next, credit) in &mut requests {
            let at = usize::from(request.provider.0[0]);
            match natures[at] {
                Nature::Broken => {
                    transfer.failed(request.id, "broken", now);
                    ended.push(request.id);
                    continue;
                }
                Nature::Stalls(after) if served[at] >= after => continue,
                Nature::Honest(rate) => *credit += rate,
                _ => *credit += 5_000,
            }
            while let Some(block) = request.blocks.get(*next).copied() {
                if *credit < u64::from(block.raw_len) {
                    break;
                }
                *credit -= u64::from(block.raw_len);
                *next += 1;
                served[at] += 1;
                if natures[at] == Nature::Half && block.id.0[0] % 2 == 1 {
                    transfer.missing(request.id, &block.id, now);
                    continue;
                }
                match transfer.block(request.id, &block.id, block.raw_len.into(), now) {
                    Verdict::Take if matches!(natures[at], Nature::Liar(every) if served[at].is_multiple_of(every)) =>
                    {
                        transfer.wrong(&block.id, &request.provider);
                    }
                    Verdict::Take => {
                        stored_twice |= !stored.insert(block.id);
                        transfer.stored(&block.id);
                    }
                    Verdict::Duplicate => {}
                    Verdict::Unasked => panic!("it was asked for"),
                }
            }
            if *next == request.blocks.len() {
                transfer.done(request.id);
                ended.push(request.id);
            }
        }
        let cancelled = transfer.take_cancelled();
        requests.retain(|(request, ..)| {
            !ended.contains(&request.id) && !cancelled.contains(&request.id)
        });
        let lost = transfer.lost();
        let done = transfer.is_empty() && to_add.peek().is_none();
        if done || lost.is_some() {
            return Outcome {
                stored,
                lost,
                report: transfer.report(),
                elapsed: now,
                stored_twice,
            };
        }
    }
    panic!("the transfer does not end: {:?}", transfer.report());
}

#[test]
fn two_honest_providers_share_the_work() {
    let outcome = run(&[Nature::Honest(1_000), Nature::Honest(1_000)], 2_000);
    assert_eq!(outcome.stored.len(), 2_000);
    let (one, other) = (outcome.report[0].bytes, outcome.report[1].bytes);
    assert!(one * 3 > other && other * 3 > one, "{one} and {other}");
}

#[test]
fn the_faster_one_gives_more() {
    let outcome = run(&[Nature::Honest(200), Nature::Honest(4_000)], 4_000);
    assert!(
        outcome.report[1].bytes > 2 * outcome.report[0].bytes,
        "{:?}",
        outcome.report
    );
}

#[test]
fn a_liar_is_out_and_named() {
    let outcome = run(&[Nature::Liar(10), Nature::Honest(1_000)], 1_000);
    assert_eq!(outcome.stored.len(), 1_000);
    assert_eq!(
        outcome.report[0].state,
        ProviderState::Out(Cause::WrongBytes)
    );
    assert_eq!(outcome.report[1].state, ProviderState::Active);
}

#[test]
fn one_that_stalls_does_not_hold_up_the_rest() {
    let outcome = run(&[Nature::Stalls(100), Nature::Honest(3_000)], 1_000);
    assert_eq!(outcome.stored.len(), 1_000);
    assert!(
        outcome.elapsed < Duration::from_secs(60),
        "{:?}",
        outcome.elapsed
    );
}

#[test]
fn without_an_honest_provider_it_ends() {
    for natures in [
        vec![],
        vec![Nature::Broken],
        vec![Nature::Liar(1), Nature::Stalls(0)],
    ] {
        let outcome = run(&natures, 100);
        assert!(outcome.lost.is_some(), "{natures:?}");
    }
}

#[test]
fn a_block_that_nobody_has_is_named() {
    let outcome = run(&[Nature::Half, Nature::Half], 100);
    assert_eq!(outcome.lost.unwrap().0[0] % 2, 1);
}

#[test]
fn an_answer_to_no_question_ends_the_provider() {
    let mut transfer = Transfer::new(TransferLimits::default(), &[node(0)], Duration::ZERO);
    transfer.add([block(1)]);
    let request = transfer.next_request(Duration::ZERO).unwrap();
    assert_eq!(
        transfer.block(request.id, &block(2).id, 5, Duration::ZERO),
        Verdict::Unasked
    );
    assert!(matches!(
        transfer.report()[0].state,
        ProviderState::Out(Cause::Broken(_))
    ));
    assert_eq!(transfer.take_cancelled(), [request.id]);
    assert_eq!(transfer.lost(), Some(block(1).id));
}

#[test]
fn a_reader_that_paused_blames_nobody() {
    let mut transfer = Transfer::new(TransferLimits::default(), &[node(0)], Duration::ZERO);
    transfer.add([block(1)]);
    transfer.next_request(Duration::ZERO).unwrap();
    transfer.resumed(Duration::from_secs(60));
    transfer.timeout(Duration::from_secs(61));
    assert_eq!(transfer.report()[0].state, ProviderState::Active);
    transfer.timeout(Duration::from_secs(65));
    assert!(matches!(
        transfer.report()[0].state,
        ProviderState::Paused { .. }
    ));
}

#[test]
fn one_that_sends_little_for_much_is_not_slow() {
    let mut transfer = Transfer::new(TransferLimits::default(), &[node(0)], Duration::ZERO);
    let large = |at: u64| BlockRef {
        raw_len: 64 << 10,
        ..block(at)
    };
    transfer.add((0..100).map(large));
    let request = transfer.next_request(Duration::ZERO).unwrap();
    for (at, wanted) in request.blocks.iter().enumerate() {
        // As deltas of a few bytes, 6.5 MB of blocks a second.
        let now = Duration::from_millis(10 * (at as u64 + 1));
        let verdict = transfer.block(request.id, &wanted.id, 60, now);
        assert_eq!(verdict, Verdict::Take);
    }
    // Its window is that of what it sent, not of how it sent it.
    let provider = transfer.providers.first().unwrap();
    assert!(transfer.window(provider) > 3 << 20);
}

#[test]
fn a_block_whose_base_is_gone_is_asked_for_again() {
    let mut transfer = Transfer::new(TransferLimits::default(), &[node(0)], Duration::ZERO);
    transfer.add([block(1)]);
    let id = block(1).id;
    for _ in 0..2 {
        let request = transfer.next_request(Duration::ZERO).unwrap();
        let verdict = transfer.block(request.id, &id, 5, Duration::ZERO);
        assert_eq!(verdict, Verdict::Take);
        transfer.done(request.id);
        transfer.again(&id);
    }
    assert_eq!(transfer.report()[0].state, ProviderState::Active);
    let request = transfer.next_request(Duration::ZERO).unwrap();
    transfer.block(request.id, &id, 5, Duration::ZERO);
    // Meanwhile the answer has not ended.
    transfer.again(&id);
    transfer.done(request.id);
    assert!(transfer.next_request(Duration::ZERO).is_some());
}

#[test]
fn a_block_named_twice_is_fetched_once() {
    let mut transfer = Transfer::new(TransferLimits::default(), &[node(0)], Duration::ZERO);
    transfer.add([block(1), block(1)]);
    let request = transfer.next_request(Duration::ZERO).unwrap();
    assert_eq!(request.blocks, [block(1)]);
    // Named again while it is under way, and while it is being verified.
    transfer.add([block(1)]);
    assert_eq!(transfer.next_request(Duration::ZERO), None);
    let id = block(1).id;
    assert_eq!(
        transfer.block(request.id, &id, 5, Duration::ZERO),
        Verdict::Take
    );
    transfer.add([block(1)]);
    transfer.done(request.id);
    assert_eq!(transfer.next_request(Duration::ZERO), None);
    transfer.stored(&id);
    assert!(transfer.is_empty());
}

#[test]
fn an_idle_provider_that_can_do_nothing_lets_the_caller_sleep() {
    // The first owes a block, the second repeats it, the third may not: two answers under way are enough.
    let nodes = [node(0), node(1), node(2)];
    let mut transfer = Transfer::new(TransferLimits::default(), &nodes, Duration::ZERO);
    transfer.add([block(1)]);
    assert!(transfer.next_request(Duration::ZERO).is_some());
    let mut wake_ups = 0;
    while let Some(at) = transfer.poll_timeout()
        && at < TransferLimits::default().stall_after
    {
        wake_ups += 1;
        assert!(wake_ups < 20, "it is woken at {at:?} again and again");
        transfer.timeout(at);
        while transfer.next_request(at).is_some() {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn with_one_honest_provider_everything_arrives_once(
        others in prop::collection::vec((0u8..5, 1u64..200), 0..4),
        place in 0usize..5,
        count in 1u64..800,
    ) {
        let mut natures: Vec<Nature> = others
            .iter()
            .map(|(kind, number)| match kind {
                0 => Nature::Honest(*number),
                1 => Nature::Liar(*number),
                2 => Nature::Stalls(*number),
                3 => Nature::Broken,
                _ => Nature::Half,
            })
            .collect();
        natures.insert(place.min(natures.len()), Nature::Honest(2_000));
        let outcome = run(&natures, count);
        prop_assert_eq!(outcome.lost, None);
        prop_assert_eq!(outcome.stored.len() as u64, count);
        prop_assert!(!outcome.stored_twice);
    }
}
