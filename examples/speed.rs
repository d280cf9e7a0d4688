#[path = "/tmp/decode_pub.rs"]
#[allow(dead_code)]
mod decode;
use std::time::Instant;
fn main() {
    let n: usize = std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(300);
    let (cases, bytes, count) = decode::cases();
    let mut best = vec![f64::MAX; cases.len() + 1];
    for _ in 0..n {
        for (i, (_, d, s)) in cases.iter().enumerate() {
            let t = Instant::now();
            std::hint::black_box(d.decode(s));
            best[i] = best[i].min(t.elapsed().as_nanos() as f64 / f64::from(count));
        }
        let t = Instant::now();
        decode::typed(&bytes);
        best[cases.len()] = best[cases.len()].min(t.elapsed().as_nanos() as f64 / f64::from(count));
    }
    println!("{} events of {} bytes", count, bytes.len() / count as usize);
    for (i, (name, ..)) in cases.iter().enumerate() { println!("{:7.0} ns {name}", best[i]); }
    println!("{:7.0} ns sonic", best[cases.len()]);
}
