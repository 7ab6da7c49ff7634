//! A call costs no allocation once its connection is warm.
#![expect(
    unsafe_code,
    clippy::unwrap_used,
    reason = "an allocator is unsafe by nature; a test fails by panicking"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mfn_local::{
    Answering, BoxFuture, Call, Failure, Handler, Pool, PoolOptions, Reply, Request, Server,
    ServerConfig,
};
use mfn_wire::{ContentType, Service};

/// Counts, and leaves the work to the system's.
struct Counting;
static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Echo;

impl Handler for Echo {
    fn call(&self, call: Call) -> BoxFuture<Result<Reply, Failure>> {
        let Answering::Now(result) = self.answer(call) else {
            return Box::pin(std::future::pending());
        };
        Box::pin(std::future::ready(result))
    }

    fn answer(&self, call: Call) -> Answering {
        Answering::Now(Ok(Reply {
            content_type: call.content_type,
            body: call.body,
        }))
    }
}

async fn calls(pool: &Pool, at_once: usize, each: usize) {
    let body = Bytes::from_static(&[7; 64]);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (pool, body) = (pool.clone(), body.clone());
        tasks.spawn(async move {
            for _ in 0..each {
                let request = Request::new(ContentType::Bytes, body.clone());
                let request = request.within(Duration::from_secs(60));
                assert_eq!(pool.call(1, request).await.unwrap().body, body);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// Both sides, with deadline, pool, breaker and trace. The tasks of a round cost a fixed number of allocations, so two
/// rounds of different length differ only by what a call costs.
#[tokio::test]
async fn a_warm_call_allocates_nothing() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/echo.sock");
    let server = Server::bind(ServerConfig::new(Service::State, &path)).unwrap();
    tokio::spawn(server.serve(Arc::new(Echo), std::future::pending::<()>()));
    let pool = Pool::new(PoolOptions::new(Service::State, &path));
    for at_once in [1, 128] {
        calls(&pool, at_once, 200).await;
        let mut count = [0, 0];
        for (count, each) in count.iter_mut().zip([10, 210]) {
            let before = COUNT.load(Ordering::Relaxed);
            calls(&pool, at_once, each).await;
            *count = COUNT.load(Ordering::Relaxed) - before;
        }
        let [short, long] = count;
        // The test's own harness may allocate beside it; a call that did would show 200 times as often as there are calls.
        assert!(
            long <= short + 8,
            "{at_once} at once: {short} allocations, with 200 calls more each {long}"
        );
    }
}
