//! Checks of the booted machine.

use std::cell::RefCell;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::Duration;

use super::super::super::failure::{Failure, Kind};
use super::super::Context;
use super::{Checked, MachineWishes, Report};
use crate::base::{CommitId, FileError, Stopwatch, publish, whole};
use crate::machine::{Answer, Forward, Machine, MachineError, MachineEvent, MachineOptions, Running};
use crate::pipeline;
use crate::recipe::plan::{HealthCheck, HttpTest, Origin, Part, Plan};
use crate::store::Store;

/// Words that only user space says: those of our PID 1, of systemd, and of a login prompt.
const USER_SPACE: [&str; 4] = ["mkimage: ", "systemd[1]", "Welcome to ", "login:"];
/// How long the machine has to come up where no test says it.
const BOOT_WITHIN: Duration = Duration::from_secs(120);

/// Most lines of the console that are remembered.
const LINES_MAX: usize = 1 << 16;

/// What is to be checked of a booted machine.
pub struct Wanted<'a> {
    plan: &'a Plan,
    health: Option<(&'a HealthCheck, Duration, &'a Origin)>,
    max_boot: Option<(u32, &'a Origin)>,
}

impl<'a> Wanted<'a> {
    /// Gathers what a plan says of the booted machine.
    pub fn of(plan: &'a Plan) -> Self {
        let health = plan.parts.iter().find_map(|part| match part {
            Part::App(app) => app.health.as_ref().map(|health| (health, &app.origin)),
            _ => None,
        });
        // What only the machine itself can run is not asked from here.
        let asked = |(health, origin): (&'a crate::recipe::plan::HealthPlan, &'a Origin)| match health.check {
            HealthCheck::Command(_) | HealthCheck::Unit(_) => None,
            _ => Some((
                &health.check,
                BOOT_WITHIN.max(Duration::from_secs(health.start_seconds.into())),
                origin,
            )),
        };
        let budget = plan.budget.as_ref();
        let max_boot = budget.and_then(|budget| budget.max_boot_seconds.map(|most| (most, &budget.origin)));
        Wanted { plan, health: health.and_then(asked), max_boot }
    }

    pub fn is_empty(&self) -> bool {
        let tests = |test: &crate::recipe::plan::TestPlan| {
            !test.http.is_empty() || !test.tcp.is_empty() || !test.console.is_empty()
        };
        self.health.is_none() && self.max_boot.is_none() && !self.plan.tests.iter().any(tests)
    }

    fn ports(&self) -> Vec<u16> {
        let http = self.plan.tests.iter().flat_map(|test| test.http.iter().map(|http| http.port));
        let tcp = self.plan.tests.iter().flat_map(|test| test.tcp.iter().copied());
        let health = self.health.iter().filter_map(|(check, ..)| match check {
            HealthCheck::Http { port, .. } | HealthCheck::Tcp { port } => Some(*port),
            HealthCheck::Command(_) | HealthCheck::Unit(_) => None,
        });
        let mut ports: Vec<u16> = http.chain(tcp).chain(health).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

/// A folder for the image, removed with the value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed lies in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Boots the image of a commit and checks all that is wanted of it.
pub fn run(
    context: &Context,
    store: &Store,
    commit: CommitId,
    wanted: &Wanted<'_>,
    wishes: MachineWishes,
    report: &mut Report<'_>,
) -> Result<(), Failure> {
    let scratch = Scratch(std::env::temp_dir().join(format!("mkimage-test-{}", publish::unique())));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&scratch.0);
    made.map_err(FileError::at("create the directory", &scratch.0))?;
    let image = scratch.0.join("image");
    pipeline::write(store, commit, &image, &context.job).map_err(|error| context.failure(error))?;
    let mut options = MachineOptions::new(&image);
    (options.memory, options.processors) = (wishes.memory, wishes.processors);
    options.acceleration = wishes.acceleration;
    options.environment = wishes.environment.into_iter().collect();
    options.forwards = wanted.ports().into_iter().map(|guest| Forward { host: 0, guest }).collect();
    let lines = RefCell::new(Vec::new());
    let started = Stopwatch::start();
    let printer = context.printer.clone();
    let sink = |event: MachineEvent| match event {
        MachineEvent::Line(line) => {
            if wishes.shows_console {
                printer.talk(&format!("{line}\n"));
            }
            let mut lines = lines.borrow_mut();
            if lines.len() < LINES_MAX {
                lines.push(line);
            }
        }
        MachineEvent::Starts { accelerator, .. } => {
            printer.say(&format!("booting with {}", accelerator.name()))
        }
        _ => {}
    };
    let machine = Machine::new(options).start(&context.job, sink).map_err(failure)?;
    let mut booted = Booted { context, machine, lines: &lines, started };
    booted.check_all(wanted, report)?;
    booted.machine.power_down().map_err(failure).map(drop)
}

fn failure(error: MachineError) -> Failure {
    let kind = match &error {
        MachineError::Cancelled(_) => Kind::Interrupted,
        MachineError::Option { .. } => Kind::Usage,
        _ => Kind::Failed,
    };
    Failure::of(kind, &error)
}

/// A machine that runs, and what it said so far.
struct Booted<'a, 'm> {
    context: &'a Context,
    machine: Running<'m>,
    lines: &'m RefCell<Vec<String>>,
    started: Stopwatch,
}

impl Booted<'_, '_> {
    fn check_all(&mut self, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Result<(), Failure> {
        self.check_health(wanted, report)?;
        for test in &wanted.plan.tests {
            let within = Duration::from_secs(test.timeout_seconds.into());
            let add = |report: &mut Report<'_>, what: String, result: Outcome, origin: &Origin| {
                let (problems, after) = result;
                report.add(Checked {
                    test: test.name.clone(),
                    what,
                    problems,
                    origin: origin.clone(),
                    after: Some(after),
                })
            };
            for text in &test.console {
                let result = self.console(text, within)?;
                add(report, format!("the console says {text:?}"), result, &test.origin)?;
            }
            for &port in &test.tcp {
                let result = self.tcp(port, within)?;
                add(report, format!("tcp {port}"), result, &test.origin)?;
            }
            for http in &test.http {
                let result = self.http(http, within)?;
                add(report, format!("http :{}{}", http.port, http.path), result, &http.origin)?;
            }
        }
        Ok(())
    }

