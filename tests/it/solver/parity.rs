//! The same set as apt's.

use std::collections::BTreeMap;

use mkimage::base::parallel::Workers;
use mkimage::packages::solve::{Problem, solve};
use mkimage::packages::universe::Universe;
use mkimage::packages::{Root, Rules};

use super::apt;

type Versions = BTreeMap<String, String>;

struct Case {
    names: Vec<String>,
    essential: bool,
    recommends: bool,
}

impl Case {
    fn label(&self) -> String {
        let essential = if self.essential { " +essential" } else { "" };
        let recommends = if self.recommends { " +recommends" } else { "" };
        format!("{}{essential}{recommends}", self.names.join(" "))
    }

    fn ours(&self, universe: &Universe) -> Result<Versions, String> {
        let root = |name: &String| Root { name: name.clone(), version: None, suite: None };
        let rules = Rules {
            dependencies: true,
            essential: self.essential,
            recommends: self.recommends,
            ..Rules::default()
        };
        let problem =
            Problem { roots: self.names.iter().map(root).collect(), rules, locked: BTreeMap::new() };
        let solution = solve(universe, &problem).map_err(|error| error.to_string())?;
        let named = |id| (universe.name(id).to_owned(), universe.version(id).to_owned());
        Ok(solution.packages.iter().map(|chosen| named(chosen.id)).collect())
    }

    fn theirs(&self, essentials: &[String]) -> Option<Versions> {
        let mut names = self.names.clone();
        if self.essential {
            names.extend(essentials.iter().cloned());
        }
        apt::solution(&names, self.recommends)
    }
}

/// Root sets that people use, and those that apt and other solvers were seen to differ on.
const FIXED: &[&str] = &[
    "nginx-light",
    "python3-minimal",
    "openjdk-17-jre-headless",
    "systemd-sysv linux-image-cloud-amd64",
    "systemd-sysv linux-image-cloud-amd64 udev dbus kmod iproute2 ca-certificates openssh-server nginx-light python3-minimal base-files base-passwd bash coreutils libc-bin",
    "build-essential",
    "postgresql",
    "gnome",
    "kde-standard",
    "openssh-server",
    "nodejs",
    "redis-server",
    "mariadb-server",
    "apache2",
    "php-fpm",
    "python3-flask gunicorn",
    "default-jre",
    "git",
    "curl ca-certificates",
    "qemu-system-x86",
    "docker.io",
    "podman",
    "exim4",
    "postfix",
    "texlive",
    "libreoffice",
    "xfce4",
    "golang-go",
    "rustc cargo",
    "ruby-rails",
    "ansible",
    "sysvinit-core",
    "busybox-static",
    "grub-efi-amd64",
    "network-manager",
    "chrony",
    "ntpsec",
    "samba",
    "bind9",
    "haproxy",
    "prometheus",
    "debhelper",
    "firefox-esr",
    "gcc-mingw-w64",
    "wine",
    "emacs",
    "vim-gtk3",
    "task-web-server",
    "task-ssh-server",
    "ubuntu-keyring debian-archive-keyring",
];
/// Differences that are known: the case's label, and why.
const TOLERATED: &[(&str, &str)] = &[];
/// Where the random sets start; printed with every failure.
const SEED: u64 = 0x6d6b_696d_6167_6503;

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn fixed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (number, text) in FIXED.iter().enumerate() {
        cases.push(Case { names: words(text), essential: false, recommends: false });
        if number % 4 == 0 {
            cases.push(Case { names: words(text), essential: true, recommends: false });
        }
        if number % 5 == 1 {
            cases.push(Case { names: words(text), essential: false, recommends: true });
        }
    }
    cases
}

fn random(universe: &Universe, seed: u64, count: usize) -> Vec<Case> {
    let names: Vec<&str> = universe.names().collect();
    let mut state = seed;
    let mut next = move |limit: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        ((state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % limit as u64) as usize
    };
    let mut cases = Vec::new();
    for number in 0..count {
        let size = if number % 3 == 2 { 8 } else { 1 };
        let names = (0..size).map(|_| names[next(names.len())].to_owned()).collect();
        cases.push(Case { names, essential: number % 7 == 6, recommends: number % 5 == 4 });
    }
    cases
}

fn difference(ours: &Result<Versions, String>, theirs: &Option<Versions>) -> Option<String> {
    match (ours, theirs) {
        (Ok(ours), Some(theirs)) if ours == theirs => None,
        (Err(_), None) => None,
        (Ok(_), None) => Some("we found a solution, apt none".to_owned()),
        (Err(error), Some(_)) => Some(format!("apt found a solution, we none: {error}")),
        (Ok(ours), Some(theirs)) => {
            let only = |a: &Versions, b: &Versions| {
                let other = |(name, version): &(&String, &String)| b.get(*name) != Some(version);
                a.iter().filter(other).map(|(name, version)| format!("{name}={version}")).collect::<Vec<_>>()
            };
            Some(format!(
                "{} packages; only ours: {:?}; only apt's: {:?}",
                theirs.len(),
                only(ours, theirs),
                only(theirs, ours)
            ))
        }
    }
}

/// Holds our solutions of sets, and of so many random ones, against apt's.
fn compare(mut cases: Vec<Case>, count: usize) {
    let universe = apt::universe();
    let setting = |name: &str| std::env::var(name).ok();
    let count = setting("MKIMAGE_PARITY_SETS").and_then(|text| text.parse().ok()).unwrap_or(count);
    let seed = setting("MKIMAGE_PARITY_SEED").and_then(|text| text.parse().ok()).unwrap_or(SEED);
    if let Some(names) = setting("MKIMAGE_PARITY_NAMES") {
        cases = names.split(',').map(named).collect();
    }
    cases.extend(random(universe, seed, count));
    let essentials: Vec<String> = universe.essential_names().into_iter().map(str::to_owned).collect();
    apt::solution(&["base-files".to_owned()], false).expect("apt installs base-files");
    let compared = Workers::new(0).map(cases, |case| {
        let ours = case.ours(universe);
        (difference(&ours, &case.theirs(&essentials)), case.label())
    });
    let total = compared.len();
    let tolerated = |label: &str| TOLERATED.iter().any(|(known, _)| *known == label);
    let different: Vec<String> = compared
        .into_iter()
        .filter(|(_, label)| !tolerated(label))
        .filter_map(|(difference, label)| Some(format!("{label}\n    {}", difference?)))
        .collect();
    assert!(
        different.is_empty(),
        "seed {seed}: {} of {total} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}

/// Makes the case of names that the environment gives; a plus behind them asks for what they recommend.
fn named(names: &str) -> Case {
    let recommends = names.ends_with('+');
    Case { names: words(names.trim_end_matches('+')), essential: false, recommends }
}

#[test]
fn solutions_are_those_of_apt() {
    let sample = fixed().into_iter().enumerate().filter(|(number, _)| number % 3 != 2).map(|(_, case)| case);
    let sample: Vec<Case> = sample.collect();
    assert!(sample.len() >= 48, "{}", sample.len());
    compare(sample, 12);
}

mod nightly {
    #[test]
    #[ignore = "for `make nightly`"]
    fn solutions_of_every_set_are_those_of_apt() {
        super::compare(super::fixed(), 100);
    }
}
