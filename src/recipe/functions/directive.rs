//! The directives of `format`: a subset of Terraform's.

use super::super::value::{Data, Value};
use super::{Refusal, json, refuse, shown_text};

/// `%`, flags, width, letter.
pub(super) struct Directive {
    left: bool,
    zeros: bool,
    width: usize,
    pub(super) letter: char,
    /// Bytes of the directive without its `%`.
    pub(super) length: usize,
}

impl Directive {
    /// Reads what stands behind a `%`.
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        let flags = text.len() - text.trim_start_matches(['-', '0']).len();
        let digits = text[flags..].bytes().take_while(u8::is_ascii_digit).count();
        let width = text[flags..flags + digits].parse().unwrap_or(0);
        let letter = text[flags + digits..].chars().next().unwrap_or(' ');
        if !"sdvqxXob%".contains(letter) || digits > 3 {
            return refuse(0, format!("`%{}{letter}` is no directive", &text[..flags + digits]));
        }
        let (left, zeros) = (text[..flags].contains('-'), text[..flags].contains('0'));
        Ok(Directive { left, zeros, width, letter, length: flags + digits + 1 })
    }

    /// Returns a value as the directive shows it.
    pub(super) fn show(&self, value: &Value, index: usize) -> Result<String, Refusal> {
        let number = || match value.data {
            Data::Number(number) => Ok(number),
            _ => refuse(index, format!("`%{}` expects a number, found {}", self.letter, value.kind())),
        };
        let signed = |digits: String, number: i64| if number < 0 { format!("-{digits}") } else { digits };
        let plain = match self.letter {
            'd' => number()?.to_string(),
            'x' => number().map(|n| signed(format!("{:x}", n.unsigned_abs()), n))?,
            'X' => number().map(|n| signed(format!("{:X}", n.unsigned_abs()), n))?,
            'o' => number().map(|n| signed(format!("{:o}", n.unsigned_abs()), n))?,
            'b' => number().map(|n| signed(format!("{:b}", n.unsigned_abs()), n))?,
            'q' => json(&Value::new(Data::Text(shown_text(value, index)?), value.span)),
            'v' if value.to_text().is_none() => json(value),
            _ => shown_text(value, index)?,
        };
        Ok(self.padded(plain))
    }

    fn padded(&self, text: String) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if self.left {
            return text + &" ".repeat(missing);
        }
        match (self.zeros, text.strip_prefix('-')) {
            (true, Some(digits)) => format!("-{}{digits}", "0".repeat(missing)),
            (true, None) => "0".repeat(missing) + &text,
            _ => " ".repeat(missing) + &text,
        }
    }
}
