//! A real Slurm of a test's own: a controller and two nodes, all on this machine, with private ports and folders. Whatever runs in it ends when it is
//! dropped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::job::until;
use super::port::free_port;
use super::program::program;

/// The nodes' names: two slurmd processes on one host.
const NODES: [&str; 2] = ["n1", "n2"];

pub struct Slurm {
    directory: TempDir,
    daemons: Vec<Child>,
}

impl Slurm {
    /// Starts it and waits until its nodes take jobs.
    pub fn start() -> Self {
        let directory = TempDir::with_prefix("slurm").expect("a directory");
        let mut slurm = Self { directory, daemons: Vec::new() };
        slurm.configure();
        slurm.daemon(
            "munged",
            "munge",
            &[
                "--foreground".into(),
                slurm.option("key-file", "munge.key"),
                slurm.option("socket", "munge.socket"),
                slurm.option("pid-file", "munged.pid"),
                slurm.option("seed-file", "munged.seed"),
            ],
        );
        until("munged listens", || slurm.path("munge.socket").exists());
        slurm.daemon("slurmctld", "slurmctld", &["-D".into()]);
        for node in NODES {
            slurm.daemon("slurmd", "slurmd", &["-D".into(), "-N".into(), node.into()]);
        }
        until("the nodes are idle", || {
            slurm.try_run("sinfo", &["-h", "-o", "%T %D"]).is_ok_and(|said| said.trim() == "idle 2")
        });
        slurm
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn option(&self, option: &str, file: &str) -> String {
        format!("--{option}={}", self.path(file).display())
    }

    fn configure(&self) {
        let mut key = [0; 1024];
        fs::File::open("/dev/urandom").and_then(|mut random| random.read_exact(&mut key)).expect("random bytes");
        fs::write(self.path("munge.key"), key).expect("a key");
        fs::set_permissions(self.path("munge.key"), fs::Permissions::from_mode(0o600)).expect("the key is private");
        fs::create_dir(self.path("state")).expect("a folder");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a host name");
        let host = host.trim();
        let user = String::from_utf8(Command::new("id").arg("-un").output().expect("id").stdout).expect("a name");
        let user = user.trim();
        let directory = self.directory.path().display();
        let general = format!(
            "ClusterName=caudal\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmUser={user}\nSlurmdUser={user}\n\
             AuthType=auth/munge\nCredType=cred/munge\nAuthInfo=socket={directory}/munge.socket\n\
             StateSaveLocation={directory}/state\nSlurmctldPidFile={directory}/slurmctld.pid\n\
             SlurmdSpoolDir={directory}/spool.%n\nSlurmdPidFile={directory}/slurmd.%n.pid\n\
             ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nSwitchType=switch/none\nMpiDefault=none\n\
             SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nSlurmdParameters=config_overrides\nReturnToService=2\n\
             SchedulerParameters=sched_interval=1,batch_sched_delay=0\n",
            free_port()
        );
        // More cores than there are: the ranks rest most of the time.
        let nodes = NODES.map(|node| {
            let port = free_port();
            format!("NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 State=UNKNOWN\n")
        });
        let partition = format!("PartitionName=main Nodes={} Default=YES MaxTime=INFINITE State=UP\n", NODES.join(","));
        let text = general + &nodes.concat() + &partition;
        fs::write(self.path("slurm.conf"), text).expect("slurm.conf");
    }

    fn daemon(&mut self, name: &str, package: &str, arguments: &[String]) {
        let log = fs::File::options().create(true).append(true).open(self.path("daemons.log")).expect("a log");
        // A test that is killed takes them along.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program(name, package)).args(arguments);
        command.env("SLURM_CONF", self.path("slurm.conf")).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        self.daemons.push(command.spawn().expect("setpriv starts"));
    }

    /// One of Slurm's commands, with these variables for a job that it submits.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name, "slurm-client"));
        for (variable, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("SLURM") || name.starts_with("SBATCH"))
        {
            command.env_remove(variable);
        }
        command.env("SLURM_CONF", self.path("slurm.conf"));
        command
    }

    fn try_run(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        let output = self.command(name).args(arguments).output().expect("the command runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said + &String::from_utf8_lossy(&output.stderr)) }
    }

    /// What a command says.
    pub fn run(&self, name: &str, arguments: &[&str]) -> String {
        self.try_run(name, arguments).unwrap_or_else(|said| panic!("{name} {arguments:?}: {said}\n{}", self.log()))
    }

    /// What the daemons say.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("daemons.log")).unwrap_or_default()
    }

    /// Hands a job over; gives its number.
    pub fn submit(&self, env: &BTreeMap<String, String>, arguments: &[&str]) -> String {
        let output = self.command("sbatch").arg("--parsable").args(arguments).envs(env).output().expect("sbatch runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sbatch {arguments:?}: {told}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// What `scontrol show job` has of a job: `JobState`, `Restarts`, `ExitCode` …
    pub fn job(&self, id: &str) -> BTreeMap<String, String> {
        let said = self.run("scontrol", &["show", "job", "-o", id]);
        let fields = said.split_whitespace().filter_map(|field| field.split_once('='));
        fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Everything that was started for this Slurm: daemons, their steps, and what runs in these.
    fn processes(&self) -> Vec<i32> {
        let conf = format!("SLURM_CONF={}", self.path("slurm.conf").display());
        let entries = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours = pids.filter(|pid| {
            let env = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            env.split(|&byte| byte == 0).any(|variable| variable == conf.as_bytes())
        });
        ours.collect()
    }
}

impl Drop for Slurm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Slurm's daemons:\n{}", self.log());
        }
        let mut left = self.processes();
        while !left.is_empty() {
            for pid in left {
                // It may have ended meanwhile.
                let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
            }
            for daemon in &mut self.daemons {
                let _ = daemon.wait();
            }
            left = self.processes();
        }
    }
}