    /// Waits for health, or for a word of user space where there is no check, and holds the time against the budget.
    fn check_health(&mut self, wanted: &Wanted<'_>, report: &mut Report<'_>) -> Result<(), Failure> {
        let (what, result, origin) = match wanted.health {
            Some((HealthCheck::Http { port, path }, within, origin)) => {
                let asked = HttpTest {
                    port: *port,
                    path: path.clone(),
                    status: None,
                    contains: None,
                    origin: origin.clone(),
                };
                (format!("healthy: http :{port}{path}"), self.http(&asked, within)?, origin)
            }
            Some((HealthCheck::Tcp { port }, within, origin)) => {
                (format!("healthy: tcp {port}"), self.tcp(*port, within)?, origin)
            }
            _ => match wanted.max_boot {
                Some((_, origin)) => ("user space speaks".to_owned(), self.user_space()?, origin),
                None => return Ok(()),
            },
        };
        let (problems, after) = result;
        let is_up = problems.is_empty();
        let checked =
            Checked { test: "boot".into(), what, problems, origin: origin.clone(), after: Some(after) };
        report.add(checked)?;
        if let (Some((most, origin)), true) = (wanted.max_boot, is_up) {
            let seconds = after.as_secs_f64();
            let late = seconds > f64::from(most);
            let problem = format!("it took {seconds:.1} s from power-on, `max_boot_seconds` is {most}");
            report.add(Checked {
                test: "budget".into(),
                what: format!("up within {most} s"),
                problems: late.then_some(problem).into_iter().collect(),
                origin: origin.clone(),
                after: Some(after),
            })?;
        }
        Ok(())
    }

    fn console(&mut self, text: &str, within: Duration) -> Result<Outcome, Failure> {
        if self.lines.borrow().iter().any(|line| line.contains(text)) {
            return Ok((Vec::new(), self.started.elapsed()));
        }
        let what = format!("{text:?} on the console");
        let waited = self.machine.wait_for_line(&what, within, &self.context.job, |line| line.contains(text));
        self.outcome(waited.map(drop))
    }

    fn user_space(&mut self) -> Result<Outcome, Failure> {
        let speaks = |line: &str| USER_SPACE.iter().any(|sign| line.contains(sign));
        let waited =
            self.machine.wait_for_line("a word of user space", BOOT_WITHIN, &self.context.job, speaks);
        self.outcome(waited.map(drop))
    }

    fn tcp(&mut self, port: u16, within: Duration) -> Result<Outcome, Failure> {
        let waited = self.machine.wait_for_tcp(port, within, &self.context.job);
        self.outcome(waited)
    }

    fn http(&mut self, test: &HttpTest, within: Duration) -> Result<Outcome, Failure> {
        let mut last = None;
        let is_it = |answer: &Answer| {
            let problem = answer_problem(test, answer);
            let is_good = problem.is_none();
            last = problem;
            is_good
        };
        let waited = self.machine.wait_for_answer(test.port, &test.path, within, &self.context.job, is_it);
        let (problems, after) = self.outcome(waited.map(drop))?;
        // The last answer says more than that the time is over.
        Ok((last.filter(|_| !problems.is_empty()).map_or(problems, |problem| vec![problem]), after))
    }

    /// Makes a failed check of what went wrong in the machine; an interruption ends all.
    fn outcome(&self, result: Result<(), MachineError>) -> Result<Outcome, Failure> {
        let after = self.started.elapsed();
        match result {
            Ok(()) => Ok((Vec::new(), after)),
            Err(error @ MachineError::Cancelled(_)) => Err(failure(error)),
            Err(error) => Ok((vec![whole(&error)], after)),
        }
    }
}

/// The problems of a check, and when it was done.
type Outcome = (Vec<String>, Duration);

fn answer_problem(test: &HttpTest, answer: &Answer) -> Option<String> {
    let status = answer.status;
    match test.status {
        Some(wanted) if status != wanted => {
            return Some(format!("the status is {status}, expected {wanted}"));
        }
        None if !(200..400).contains(&status) => return Some(format!("the status is {status}")),
        _ => {}
    }
    let text = test.contains.as_ref()?;
    let bytes = text.as_bytes();
    let holds = bytes.is_empty() || answer.body.windows(bytes.len()).any(|part| part == bytes);
    (!holds).then(|| format!("its {} bytes do not hold {text:?}", answer.body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_held_against_status_and_text() {
        let test = |status, contains: Option<&str>| HttpTest {
            port: 80,
            path: "/".into(),
            status,
            contains: contains.map(str::to_owned),
            origin: Origin { block: "http".into(), file: "x.hcl".into(), line: 1 },
        };
        let answer = |status| Answer { status, body: b"Hello there".to_vec() };
        assert_eq!(answer_problem(&test(None, Some("there")), &answer(204)), None);
        assert_eq!(answer_problem(&test(Some(404), None), &answer(404)), None);
        assert!(answer_problem(&test(None, None), &answer(404)).is_some());
        assert!(answer_problem(&test(Some(200), None), &answer(204)).is_some());
        assert!(answer_problem(&test(None, Some("Bye")), &answer(200)).is_some());
    }
}
