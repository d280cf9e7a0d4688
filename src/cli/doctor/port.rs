//! The HTTP port: free, or whose it is.

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener};

use crate::cli::doctor::findings::Findings;
use crate::cli::doctor::job::Holder;
use crate::cli::exit::Exit;
use crate::config::Http;

/// Listening, in the kernel's table.
const LISTEN: &str = "0A";
/// Ports that are tried for one that is free.
const PORTS_TRIED: u16 = 100;

pub fn look(http: &Http, job: Option<&Holder>, findings: &mut Findings) {
    let (addr, port) = (http.addr, http.port);
    if port == 0 {
        findings.ok("http.port", "any free one (HTTP_PORT=0)");
        return;
    }
    let error = match TcpListener::bind((addr, port)) {
        Ok(_) if job.is_some() => {
            let found = format!("{port} on {addr} is free, and yet a job has DATA_DIR");
            findings.warn("http.port", found, "it was started with another HTTP_ADDR or HTTP_PORT: ask with these");
            return;
        }
        Ok(_) => {
            findings.ok("http.port", format!("{port} on {addr} is free"));
            return;
        }
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => in_use((addr, port), job, findings),
        io::ErrorKind::PermissionDenied => findings.problem(
            "http.port",
            Exit::Config,
            format!("{port} may not be opened by this user"),
            "set HTTP_PORT to one above 1023",
        ),
        _ => findings.problem(
            "http.port",
            Exit::Config,
            format!("HTTP_ADDR {addr} HTTP_PORT {port} cannot be opened: {error}"),
            "set HTTP_ADDR to an address of this machine (ip addr lists them), or to 127.0.0.1",
        ),
    }
}

fn in_use((addr, port): (IpAddr, u16), job: Option<&Holder>, findings: &mut Findings) {
    let owner = listening(port).and_then(owner);
    let process = owner.as_ref().map(|(process, _)| *process);
    // Where it cannot be seen whose it is, a job in DATA_DIR is the likely one.
    if job.is_some_and(|job| process.is_none() || job.process.is_none() || job.process == process) {
        let whose = process.map(|process| format!(" (process {process})")).unwrap_or_default();
        findings.ok("http.port", format!("{port} on {addr} is served by the job that runs here{whose}"));
        return;
    }
    let whose = match &owner {
        Some((process, name)) => format!("{name} (process {process})"),
        None => "a process that this user may not see".to_owned(),
    };
    let free = (port.saturating_add(1)..=port.saturating_add(PORTS_TRIED))
        .find(|&port| TcpListener::bind((addr, port)).is_ok());
    let free = free.map(|free| format!(", as HTTP_PORT={free}, which is free")).unwrap_or_default();
    let found = format!("{port} on {addr} is taken by {whose}");
    findings.problem("http.port", Exit::Config, found, format!("stop that one, or use another port{free}"));
}

/// The socket that listens on this port, by its inode.
fn listening(port: u16) -> Option<u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.into_iter().find_map(|table| in_table(&table, port))
}

/// `0: 0100007F:1388 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 12345 …`
fn in_table(table: &str, port: u16) -> Option<u64> {
    let listens = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let at = words.get(1)?.rsplit_once(':')?.1;
        let here = u16::from_str_radix(at, 16).ok()? == port && *words.get(3)? == LISTEN;
        here.then(|| words.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).find_map(listens)
}

/// The process that has the socket, and its name.
fn owner(socket: u64) -> Option<(u32, String)> {
    let wanted = format!("socket:[{socket}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    processes.into_iter().find_map(|process| {
        let mut files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten();
        let has = files.any(|file| fs::read_link(file.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str()));
        let name = || fs::read_to_string(format!("/proc/{process}/comm")).map(|name| name.trim().to_owned());
        has.then(|| (process, name().unwrap_or_default()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_listens_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (process, _) = listening(port).and_then(owner).unwrap();
        assert_eq!(process, std::process::id());
        drop(listener);
        assert_eq!(listening(port), None);
    }

    #[test]
    fn only_a_socket_that_listens_counts() {
        let table = "  sl  local_address rem_address   st …\n   0: 0100007F:1388 00000000:0000 01 0:0 00:0 0 0 0 11 1\n   \
                     1: 0100007F:1388 00000000:0000 0A 0:0 00:0 0 0 0 12 1\nrubbish\n";
        assert_eq!(in_table(table, 5000), Some(12));
        assert_eq!(in_table(table, 5001), None);
    }
}
