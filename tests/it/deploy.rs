//! What stands in `deploy/`, as those read it who run it: systemd, Compose, Kubernetes' schemas, linters.

mod systemd;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::job::{caudal, root};
use crate::support::python;

/// Of the versions that Kubernetes' makers maintain, and the oldest that has all that is used.
const KUBERNETES: [&str; 2] = ["1.28", "1.34"];

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// What a program says, which must end well.
fn good(command: &mut Command) -> String {
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{told}");
    said
}

/// An installation, as `deploy/install.sh` makes it.
fn install(to: &Path) {
    good(Command::new(root().join("deploy/install.sh")).arg(to).env("CAUDAL_BIN", caudal()));
}

#[test]
fn an_installed_copy_runs_from_anywhere_without_what_building_takes() {
    let dir = TempDir::new().unwrap();
    let to = dir.path().join("a folder/caudal");
    install(&to);
    // Over one that is there too.
    install(&to);
    let check = || {
        let mut command = Command::new(to.join("run_mpi.sh"));
        command.arg("check").arg(to.join("pipelines/civic_safety/pipeline.yaml"));
        command.current_dir(dir.path()).env_remove("CAUDAL_BIN").env("CARGO", "/nonexistent");
        command
    };
    assert!(good(&mut check()).contains("civic_safety"));
    let mut left: Vec<PathBuf> = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().path()).collect();
    left.retain(|file| file.extension().is_some_and(|extension| extension == "new"));
    assert_eq!(left, Vec::<PathBuf>::new());
}

/// Compose itself reads the file, as `docker compose config` does.
fn compose(env: &[(&str, &str)]) -> Output {
    let program = python::program("docker-compose");
    let mut command = Command::new(program);
    command.args(["--project-directory", ".", "config", "--format", "json"]).current_dir(root().join("deploy/compose"));
    for name in ["API_TOKENS", "DB_PASSWORD", "PUBLISH", "RANKS", "PIPELINES"] {
        command.env_remove(name);
    }
    run(command.envs(env.iter().copied()))
}

#[test]
fn the_compose_file_asks_for_secrets_and_leaves_time_to_drain() {
    for (given, missing) in [(&[("DB_PASSWORD", "p")][..], "API_TOKENS"), (&[("API_TOKENS", "t")][..], "DB_PASSWORD")] {
        let output = compose(given);
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(&format!("set {missing} in .env")), "{told}");
    }
    let output = compose(&[("API_TOKENS", "t"), ("DB_PASSWORD", "p")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    let caudal = &read["services"]["caudal"];
    // Draining takes up to 55 s, and what is around it.
    assert_eq!(caudal["stop_grace_period"], "1m15s");
    assert_eq!(caudal["ports"][0]["host_ip"], "127.0.0.1");
    assert_eq!(caudal["environment"]["DB_HOST"], "postgres");
    assert!(read["services"]["postgres"]["healthcheck"]["test"].is_array());
    let dockerfile = root().join(caudal["build"]["dockerfile"].as_str().unwrap());
    assert!(dockerfile.is_file(), "{}", dockerfile.display());
    let data = caudal["volumes"].as_array().unwrap().iter().find(|volume| volume["target"] == "/var/lib/caudal");
    assert_eq!(data.expect("a volume for DATA_DIR")["type"], "volume");
}

#[test]
fn a_linter_finds_nothing_in_the_dockerfile() {
    let hadolint = python::program("hadolint");
    good(Command::new(hadolint).arg("--no-color").arg(root().join("deploy/compose/Dockerfile")));
}

/// A file's documents, each in a file of its own; of an MPIJob, which Kubernetes does not know, the pods that it is made of.
fn resources(manifest: &str, dir: &Path) -> Vec<(String, PathBuf)> {
    let text = fs::read_to_string(root().join("deploy/kubernetes").join(manifest)).unwrap();
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{manifest}: {error}"));
    let mut found = Vec::new();
    for document in documents {
        let kind = document["kind"].as_str().expect("a kind").to_owned();
        if kind == "MPIJob" {
            for (role, replicas) in document["spec"]["mpiReplicaSpecs"].as_object().expect("replicas") {
                let template = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "caudal"}, "template": replicas["template"]});
                found.push((format!("{kind}-{role}"), template));
            }
        } else {
            found.push((kind, document));
        }
    }
    let written = found.into_iter().enumerate().map(|(number, (name, document))| {
        let file = dir.join(format!("{number}-{name}.json"));
        fs::write(&file, document.to_string()).unwrap();
        (name, file)
    });
    written.collect()
}

