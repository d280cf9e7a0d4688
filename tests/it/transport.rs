//! Random traffic between ranks: over MPI, where this binary starts itself under a real `mpirun`, and within one process. Whatever the sizes
//! and the timing, every message arrives once, whole, and in its channel's order.

use std::collections::VecDeque;
use std::env;
use std::process::{Command, Output};
use std::thread;

use caudal::transport::idle::Idle;
use caudal::transport::{Channel, Transport, local, mpi};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use xxhash_rust::xxh3::xxh3_64;

/// What a rank started by these tests is to do: `traffic SEED`, `refused` or `abort CODE`.
const BODY: &str = "CAUDAL_TEST_RANK";

/// Messages that each rank sends.
const MESSAGES: usize = 150;

/// Sizes at which the MPI library changes its way of sending, and the longest that a job sends.
const EDGES: [usize; 12] = [0, 1, 255, 4_031, 4_032, 4_033, 4_096, 32_768, 65_535, 65_536, 1 << 20, 8 << 20];

#[derive(Clone, Copy, Debug)]
struct Planned {
    to: usize,
    channel: Channel,
    bytes: usize,
    seed: u64,
}

/// All that `rank` sends, in order: every rank knows every plan.
fn plan(seed: u64, rank: usize, ranks: usize) -> Vec<Planned> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (rank as u64) << 32);
    let mut one = || Planned {
        to: rng.random_range(0..ranks),
        channel: if rng.random_ratio(1, 5) { Channel::Control } else { Channel::Data },
        bytes: match rng.random_range(0..10) {
            0 => EDGES[rng.random_range(0..EDGES.len())],
            1 => rng.random_range(0..2 << 20),
            _ => rng.random_range(0..6_000),
        },
        seed: rng.next_u64(),
    };
    (0..MESSAGES).map(|_| one()).collect()
}

fn content(planned: &Planned) -> Vec<u8> {
    let mut bytes = vec![0; planned.bytes];
    ChaCha8Rng::seed_from_u64(planned.seed).fill_bytes(&mut bytes);
    bytes
}

/// Sends this rank's plan, takes what the others' plans say, and checks each message against them.
fn traffic(transport: &mut dyn Transport, idle: &mut Idle, seed: u64) {
    let (rank, ranks) = (transport.rank(), transport.size());
    let mut rng = ChaCha8Rng::seed_from_u64(!seed ^ rank as u64);
    let mut to_send: VecDeque<Planned> = plan(seed, rank, ranks).into();
    let addressed = |from, channel| {
        let mine = plan(seed, from, ranks).into_iter().filter(|p| p.to == rank && p.channel == channel);
        mine.collect::<VecDeque<_>>()
    };
    let mut expected: Vec<[VecDeque<Planned>; 2]> =
        (0..ranks).map(|from| [addressed(from, Channel::Data), addressed(from, Channel::Control)]).collect();
    while !to_send.is_empty() || transport.unsent() > 0 || expected.iter().flatten().any(|queue| !queue.is_empty()) {
        let mut busy = transport.progress().unwrap();
        // Bursts and pauses, so that now the sender runs ahead and now the receiver waits.
        for _ in 0..[0, 0, 0, 1, 7][rng.random_range(0..5)] {
            let Some(next) = to_send.pop_front() else { break };
            transport.send(next.to, next.channel, content(&next)).unwrap();
            busy = true;
        }
        if let Some(got) = transport.receive().unwrap() {
            busy = true;
            let next = expected[got.from][got.channel as usize].pop_front();
            let next =
                next.unwrap_or_else(|| panic!("seed {seed}: rank {rank} got more from {} than was sent", got.from));
            assert_eq!(got.message.len(), next.bytes, "seed {seed}: {} to {rank}, {:?}", got.from, got.channel);
            let whole = xxh3_64(&got.message) == xxh3_64(&content(&next));
            assert!(
                whole,
                "seed {seed}: {} to {rank}, {:?}: {} other bytes than sent",
                got.from, got.channel, next.bytes
            );
        }
        if busy {
            idle.worked();
        } else {
            idle.rest(transport.under_way());
        }
    }
}

