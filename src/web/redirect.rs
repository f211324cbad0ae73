//! Answers that lead on.

use ureq::Body;
use ureq::http::Response;

/// Redirects that are followed for one request.
const REDIRECTS_MAX: usize = 5;
/// What is told of an address that a server sends us to, in characters.
const TOLD_MAX: usize = 200;

/// Asks an address, and those that the answers lead to, within its scheme (RFC 9110 §15.4). `refuse` makes the
/// error of a redirect that is not followed, from where it leads and why.
pub fn follow<E>(
    address: &str,
    mut ask: impl FnMut(&str) -> Result<Response<Body>, E>,
    refuse: impl FnOnce(String, &'static str) -> E,
) -> Result<Response<Body>, E> {
    let mut at = address.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let answer = ask(&at)?;
        if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(answer);
        }
        let to = header(&answer, "location").unwrap_or_default();
        let next = redirected(&at, to);
        if scheme(&next) != scheme(&at) {
            return Err(refuse(to.chars().take(TOLD_MAX).collect(), "to another scheme"));
        }
        at = next;
    }
    Err(refuse(at.chars().take(TOLD_MAX).collect(), "more than 5 redirects"))
}

/// Returns a header's value, if it is text.
pub fn header<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Returns the scheme of an address, without `://`.
pub fn scheme(address: &str) -> &str {
    address.split_once("://").map_or("", |split| split.0)
}

/// Resolves a `Location` against the address that was asked (RFC 3986 §5.2, without dot segments).
fn redirected(at: &str, to: &str) -> String {
    let Some((scheme, rest)) = at.split_once("://") else { return to.to_owned() };
    let authority = rest.split('/').next().unwrap_or(rest);
    if to.contains("://") {
        to.to_owned()
    } else if to.starts_with("//") {
        format!("{scheme}:{to}")
    } else if to.starts_with('/') {
        format!("{scheme}://{authority}{to}")
    } else {
        let folder = at.rfind('/').map_or(at, |cut| &at[..cut]);
        format!("{folder}/{to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_resolve_against_what_was_asked() {
        let at = "http://a:1/b/c";
        for (to, whole) in [
            ("/x", "http://a:1/x"),
            ("x", "http://a:1/b/x"),
            ("//h/x", "http://h/x"),
            ("https://h/", "https://h/"),
            ("file:///etc/passwd", "file:///etc/passwd"),
        ] {
            assert_eq!(redirected(at, to), whole);
        }
    }
}