#[test]
fn kubernetes_schemas_take_the_manifests() {
    let validate = python::program("kubernetes-validate");
    for manifest in ["statefulset.yaml", "mpijob.yaml"] {
        let dir = TempDir::new().unwrap();
        let resources = resources(manifest, dir.path());
        assert!(resources.len() >= 2, "{resources:?}");
        for version in KUBERNETES {
            for (name, file) in &resources {
                let output = run(Command::new(&validate).args(["--strict", "-k", version]).arg(file));
                let said =
                    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
                // One that has no schema is only warned of.
                assert!(
                    output.status.success() && said.contains("passed for resource"),
                    "{manifest}, {name}, {version}: {said}"
                );
            }
        }
    }
}

/// What the schemas do not say: the fields of an MPIJob, v2beta1, and what must fit together.
#[test]
fn the_mpi_job_fits_together() {
    let text = fs::read_to_string(root().join("deploy/kubernetes/mpijob.yaml")).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let of_kind = |kind: &str| documents.iter().find(|document| document["kind"] == kind).expect(kind);
    let (service, claim, job) = (of_kind("Service"), of_kind("PersistentVolumeClaim"), of_kind("MPIJob"));
    let keys = |value: &Value| value.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    let known = [
        "slotsPerWorker",
        "runLauncherAsWorker",
        "runPolicy",
        "mpiReplicaSpecs",
        "sshAuthMountPath",
        "launcherCreationPolicy",
        "mpiImplementation",
    ];
    assert!(keys(&job["spec"]).iter().all(|key| known.contains(&key.as_str())), "{:?}", keys(&job["spec"]));
    let known = [
        "cleanPodPolicy",
        "ttlSecondsAfterFinished",
        "activeDeadlineSeconds",
        "backoffLimit",
        "schedulingPolicy",
        "suspend",
        "managedBy",
    ];
    assert!(keys(&job["spec"]["runPolicy"]).iter().all(|key| known.contains(&key.as_str())));

    let replicas = &job["spec"]["mpiReplicaSpecs"];
    assert_eq!(keys(replicas), ["Launcher", "Worker"]);
    for role in ["Launcher", "Worker"] {
        assert!(
            keys(&replicas[role]).iter().all(|key| ["replicas", "restartPolicy", "template"].contains(&key.as_str()))
        );
    }
    let launcher = &replicas["Launcher"]["template"];
    let container = &launcher["spec"]["containers"][0];
    let ranks =
        container["env"].as_array().unwrap().iter().find(|variable| variable["name"] == "RANKS").expect("RANKS");
    let workers = replicas["Worker"]["replicas"].as_u64().unwrap();
    assert_eq!(ranks["value"], (workers + 1).to_string());
    for (name, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&launcher["metadata"]["labels"][name], value);
        assert!(
            name != "app.kubernetes.io/component"
                || &replicas["Worker"]["template"]["metadata"]["labels"][name] != value
        );
    }
    assert_ne!(service["metadata"]["name"], job["metadata"]["name"], "the operator makes a service of the job's name");
    let volumes = launcher["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]));
    let grace = launcher["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(
        grace > 60 && replicas["Worker"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() > grace
    );
}

/// Each file that a page names is there.
#[test]
fn pages_name_files_that_are_there() {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages: Vec<PathBuf> =
        pages.filter(|page| page.file_name().unwrap().to_str().unwrap().starts_with("deploy")).collect();
    assert_eq!(pages.len(), 6, "{pages:?}");
    let name = regex::Regex::new(r"(?:deploy|docs|scripts)/[A-Za-z0-9_./-]*[A-Za-z0-9]|\(([a-z-]+\.md)").unwrap();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for found in name.captures_iter(&text) {
            let file =
                found.get(1).map_or_else(|| root().join(&found[0]), |beside| root().join("docs").join(beside.as_str()));
            assert!(file.exists(), "{}: {}", page.display(), file.display());
        }
    }
}
