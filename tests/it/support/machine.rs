//! A machine of a test's own as far as systemd sees it: this machine's files with others laid over them, in namespaces, gone when it is dropped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use super::job::{root, until};
use super::program::program;

pub struct Machine {
    folder: TempDir,
    boot: Child,
    /// systemd's process, as this machine sees it.
    init: i32,
}

impl Machine {
    /// Boots it with what `prepare` puts into the folder that is laid over `/`.
    pub fn boot(prepare: impl FnOnce(&Path)) -> Self {
        assert!(
            geteuid().is_root(),
            "a systemd of its own needs root: run this test as root, as ./run_tests.sh in a container does"
        );
        program("systemd-run", "systemd");
        let folder = TempDir::with_prefix("machine").expect("a folder");
        let files = folder.path().join("files");
        fs::create_dir(&files).expect("a folder");
        prepare(&files);
        let said = fs::File::create(folder.path().join("boot.log")).expect("a file");
        let boot = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", "--mount"])
            .arg(root().join("tests/it/deploy/boot.sh"))
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a file"))
            .stderr(said)
            .spawn()
            .expect("setpriv starts");
        let mut machine = Self { folder, boot, init: 0 };
        until("the machine boots", || {
            let ended = machine.boot.try_wait().expect("a child");
            assert!(ended.is_none(), "it did not: {}", machine.said());
            machine.init = fs::read_to_string(machine.folder.path().join("pid"))
                .ok()
                .and_then(|pid| pid.parse().ok())
                .unwrap_or(0);
            machine.init != 0 && machine.output("systemctl", &["is-system-running"]).stdout == b"running\n"
        });
        machine
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("boot.log")).unwrap_or_default()
    }

    /// Runs a program inside.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let target = self.init.to_string();
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &target, "--mount", "--pid", "--cgroup", "--ipc", "--uts", "--root", "--wd", program]);
        command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().expect("nsenter runs")
    }

    /// Runs a program inside, which must end well; gives what it says.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {told}\n{}", self.journal());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run("systemctl", &["show", "--value", "-p", name, unit]).trim().to_owned()
    }

    /// What its services have said.
    pub fn journal(&self) -> String {
        String::from_utf8_lossy(&self.output("journalctl", &["--no-pager", "-o", "cat", "-u", "caudal"]).stdout)
            .into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the service's journal:\n{}", self.journal());
        }
        // All that is in its namespace ends with systemd; the script then clears up and ends.
        if let Some(init) = Pid::from_raw(self.init) {
            let _ = kill_process(init, Signal::KILL);
        } else {
            let _ = self.boot.kill();
        }
        let _ = self.boot.wait();
    }
}
