//! SPDX 2.3 as JSON ("The Software Package Data Exchange Specification", version 2.3): the image DESCRIBEd by the
//! document CONTAINS its components, these their files; a package is GENERATED_FROM its source and DEPENDS_ON others.
//!
//! A file is named by its SHA-1, which SPDX 2.3 asks for, and its SHA-256. Nothing is concluded: licences are those that
//! packages declare. The path below an archive's root stands in `packageFileName`: which archive it was is the affair of
//! a machine. The document is written as it is read off the bill, an element at a time.

use std::collections::BTreeMap;
use std::io::Write;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha1::Digest as _;

use super::bill::{Bill, Component, Family};
use super::{purl, text};
use crate::base::id::hex;

/// What is not known, in SPDX's word.
const NO_ASSERTION: &str = "NOASSERTION";

/// Writes the document of a bill. Fails where the writer does.
pub fn write(bill: &Bill, out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &Document::of(bill))?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    packages: Packages<'a>,
    #[serde(skip_serializing_if = "Files::is_empty")]
    files: Files<'a>,
    #[serde(skip_serializing_if = "Licences::is_empty")]
    has_extracted_licensing_infos: Licences<'a>,
    relationships: Relationships<'a>,
}

impl<'a> Document<'a> {
    fn of(bill: &'a Bill) -> Self {
        Document {
            spdx_version: "SPDX-2.3",
            data_license: "CC0-1.0",
            id: "SPDXRef-DOCUMENT",
            name: full_name(bill),
            document_namespace: format!("urn:uuid:{}", text::uuid(&bill.document("spdx 2.3"))),
            creation_info: json!({
                "created": text::time(bill.epoch),
                "creators": [format!("Tool: mkimage-{}", env!("CARGO_PKG_VERSION"))],
            }),
            comment: bill.unknown.join("\n"),
            packages: Packages(bill),
            files: Files(bill),
            has_extracted_licensing_infos: Licences(bill),
            relationships: Relationships(bill),
        }
    }
}

fn full_name(bill: &Bill) -> String {
    match &bill.version {
        Some(version) => format!("{}-{version}", bill.name),
        None => bill.name.clone(),
    }
}

/// The identifier of the image itself.
const IMAGE: &str = "SPDXRef-Image";

fn component_id(index: usize) -> String {
    format!("SPDXRef-Component-{index}")
}

fn source_id(index: usize) -> String {
    format!("SPDXRef-Source-{index}")
}

fn file_id(index: usize) -> String {
    format!("SPDXRef-File-{index}")
}

/// Lists the source packages of a bill, each once.
fn sources(bill: &Bill) -> BTreeMap<(&str, &str), (usize, &Component)> {
    let mut sources = BTreeMap::new();
    for component in &bill.components {
        if let Some((name, version)) = &component.source {
            let next = sources.len();
            sources.entry((name.as_str(), version.as_str())).or_insert((next, component));
        }
    }
    sources
}

struct Packages<'a>(&'a Bill);

impl Serialize for Packages<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bill = self.0;
        let components = bill.components.iter().enumerate();
        let components = components.map(|(index, component)| of_component(bill, index, component));
        let sources = sources(bill).into_iter();
        let sources = sources.map(|((name, version), (index, one))| of_source(name, version, index, one));
        serializer.collect_seq(std::iter::once(image(bill)).chain(components).chain(sources))
    }
}

fn image(bill: &Bill) -> Value {
    let own = bill.files.iter().enumerate().filter(|(_, file)| file.component.is_none());
    let own: Vec<usize> = own.map(|(index, _)| index).collect();
    let mut value = json!({
        "SPDXID": IMAGE, "name": bill.name, "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": !own.is_empty() && !bill.hashes.is_empty(),
        "licenseConcluded": NO_ASSERTION, "licenseDeclared": NO_ASSERTION, "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "sourceInfo": format!("{} {}", bill.what.word(), bill.what.digest()),
    });
    if let Some(version) = &bill.version {
        value["versionInfo"] = json!(version);
    }
    verification(bill, &own, &mut value);
    value
}

fn of_component(bill: &Bill, index: usize, component: &Component) -> Value {
    let mut value = json!({
        "SPDXID": component_id(index), "name": component.name, "downloadLocation": NO_ASSERTION,
        "filesAnalyzed": !component.files.is_empty() && !bill.hashes.is_empty(),
        "licenseConcluded": NO_ASSERTION,
        "licenseDeclared": component.licence.as_ref().map_or(NO_ASSERTION, |licence| &licence.expression),
        "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": match component.family {
            Family::App | Family::Init => "APPLICATION",
            Family::Debian | Family::Rpm | Family::Crate => "LIBRARY",
        },
    });
    let mut put = |key: &str, text: Option<String>| {
        if let Some(text) = text {
            value[key] = json!(text);
        }
    };
    put("versionInfo", component.version.clone());
    put("supplier", component.supplier.as_deref().map(supplier));
    put("homepage", component.homepage.as_deref().and_then(text::web_address).map(str::to_owned));
    put("summary", component.summary.clone());
    put("packageFileName", component.location.clone());
    if let Some(sha256) = &component.sha256 {
        value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]);
    }
    if let Some(purl) = purl::of(component) {
        value["externalRefs"] = references(&purl);
    }
    if !component.in_root {
        value["comment"] =
            json!("The image boots with it; its root filesystem does not hold it as a package.");
    }
    verification(bill, &component.files, &mut value);
    value
}

