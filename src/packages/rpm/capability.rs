//! File capabilities: the text that packages carry (`cap_from_text(3)`), and the attribute that Linux keeps
//! (`security.capability`, revision 2).

use crate::base::capability::{CAPABILITIES, capability_number};

/// Name of the attribute.
pub const XATTR: &[u8] = b"security.capability";

const REVISION_2: u32 = 0x0200_0000;
const EFFECTIVE: u32 = 1;

/// Sets by number of capability.
#[derive(Default)]
struct Sets {
    effective: u64,
    inheritable: u64,
    permitted: u64,
}

/// Reads a text such as `cap_net_raw,cap_net_admin=ep` into the attribute's value; `None` for an empty set.
pub fn encode(text: &str) -> Result<Option<[u8; 20]>, String> {
    let mut sets = Sets::default();
    text.split_ascii_whitespace().try_for_each(|clause| sets.apply(clause))?;
    let Sets { effective, inheritable, permitted } = sets;
    let all = effective | inheritable | permitted;
    if all == 0 {
        return Ok(None);
    }
    if effective != 0 && effective != permitted | inheritable {
        return Err(format!("{text:?}: a file's capabilities are all effective, or none is"));
    }
    let flags = REVISION_2 | if effective != 0 { EFFECTIVE } else { 0 };
    let words =
        [flags, permitted as u32, inheritable as u32, (permitted >> 32) as u32, (inheritable >> 32) as u32];
    let mut value = [0; 20];
    for (slot, word) in value.chunks_exact_mut(4).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    Ok(Some(value))
}

impl Sets {
    /// Applies one clause: names, then one or several of `=`, `+`, `-` with letters of `eip`.
    fn apply(&mut self, clause: &str) -> Result<(), String> {
        let wrong = || format!("{clause:?} is no list of capabilities such as cap_net_raw=ep");
        let cut = clause.find(['=', '+', '-']).ok_or_else(wrong)?;
        let (names, mut actions) = clause.split_at(cut);
        let mask = mask(names)?;
        while let Some(operator) = actions.chars().next() {
            let rest = &actions[1..];
            let end = rest.find(['=', '+', '-']).unwrap_or(rest.len());
            let (letters, next) = rest.split_at(end);
            if letters.chars().any(|letter| !"eip".contains(letter)) {
                return Err(wrong());
            }
            for (letter, set) in
                [('e', &mut self.effective), ('i', &mut self.inheritable), ('p', &mut self.permitted)]
            {
                match (operator, letters.contains(letter)) {
                    ('=' | '+', true) => *set |= mask,
                    ('-', true) | ('=', false) => *set &= !mask,
                    _ => {}
                }
            }
            actions = next;
        }
        Ok(())
    }
}

fn mask(names: &str) -> Result<u64, String> {
    if names.is_empty() || names.eq_ignore_ascii_case("all") {
        return Ok((1 << CAPABILITIES.len()) - 1);
    }
    names.split(',').try_fold(0, |mask, name| {
        let number = capability_number(&name.to_ascii_uppercase());
        number.map(|number| mask | 1 << number).ok_or_else(|| format!("unknown capability {name:?}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::hex;

    #[test]
    fn texts_become_what_setcap_writes() {
        let value = |text| encode(text).map(|value| value.map(|value| hex(&value)));
        let both = Ok(Some("0100000200240000000000000000000000000000".to_owned()));
        assert_eq!(value("cap_net_raw,cap_net_bind_service=ep"), both);
        assert_eq!(value("cap_net_raw=ep cap_net_bind_service+pe"), both);
        assert_eq!(value("= cap_net_raw+p"), Ok(Some("0000000200200000000000000000000000000000".to_owned())));
        assert_eq!(value("="), Ok(None));
        for wrong in ["cap_x=ep", "cap_net_raw", "cap_net_raw=x", "cap_net_raw=ep cap_setuid=p"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }
}
