//! The worker pool: the only file that names rayon. Parallel at the outermost loop, joined in input
//! order, so that no byte of a result depends on how many workers there are.

use std::sync::Arc;

use rayon::prelude::*;

/// Holds a pool of worker threads. Cloning shares the pool.
#[derive(Clone)]
pub struct Workers {
    pool: Arc<rayon::ThreadPool>,
}

impl Workers {
    /// Starts `count` threads, at least one; 0 means one for each core this process may use.
    pub fn new(count: usize) -> Self {
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
        Workers { pool: Arc::new(pool) }
    }

    /// Returns how many threads there are.
    pub fn count(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Applies `work` to each item and returns the results in the order of the items. Items are taken
    /// one at a time from the front, so put the largest first where order is yours to choose.
    pub fn map<T: Send, R: Send>(&self, items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
        self.pool.install(|| items.into_par_iter().with_max_len(1).map(&work).collect())
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
        let items = std::sync::Mutex::new(items.fuse());
        let failure = std::sync::Mutex::new(None);
        let failed = std::sync::atomic::AtomicBool::new(false);
        let turn = |_: rayon::BroadcastContext<'_>| {
            while !failed.load(std::sync::atomic::Ordering::Relaxed) {
                let next = items.lock().expect("because no worker panics while it takes an item").next();
                let Some(item) = next else { break };
                if let Err(error) = work(item) {
                    failed.store(true, std::sync::atomic::Ordering::Relaxed);
                    failure.lock().expect("because storing an error can't panic").get_or_insert(error);
                }
            }
        };
        self.pool.broadcast(turn);
        match failure.into_inner().expect("because storing an error can't panic") {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs two pieces of work side by side.
    pub fn join<A: Send, B: Send>(
        &self,
        left: impl FnOnce() -> A + Send,
        right: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        self.pool.install(|| rayon::join(left, right))
    }

    /// Sorts in place, in parallel; equal elements keep their order.
    pub fn sort_by_key<T: Send, K: Ord>(&self, items: &mut [T], key: impl Fn(&T) -> K + Sync + Send) {
        self.pool.install(|| items.par_sort_by_key(key));
    }
}

/// Returns which thread of its pool the calling one is, from 0 on; `None` for a thread of no pool.
pub fn current_worker() -> Option<usize> {
    rayon::current_thread_index()
}

#[cfg(test)]
mod tests {
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
        let seen = std::sync::atomic::AtomicU64::new(0);
        let workers = Workers::new(3);
        let sum = |n: u64| {
            seen.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
            if n == 1_000_000 { Err("too far") } else { Ok(()) }
        };
        assert_eq!(workers.for_each(1..=100, sum), Ok(()));
        assert_eq!(seen.load(std::sync::atomic::Ordering::Relaxed), 5050);
        assert_eq!(workers.for_each(1_000_000.., sum), Err("too far"));
    }
}
