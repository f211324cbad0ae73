//! What PID 1 is told: the plan's app, with names as numbers.

use super::update;
use crate::boot::service::{App, Check, Configuration, Health, Log, MetadataSource, Restart, Service};
use crate::compose::Identities;
use crate::recipe::plan::{self, AppPlan, ConfigurationPlan, HealthCheck, HealthPlan, LogPlan, Part, Plan};

/// Describes the machine that a plan makes.
pub fn describe(plan: &Plan, identities: &Identities) -> Service {
    let app = plan.parts.iter().find_map(|part| match part {
        Part::App(app) => Some(describe_app(app, identities)),
        _ => None,
    });
    Service {
        name: plan.image.name.clone(),
        version: plan.image.version.clone(),
        init: plan.image.init.as_ref().map(ToString::to_string),
        app,
        data_path: plan.disk.data_path.to_string(),
        watchdog_seconds: plan.boot.watchdog_seconds,
        health: plan.boot.health.as_ref().map(describe_health),
        agent: plan.update.as_ref().filter(|_| plan.image.init.is_none()).map(|_| update::agent(plan)),
    }
}

fn describe_app(app: &AppPlan, identities: &Identities) -> App {
    let identity = identities.of(&app.user).expect("because a plan's app names a user of the plan");
    App {
        name: app.name.clone(),
        command: app.command.clone(),
        uid: identity.uid,
        gid: identity.gid,
        groups: identity.groups.clone(),
        working_directory: app.working_directory.to_string(),
        environment: app.environment.clone(),
        capabilities: app.capabilities.clone(),
        restart: match app.restart {
            plan::Restart::Always => Restart::Always,
            plan::Restart::OnFailure => Restart::OnFailure,
            plan::Restart::Never => Restart::Never,
        },
        stop_signal: app.stop_signal.clone(),
        stop_timeout_seconds: app.stop_timeout_seconds,
        health: app.health.as_ref().map(describe_health),
        configuration: app.configuration.as_ref().map(describe_configuration),
        log: app.log.as_ref().map(describe_log),
    }
}

fn describe_configuration(configuration: &ConfigurationPlan) -> Configuration {
    let source = |source: &plan::MetadataSource| match source {
        plan::MetadataSource::Ec2 => MetadataSource::Ec2,
        plan::MetadataSource::Nocloud => MetadataSource::Nocloud,
        plan::MetadataSource::ConfigDrive => MetadataSource::ConfigDrive,
    };
    Configuration {
        metadata: configuration.metadata.iter().map(source).collect(),
        wait_seconds: configuration.wait_seconds,
        required: configuration.required,
        credentials: configuration.credentials.clone(),
    }
}

fn describe_log(log: &LogPlan) -> Log {
    Log { address: log.address.clone(), buffer_bytes: log.buffer.0 }
}

fn describe_health(health: &HealthPlan) -> Health {
    Health {
        check: match &health.check {
            HealthCheck::Http { port, path } => Check::Http { port: *port, path: path.clone() },
            HealthCheck::Tcp { port } => Check::Tcp { port: *port },
            HealthCheck::Command(command) => Check::Command(command.clone()),
            HealthCheck::Unit(unit) => Check::Unit(unit.clone()),
        },
        interval_seconds: health.interval_seconds,
        timeout_seconds: health.timeout_seconds,
        hold_seconds: health.hold_seconds,
        start_seconds: health.start_seconds,
    }
}
