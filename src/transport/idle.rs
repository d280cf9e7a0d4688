//! Adaptive polling: sleep 50 µs rising to 2 ms, and 5 ms after a second without work; a waker in this process ends the sleep at once. It never spins: a job
//! has more threads than most machines have cores, and whoever spins takes the core that the awaited answer is made on. It knows nothing of what is polled.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The first sleep, and every one while a large message is under way, since only polling moves it on.
const NAP_MIN: Duration = Duration::from_micros(50);

/// Long enough to cost little, short enough that a message hardly waits.
const NAP_MAX: Duration = Duration::from_millis(2);

/// Without work for `IDLE_AFTER`, sleeps are this long: under 2 % of a core, whatever a poll costs.
const NAP_IDLE: Duration = Duration::from_millis(5);

const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Paces one thread's polling loop.
#[derive(Debug)]
pub struct Idle {
    /// When the loop last ran out of work; none while it works.
    since: Option<Instant>,
    nap: Duration,
    bell: Arc<Bell>,
}

/// Wakes the thread that rests in its `Idle`. What it is woken for must be there before.
#[derive(Clone, Debug)]
pub struct Waker {
    bell: Arc<Bell>,
}

/// Rung, it stays so until the sleeper has noticed: no wake-up is lost between a poll that found nothing and the sleep after it.
#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    ring: Condvar,
}

impl Bell {
    /// A flag is whole whatever happened to a thread that held it.
    fn rung(&self) -> MutexGuard<'_, bool> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it was rung since this was last asked; waits for it up to `nap`.
    fn heard_within(&self, nap: Duration) -> bool {
        let wait = self.ring.wait_timeout_while(self.rung(), nap, |rung| !*rung);
        let (mut rung, _) = wait.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *rung)
    }
}

impl Idle {
    #[must_use]
    pub fn new() -> (Self, Waker) {
        let bell = Arc::new(Bell::default());
        (Self { since: None, nap: NAP_MIN, bell: Arc::clone(&bell) }, Waker { bell })
    }

    /// The loop found work.
    pub fn worked(&mut self) {
        self.since = None;
        self.nap = NAP_MIN;
    }

    /// The loop found none: sleeps a little. `under_way`: a large message is being transferred, so only shortly.
    pub fn rest(&mut self, under_way: bool) {
        let since = *self.since.get_or_insert_with(Instant::now);
        let nap = self.nap_after(since.elapsed(), under_way);
        if self.bell.heard_within(nap) {
            self.worked();
        }
    }

    /// How long to sleep after this long without work.
    fn nap_after(&mut self, idle: Duration, under_way: bool) -> Duration {
        if under_way {
            return NAP_MIN;
        }
        if idle >= IDLE_AFTER {
            return NAP_IDLE;
        }
        let nap = self.nap;
        self.nap = (nap * 2).min(NAP_MAX);
        nap
    }
}

impl Waker {
    pub fn wake(&self) {
        *self.bell.rung() = true;
        self.bell.ring.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::thread;

    #[test]
    fn naps_grow_with_the_time_without_work() {
        let us = Duration::from_micros;
        let cases = [
            (us(0), false, us(50)),
            (us(100), false, us(100)),
            (us(200), true, us(50)),
            (us(300), false, us(200)),
            (us(600), false, us(400)),
            (us(1_000), false, us(800)),
            (us(2_000), false, us(1_600)),
            (us(4_000), false, us(2_000)),
            (us(999_999), false, us(2_000)),
            (us(1_000_000), true, us(50)),
            (us(1_000_000), false, us(5_000)),
            (us(60_000_000), false, us(5_000)),
        ];
        let (mut idle, _waker) = Idle::new();
        for (at, under_way, nap) in cases {
            assert_eq!(idle.nap_after(at, under_way), nap, "after {at:?}, under way: {under_way}");
        }
        idle.worked();
        assert_eq!(idle.nap_after(us(0), false), NAP_MIN);
    }

    /// Two threads that hand a number to and fro and sleep for an hour unless woken: one lost wake-up, and this never ends.
    #[test]
    fn no_wake_up_is_lost() {
        const TURNS: u32 = 20_000;
        let hour = Duration::from_hours(1);
        let (mine, my_waker) = Idle::new();
        let (theirs, their_waker) = Idle::new();
        let (to_them, from_me) = channel();
        let (to_me, from_them) = channel();
        let play = move |idle: &Idle,
                         waker: &Waker,
                         to: &std::sync::mpsc::Sender<u32>,
                         from: &std::sync::mpsc::Receiver<u32>| {
            loop {
                match from.try_recv() {
                    Ok(turn) if turn >= TURNS => return,
                    Ok(turn) => {
                        let _ = to.send(turn + 1);
                        waker.wake();
                        if turn + 1 >= TURNS {
                            return;
                        }
                    }
                    Err(TryRecvError::Empty) => {
                        idle.bell.heard_within(hour);
                    }
                    Err(TryRecvError::Disconnected) => return,
                }
            }
        };
        to_them.send(0).unwrap();
        let other = thread::spawn(move || play(&theirs, &my_waker, &to_me, &from_me));
        play(&mine, &their_waker, &to_them, &from_them);
        other.join().unwrap();
    }
}
