//! Commands, run through the real supervisor and limiter.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    future::Future,
    path::Path,
    time::Duration,
};

use keeper_types::{Attempt, Executor as Kind, JobId, Limits, ProcessJob};
use keeper_worker::{
    Executor as _, FailureCode, HelperCommand, JobRun, Output, ProcessConfig, ProcessExecutor, RunError,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than any test may take.
const LONG: Duration = Duration::from_secs(120);

struct Bench {
    executor: ProcessExecutor,
    workspace: TempDir,
    cancel: CancellationToken,
}

fn bench() -> Bench {
    bench_with(ProcessConfig::default())
}

fn bench_with(config: ProcessConfig) -> Bench {
    let helper = HelperCommand { program: env!("CARGO_BIN_EXE_keeper-exec-job").into(), args: Vec::new() };
    let executor = ProcessExecutor::new(helper, config);
    Bench { executor, workspace: tempfile::tempdir().unwrap(), cancel: CancellationToken::new() }
}

fn job(command: &[&str]) -> JobRun {
    let command = command.iter().map(|&argument| argument.to_owned()).collect();
    JobRun {
        job_id: JobId(3),
        attempt: Attempt(2),
        kind: Kind::Process(ProcessJob { command, env: BTreeMap::new(), stdin: String::new() }),
        limits: Limits::default(),
        time_limit: LONG,
        gpus: Vec::new(),
    }
}

fn shell(script: &str) -> JobRun {
    job(&["sh", "-c", script])
}

fn process(job: &mut JobRun) -> &mut ProcessJob {
    let Kind::Process(process) = &mut job.kind else { unreachable!() };
    process
}

impl Bench {
    async fn run(&self, job: &JobRun) -> Result<String, RunError> {
        let run = self.executor.run(job, self.workspace.path(), self.cancel.clone());
        run.await.map(|Output(output)| String::from_utf8(output.to_vec()).unwrap())
    }

    /// The process ids that a job has written into its folder, one per file, once there are `count`.
    async fn pids(&self, count: usize) -> Vec<u32> {
        let read = || {
            let entries = fs::read_dir(self.workspace.path()).unwrap();
            let texts = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
            texts.filter_map(|text| text.trim().parse().ok()).collect::<BTreeSet<u32>>()
        };
        eventually(|| read().len() >= count).await;
        read().into_iter().collect()
    }
}

/// Waits for a condition that only the operating system can tell.
async fn eventually(condition: impl Fn() -> bool) {
    let watch = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !condition() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(LONG, watch).await.expect("the condition never held");
}

fn is_alive(pid: u32) -> bool {
    // A zombie is dead; whoever adopted it has not looked yet.
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

async fn expect_code<T: std::fmt::Debug>(run: impl Future<Output = Result<T, RunError>>, code: FailureCode) -> String {
    let error = run.await.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

#[tokio::test]
async fn standard_output_is_the_result() {
    let mut job = job(&["tr", "a-z", "A-Z"]);
    process(&mut job).stdin = "input".to_owned();
    assert_eq!(bench().run(&job).await.unwrap(), "INPUT");
}

#[tokio::test]
async fn input_need_not_be_read() {
    let mut job = job(&["true"]);
    process(&mut job).stdin = "x".repeat(300_000);
    assert_eq!(bench().run(&job).await.unwrap(), "");
}

#[tokio::test]
async fn a_command_runs_in_its_own_folder() {
    let bench = bench();
    let root = bench.workspace.path().canonicalize().unwrap();
    let output = bench.run(&shell("pwd -P; ls -A; echo kept > file")).await.unwrap();
    assert_eq!(Path::new(output.trim_end()), root);
    assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "kept\n");
}

#[tokio::test]
async fn nothing_of_the_agents_environment_is_passed_on() {
    let mut job = job(&["env"]);
    job.gpus = vec![1, 3];
    process(&mut job).env = [("NAME", "a value"), ("JOB_ID", "99")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let output = bench().run(&job).await.unwrap();
    let path = format!("PATH={}", std::env::var("PATH").unwrap());
    let expected = [
        "ATTEMPT=2",
        "CUDA_DEVICE_ORDER=PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES=1,3",
        "JOB_ID=3",
        "NAME=a value",
        path.as_str(),
    ];
    assert_eq!(output.lines().collect::<BTreeSet<_>>(), expected.into());
}

#[tokio::test]
async fn a_failing_command_is_quoted() {
    let error = expect_code(bench().run(&shell("echo lost; echo because >&2; exit 3")), FailureCode::ExitCode).await;
    assert_eq!(error, "the command exited with 3: because");
}

#[tokio::test]
async fn only_the_end_of_a_long_complaint_is_kept() {
    let script = "head -c 1000000 /dev/zero | tr '\\0' e >&2; printf end >&2; exit 4";
    let error = expect_code(bench().run(&shell(script)), FailureCode::ExitCode).await;
    assert!(error.ends_with("eeend") && error.len() < 4_200, "{}", error.len());
}

#[tokio::test]
async fn a_signal_is_named() {
    let error = expect_code(bench().run(&shell("kill -9 $$")), FailureCode::Signal).await;
    assert_eq!(error, "the command was ended by signal 9");
    // Rust programs ignore or catch SEGV, BUS and PIPE; 16, 29 and 30 are rarely known by name, 34 and 64 never.
    for signal in ["TERM", "SEGV", "BUS", "PIPE", "16", "29", "30", "34", "64"] {
        expect_code(bench().run(&shell(&format!("kill -{signal} $$"))), FailureCode::Signal).await;
    }
}

#[tokio::test]
async fn an_orphans_signal_is_no_concern_of_the_job() {
    // It is adopted, ends by a real-time signal, and is gone for good once it is buried.
    let script = "(sh -c 'echo $$ > pid; kill -34 $$' &); until [ -s pid ]; do :; done; \
                  while kill -0 \"$(cat pid)\" 2>/dev/null; do :; done; echo done";
    assert_eq!(bench().run(&shell(script)).await.unwrap(), "done\n");
}

#[tokio::test]
async fn a_missing_command_is_named() {
    let error = expect_code(bench().run(&job(&["no-such-command"])), FailureCode::ExitCode).await;
    assert!(error.contains("127") && error.contains("cannot run `no-such-command`"), "{error}");
}

#[tokio::test]
async fn a_missing_supervisor_is_the_workers_fault() {
    let helper = HelperCommand { program: "/no/such/helper".into(), args: Vec::new() };
    let bench = Bench { executor: ProcessExecutor::new(helper, ProcessConfig::default()), ..bench() };
    let error = expect_code(bench.run(&job(&["true"])), FailureCode::WorkerFault).await;
    assert!(error.starts_with("cannot start the job's supervisor: "), "{error}");
}

#[tokio::test]
async fn one_byte_too_many_is_too_many() {
    let mut job = shell("head -c 1000 /dev/zero");
    job.limits.output_bytes = 1_000;
    assert_eq!(bench().run(&job).await.unwrap().len(), 1_000);
    job.limits.output_bytes = 999;
    let error = expect_code(bench().run(&job), FailureCode::OutputTooLarge).await;
    assert_eq!(error, "the output exceeds limits.output_bytes, 999");
}

#[tokio::test]
async fn endless_output_is_cut_off_and_its_source_killed() {
    let bench = bench();
    let mut job = shell("echo $$ > main; exec yes");
    job.limits.output_bytes = 1 << 20;
    expect_code(bench.run(&job), FailureCode::OutputTooLarge).await;
    for pid in bench.pids(1).await {
        assert!(!is_alive(pid));
    }
}

/// A child, one that ignores polite signals, one in a session of its own, and one whose parent is gone.
const FAMILY: &str = "
    sleep 1000 & echo $! > child
    sh -c 'trap \"\" TERM HUP INT; echo $$ > stubborn; while :; do sleep 1000; done' &
    setsid sh -c 'echo $$ > session; exec sleep 1000' &
    (setsid sh -c 'echo $$ > orphan; exec sleep 1000' &)
    echo $$ > main
";

#[tokio::test]
async fn when_time_is_up_the_whole_family_dies() {
    let bench = bench();
    let mut job = shell(&format!("{FAMILY} wait"));
    job.time_limit = Duration::from_secs(3);
    let error = expect_code(bench.run(&job), FailureCode::Timeout).await;
    assert_eq!(error, "not done after 3 s");
    for pid in bench.pids(5).await {
        assert!(!is_alive(pid));
    }
}

#[tokio::test]
async fn what_a_command_leaves_behind_dies_with_it() {
    let bench = bench();
    let script = format!("{FAMILY} while [ ! -s session -o ! -s orphan -o ! -s stubborn ]; do :; done; echo done");
    assert_eq!(bench.run(&shell(&script)).await.unwrap(), "done\n");
    for pid in bench.pids(5).await {
        assert!(!is_alive(pid));
    }
}

#[tokio::test]
async fn a_cancelled_job_is_gone_when_the_executor_returns() {
    let bench = bench();
    let job = shell(&format!("{FAMILY} wait"));
    let cancel = async {
        let pids = bench.pids(5).await;
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        bench.cancel.cancel();
        pids
    };
    let (ended, pids) = tokio::join!(bench.run(&job), cancel);
    assert!(matches!(ended, Err(RunError::Cancelled)));
    for pid in pids {
        assert!(!is_alive(pid));
    }
}

#[tokio::test]
async fn a_job_that_nobody_waits_for_is_killed() {
    let bench = bench();
    let job = shell(&format!("{FAMILY} wait"));
    let pids = tokio::select! {
        ended = bench.run(&job) => panic!("{ended:?}"),
        pids = bench.pids(5) => pids,
    };
    for pid in pids {
        eventually(|| !is_alive(pid)).await;
    }
}

#[tokio::test]
async fn a_job_that_starts_processes_without_end_is_killed() {
    let bench = bench();
    let script =
        "n=0; while [ $n -lt 300 ]; do (setsid sh -c 'echo $$ > $$; exec sleep 1000' &); n=$((n + 1)); done; wait";
    let job = shell(script);
    let cancel = async {
        let pids = bench.pids(20).await;
        bench.cancel.cancel();
        pids
    };
    let (ended, _) = tokio::join!(bench.run(&job), cancel);
    assert!(matches!(ended, Err(RunError::Cancelled)));
    for pid in bench.pids(20).await {
        assert!(!is_alive(pid));
    }
}

#[tokio::test]
async fn memory_is_bounded() {
    // Remembers what it reads until a line ends, which it never does.
    let mut job = job(&["tail", "/dev/zero"]);
    job.limits.memory_mib = 64;
    let error = expect_code(bench().run(&job), FailureCode::ExitCode).await;
    assert!(error.contains("memory exhausted"), "{error}");
}

#[tokio::test]
async fn files_are_bounded() {
    let bench = bench_with(ProcessConfig { max_file_bytes: 10_000, max_open_files: 64 });
    let error = bench.run(&job(&["dd", "if=/dev/zero", "of=file", "bs=1000", "count=11"])).await.unwrap_err();
    assert!(matches!(error.code(), FailureCode::Signal | FailureCode::ExitCode), "{error}");
    assert_eq!(fs::metadata(bench.workspace.path().join("file")).unwrap().len(), 10_000);
    assert_eq!(bench.run(&shell("ulimit -c; ulimit -n; ulimit -Hn")).await.unwrap(), "0\n64\n64\n");
}

#[tokio::test]
async fn no_rights_are_gained() {
    let output = bench().run(&job(&["grep", "NoNewPrivs", "/proc/self/status"])).await.unwrap();
    assert_eq!(output.split_ascii_whitespace().last(), Some("1"));
}
