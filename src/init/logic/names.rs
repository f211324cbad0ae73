//! Names that a recipe writes and the kernel numbers: signals and capabilities.

use mkimage::base::capability::capability_number;

/// Signals by number, as x86 and arm64 have them (signal(7)).
const SIGNALS: [(&str, i32); 20] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("TRAP", 5),
    ("ABRT", 6),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("URG", 23),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("PWR", 30),
];

/// Returns a signal's number: `SIGTERM` or `TERM`.
pub fn signal_number(name: &str) -> Option<i32> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(name, _)| *name == bare).map(|&(_, number)| number)
}

/// Returns a signal's name, or its number where it has none here.
pub fn signal_name(number: i32) -> String {
    match SIGNALS.iter().find(|&&(_, of)| of == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// Returns the set of capabilities as bits, or the first name that is none.
pub fn capability_set(names: &[String]) -> Result<u64, &str> {
    let mut set = 0;
    for name in names {
        let number = capability_number(name).ok_or(name.as_str())?;
        set |= 1 << number;
    }
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_with_and_without_their_prefix() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("QUIT"), Some(3));
        assert_eq!(signal_number("SIGSIGTERM"), None);
        assert_eq!(signal_number("15"), None);
        assert_eq!((signal_name(9).as_str(), signal_name(7).as_str()), ("SIGKILL", "signal 7"));
        for (name, number) in SIGNALS {
            assert!(rustix::process::Signal::from_named_raw(number).is_some(), "{name}");
        }
    }

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        let set = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
            capability_set(&names).map_err(str::to_owned)
        };
        use rustix::thread::CapabilitySet;
        assert_eq!(set(&[]), Ok(0));
        assert_eq!(
            set(&["CAP_NET_BIND_SERVICE", "CAP_CHECKPOINT_RESTORE"]),
            Ok((CapabilitySet::NET_BIND_SERVICE | CapabilitySet::CHECKPOINT_RESTORE).bits())
        );
        assert_eq!(set(&["CAP_SYSLOG"]), Ok(CapabilitySet::SYSLOG.bits()));
        assert_eq!(set(&["CAP_CHOWN", "CAP_FLY"]), Err("CAP_FLY".to_owned()));
        assert_eq!(set(&["CHOWN"]), Err("CHOWN".to_owned()));
    }
}
