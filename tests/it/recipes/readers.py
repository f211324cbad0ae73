"""Lists the packages of a tree as scanners of images do, from the text of dpkg's databases alone.

Reads var/lib/dpkg/status and info/*, or var/lib/dpkg/status.d/*. Prints `NAME VERSION` lines. Every file that a
package lists with a digest must be there with it, unless the image dropped it; a list that names nothing that
is there is an error.
"""

import hashlib
import os
import sys

tree = sys.argv[1]
database = os.path.join(tree, "var/lib/dpkg")


def stanzas(path):
    with open(path, encoding="utf-8") as text:
        for stanza in text.read().split("\n\n"):
            fields = {}
            for line in stanza.splitlines():
                if not line[0].isspace() and ":" in line:
                    name, value = line.split(":", 1)
                    fields[name] = value.strip()
            if fields:
                yield fields


def check(name, sums):
    seen = 0
    for line in open(sums, encoding="utf-8"):
        digest, path = line.rstrip("\n").split("  ", 1)
        full = os.path.join(tree, path)
        if os.path.islink(full) or not os.path.isfile(full):
            continue
        with open(full, "rb") as file:
            found = hashlib.md5(file.read(), usedforsecurity=False).hexdigest()
        if found != digest:
            sys.exit(f"{name}: {path} has the digest {found}, the database says {digest}")
        seen += 1
    return seen


def installed():
    full = os.path.join(database, "status")
    if os.path.exists(full):
        for fields in stanzas(full):
            if fields["Status"] != "install ok installed":
                sys.exit(f"{fields['Package']} is {fields['Status']}")
            qualified = f"{fields['Package']}:{fields['Architecture']}"
            sums = [os.path.join(database, "info", f"{name}.md5sums") for name in (fields["Package"], qualified)]
            yield fields, next((path for path in sums if os.path.exists(path)), None)
        return
    folder = os.path.join(database, "status.d")
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".md5sums"):
            sums = os.path.join(folder, f"{name}.md5sums")
            for fields in stanzas(os.path.join(folder, name)):
                yield fields, sums if os.path.exists(sums) else None


checked = 0
for fields, sums in installed():
    print(fields["Package"], fields["Version"])
    checked += check(fields["Package"], sums) if sums else 0
if checked < 100:
    sys.exit(f"only {checked} files could be checked")
