//! The tutorial of `docs/memory/CPE.md`: a routine, a series, and a restart.

use mfn_cpe::{CpeError, Engine, Op};

fn main() -> Result<(), CpeError> {
    let mut engine = Engine::new();
    let (pool, stream, series, lane) = (1, 1, 2, 0);
    // Four steps in order, the last one by turns; one step every 30 seconds.
    let round = [10, 20, 30, 40, 10, 20, 30, 50];
    for number in 0..600_u64 {
        let symbol = round[(number % 8) as usize];
        let time = number * 30;
        engine.apply(&Op::Observe {
            pool,
            stream,
            lane,
            symbol,
            time,
        })?;
    }
    let known = engine.stream(pool, stream)?;
    let next = known.predict(lane, 3, 599 * 30);
    for item in &next.items {
        println!("next: {} with {:.3}", item.symbol, item.probability);
    }
    if let Some(wait) = next.wait {
        println!(
            "never seen: {:.3}; in {:.0} seconds",
            next.unseen, wait.mean
        );
    }
    let why = known.explain(lane, next.items[0].symbol);
    for vote in why.votes.iter().filter(|vote| vote.weight > 0.01) {
        println!(
            "  {:?} says {:.3}, weight {:.2}",
            vote.expert, vote.probability, vote.weight
        );
    }
    for (source, nats) in why.evidence.iter().take(3) {
        println!("  {source:?} adds {nats:+.2}");
    }

    for number in 0..200_u32 {
        let value =
            20.0 + f64::from(number * 7919 % 11) * 0.3 + if number >= 150 { 15.0 } else { 0.0 };
        let time = u64::from(number) * 10;
        let applied = engine.apply(&Op::Sample {
            pool,
            series,
            lane,
            time,
            value,
        })?;
        if let Some(change) = applied.sampled.and_then(|sampled| sampled.change) {
            println!("level: {:.1} to {:.1}", change.from, change.to);
        }
    }
    if let Some([next, ..]) = engine.series(pool, series)?.forecast(lane) {
        println!(
            "half below {:.1}, 9 of 10 below {:.1}",
            next.quantiles[0], next.quantiles[1]
        );
    }

    let snapshot = engine.snapshot();
    let restored = Engine::restore(&snapshot)?;
    println!(
        "{} bytes of snapshot, the same again: {}",
        snapshot.len(),
        restored.snapshot() == snapshot
    );
    Ok(())
}
