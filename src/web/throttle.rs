//! How many requests a client's address may send: a second's worth at once, then as many a second (HTTP_RATE_MAX).

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use hyper::StatusCode;

use crate::web::problem::Problem;

/// So often it is looked at how many addresses are remembered.
const LOOK_EVERY: u32 = 1_024;
/// Up to so many are left as they are.
const CLIENTS_KEPT: usize = 4_096;

/// Who has sent how much lately. An address that was silent for a second is as good as new and forgotten at the next look; so no more are remembered than
/// can send a request within a second or between two looks.
pub struct Throttle {
    max: NonZeroU32,
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
    requests: AtomicU32,
}

impl Throttle {
    pub fn new(max: NonZeroU32) -> Self {
        let limiter = RateLimiter::keyed(Quota::per_second(max));
        Self { max, limiter, clock: DefaultClock::default(), requests: AtomicU32::new(0) }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429, with the time after which one is taken again.
    pub fn take(&self, client: IpAddr) -> Result<(), Problem> {
        let looks = self.requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY);
        if looks && self.limiter.len() > CLIENTS_KEPT {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        let Err(until) = self.limiter.check_key(&network(client)) else { return Ok(()) };
        let wait = until.wait_time_from(self.clock.now());
        let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
        let detail = format!(
            "your address sends more than HTTP_RATE_MAX = {} requests a second: send several events in one body, or again later",
            self.max
        );
        Err(Problem { retry_after: Some(seconds), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, detail) })
    }
}

/// What one client can have any address of: of IPv6 a whole /64.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn throttle(max: u32) -> Throttle {
        Throttle::new(NonZeroU32::new(max).unwrap())
    }

    #[test]
    fn each_client_has_a_share_of_its_own() {
        let throttle = throttle(3);
        let sent = |client: &str| (0..5).filter(|_| throttle.take(client.parse().unwrap()).is_ok()).count();
        assert_eq!(sent("192.0.2.1"), 3);
        assert_eq!(sent("::ffff:192.0.2.1"), 0, "the same, mapped");
        assert_eq!(sent("192.0.2.2"), 3);
        assert_eq!(sent("2001:db8::1"), 3);
        assert_eq!(sent("2001:db8::2"), 0, "the same network");
        assert_eq!(sent("2001:db8:0:1::1"), 3);
        let refused = throttle.take("192.0.2.1".parse().unwrap()).unwrap_err();
        assert_eq!((refused.status.as_u16(), refused.retry_after), (429, Some(1)));
        assert!(refused.detail.contains("HTTP_RATE_MAX = 3"), "{}", refused.detail);
    }

    #[test]
    fn addresses_that_fell_silent_are_forgotten() {
        // So fast that each is as good as new at once.
        let throttle = throttle(1_000_000);
        for n in 0..10 * CLIENTS_KEPT as u32 {
            assert!(throttle.take(Ipv4Addr::from(n).into()).is_ok());
            assert!(throttle.limiter.len() <= CLIENTS_KEPT + LOOK_EVERY as usize);
        }
    }
}
