//! Ports for servers that are started, killed and started again.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes the near end of a connection (32768 up): a client that asks again and again for a server
/// that is away would at last be given the server's own port, and be connected to itself.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Tests run beside each other, each in a process.
    let begin = std::process::id().wrapping_mul(97);
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        assert!(tried < COUNT, "no port from {FIRST} to {} is free", FIRST + COUNT - 1);
        let port = FIRST + ((begin + u32::from(tried)) % u32::from(COUNT)) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
