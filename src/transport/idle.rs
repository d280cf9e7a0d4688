//! Adaptive polling: spin for some tens of µs, then sleep 50 µs rising to 2 ms, and to 5 ms after a second without work; a waker in this
//! process ends the sleep at once.

/// Paces one thread's polling loop.
#[derive(Debug)]
pub struct Idle {}

/// Wakes the thread that rests in its `Idle`.
#[derive(Clone, Debug)]
pub struct Waker {}

impl Idle {
    /// For the calling thread.
    #[must_use]
    pub fn new() -> (Self, Waker) {
        unimplemented!()
    }

    /// The loop found work.
    pub fn worked(&mut self) {
        unimplemented!()
    }

    /// The loop found none: spins or sleeps a little. `under_way`: a large message is being transferred, so sleep only shortly.
    pub fn rest(&mut self, _under_way: bool) {
        unimplemented!()
    }
}

impl Waker {
    pub fn wake(&self) {
        unimplemented!()
    }
}
