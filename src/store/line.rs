//! One line that carries its own check: BLAKE3 of what stands before it, in derive-key mode, as 64 digits.
//!
//! ```text
//! line = BODY CHECK "\n"
//! ```
//!
//! Each kind of line has a context of its own, so that none passes for another.

use crate::base::Digest;

/// Ends a line with its check.
pub(super) fn seal(context: &'static str, body: String) -> String {
    let check = Digest::derive(context, body.as_bytes());
    format!("{body}{check}\n")
}

/// Returns a line without its check, which must be right. The line comes without its end.
pub(super) fn open<'a>(context: &'static str, line: &'a str) -> Result<&'a str, String> {
    let cut = line.len().checked_sub(64).filter(|cut| line.is_char_boundary(*cut));
    let (body, check) = line.split_at(cut.ok_or("the line is too short")?);
    if check != Digest::derive(context, body.as_bytes()).to_string() {
        return Err("the line's checksum is wrong".to_owned());
    }
    Ok(body)
}

/// Takes the one line of a file.
pub(super) fn of_file<'a>(context: &'static str, bytes: &'a [u8]) -> Result<&'a str, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_owned())?;
    open(context, text.strip_suffix('\n').ok_or("its line has no end")?)
}
