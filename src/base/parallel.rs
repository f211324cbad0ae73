//! The worker pool: the only file that names rayon. Parallel at the outermost loop, joined in input
//! order, so that no byte of a result depends on how many workers there are.
//!
//! Work is taken one item at a time by the thread that asked for it and by helpers. Under a jobserver of make a
//! helper begins with a token in hand and never waits for one, so that nothing waits for a thread that may not
//! run: where there is no token, the thread that asked does all of the work itself, and looks again before each
//! item. A thread that waits for its helpers may do work of another loop meanwhile, under its own right to run.

use std::cell::Cell;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use super::jobserver::{Token, Tokens};

/// Holds a pool of worker threads. Cloning shares the pool.
#[derive(Clone)]
pub struct Workers {
    crew: Arc<Crew>,
}

struct Crew {
    pool: rayon::ThreadPool,
    /// Where all but one thread need a token to run.
    tokens: Option<Arc<Tokens>>,
    /// Threads that run beside the first one.
    helpers: Mutex<usize>,
    observer: OnceLock<Box<dyn Fn(usize) + Send + Sync>>,
}

thread_local! {
    /// Whether this thread may run by what began further down on its stack.
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

impl Workers {
    /// Starts `count` threads, at least one; 0 means one for each core this process may use.
    pub fn new(count: usize) -> Self {
        Workers::start(count, None)
    }

    /// Starts `count` threads as [`Workers::new`] does, of which all but one only run while they hold a token.
    pub fn sharing(count: usize, tokens: Arc<Tokens>) -> Self {
        Workers::start(count, Some(tokens))
    }

    fn start(count: usize, tokens: Option<Arc<Tokens>>) -> Self {
        let count = if count == 0 {
            std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
        } else {
            count
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|index| format!("worker-{index}"))
            .build()
            .expect("because starting a few threads only fails where nothing else would work either");
        let crew = Crew { pool, tokens, helpers: Mutex::default(), observer: OnceLock::new() };
        Workers { crew: Arc::new(crew) }
    }

    /// Returns how many threads there are.
    pub fn count(&self) -> usize {
        self.crew.pool.current_num_threads()
    }

    /// Returns how many threads other code may start on behalf of these workers: where tokens count them, none
    /// beside the one that asks.
    pub fn count_for_others(&self) -> usize {
        if self.crew.tokens.is_some() { 1 } else { self.count() }
    }

    /// Returns workers of another number for work that waits more than it runs. Where tokens count what runs,
    /// these are the same.
    pub fn or_new(&self, count: usize) -> Workers {
        if self.crew.tokens.is_some() { self.clone() } else { Workers::new(count) }
    }

    /// Returns workers for reading a disk past its cache and looking at what comes: twice as many, so that the disk
    /// is asked while the cores are busy. One alone stays alone.
    pub fn for_waiting(&self) -> Workers {
        if self.count() == 1 { self.clone() } else { self.or_new(2 * self.count()) }
    }

    /// Has `observer` told how many threads run whenever that changes. The first observer stays.
    pub fn observe(&self, observer: impl Fn(usize) + Send + Sync + 'static) {
        let _ = self.crew.observer.set(Box::new(observer));
    }

    /// Applies `work` to each item and returns the results in the order of the items. Items are taken
    /// one at a time from the front, so put the largest first where order is yours to choose.
    pub fn map<T: Send, R: Send>(&self, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        let count = items.len();
        let done = Mutex::new(Vec::with_capacity(count));
        let items = Mutex::new(items.into_iter().enumerate());
        let take = || {
            let next = items.lock().expect("because no worker panics while it takes an item").next();
            let Some((index, item)) = next else { return false };
            let result = work(item);
            done.lock().expect("because adding a result can't panic").push((index, result));
            true
        };
        self.together(count, &take, &|| items.try_lock().map_or(true, |items| items.len() > 1));
        let mut done = done.into_inner().expect("because adding a result can't panic");
        done.sort_unstable_by_key(|result| result.0);
        done.into_iter().map(|result| result.1).collect()
    }

    /// Applies `work` to each item; returns all results in order, or all errors in order.
    pub fn try_map<T: Send, R: Send, E: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(T) -> Result<R, E> + Sync,
    ) -> Result<Vec<R>, Vec<E>> {
        let mut results = Vec::with_capacity(items.len());
        let mut errors = Vec::new();
        for result in self.map(items, work) {
            match result {
                Ok(result) => results.push(result),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(results) } else { Err(errors) }
    }

    /// Applies `work` to items as workers get free, one item at a time in order; the first error (in
    /// time) stops the taking of new ones and is returned. Holds no more than one item a worker, so an
    /// iterator may be larger than memory.
    pub fn for_each<T: Send, E: Send>(
        &self,
        items: impl Iterator<Item = T> + Send,
        work: impl Fn(T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let items = Mutex::new(items.fuse());
        let failure = Mutex::new(None);
        let failed = std::sync::atomic::AtomicBool::new(false);
        let take = || {
            if failed.load(std::sync::atomic::Ordering::Relaxed) {
                return false;
            }
            let next = items.lock().expect("because no worker panics while it takes an item").next();
            let Some(item) = next else { return false };
            if let Err(error) = work(item) {
                failed.store(true, std::sync::atomic::Ordering::Relaxed);
                failure.lock().expect("because storing an error can't panic").get_or_insert(error);
            }
            true
        };
        self.together(usize::MAX, &take, &|| true);
        match failure.into_inner().expect("because storing an error can't panic") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs two pieces of work side by side, or one after the other where only one thread may run.
    pub fn join<A: Send, B: Send>(
        &self,
        left: impl FnOnce() -> A + Send,
        right: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        let token = match &self.crew.tokens {
            None => None,
            Some(tokens) => match tokens.take(self.count() - 1) {
                Some(token) => Some(token),
                None => return (left(), right()),
            },
        };
        let right = || {
            let _helping = self.helping(token);
            right()
        };
        self.begin(|| rayon::join(left, right))
    }

    /// Sorts in place, in parallel where nothing counts who runs; equal elements keep their order.
    pub fn sort_by_key<T: Send, K: Ord>(&self, items: &mut [T], key: impl Fn(&T) -> K + Sync + Send) {
        match self.crew.tokens {
            Some(_) => items.sort_by_key(key),
            None => self.begin(|| items.par_sort_by_key(key)),
        }
    }

    /// Calls `take` on this thread and on helpers until it says that nothing is left. `are_more` tells whether
    /// there is anything for a helper, of `most` items in all.
    fn together(&self, most: usize, take: &(dyn Fn() -> bool + Sync), are_more: &(dyn Fn() -> bool + Sync)) {
        let helpers = self.count().min(most).saturating_sub(1);
        self.begin(|| {
            rayon::scope(|scope| match &self.crew.tokens {
                _ if helpers == 0 => while take() {},
                Some(tokens) => self.with_tokens(tokens, scope, take, are_more),
                None => {
                    for _ in 0..helpers {
                        scope.spawn(|_| {
                            let _helping = self.helping(None);
                            while take() {}
                        });
                    }
                    while take() {}
                }
            })
        });
    }

    /// Calls `take`, and starts a helper before each call where a token is to be had.
    fn with_tokens<'s>(
        &'s self,
        tokens: &'s Arc<Tokens>,
        scope: &rayon::Scope<'s>,
        take: &'s (dyn Fn() -> bool + Sync),
        are_more: &'s (dyn Fn() -> bool + Sync),
    ) {
        loop {
            if are_more()
                && let Some(token) = tokens.take(self.count() - 1)
            {
                scope.spawn(move |scope| {
                    let _helping = self.helping(Some(token));
                    self.with_tokens(tokens, scope, take, are_more);
                });
            }
            if !take() {
                return;
            }
        }
    }

    /// Goes on in a thread of the pool, while this one waits; there already, it just goes on.
    fn begin<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.crew.pool.install(|| {
            let before = IS_RUNNING.replace(true);
            let _running = Running { before };
            work()
        })
    }

    /// Notes that this thread helps, until the returned value is dropped.
    fn helping(&self, token: Option<Token>) -> Helping<'_> {
        let before = IS_RUNNING.replace(true);
        // One that ran already does other work while it waits for its own.
        let crew = (!before).then_some(&*self.crew);
        crew.inspect(|crew| crew.changed(|helpers| helpers + 1));
        Helping { crew, _running: Running { before }, _token: token }
    }
}