#[test]
fn traffic_within_one_process() {
    for (ranks, seed) in [(1, 11), (2, 12), (3, 13), (4, 14), (7, 15)] {
        let (mut idles, wakers): (Vec<_>, Vec<_>) = (0..ranks).map(|_| Idle::new()).unzip();
        let mut ends = local::network(ranks);
        for end in &mut ends {
            for (rank, waker) in wakers.iter().enumerate() {
                end.wake_with(rank, waker.clone());
            }
        }
        thread::scope(|scope| {
            for (end, idle) in ends.iter_mut().zip(&mut idles) {
                scope.spawn(move || traffic(end, idle, seed));
            }
        });
        for end in &mut ends {
            assert!(end.receive().unwrap().is_none(), "seed {seed}: a message came that was not sent");
        }
    }
}

/// Runs `rank_started_by_a_test` of this binary in `ranks` processes; none: this one alone, without `mpirun`.
fn job(ranks: Option<usize>, body: &str) -> Output {
    let this = env::current_exe().unwrap();
    let mut command = match ranks {
        None => Command::new(this),
        Some(ranks) => {
            let mut mpirun = Command::new("mpirun");
            mpirun.args(["--oversubscribe", "--bind-to", "none", "--mca", "odls_base_sigkill_timeout", "0", "-n"]);
            mpirun.arg(ranks.to_string()).arg(this);
            mpirun
        }
    };
    command.args(["transport::rank_started_by_a_test", "--exact", "--ignored", "--nocapture"]);
    command.env(BODY, body).env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    command.output().expect("mpirun is installed: ./run_tests.sh sees to it")
}

fn told(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "the body of a rank: the tests below run it under mpirun"]
fn rank_started_by_a_test() {
    let body = env::var(BODY).expect("started by a test");
    let (kind, argument) = body.split_once(' ').unwrap_or((&body, ""));
    match kind {
        "traffic" => {
            let mut transport = mpi::init().unwrap();
            let (mut idle, _waker) = Idle::new();
            let seed: u64 = argument.parse().unwrap();
            traffic(&mut transport, &mut idle, seed);
            let rank = transport.rank();
            transport.finish().unwrap();
            println!("rank {rank} done");
        }
        "refused" => {
            let Err(error) = mpi::init() else { panic!("started alone although four were announced") };
            println!("{error}");
        }
        // One rank ends the job while the others wait for it with a message of theirs on its way.
        "abort" => {
            let mut transport = mpi::init().unwrap();
            let (mut idle, _waker) = Idle::new();
            let (rank, ranks) = (transport.rank(), transport.size());
            if rank == ranks - 1 {
                mpi::abort(argument.parse().unwrap());
            }
            transport.send(ranks - 1, Channel::Data, vec![7; 4 << 20]).unwrap();
            while transport.receive().unwrap().is_none() {
                transport.progress().unwrap();
                idle.rest(transport.under_way());
            }
        }
        other => panic!("no such body: {other}"),
    }
}

#[test]
fn traffic_under_mpirun() {
    for (ranks, seed) in [(1, 21), (2, 22), (3, 23), (4, 24), (4, 25)] {
        let output = job(Some(ranks), &format!("traffic {seed}"));
        assert!(output.status.success(), "seed {seed}, {ranks} ranks: {}\n{}", output.status, told(&output));
        assert_eq!(told(&output).matches(" done\n").count(), ranks, "seed {seed}: {}", told(&output));
    }
}

#[test]
fn without_mpirun_a_process_is_a_job_of_one() {
    let output = job(None, "traffic 31");
    assert!(output.status.success() && told(&output).contains("rank 0 done"), "{}", told(&output));
}

#[test]
fn a_rank_that_aborts_ends_the_job_with_its_code() {
    for code in [1, 70, 78] {
        let output = job(Some(3), &format!("abort {code}"));
        assert_eq!(output.status.code(), Some(code), "{}", told(&output));
    }
}

/// A launcher of another MPI announces itself in the environment and is not understood by the library.
#[test]
fn a_library_that_does_not_see_the_launcher_is_refused() {
    let this = env::current_exe().unwrap();
    for name in ["OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"] {
        let mut command = Command::new(&this);
        command.args(["transport::rank_started_by_a_test", "--exact", "--ignored", "--nocapture"]);
        let output = command.env(BODY, "refused").env(name, "4").output().unwrap();
        let told = told(&output);
        let expected =
            format!("the launcher started 4 ranks ({name}), but the MPI library in this binary sees only this process");
        assert!(output.status.success() && told.contains(&expected), "{told}");
    }
}
