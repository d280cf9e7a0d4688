//! A TCP proxy before PostgreSQL that cuts the connection at a chosen byte of COMMIT or of its answer.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The simple query message that a COMMIT is: type, length, text.
pub const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// What answers it: CommandComplete, then ReadyForQuery.
pub const ANSWER_BYTES: usize = 12 + 6;

/// Where the connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After so many bytes of COMMIT have reached the server.
    Commit(usize),
    /// After so many bytes of the answer have reached the client.
    Answer(usize),
}

pub struct Proxy {
    port: u16,
    next: Arc<Mutex<Option<Cut>>>,
}

impl Proxy {
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
        let port = listener.local_addr().expect("a listener has an address").port();
        let next = Arc::new(Mutex::new(None));
        let cut = next.clone();
        // Ends with the test's process: nothing else can wake it.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    pass(client, server, &cut);
                }
            }
        });
        Self { port, next }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The next COMMIT that passes is cut here.
    pub fn cut(&self, at: Cut) {
        *self.next.lock().unwrap() = Some(at);
    }

    /// Whether the cut was made.
    pub fn is_cut(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

fn pass(mut client: TcpStream, mut server: TcpStream, next: &Arc<Mutex<Option<Cut>>>) {
    let answer = Arc::new(Mutex::new(None));
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let (next, mine) = (next.clone(), answer.clone());
    thread::spawn(move || {
        pump(&mut client, &mut server, |bytes| {
            if !bytes.ends_with(COMMIT) {
                return None;
            }
            match next.lock().unwrap().take()? {
                Cut::Commit(kept) => Some(bytes.len() - COMMIT.len() + kept),
                Cut::Answer(kept) => {
                    *mine.lock().unwrap() = Some(kept);
                    None
                }
            }
        });
    });
    thread::spawn(move || pump(&mut from_server, &mut to_client, |_| *answer.lock().unwrap()));
}

/// Passes on what comes, until `cut` says after how many bytes of it the end is.
fn pump(from: &mut TcpStream, to: &mut TcpStream, cut: impl Fn(&[u8]) -> Option<usize>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..read];
        let cut = cut(bytes);
        if to.write_all(&bytes[..cut.unwrap_or(read)]).is_err() || cut.is_some() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