impl Crew {
    fn changed(&self, change: impl FnOnce(usize) -> usize) {
        let mut helpers = self.helpers.lock().unwrap_or_else(PoisonError::into_inner);
        *helpers = change(*helpers);
        if let Some(observer) = self.observer.get() {
            observer(1 + *helpers);
        }
    }
}

struct Running {
    before: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        IS_RUNNING.set(self.before);
    }
}

/// A helper at work. The token goes back last.
struct Helping<'a> {
    crew: Option<&'a Crew>,
    _running: Running,
    _token: Option<Token>,
}

impl Drop for Helping<'_> {
    fn drop(&mut self) {
        if let Some(crew) = self.crew {
            crew.changed(|helpers| helpers - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::super::jobserver::Jobserver;
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_items() {
        for count in [1, 2, 8] {
            let squares = Workers::new(count).map((0..1000u64).collect(), |n| n * n);
            assert_eq!(squares, (0..1000u64).map(|n| n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_errors_are_kept_in_order() {
        let result = Workers::new(4).try_map((0..10).collect(), |n| if n % 3 == 0 { Err(n) } else { Ok(n) });
        assert_eq!(result, Err(vec![0, 3, 6, 9]));
    }

    #[test]
    fn a_stream_is_taken_once_and_stops_at_an_error() {
        let seen = AtomicU64::new(0);
        let workers = Workers::new(3);
        let sum = |n: u64| {
            seen.fetch_add(n, Ordering::Relaxed);
            if n == 1_000_000 { Err("too far") } else { Ok(()) }
        };
        assert_eq!(workers.for_each(1..=100, sum), Ok(()));
        assert_eq!(seen.load(Ordering::Relaxed), 5050);
        assert_eq!(workers.for_each(1_000_000.., sum), Err("too far"));
    }

    /// A jobserver with some tokens.
    struct Make {
        reader: std::io::PipeReader,
        writer: std::io::PipeWriter,
    }

    impl Make {
        fn with(tokens: usize) -> Make {
            let (reader, mut writer) = std::io::pipe().expect("a pipe");
            writer.write_all(&vec![b'+'; tokens]).expect("tokens");
            Make { reader, writer }
        }

        fn workers(&self, count: usize) -> Workers {
            let flags = format!("--jobserver-auth={},{}", self.reader.as_raw_fd(), self.writer.as_raw_fd());
            let Jobserver::Open(tokens) = Jobserver::of(&flags) else { panic!("a jobserver") };
            Workers::sharing(count, tokens)
        }

        fn assert_has(self, tokens: usize) {
            let Make { mut reader, writer } = self;
            drop(writer);
            let mut back = Vec::new();
            reader.read_to_end(&mut back).expect("what is there");
            assert_eq!(back.len(), tokens);
        }
    }

    /// Counts how many do something at once.
    #[derive(Default)]
    struct AtOnce {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl AtOnce {
        fn work(&self) {
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            self.now.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn no_more_threads_run_than_tokens_allow() {
        for (tokens, count, allowed) in [(0, 8, 1), (1, 8, 2), (3, 8, 4), (9, 3, 3)] {
            let (make, at_once) = (Make::with(tokens), AtOnce::default());
            let workers = make.workers(count);
            let told = Arc::new(Mutex::new(Vec::new()));
            let teller = told.clone();
            workers.observe(move |running| teller.lock().expect("a list").push(running));
            workers.map((0..40).collect(), |_: u32| at_once.work());
            assert_eq!(at_once.most.into_inner(), allowed, "{tokens} tokens, {count} threads");
            let told = told.lock().expect("a list").clone();
            assert_eq!(told.iter().max().copied().unwrap_or(1), allowed, "{told:?}");
            assert_eq!(told.last().copied().unwrap_or(1), 1, "{told:?}");
            drop(workers);
            make.assert_has(tokens);
        }
    }

    #[test]
    fn loops_in_loops_end_whatever_tokens_there_are() {
        for tokens in [0, 1, 3] {
            let (make, at_once) = (Make::with(tokens), AtOnce::default());
            let workers = make.workers(4);
            let sums = workers.map((0..6u64).collect(), |outer| {
                let inner = workers.map((0..5).collect(), |inner: u64| {
                    at_once.work();
                    let (left, right) = workers.join(|| outer, || inner);
                    left * 10 + right
                });
                inner.iter().sum::<u64>()
            });
            assert_eq!(sums, (0..6).map(|outer| outer * 50 + 10).collect::<Vec<u64>>());
            assert!(at_once.most.into_inner() <= 1 + tokens);
            drop(workers);
            make.assert_has(tokens);
        }
    }

    #[test]
    fn a_token_that_comes_later_is_used_for_what_is_left() {
        let make = Make::with(0);
        let workers = make.workers(2);
        let at_once = AtOnce::default();
        let mut writer = make.writer.try_clone().expect("the end of the pipe");
        workers.map((0..60).collect(), |n: u32| {
            if n == 10 {
                (&writer).write_all(b"+").expect("a token");
            }
            at_once.work();
        });
        assert_eq!(at_once.most.into_inner(), 2);
        writer.flush().expect("flushed");
        drop((workers, writer));
        make.assert_has(1);
    }

    #[test]
    fn errors_and_panics_leave_all_tokens_to_others() {
        let make = Make::with(3);
        let workers = make.workers(4);
        assert!(workers.for_each(0..100, |n| if n == 20 { Err(n) } else { Ok(()) }).is_err());
        let panicking = std::panic::AssertUnwindSafe(|| {
            workers.map((0..100).collect(), |n: u32| assert!(n != 50, "as work may"));
        });
        std::panic::catch_unwind(panicking).expect_err("a panic");
        let panicking = std::panic::AssertUnwindSafe(|| {
            workers.join(|| (), || panic!("as work may"));
        });
        std::panic::catch_unwind(panicking).expect_err("a panic");
        drop(workers);
        make.assert_has(3);
    }
}
