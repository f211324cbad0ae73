//! Package URLs: `pkg:deb/debian/curl@7.88.1-10%2Bdeb12u5?arch=amd64&distro=bookworm` (ECMA-427).

use super::bill::{Component, Family};

/// Returns the URL of a component; `None` for what has no type there.
pub fn of(component: &Component) -> Option<String> {
    let kind = match component.family {
        Family::Debian => "deb",
        Family::Rpm => "rpm",
        Family::Crate => "cargo",
        Family::App | Family::Init => return None,
    };
    let mut text = format!("pkg:{kind}/");
    if let Some(distribution) = component.distribution.as_deref().filter(|_| kind != "cargo") {
        text.push_str(&format!("{}/", encoded(&distribution.to_lowercase())));
    }
    text.push_str(&encoded(&component.name));
    let (epoch, version) = split(component);
    if let Some(version) = version {
        text.push_str(&format!("@{}", encoded(version)));
    }
    // Qualifiers stand in the order of their keys.
    let upstream =
        component.source.as_ref().filter(|(name, _)| *name != component.name).map(|source| &*source.0);
    let qualifiers = [
        ("arch", component.architecture.as_deref()),
        ("distro", component.release.as_deref()),
        ("epoch", epoch),
        ("upstream", upstream),
    ];
    let mut sign = '?';
    for (key, value) in qualifiers {
        if let Some(value) = value.filter(|value| !value.is_empty() && kind != "cargo") {
            text.push_str(&format!("{sign}{key}={}", encoded(value)));
            sign = '&';
        }
    }
    Some(text)
}

/// An RPM's epoch is a qualifier, a Debian one a part of the version.
fn split(component: &Component) -> (Option<&str>, Option<&str>) {
    match component.version.as_deref() {
        Some(version) if component.family == Family::Rpm => match version.split_once(':') {
            Some((epoch, version)) => (Some(epoch), Some(version)),
            None => (None, Some(version)),
        },
        version => (None, version),
    }
}

/// Writes all but letters, digits and `.-_~:` as `%XX`.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            true => out.push(byte as char),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_encoded_and_epochs_go_where_they_belong() {
        let mut component = Component::named(Family::Debian, "libstdc++6");
        component.version = Some("1:12.2.0-14+deb12u1".to_owned());
        component.architecture = Some("amd64".to_owned());
        component.distribution = Some("debian".to_owned());
        component.release = Some("bookworm".to_owned());
        let deb = "pkg:deb/debian/libstdc%2B%2B6@1:12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm";
        assert_eq!(of(&component).as_deref(), Some(deb));
        component.family = Family::Rpm;
        let rpm = "pkg:rpm/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=bookworm&epoch=1";
        assert_eq!(of(&component).as_deref(), Some(rpm));
        assert_eq!(of(&Component::named(Family::App, "x")), None);
    }
}
