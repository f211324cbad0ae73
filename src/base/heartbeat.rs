//! A beat in the background: how a long piece of work says that it is still alive.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Calls a closure every so often on a thread of its own, until it is dropped or the closure says that
/// there is nothing left to keep alive.
pub struct Heartbeat {
    stopped: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Starts beating: the first beat comes after `every`. The closure returns false when it is done. Where
    /// no thread can be started there is no beat: what is kept alive by it must bear that.
    pub fn start(every: Duration, mut beat: impl FnMut() -> bool + Send + 'static) -> Self {
        let stopped = Arc::new((Mutex::new(false), Condvar::new()));
        let state = stopped.clone();
        let run = move || {
            let mut stop = state.0.lock().unwrap_or_else(PoisonError::into_inner);
            while !*stop {
                let waited = state.1.wait_timeout(stop, every).unwrap_or_else(PoisonError::into_inner);
                stop = waited.0;
                if !*stop && waited.1.timed_out() && !beat() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(run).ok();
        Heartbeat { stopped, thread }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        *self.stopped.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::base::Stopwatch;

    #[test]
    fn it_beats_until_it_is_dropped_and_stops_when_told() {
        let beats = Arc::new(AtomicU32::new(0));
        let counter = beats.clone();
        let heart = Heartbeat::start(Duration::from_millis(1), move || {
            counter.fetch_add(1, Ordering::Relaxed) < 1_000_000
        });
        let watch = Stopwatch::start();
        while beats.load(Ordering::Relaxed) < 3 {
            assert!(watch.elapsed() < Duration::from_secs(60), "it does not beat");
            std::thread::yield_now();
        }
        drop(heart);
        let after = beats.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(beats.load(Ordering::Relaxed), after);
        // One that would beat in an hour is dropped at once.
        drop(Heartbeat::start(Duration::from_secs(3600), || true));
    }
}
