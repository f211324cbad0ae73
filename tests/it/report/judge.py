"""Judges bills of materials with other people's programs, and reads an image's packages as scanners do.

judge.py spdx FILE        validates with spdx-tools, then prints `NAME VERSION ARCHITECTURE` of the packages in the tree
judge.py cyclonedx FILE   validates against the official JSON schema, strictly, then prints the same
judge.py hashes FILE TREE holds every file of an SPDX document against the tree, and every file of the tree against it
judge.py scan TREE        prints `NAME VERSION ARCHITECTURE` of dpkg's databases, read by python-debian
"""

import hashlib
import json
import os
import sys

from packageurl import PackageURL


def name_of(purl):
    parsed = PackageURL.from_string(purl)
    assert parsed.to_string() == purl, f"{purl} is spelt {parsed.to_string()}"
    return parsed


def line(purl, version):
    parsed = name_of(purl)
    return f"{parsed.name} {version} {parsed.qualifiers.get('arch', '')}"


def spdx(path):
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = parse_file(path)
    problems = validate_full_spdx_document(document)
    if problems:
        sys.exit("\n".join(str(problem.validation_message) for problem in problems[:20]))
    raw = json.load(open(path, encoding="utf-8"))
    for package in raw["packages"]:
        purls = [one["referenceLocator"] for one in package.get("externalRefs", [])]
        is_binary = package["primaryPackagePurpose"] == "LIBRARY" and not purls[0].startswith("pkg:cargo/")
        if is_binary and "comment" not in package:
            yield line(purls[0], package["versionInfo"])


def cyclonedx(path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = open(path, encoding="utf-8").read()
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem:
        sys.exit(str(problem)[:4000])
    bill = json.loads(text)
    references = set()
    for component in [bill["metadata"]["component"], *bill["components"]]:
        for one in [component, *component.get("components", [])]:
            assert one["bom-ref"] not in references, f"{one['bom-ref']} is there twice"
            references.add(one["bom-ref"])
    for dependency in bill["dependencies"]:
        for reference in [dependency["ref"], *dependency["dependsOn"]]:
            assert reference in references, f"{reference} is no component"
    for component in bill["components"]:
        places = [one["value"] for one in component.get("properties", [])]
        if component["type"] == "library" and "root filesystem" in places and not component["purl"].startswith("pkg:cargo/"):
            yield line(component["purl"], component["version"])


def hashes(path, tree):
    document = json.load(open(path, encoding="utf-8"))
    seen = set()
    for file in document["files"]:
        full = os.path.join(tree, file["fileName"][2:])
        seen.add(os.path.normpath(full))
        with open(full, "rb") as opened:
            content = opened.read()
        stated = {one["algorithm"]: one["checksumValue"] for one in file["checksums"]}
        found = {
            "SHA1": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "SHA256": hashlib.sha256(content).hexdigest(),
        }
        assert stated == found, f"{file['fileName']}: {stated}, found {found}"
    for folder, _, names in os.walk(tree):
        for name in names:
            full = os.path.join(folder, name)
            if os.path.isfile(full) and not os.path.islink(full):
                assert os.path.normpath(full) in seen, f"{full} is in no bill"
    yield str(len(seen))


def scan(tree):
    from debian.deb822 import Packages

    database = os.path.join(tree, "var/lib/dpkg")
    paths = [os.path.join(database, "status")]
    folder = os.path.join(database, "status.d")
    if os.path.isdir(folder):
        paths = [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if not name.endswith(".md5sums")]
    for path in paths:
        with open(path, encoding="utf-8") as text:
            for stanza in Packages.iter_paragraphs(text, use_apt_pkg=False):
                if stanza.get("Status", "installed").endswith("installed"):
                    yield f"{stanza['Package']} {stanza['Version']} {stanza['Architecture']}"


verbs = {"spdx": spdx, "cyclonedx": cyclonedx, "hashes": hashes, "scan": scan}
for said in sorted(verbs[sys.argv[1]](*sys.argv[2:])):
    print(said)
