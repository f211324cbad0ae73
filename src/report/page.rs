//! One page of HTML that shows an image: where its bytes are, what changed, where the time of its build went, what it is
//! made of. It needs no network and no file beside it.
//!
//! All that it shows stands in it as JSON, in which `<` is written as `\u003c`: no name ends the element that holds it.
//! The page's program makes text nodes of names, never markup, and the page's policy lets no other program run: neither
//! scripts nor styles but the two that it names by their SHA-256, and no address at all.

use serde_json::{Value, json};
use sha2::Digest as _;

use super::bill::{Bill, Component};
use super::sizes::{self, By};
use super::timeline::{Lanes, Span, Timeline};
use super::{changes, purl, text};
use crate::base::base64;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// Most steps of a timeline that a page draws: the longest.
pub const SPANS_DRAWN_MAX: usize = 3000;
/// Most components that the table lists.
pub const ROWS_MAX: usize = 20_000;

/// What a page shows.
pub struct Page<'a> {
    pub bill: &'a Bill,
    /// The bill of what it is compared with.
    pub against: Option<&'a Bill>,
    pub disk: Option<DiskMap>,
    pub timeline: Option<&'a Timeline>,
}

/// Where the bytes of a disk are.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DiskMap {
    pub bytes: u64,
    pub partitions: Vec<MappedPartition>,
}

/// One partition of a disk; all numbers are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MappedPartition {
    pub name: String,
    pub start: u64,
    pub bytes: u64,
    /// What lies in it, in the order of the disk: names and bytes. What is left is free.
    pub pieces: Vec<(String, u64)>,
    /// What more there is to say, such as the state of a slot.
    pub note: String,
}

impl Page<'_> {
    /// Returns the page. The same input gives the same bytes.
    pub fn to_html(&self) -> String {
        let name = &self.bill.name;
        let title = self.bill.version.as_ref().map_or(name.clone(), |version| format!("{name} {version}"));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
            digest(SCRIPT),
            digest(STYLE)
        );
        let data = self.data().to_string().replace('<', "\\u003c");
        let parts = [
            ("title", escape(&title)),
            ("policy", policy),
            ("style", STYLE.to_owned()),
            ("data", data),
            ("script", SCRIPT.to_owned()),
        ];
        let mut html = String::new();
        let mut rest = TEMPLATE;
        for (name, text) in parts {
            let mark = format!("{{{{{name}}}}}");
            let (before, behind) = rest.split_once(&mark).expect("because the template names each part once");
            html.push_str(before);
            html.push_str(&text);
            rest = behind;
        }
        html.push_str(rest);
        html
    }

    fn data(&self) -> Value {
        let bill = self.bill;
        let bytes: u64 = bill.files.iter().filter(|file| !file.is_link).map(|file| file.content.size).sum();
        json!({
            "name": bill.name, "version": bill.version, "what": bill.what.word(),
            "id": bill.what.digest().to_string(), "time": text::time(bill.epoch), "tool": bill.tool_version,
            "architecture": bill.architecture, "unknown": bill.unknown,
            "totals": { "files": bill.files.len(), "bytes": bytes, "packages": bill.installed().count() },
            "disk": self.disk,
            "sizes": [
                { "label": "By path", "root": sizes::view(bill, By::Path) },
                { "label": "By package", "root": sizes::view(bill, By::Package) },
                { "label": "By recipe", "root": sizes::view(bill, By::Recipe) },
            ],
            "changes": self.against.map(|old| changes::value(old, bill)),
            "timeline": self.timeline.map(timeline),
            "components": components(bill),
        })
    }
}

fn digest(text: &str) -> String {
    base64::encode(&sha2::Sha256::digest(text.as_bytes()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn components(bill: &Bill) -> Value {
    let row = |component: &Component| {
        let source = component.source.as_ref().map(|(name, version)| match name == &component.name {
            true => String::new(),
            false => format!("{name} {version}").trim().to_owned(),
        });
        json!([
            component.name,
            component.version,
            component.architecture,
            source,
            component.licence.as_ref().map(|licence| &licence.expression),
            bill.bytes_of(component),
            component.files.len(),
            component.supplier,
            component.sha256,
            purl::of(component),
            component.summary,
            component.in_root,
        ])
    };
    let left_out = bill.components.len().saturating_sub(ROWS_MAX);
    let rows: Vec<Value> = bill.components.iter().take(ROWS_MAX).map(row).collect();
    json!({ "rows": rows, "left_out": left_out })
}

/// Draws the longest steps, each on the lane of its thread.
fn timeline(timeline: &Timeline) -> Value {
    let spans = timeline.spans();
    let lanes = Lanes::of(&spans);
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(spans[*index].length), *index));
    order.truncate(SPANS_DRAWN_MAX);
    order.sort_unstable();
    let end = spans.iter().map(Span::end).max().unwrap_or(0);
    let drawn: Vec<Value> = order
        .iter()
        .map(|index| {
            let span = &spans[*index];
            let (lane, depth) = (lanes.of_span[*index], lanes.depths[*index]);
            json!([lane, depth, span.start, span.length, span.name, span.cached, span.done, span.unit])
        })
        .collect();
    let left_out = (spans.len() - drawn.len()) as u64 + timeline.left_out();
    json!({ "lanes": lanes.names, "spans": drawn, "end": end, "left_out": left_out })
}
