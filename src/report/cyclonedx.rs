//! CycloneDX 1.6 as JSON (ECMA-424): the image is the component of the metadata, what it holds its components, and their
//! files lie in them. Sources are ancestors of what was built of them; what needs what stands in `dependencies`.
//!
//! An archive's path stands as a relative reference of type `distribution`. The document is written as it is read off
//! the bill, an element at a time.

use std::io::Write;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::bill::{Bill, BilledFile, Component, Family};
use super::{purl, text};
use crate::base::id::hex;

/// Writes the document of a bill. Fails where the writer does.
pub fn write(bill: &Bill, out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document::of(bill))?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    bom_format: &'static str,
    spec_version: &'static str,
    serial_number: String,
    version: u32,
    metadata: Value,
    components: Components<'a>,
    dependencies: Dependencies<'a>,
    compositions: Value,
}

impl<'a> Document<'a> {
    fn of(bill: &'a Bill) -> Self {
        let aggregate = if bill.unknown.is_empty() { "complete" } else { "incomplete" };
        Document {
            bom_format: "CycloneDX",
            spec_version: "1.6",
            serial_number: format!("urn:uuid:{}", text::uuid(&bill.document("cyclonedx 1.6"))),
            version: 1,
            metadata: metadata(bill),
            components: Components(bill),
            dependencies: Dependencies(bill),
            compositions: json!([{ "aggregate": aggregate, "assemblies": [IMAGE] }]),
        }
    }
}

/// The reference of the image itself.
const IMAGE: &str = "image";

fn reference(index: usize) -> String {
    format!("component-{index}")
}

fn metadata(bill: &Bill) -> Value {
    let id = bill.what.digest().to_string();
    let mut properties = vec![json!({ "name": format!("mkimage:{}", bill.what.word()), "value": id })];
    properties.extend(bill.unknown.iter().map(|text| json!({ "name": "mkimage:unknown", "value": text })));
    let mut image = json!({
        "type": "operating-system", "bom-ref": IMAGE, "name": bill.name, "properties": properties,
    });
    if let Some(version) = &bill.version {
        image["version"] = json!(version);
    }
    let tool = json!({ "type": "application", "name": "mkimage", "version": env!("CARGO_PKG_VERSION") });
    json!({
        "timestamp": text::time(bill.epoch), "tools": { "components": [tool] }, "component": image,
    })
}

struct Components<'a>(&'a Bill);

impl Serialize for Components<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bill = self.0;
        let components = bill.components.iter().enumerate();
        let components = components.map(|(index, component)| of_component(bill, index, component));
        let own = bill.files.iter().enumerate().filter(|(_, file)| file.component.is_none());
        let own = own.filter_map(|(index, file)| of_file(bill, index, file));
        serializer.collect_seq(components.chain(own))
    }
}

fn of_component(bill: &Bill, index: usize, component: &Component) -> Value {
    let mut value = json!({
        "type": match component.family {
            Family::App | Family::Init => "application",
            Family::Debian | Family::Rpm | Family::Crate => "library",
        },
        "bom-ref": reference(index), "name": component.name,
    });
    if let Some(version) = &component.version {
        value["version"] = json!(version);
    }
    if let Some(field) = &component.supplier {
        value["supplier"] = supplier(field);
    }
    if let Some(summary) = &component.summary {
        value["description"] = json!(summary);
    }
    if let Some(sha256) = &component.sha256 {
        value["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
    }
    if let Some(licence) = &component.licence {
        value["licenses"] = json!([{ "expression": licence.expression }]);
    }
    if let Some(purl) = purl::of(component) {
        value["purl"] = json!(purl);
    }
    let pages = component.homepage.as_deref().and_then(text::web_address);
    let pages = pages.map(|url| json!({ "type": "website", "url": url }));
    let archives = component.location.as_ref().map(|path| json!({ "type": "distribution", "url": path }));
    let references: Vec<Value> = pages.into_iter().chain(archives).collect();
    if !references.is_empty() {
        value["externalReferences"] = json!(references);
    }
    if let Some((name, version)) = &component.source {
        let mut source = json!({ "type": "library", "name": name });
        if !version.is_empty() {
            source["version"] = json!(version);
        }
        value["pedigree"] = json!({ "ancestors": [source] });
    }
    let scope = if component.in_root { "root filesystem" } else { "boot files" };
    value["properties"] = json!([{ "name": "mkimage:place", "value": scope }]);
    let files = component.files.iter().filter_map(|index| of_file(bill, *index, &bill.files[*index]));
    let files: Vec<Value> = files.collect();
    if !files.is_empty() {
        value["components"] = json!(files);
    }
    value
}

fn supplier(field: &str) -> Value {
    match text::name_and_address(field) {
        (name, Some(address)) => json!({ "name": name, "contact": [{ "email": address }] }),
        (name, None) => json!({ "name": name }),
    }
}

fn of_file(bill: &Bill, index: usize, file: &BilledFile) -> Option<Value> {
    let hashes = bill.hashes.get(&file.content)?;
    Some(json!({
        "type": "file", "bom-ref": format!("file-{index}"), "name": text::path(&file.path),
        "hashes": [
            { "alg": "SHA-1", "content": hex(&hashes.sha1) }, { "alg": "SHA-256", "content": hex(&hashes.sha256) },
        ],
    }))
}

struct Dependencies<'a>(&'a Bill);

impl Serialize for Dependencies<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bill = self.0;
        let all: Vec<String> = (0..bill.components.len()).map(reference).collect();
        let image = json!({ "ref": IMAGE, "dependsOn": all });
        let each = bill.components.iter().enumerate().map(|(index, component)| {
            let needs: Vec<String> = component.needs.iter().map(|other| reference(*other)).collect();
            json!({ "ref": reference(index), "dependsOn": needs })
        });
        serializer.collect_seq(std::iter::once(image).chain(each))
    }
}
