//! Lines for collectors: syslog messages (RFC 5424) framed by octet counts (RFC 6587 §3.4.1), and JSON lines.

/// Facility of a system daemon.
const DAEMON: u8 = 3;
const APP_NAME_MAX_BYTES: usize = 48;
const NANOSECONDS: u64 = 1_000_000_000;
/// Clocks that say less were never set: 2020-01-01.
const PLAUSIBLE_SECONDS: u64 = 1_577_836_800;

/// Whose lines they are. All of it is printable ASCII without blanks and quotes.
#[derive(Clone, Debug)]
pub struct Identity {
    pub host: String,
    pub app: String,
    pub version: String,
}

/// What is said of a line besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub severity: u8,
    /// From 0 on; `None` for what we say ourselves.
    pub number: Option<u64>,
}

/// Appends a framed syslog message.
pub fn frame(out: &mut Vec<u8>, identity: &Identity, head: Head, text: &str) {
    let time = timestamp(head.time).unwrap_or_else(|| "-".to_owned());
    let priority = DAEMON * 8 + head.severity.min(7);
    let app = &identity.app[..identity.app.len().min(APP_NAME_MAX_BYTES)];
    let meta = head.number.map(|number| format!("[meta sequenceId=\"{}\"]", number % 0x7fff_ffff + 1));
    let message = format!(
        "<{priority}>1 {time} {} {app} - - {}[origin software=\"{}\" swVersion=\"{}\"] {text}",
        identity.host,
        meta.unwrap_or_default(),
        identity.app,
        identity.version
    );
    out.extend_from_slice(format!("{} {message}", message.len()).as_bytes());
}

/// Appends a line of JSON.
pub fn json(out: &mut Vec<u8>, identity: &Identity, head: Head, text: &str) {
    let time = timestamp(head.time).map_or("null".to_owned(), |time| format!("\"{time}\""));
    let number = head.number.map_or("null".to_owned(), |number| (number + 1).to_string());
    let line = format!(
        "{{\"time\":{time},\"host\":\"{}\",\"app\":\"{}\",\"version\":\"{}\",\"severity\":{},\"sequence\":{number},\"message\":\"",
        identity.host, identity.app, identity.version, head.severity
    );
    out.extend_from_slice(line.as_bytes());
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\t' => out.extend_from_slice(b"\\t"),
            byte => out.push(byte),
        }
    }
    out.extend_from_slice(b"\"}\n");
}

/// Writes a time as RFC 3339 has it, in UTC with microseconds. `None`: the clock was not set.
pub fn timestamp(nanoseconds: u64) -> Option<String> {
    let seconds = nanoseconds / NANOSECONDS;
    if seconds < PLAUSIBLE_SECONDS {
        return None;
    }
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micro = nanoseconds % NANOSECONDS / 1000;
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"))
}

/// Returns year, month and day of a day since 1970-01-01. Years begin in March here, so that a leap day is the
/// last one; 400 of them have 146,097 days.
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { host: "web".to_owned(), app: "hello".to_owned(), version: "1.0".to_owned() }
    }

    const TIME: u64 = 1_795_239_445_123_456_789;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (1_577_836_800, "2020-01-01T00:00:00.000000Z"),
            (1_582_934_399, "2020-02-28T23:59:59.000000Z"),
            (1_582_934_400, "2020-02-29T00:00:00.000000Z"),
            (1_583_020_800, "2020-03-01T00:00:00.000000Z"),
            (1_609_459_199, "2020-12-31T23:59:59.000000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(timestamp(seconds * NANOSECONDS).as_deref(), Some(text));
        }
        assert_eq!(timestamp(TIME).as_deref(), Some("2026-11-21T05:37:25.123456Z"));
        assert_eq!(timestamp(0), None);
        assert_eq!(timestamp(PLAUSIBLE_SECONDS * NANOSECONDS - 1), None);
        assert!(timestamp(u64::MAX).is_some());
    }

    #[test]
    fn messages_are_framed_by_their_bytes() {
        let mut out = Vec::new();
        frame(&mut out, &identity(), Head { time: TIME, severity: 3, number: Some(0) }, "f\u{e4}hrt");
        frame(&mut out, &identity(), Head { time: 0, severity: 6, number: None }, "");
        let first = "<27>1 2026-11-21T05:37:25.123456Z web hello - - [meta sequenceId=\"1\"][origin software=\"hello\" swVersion=\"1.0\"] f\u{e4}hrt";
        let second = "<30>1 - web hello - - [origin software=\"hello\" swVersion=\"1.0\"] ";
        let expected = format!("{} {first}{} {second}", first.len(), second.len());
        assert_eq!(String::from_utf8(out).expect("text"), expected);
        assert!(first.len() > first.chars().count());
    }

    #[test]
    fn sequence_numbers_stay_in_their_range() {
        let mut out = Vec::new();
        for number in [0x7fff_fffe, 0x7fff_ffff] {
            frame(&mut out, &identity(), Head { time: 0, severity: 6, number: Some(number) }, "x");
        }
        let text = String::from_utf8(out).expect("text");
        assert!(text.contains("sequenceId=\"2147483647\"") && text.contains("sequenceId=\"1\""), "{text}");
    }

    #[test]
    fn json_lines_are_json() {
        let mut out = Vec::new();
        json(
            &mut out,
            &identity(),
            Head { time: TIME, severity: 6, number: Some(4) },
            "a \"b\" \\c\t\u{fffd}",
        );
        json(&mut out, &identity(), Head { time: 0, severity: 4, number: None }, "");
        let values: Vec<serde_json::Value> = out
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        assert_eq!(values[0]["message"], "a \"b\" \\c\t\u{fffd}");
        assert_eq!((&values[0]["sequence"], &values[0]["host"]), (&5.into(), &"web".into()));
        assert_eq!(
            (&values[1]["time"], &values[1]["sequence"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
    }
}
