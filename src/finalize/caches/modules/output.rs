//! The files, from the graph of modules.

use super::graph::Graph;
use super::index::Index;
use super::{Release, hash};

/// A file by name, with its bytes.
pub(super) type Output = (&'static str, Vec<u8>);

/// Since when kmod writes `modules.weakdep`.
const WEAK_DEPENDENCIES: Release = Release(33);
/// Line at the head of `modules.devname`.
const DEVICES_HEAD: &[u8] = b"# Device nodes to trigger on-demand module loading.\n";

/// Writes everything that follows from the modules alone.
pub(super) fn files(graph: &Graph, release: Release) -> Result<Vec<Output>, String> {
    let (aliases, alias_index) = aliases(graph, release)?;
    let (symbols, symbol_index) = symbols(graph, release)?;
    let (dependencies, dependency_index) = dependencies(graph, release)?;
    let soft = lines(graph, "softdep", b"# Soft dependencies extracted from modules themselves.\n");
    let mut files = vec![
        ("modules.dep", dependencies),
        ("modules.dep.bin", dependency_index),
        ("modules.alias", aliases),
        ("modules.alias.bin", alias_index),
        ("modules.softdep", soft),
        ("modules.symbols", symbols),
        ("modules.symbols.bin", symbol_index),
        ("modules.devname", devices(graph)),
    ];
    if release >= WEAK_DEPENDENCIES {
        let weak = lines(graph, "weakdep", b"# Weak dependencies extracted from modules themselves.\n");
        files.push(("modules.weakdep", weak));
    }
    Ok(files)
}

fn dependencies(graph: &Graph, release: Release) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (mut text, mut index) = (Vec::new(), Index::new());
    for (position, found) in graph.modules.iter().enumerate() {
        let mut line = [&found.path[..], b":"].concat();
        for &needed in &graph.needed[position] {
            line.push(b' ');
            line.extend_from_slice(&graph.modules[needed].path);
        }
        index.insert(found.name.as_bytes(), &line, position as u32)?;
        text.extend_from_slice(&line);
        text.push(b'\n');
    }
    Ok((text, index.write(release)?))
}

fn aliases(graph: &Graph, release: Release) -> Result<(Vec<u8>, Vec<u8>), String> {
    let (mut text, mut index) = (b"# Aliases extracted from modules themselves.\n".to_vec(), Index::new());
    for (position, found) in graph.modules.iter().enumerate() {
        for alias in found.module.values("alias") {
            let name = found.name.as_bytes();
            text.extend([b"alias ", alias, b" ", name, b"\n"].concat());
            if let Some(alias) = normal(alias) {
                index.insert(&alias, name, position as u32)?;
            }
        }
    }
    Ok((text, index.write(release)?))
}

fn symbols(graph: &Graph, release: Release) -> Result<(Vec<u8>, Vec<u8>), String> {
    let mut symbols: Vec<((u32, &[u8]), usize)> =
        graph.owners.iter().map(|(name, &owner)| (hash::place(name, hash::SYMBOL_BUCKETS), owner)).collect();
    symbols.sort();
    let (mut text, mut index) =
        (b"# Aliases for symbols, used by symbol_request().\n".to_vec(), Index::new());
    for ((_, symbol), owner) in symbols {
        let name = graph.modules[owner].name.as_bytes();
        let alias = [b"symbol:", symbol].concat();
        text.extend([b"alias ", &alias[..], b" ", name, b"\n"].concat());
        index.insert(&alias, name, owner as u32)?;
    }
    Ok((text, index.write(release)?))
}

/// Writes the lines `KEY MODULE VALUE` of one key of all modules.
fn lines(graph: &Graph, key: &str, head: &[u8]) -> Vec<u8> {
    let mut text = head.to_vec();
    for found in &graph.modules {
        for value in found.module.values(key) {
            text.extend([key.as_bytes(), b" ", found.name.as_bytes(), b" ", value, b"\n"].concat());
        }
    }
    text
}

/// Writes the devices that modules bring: those with both a name and a number. Empty where there are none.
fn devices(graph: &Graph) -> Vec<u8> {
    let mut text = Vec::new();
    for found in &graph.modules {
        let (mut name, mut number) = (None, None);
        for alias in found.module.values("alias") {
            if let Some(device) = alias.strip_prefix(b"devname:") {
                name = Some(device);
            }
            number = device_number(alias).or(number);
            if let (Some(device), Some((kind, major, minor))) = (name, number) {
                let number = format!(" {kind}{major}:{minor}\n");
                text.extend([found.name.as_bytes(), b" ", device, number.as_bytes()].concat());
                break;
            }
        }
    }
    if text.is_empty() { text } else { [DEVICES_HEAD, &text].concat() }
}

/// Reads `char-major-10-200` and `block-major-7-0`; what stands behind the numbers does not matter.
fn device_number(alias: &[u8]) -> Option<(char, u32, u32)> {
    let alias = str::from_utf8(alias).ok()?;
    let (kind, numbers) = match alias.strip_prefix("char-major-") {
        Some(numbers) => ('c', numbers),
        None => ('b', alias.strip_prefix("block-major-")?),
    };
    let (major, rest) = numbers.split_once('-')?;
    let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    Some((kind, major.parse().ok()?, rest[..end].parse().ok()?))
}

/// Writes `_` for `-` outside of brackets; `None` where brackets don't match.
pub(super) fn normal(alias: &[u8]) -> Option<Vec<u8>> {
    let mut normal = Vec::with_capacity(alias.len());
    let mut inside = false;
    for &byte in alias {
        match byte {
            b']' if !inside => return None,
            b'[' => inside = true,
            b']' => inside = false,
            _ => {}
        }
        normal.push(if byte == b'-' && !inside { b'_' } else { byte });
    }
    (!inside).then_some(normal)
}
