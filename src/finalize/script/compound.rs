//! Commands made of others: `if`, `case`, `for`, `while`; and branches that may or may not be taken.

use super::ast::{List, Word};
use super::pattern;
use super::shell::{STEPS_MAX, Shell};
use super::value::{Flow, Outcome, Status, Value};

impl Shell<'_, '_> {
    /// Follows a branch of which it can't be known whether it is taken.
    pub(super) fn maybe(&mut self, branch: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if !self.spend_copy() {
            return Outcome { status: Status::Maybe, flow: Flow::Exit };
        }
        let before = (self.variables.clone(), self.positional.clone(), self.answers.clone());
        self.speculative += 1;
        let outcome = branch(self);
        self.speculative -= 1;
        let (variables, positional, answers) = before;
        for (now, then) in [(&mut self.variables, variables), (&mut self.answers, answers)] {
            let changed: Vec<String> = now
                .iter()
                .filter(|(name, value)| then.get(*name) != Some(value))
                .map(|all| all.0.clone())
                .collect();
            now.extend(changed.into_iter().map(|name| (name, Value::Unknown)));
        }
        if self.positional != positional {
            self.positional.iter_mut().for_each(|value| *value = Value::Unknown);
        }
        match outcome.flow {
            Flow::Next => {}
            // An installation that succeeds did not come this way.
            Flow::Exit if outcome.status == Status::False => {}
            // From here on it can't be known whether the script goes on.
            flow => {
                self.speculative += 1;
                self.exits += usize::from(flow == Flow::Exit);
            }
        }
        Outcome::next(Status::Maybe)
    }

    pub(super) fn if_command(&mut self, branches: &[(List, List)], otherwise: &List) -> Outcome {
        let mut is_open = false;
        for (condition, body) in branches {
            let tested = match is_open {
                true => self.maybe(|shell| shell.tested(|shell| shell.list(condition))),
                false => self.tested(|shell| shell.list(condition)),
            };
            if tested.flow != Flow::Next {
                return tested;
            }
            match tested.status {
                Status::True if !is_open => return self.list(body),
                Status::False => {}
                _ => {
                    is_open = true;
                    self.maybe(|shell| shell.list(body));
                }
            }
        }
        match is_open {
            true => self.maybe(|shell| shell.list(otherwise)),
            false => self.list(otherwise),
        }
    }

    pub(super) fn case_command(&mut self, word: &Word, arms: &[(Vec<Word>, List)]) -> Outcome {
        let value = self.text(word);
        for (patterns, body) in arms {
            for pattern in patterns {
                match (&value, self.pattern(pattern)) {
                    (Value::Known(text), Value::Known(pattern)) if pattern::fits(&pattern, text) => {
                        return self.list(body);
                    }
                    (Value::Known(_), Value::Known(_)) => {}
                    (Value::Unknown, Value::Known(pattern)) if pattern == "*" && arms.len() == 1 => {
                        return self.list(body);
                    }
                    _ => drop(self.maybe(|shell| shell.list(body))),
                }
            }
        }
        Outcome::next(if value == Value::Unknown { Status::Maybe } else { Status::True })
    }

    pub(super) fn for_command(&mut self, name: &str, words: Option<&[Word]>, body: &List) -> Outcome {
        let values = match words {
            Some(words) => self.fields(words),
            None => self.positional.clone(),
        };
        let mut outcome = Outcome::next(Status::True);
        for value in values {
            let is_known = value != Value::Unknown;
            self.variables.insert(name.to_owned(), value);
            outcome = match is_known {
                true => self.list(body),
                false => self.maybe(|shell| shell.list(body)),
            };
            match outcome.flow {
                Flow::Next | Flow::Continue(1) => outcome.flow = Flow::Next,
                Flow::Break(1) => {
                    outcome.flow = Flow::Next;
                    break;
                }
                Flow::Break(count) => return Outcome { flow: Flow::Break(count - 1), ..outcome },
                Flow::Continue(count) => return Outcome { flow: Flow::Continue(count - 1), ..outcome },
                Flow::Return | Flow::Exit => return outcome,
            }
        }
        outcome
    }

    pub(super) fn while_command(
        &mut self,
        line: usize,
        until: bool,
        condition: &List,
        body: &List,
    ) -> Outcome {
        loop {
            self.steps += 1;
            let tested = self.tested(|shell| shell.list(condition));
            if tested.flow != Flow::Next {
                return tested;
            }
            let status = if until { tested.status.not() } else { tested.status };
            match status {
                Status::False => return Outcome::next(Status::True),
                Status::Maybe => return self.maybe(|shell| shell.list(body)),
                Status::True if self.steps > STEPS_MAX => {
                    self.unknown(line, "the loop does not seem to end");
                    return Outcome { status: Status::Maybe, flow: Flow::Exit };
                }
                Status::True => {}
            }
            let outcome = self.list(body);
            match outcome.flow {
                Flow::Next | Flow::Continue(_) => {}
                Flow::Break(_) => return Outcome::next(outcome.status),
                Flow::Return | Flow::Exit => return outcome,
            }
        }
    }
}
