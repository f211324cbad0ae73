//! What NoCloud says besides user data: an address in the machine's serial number, an id in `meta-data`.

use mkimage::base::{Endpoint, Scheme};
use mkimage::boot::user_data::text_member;

const ID_MAX_BYTES: usize = 128;

/// What a serial number says: `ds=nocloud;s=http://HOST/PATH/;i=ID`, the words in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// `user-data` and `meta-data` are asked for behind its path.
    pub from: Option<Endpoint>,
    pub instance_id: Option<String>,
}

/// Reads a serial number. `None`: it does not speak of NoCloud.
pub fn serial(text: &str) -> Option<Serial> {
    let mut words = text.trim().split(';');
    let kind = words.next()?.strip_prefix("ds=")?;
    if kind != "nocloud" && kind != "nocloud-net" {
        return None;
    }
    let mut serial = Serial { from: None, instance_id: None };
    for (key, value) in words.filter_map(|word| word.split_once('=')) {
        match key {
            "s" | "seedfrom" => {
                serial.from = value.parse().ok().filter(|it: &Endpoint| it.scheme == Scheme::Http)
            }
            "i" | "instance-id" => serial.instance_id = id(value),
            _ => {}
        }
    }
    Some(serial)
}

/// Returns the `instance-id` of a `meta-data` file, which is YAML or JSON: a key of its own line, or of an object.
pub fn instance_id(meta_data: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(meta_data).ok()?;
    if text.trim_start().starts_with('{') {
        return id(&text_member(meta_data, &["instance-id", "uuid"])?);
    }
    let value = text.lines().find_map(|line| line.strip_prefix("instance-id:"))?;
    id(value.trim().trim_matches(['"', '\'']))
}

/// Takes what is a plausible id: letters, digits, dots, dashes, underscores and colons, not endless.
pub fn id(text: &str) -> Option<String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    (plain && (1..=ID_MAX_BYTES).contains(&text.len())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_lead_to_a_seed() {
        let found = serial("ds=nocloud;s=http://10.0.2.2:8000/a/;h=host;i=i-7\n").expect("speaks of NoCloud");
        assert_eq!(found.from.map(|from| from.to_string()).as_deref(), Some("http://10.0.2.2:8000/a/"));
        assert_eq!(found.instance_id.as_deref(), Some("i-7"));
        let older = serial("ds=nocloud-net;seedfrom=http://h/").expect("speaks of NoCloud");
        assert!(older.from.is_some() && older.instance_id.is_none());
        let none = serial("ds=nocloud;s=/dev/sr0").expect("speaks of NoCloud");
        assert_eq!(none, Serial { from: None, instance_id: None });
        for other in ["", "VMware-56 4d", "ds=ec2", "s=http://h/", "ds=nocloudy;s=http://h/"] {
            assert_eq!(serial(other), None, "{other}");
        }
    }

    #[test]
    fn ids_are_found_in_yaml_and_json() {
        for text in [
            "instance-id: i-1\nlocal-hostname: x\n",
            "# note\ninstance-id: \"i-1\"",
            "{\"instance-id\": \"i-1\"}",
            "{\"uuid\": \"i-1\", \"name\": \"x\"}",
        ] {
            assert_eq!(instance_id(text.as_bytes()).as_deref(), Some("i-1"), "{text}");
        }
        for text in
            ["", "local-hostname: x", "instance-id: two words", "{\"instance-id\": 3}", "instance-id:"]
        {
            assert_eq!(instance_id(text.as_bytes()), None, "{text}");
        }
    }
}
