//! One server under one load: starts the program on its processor, runs the load from ours, ends the program.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::load::{self, Outcome};
use crate::os;
use crate::plan::{Plan, Scenario, Server};

/// What a server has after a turn to close what the load has closed.
const PARTING: Duration = Duration::from_millis(20);

/// The figures of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Processor time of the server per message, in nanoseconds; of an idle server, per second.
    pub cpu_ns: f64,
    /// Messages per second.
    pub rate: f64,
    /// Percentiles of the latency, in nanoseconds.
    pub p50_ns: f64,
    /// The latency of the slowest hundredth.
    pub p99_ns: f64,
    /// The latency of the slowest thousandth.
    pub p999_ns: f64,
    /// The fewest messages of a connection, as a share of the most.
    pub fairness: f64,
}

impl Turn {
    /// Of a load. The processor time must have been asked for.
    pub fn of(outcome: &Outcome) -> Self {
        let messages = outcome.messages.max(1) as f64;
        let percentile = |part: f64| outcome.latency.value_at_quantile(part) as f64;
        Self {
            cpu_ns: outcome.server_cpu.unwrap_or_default().as_nanos() as f64 / messages,
            rate: messages / outcome.time.as_secs_f64(),
            p50_ns: percentile(0.5),
            p99_ns: percentile(0.99),
            p999_ns: percentile(0.999),
            fairness: outcome.of_one.0 as f64 / outcome.of_one.1.max(1) as f64,
        }
    }
}

/// How long a turn takes, and where its server runs.
pub struct Setting {
    /// Before it counts.
    pub warm_up: Duration,
    /// While it counts.
    pub time: Duration,
    /// The processor of the server.
    pub server_cpu: usize,
}

/// A running server. It is ended when this is dropped.
pub struct Running {
    child: Child,
    /// Open as long as it runs, so that it may say more.
    out: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Running {
    /// Starts a program that lies beside this one, and waits until it listens.
    ///
    /// # Errors
    /// That it is not there, or ends without listening.
    pub fn start(server: &Server, cpu: usize) -> io::Result<Self> {
        Self::start_program(server.program, server.arguments, cpu)
    }

    /// As [`start`](Self::start), by the name of the program and its arguments besides `--port` and `--cpu`.
    ///
    /// # Errors
    /// As there.
    pub fn start_program(name: &str, arguments: &[&str], cpu: usize) -> io::Result<Self> {
        let program = std::env::current_exe()?.with_file_name(name);
        let mut child = Command::new(&program)
            .args(["--port", "0", "--cpu", &cpu.to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| io::Error::other(format!("{name}: {error}")))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let mut out = BufReader::new(out);
            out.read_line(&mut line)?;
            let address = line.trim().strip_prefix("listening on ");
            if let Some(address) = address.and_then(|address| address.parse().ok()) {
                return Ok(Self {
                    child,
                    out,
                    address,
                });
            }
        }
        // It has told on its own standard error.
        let _ = child.kill();
        let _ = child.wait();
        Err(io::Error::other(format!("{name} did not listen")))
    }

    /// The next line that it says; empty when it has ended.
    ///
    /// # Errors
    /// That it is no text.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.out.read_line(&mut line)?;
        Ok(line)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // That it has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that lives through several rounds. Between its turns it is stopped, so that one which polls takes nothing from the
/// others.
pub struct Stander {
    /// Which one it is.
    pub server: &'static Server,
    running: Running,
}

impl Stander {
    /// Starts it, and stops it until its first turn.
    ///
    /// # Errors
    /// Whatever starting says.
    pub fn start(server: &'static Server, cpu: usize) -> io::Result<Self> {
        let running = Running::start(server, cpu)?;
        os::let_run(running.pid(), false)?;
        Ok(Self { server, running })
    }

    /// Its turn under a scenario.
    ///
    /// # Errors
    /// Whatever the load says, with the name of the server.
    pub fn turn(&self, scenario: &Scenario, setting: &Setting) -> io::Result<Turn> {
        let figures = self.take(scenario, setting);
        figures.map_err(|error| {
            let (server, scenario) = (self.server.name, scenario.name);
            io::Error::other(format!("{server} under {scenario}: {error}"))
        })
    }

    fn take(&self, scenario: &Scenario, setting: &Setting) -> io::Result<Turn> {
        let running = &self.running;
        os::let_run(running.pid(), true)?;
        let plan = scenario.plan(setting.warm_up, setting.time);
        let figures = if scenario.is_idle {
            idle(running, &plan)?
        } else {
            Turn::of(&load::run(&plan, running.address, Some(running.pid()))?)
        };
        // It hears of the end of its connections first.
        thread::sleep(PARTING);
        os::let_run(running.pid(), false)?;
        Ok(figures)
    }
}

/// What a server uses in a second in which nothing happens, right after one in which something did.
fn idle(running: &Running, plan: &Plan) -> io::Result<Turn> {
    load::run(plan, running.address, Some(running.pid()))?;
    Ok(Turn {
        cpu_ns: idle_second(running)?.as_nanos() as f64,
        rate: 0.0,
        p50_ns: 0.0,
        p99_ns: 0.0,
        p999_ns: 0.0,
        fairness: 1.0,
    })
}

/// The processor time that a server uses in a second in which nothing happens.
///
/// # Errors
/// That it has ended.
pub fn idle_second(running: &Running) -> io::Result<Duration> {
    let before = os::process_cpu(running.pid())?;
    thread::sleep(Duration::from_secs(1));
    Ok(os::process_cpu(running.pid())? - before)
}