fn of_source(name: &str, version: &str, index: usize, of: &Component) -> Value {
    let mut source = Component::named(of.family, name);
    source.version = Some(version.to_owned()).filter(|version| !version.is_empty());
    source.architecture = Some(if of.family == Family::Rpm { "src" } else { "source" }.to_owned());
    source.distribution.clone_from(&of.distribution);
    source.release.clone_from(&of.release);
    let mut value = json!({
        "SPDXID": source_id(index), "name": name, "downloadLocation": NO_ASSERTION, "filesAnalyzed": false,
        "licenseConcluded": NO_ASSERTION, "licenseDeclared": NO_ASSERTION, "copyrightText": NO_ASSERTION,
        "primaryPackagePurpose": "SOURCE",
    });
    if let Some(version) = &source.version {
        value["versionInfo"] = json!(version);
    }
    if let Some(purl) = purl::of(&source) {
        value["externalRefs"] = references(&purl);
    }
    value
}

fn references(purl: &str) -> Value {
    json!([{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl }])
}

/// Names a supplier. Those who sign as a team, or from a mailing list, are an organization.
fn supplier(field: &str) -> String {
    let (name, address) = text::name_and_address(field);
    let is_team =
        |word: &str| ["team", "maintainers", "developers", "group", "project", "inc."].contains(&word);
    let words = name.to_lowercase();
    let of_list = address
        .as_deref()
        .is_some_and(|address| address.contains("@lists.") || address.contains("@tracker."));
    let many = of_list || address.is_none() || words.split_whitespace().any(is_team);
    let kind = if many { "Organization" } else { "Person" };
    let name = if name.is_empty() { address.clone().unwrap_or_default() } else { name };
    // Brackets enclose the address in SPDX's form of a name.
    let name = name.replace(['(', ')'], "");
    match address {
        Some(address) => format!("{kind}: {name} ({address})"),
        None => format!("{kind}: {name}"),
    }
}

/// Adds the code by which SPDX tells the files of a package (7.9): the SHA-1 over their sorted SHA-1s.
fn verification(bill: &Bill, files: &[usize], value: &mut Value) {
    let mut digests: Vec<String> = files
        .iter()
        .filter_map(|index| bill.hashes.get(&bill.files[*index].content))
        .map(|hashes| hex(&hashes.sha1))
        .collect();
    if digests.is_empty() {
        return;
    }
    digests.sort();
    let code = hex(&sha1::Sha1::digest(digests.concat().as_bytes()));
    value["packageVerificationCode"] = json!({ "packageVerificationCodeValue": code });
}

struct Files<'a>(&'a Bill);

impl Files<'_> {
    fn is_empty(&self) -> bool {
        self.0.hashes.is_empty()
    }
}

impl Serialize for Files<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bill = self.0;
        serializer.collect_seq(bill.files.iter().enumerate().filter_map(|(index, file)| {
            let hashes = bill.hashes.get(&file.content)?;
            Some(json!({
                "SPDXID": file_id(index), "fileName": format!(".{}", text::path(&file.path)),
                "checksums": [
                    { "algorithm": "SHA1", "checksumValue": hex(&hashes.sha1) },
                    { "algorithm": "SHA256", "checksumValue": hex(&hashes.sha256) },
                ],
                "licenseConcluded": NO_ASSERTION, "copyrightText": NO_ASSERTION,
            }))
        }))
    }
}

struct Licences<'a>(&'a Bill);

impl Licences<'_> {
    fn all(&self) -> BTreeMap<&str, &(String, String)> {
        let licences = self.0.components.iter().filter_map(|component| component.licence.as_ref());
        licences.flat_map(|licence| licence.texts.iter().map(|(id, text)| (id.as_str(), text))).collect()
    }

    fn is_empty(&self) -> bool {
        self.all().is_empty()
    }
}

impl Serialize for Licences<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let one = |(id, (name, text)): (&str, &(String, String))| json!({ "licenseId": id, "name": name, "extractedText": text });
        serializer.collect_seq(self.all().into_iter().map(one))
    }
}

struct Relationships<'a>(&'a Bill);

impl Serialize for Relationships<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bill = self.0;
        let relation = |from: String, kind: &str, to: String| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
        let described =
            std::iter::once(relation("SPDXRef-DOCUMENT".to_owned(), "DESCRIBES", IMAGE.to_owned()));
        let components = bill.components.iter().enumerate();
        let contained =
            components.clone().map(|(index, _)| relation(IMAGE.to_owned(), "CONTAINS", component_id(index)));
        let needed = components.clone().flat_map(|(index, component)| {
            let needs = component.needs.iter();
            needs.map(move |other| relation(component_id(index), "DEPENDS_ON", component_id(*other)))
        });
        let sources = sources(bill);
        let generated = components.filter_map(|(index, component)| {
            let (name, version) = component.source.as_ref()?;
            let source = sources.get(&(name.as_str(), version.as_str()))?.0;
            Some(relation(component_id(index), "GENERATED_FROM", source_id(source)))
        });
        let hashed =
            bill.files.iter().enumerate().filter(|(_, file)| bill.hashes.contains_key(&file.content));
        let files = hashed.map(|(index, file)| {
            let owner = file.component.map_or(IMAGE.to_owned(), component_id);
            relation(owner, "CONTAINS", file_id(index))
        });
        serializer.collect_seq(described.chain(contained).chain(needed).chain(generated).chain(files))
    }
}
